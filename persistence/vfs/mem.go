package vfs

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"understudy/messages"
)

// ErrCut is what every call on a Mem returns once its power is cut.
var ErrCut = errors.New("power cut")

// MemOptions say what a Mem is for. The zero value is a store without bound
// that remembers nothing for power cuts, as a broker that runs in memory wants it.
type MemOptions struct {
	// Limit is how many bytes the files may take together; past it a write gets
	// ENOSPC. 0 is no limit.
	Limit int64
	// PowerCuts keeps what Cut needs: what each file and directory was like when
	// it was last synced. Without it Cut finds everything as it is now.
	PowerCuts bool
}

// Mem is a file system in memory. Its files take the memory that their bytes
// take (holes take none), and what a removed file held is free once its last
// handle is closed. It is safe for concurrent use.
//
// With MemOptions.PowerCuts it models a disk that loses power:
//
//   - A file's bytes and size are on disk as of its last Sync. What was written
//     or truncated since is volatile, and each such change may be lost, kept, or
//     (a write) kept in part: see Loss.
//   - A directory's names are on disk as of its last SyncDir. A create, remove or
//     mkdir is a change of the directory the name is in. A rename is one change,
//     never half done, of the directory it goes to: a SyncDir of the directory it
//     came from does not make it durable.
//   - SyncDir does not reach upwards: a directory whose own parent was not synced
//     vanishes with all that is in it. Nor does a file's Sync make its name
//     durable, or SyncDir the bytes of the files. This is harsher than the usual
//     journaling file systems, and what POSIX promises.
//   - A removed file whose removal was not synced comes back, with its bytes.
//     Creating over an existing file is a truncation of that file.
//   - A change that depends on a lost one (it names the same entry) is lost too.
//
// A test that cuts the power everywhere runs its work once to learn Ops, then for
// every n from 1 to Ops runs it afresh with StopAt(n), until the first ErrCut, and
// looks at what Cut finds.
type Mem struct {
	options MemOptions
	used    atomic.Int64 // bytes of chunks that visible or open files hold
	ops     atomic.Int64 // mutating calls so far
	stopAt  atomic.Int64 // the number of the mutating call that the cut interrupts; 0: none
	stopped atomic.Bool

	mu      sync.RWMutex // names: the tree, pending, locks; taken before any file's lock
	root    *memDir
	pending []nameChange // oldest first
	locks   map[string]bool
}

// NewMem makes an empty file system.
func NewMem(o MemOptions) *Mem {
	return &Mem{options: o, root: newMemDir(), locks: map[string]bool{}}
}

// Ops is how many mutating calls there were: create, write, truncate, sync,
// rename, remove, mkdir (one for each directory made), syncdir. A RemoveAll
// counts one for each name.
func (m *Mem) Ops() int64 { return m.ops.Load() }

// StopAt cuts the power during the mutating call number n, counted from 1 as Ops
// does: that call and every later one fails with ErrCut. What call n does is
// under way, so it may be found done, not done or torn, and a sync has promised
// nothing.
func (m *Mem) StopAt(n int64) { m.stopAt.Store(n) }

// Stop cuts the power now.
func (m *Mem) Stop() { m.stopped.Store(true) }

// alive fails once the power is cut.
func (m *Mem) alive(op, name string) error {
	if m.stopped.Load() {
		return &fs.PathError{Op: op, Path: name, Err: ErrCut}
	}
	return nil
}

// count counts a mutating call that is about to happen. cut tells that the power
// goes while it is under way: the change is made, as a volatile one, and the
// caller gets ErrCut.
func (m *Mem) count() (cut bool) {
	if m.ops.Add(1) != m.stopAt.Load() {
		return false
	}
	m.stopped.Store(true)
	return true
}

func cutError(op, name string, cut bool) error {
	if cut {
		return &fs.PathError{Op: op, Path: name, Err: ErrCut}
	}
	return nil
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.alive("create", name); err != nil {
		return nil, err
	}
	node, at, err := m.lookup("create", name)
	if err != nil {
		return nil, err
	}
	f, ok := node.(*memFile)
	if node != nil && !ok {
		return nil, &fs.PathError{Op: "create", Path: name, Err: syscall.EISDIR}
	}
	cut := m.count()
	if ok {
		f.truncate(m, 0)
	} else {
		f = &memFile{linked: true}
		m.change(nameChange{to: at, node: f})
	}
	if cut {
		return nil, cutError("create", name, cut)
	}
	return f.open(m, name), nil
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := m.alive("open", name); err != nil {
		return nil, err
	}
	node, _, err := m.lookup("open", name)
	if err != nil {
		return nil, err
	}
	switch n := node.(type) {
	case *memFile:
		return n.open(m, name), nil
	case *memDir:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.alive("remove", name); err != nil {
		return err
	}
	node, at, err := m.lookup("remove", name)
	if err != nil {
		return err
	}
	if node == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	if at.dir == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrInvalid}
	}
	if d, ok := node.(*memDir); ok && len(d.names) > 0 {
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
	}
	cut := m.count()
	m.change(nameChange{from: at, node: node})
	return cutError("remove", name, cut)
}

