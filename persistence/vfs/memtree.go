package vfs

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
)

// memDir is a directory. Both maps are guarded by Mem.mu.
type memDir struct {
	names   map[string]any // *memDir or *memFile, as they are now
	durable map[string]any // as a power cut finds them at worst; kept only with PowerCuts
}

func newMemDir() *memDir { return &memDir{names: map[string]any{}, durable: map[string]any{}} }

// entryKey is one place for a name.
type entryKey struct {
	dir  *memDir
	name string
}

// nameChange is one change of the tree that no SyncDir has made durable: node
// appears at key to, and disappears from key from. Either may be missing.
type nameChange struct {
	from, to entryKey
	node     any
}

// home is the directory whose SyncDir makes the change durable.
func (c nameChange) home() *memDir {
	if c.to.dir != nil {
		return c.to.dir
	}
	return c.from.dir
}

// apply makes the change in the durable maps.
func (c nameChange) apply() {
	if c.from.dir != nil {
		delete(c.from.dir.durable, c.from.name)
	}
	if c.to.dir != nil {
		c.to.dir.durable[c.to.name] = c.node
	}
}

// change makes a change in the tree and remembers it for a power cut.
func (m *Mem) change(c nameChange) {
	if c.from.dir != nil {
		delete(c.from.dir.names, c.from.name)
	}
	if c.to.dir != nil {
		if old, ok := c.to.dir.names[c.to.name].(*memFile); ok {
			old.unlink(m)
		}
		c.to.dir.names[c.to.name] = c.node
	} else if f, ok := c.node.(*memFile); ok {
		f.unlink(m)
	}
	if m.options.PowerCuts {
		m.pending = append(m.pending, c)
	}
}

// walk finds the directory that a name is in.
func (m *Mem) walk(op, name string) (entryKey, error) {
	if err := checkName(op, name); err != nil {
		return entryKey{}, err
	}
	dir := m.root
	parent, base := path.Split(name)
	for part := range strings.SplitSeq(strings.TrimSuffix(parent, "/"), "/") {
		if part == "" {
			continue
		}
		switch next := dir.names[part].(type) {
		case *memDir:
			dir = next
		case *memFile:
			return entryKey{}, &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
		default:
			return entryKey{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
	}
	return entryKey{dir, base}, nil
}

// lookup finds what a name stands for, nil if nothing.
func (m *Mem) lookup(op, name string) (node any, at entryKey, err error) {
	if name == "." {
		return m.root, entryKey{}, nil
	}
	at, err = m.walk(op, name)
	if err != nil {
		return nil, at, err
	}
	return at.dir.names[at.name], at, nil
}

// removeTree removes a node and all below it, in the order of names, until the
// power is cut.
func (m *Mem) removeTree(node any, at entryKey) (cut bool) {
	if d, ok := node.(*memDir); ok {
		for _, name := range sortedNames(d.names) {
			if m.removeTree(d.names[name], entryKey{d, name}) {
				return true
			}
		}
	}
	if at.dir == nil {
		return false
	}
	cut = m.count()
	m.change(nameChange{from: at, node: node})
	return cut
}

// renamable tells why node may not take the place of old, in the terms of rename(2).
func renamable(node, old any, src, dst entryKey, from, to string) error {
	_, nodeIsDir := node.(*memDir)
	oldDir, oldIsDir := old.(*memDir)
	switch {
	case src.dir == nil || dst.dir == nil || strings.HasPrefix(to, from+"/"):
		return fs.ErrInvalid
	case src == dst || old == nil:
		return nil
	case nodeIsDir && !oldIsDir:
		return syscall.ENOTDIR
	case !nodeIsDir && oldIsDir:
		return syscall.EISDIR
	case oldIsDir && len(oldDir.names) > 0:
		return syscall.ENOTEMPTY
	}
	return nil
}

// settle makes the pending changes of a directory durable, together with the
// earlier changes elsewhere that they build on: those of the same entries.
func (m *Mem) settle(dir *memDir) {
	needed := map[entryKey]bool{}
	settled := make([]bool, len(m.pending))
	for i, c := range slices.Backward(m.pending) {
		if c.home() != dir && !needed[c.from] && !needed[c.to] {
			continue
		}
		settled[i] = true
		for _, key := range []entryKey{c.from, c.to} {
			if key.dir != nil {
				needed[key] = true
			}
		}
	}
	kept := m.pending[:0]
	for i, c := range m.pending {
		if settled[i] {
			c.apply()
		} else {
			kept = append(kept, c)
		}
	}
	clear(m.pending[len(kept):])
	m.pending = kept
}

// sortedNames lists names in order, so that what is done in turn is done in the
// same order in every run.
func sortedNames(names map[string]any) []string {
	sorted := make([]string, 0, len(names))
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	return sorted
}