// RemoveAll implements FS. The root is emptied, and stays.
func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.alive("removeall", name); err != nil {
		return err
	}
	node, at, err := m.lookup("removeall", name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && node == nil {
		return nil
	}
	if err != nil {
		return err
	}
	return cutError("removeall", name, m.removeTree(node, at))
}

// Rename implements FS.
func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.alive("rename", from); err != nil {
		return err
	}
	node, src, err := m.lookup("rename", from)
	if err != nil {
		return err
	}
	if node == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	old, dst, err := m.lookup("rename", to)
	if err != nil {
		return err
	}
	if err := renamable(node, old, src, dst, from, to); err != nil {
		return &fs.PathError{Op: "rename", Path: from, Err: err}
	}
	if src == dst {
		return nil
	}
	cut := m.count()
	m.change(nameChange{from: src, to: dst, node: node})
	return cutError("rename", from, cut)
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.alive("mkdir", name); err != nil {
		return err
	}
	if err := checkName("mkdir", name); err != nil || name == "." {
		return err
	}
	dir := m.root
	for part := range strings.SplitSeq(name, "/") {
		switch next := dir.names[part].(type) {
		case *memDir:
			dir = next
		case *memFile:
			return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
		default:
			made := newMemDir()
			cut := m.count()
			m.change(nameChange{to: entryKey{dir, part}, node: made})
			if cut {
				return cutError("mkdir", name, cut)
			}
			dir = made
		}
	}
	return nil
}

// ReadDir implements FS.
func (m *Mem) ReadDir(name string) ([]Entry, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	dir, err := m.dir("readdir", name)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(dir.names))
	for _, name := range sortedNames(dir.names) {
		e := Entry{Name: name}
		switch n := dir.names[name].(type) {
		case *memDir:
			e.Dir = true
		case *memFile:
			e.Size = n.length()
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// dir finds a directory for a call on it.
func (m *Mem) dir(op, name string) (*memDir, error) {
	if err := m.alive(op, name); err != nil {
		return nil, err
	}
	node, _, err := m.lookup(op, name)
	if err != nil {
		return nil, err
	}
	switch n := node.(type) {
	case *memDir:
		return n, nil
	case *memFile:
		return nil, &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
	}
	return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

// SyncDir implements FS.
func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, err := m.dir("syncdir", name)
	if err != nil {
		return err
	}
	if m.count() {
		return cutError("syncdir", name, true)
	}
	m.settle(dir)
	return nil
}

// Lock implements FS. The named file is made if it is missing, as by OS.
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.RLock()
	node, _, err := m.lookup("lock", name)
	m.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	if node == nil {
		f, err := m.Create(name)
		if err != nil {
			return nil, err
		}
		f.Close()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.alive("lock", name); err != nil {
		return nil, err
	}
	if m.locks[name] {
		return nil, messages.E("lock", messages.Unknown, name, ErrLocked)
	}
	m.locks[name] = true
	return &memLock{m: m, name: name}, nil
}

// memLock gives a lock back, once.
type memLock struct {
	m    *Mem
	name string
	once sync.Once
}

func (l *memLock) Close() error {
	err := error(fs.ErrClosed)
	l.once.Do(func() {
		l.m.mu.Lock()
		delete(l.m.locks, l.name)
		l.m.mu.Unlock()
		err = nil
	})
	return err
}

// Space implements FS. Without a limit there is as much as can be counted.
func (m *Mem) Space(name string) (free, total uint64, err error) {
	if err := checkName("statfs", name); err != nil {
		return 0, 0, err
	}
	if err := m.alive("statfs", name); err != nil {
		return 0, 0, err
	}
	limit := m.options.Limit
	if limit == 0 {
		limit = math.MaxInt64
	}
	return uint64(max(0, limit-m.used.Load())), uint64(limit), nil
}

// reserve takes n bytes of the limit, or gives -n back.
func (m *Mem) reserve(n int64) error {
	used := m.used.Add(n)
	if n > 0 && m.options.Limit > 0 && used > m.options.Limit {
		m.used.Add(-n)
		return syscall.ENOSPC
	}
	return nil
}

// Cut gives the file system as the machine finds it when the power goes now and
// comes back: what was synced, and of the rest what loss and the coins of rnd
// leave; all of it synced. The same state, loss and seed give the same result. m
// stays as it is and goes on; use Stop to end it. rnd may be nil for LoseAll and
// LoseNone. No other call may run meanwhile.
func (m *Mem) Cut(loss Loss, rnd *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.options.PowerCuts {
		loss = LoseNone
	}
	c := cutter{loss: loss, rnd: rnd, from: m, to: NewMem(m.options), trees: map[*memDir]map[string]any{}}
	c.names()
	c.build(m.root, c.to.root)
	return c.to
}
