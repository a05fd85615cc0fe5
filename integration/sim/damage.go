package sim

import (
	"errors"
	"path"
	"strings"

	"understudy/messages/batch"
	"understudy/persistence/vfs"
)

// rot kills a process, and does something to the files of its machine before it
// is started again. All of it happens to one machine of a history at most, the one
// whose disk lies: copies on others are what repairs it.
func (s *Sim) rot(f Fault) {
	if s.liar == nil {
		s.liar = s.pick(f.A)
	}
	m := s.liar
	if m.off || m.proc == nil || !s.mayLose(m) {
		return
	}
	m.proc.kill()
	name := m.disk.damage(f.B)
	s.say("node %d: %s", m.id, name)
	s.over(f, m.start)
}

// The ways in which a file is damaged.
const (
	flipBit = iota
	cutTail
	loseFile
	turnEpoch // of the last batch: no checksum covers it
	damages
)

// damage damages a file, and says what was done.
func (d *disk) damage(n uint64) string {
	var files []string
	d.list(".", &files)
	if len(files) == 0 {
		return "nothing to be damaged"
	}
	name := files[n%uint64(len(files))]
	how := int(n >> 16 % damages)
	isLog := strings.HasSuffix(name, ".log")
	if !isLog && how == turnEpoch {
		how = flipBit
	}
	if isLog && how == loseFile { // the loss of a whole segment is that of its tail
		how = cutTail
	}
	if isLog || strings.HasSuffix(name, "log-state") || strings.HasSuffix(name, "leader-epoch-checkpoint") {
		d.short = true // it is found out, or makes no difference
	}
	var err error
	what := ""
	switch how {
	case flipBit:
		what, err = "a bit turned in ", d.flip(name, n>>20)
	case turnEpoch:
		what, err = "an epoch turned in ", d.turnEpoch(name, n>>20)
	case cutTail:
		what, err = "the tail cut off ", d.shorten(name, n>>20)
	default:
		what, err = "gone: ", errors.Join(d.mem.Remove(name), d.mem.SyncDir(path.Dir(name)))
	}
	if err != nil {
		return err.Error()
	}
	d.s.count("damage: " + what + suffix(name))
	return what + name
}

// suffix is what kind of file it is.
func suffix(name string) string {
	base := path.Base(name)
	if i := strings.IndexByte(base, '.'); i >= 0 && base[0] >= '0' && base[0] <= '9' {
		return base[i:]
	}
	return base
}

// list lists the files below a directory.
func (d *disk) list(dir string, files *[]string) {
	entries, err := d.mem.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name)
		if e.Dir {
			d.list(name, files)
		} else if e.Size > 0 {
			*files = append(*files, name)
		}
	}
}

func (d *disk) flip(name string, n uint64) error {
	return d.change(name, func(f vfs.File, size int64) error {
		var b [1]byte
		at := int64(n/8) % size
		if _, err := f.ReadAt(b[:], at); err != nil {
			return err
		}
		b[0] ^= 1 << (n % 8)
		_, err := f.WriteAt(b[:], at)
		return err
	})
}

// turnEpoch turns a bit in the leader epoch of the last batch of a log.
func (d *disk) turnEpoch(name string, n uint64) error {
	return d.change(name, func(f vfs.File, size int64) error {
		raw := make([]byte, size)
		if _, err := f.ReadAt(raw, 0); err != nil {
			return err
		}
		last := int64(0)
		for rest := raw; len(rest) > 0; {
			_, next, err := batch.Next(rest)
			if err != nil {
				break
			}
			last, rest = size-int64(len(rest)), next
		}
		at := last + epochAt
		if at >= size {
			return nil
		}
		_, err := f.WriteAt([]byte{raw[at] ^ 1<<(n%5)}, at)
		return err
	})
}

// epochAt is where the last byte of a batch's leader epoch is.
const epochAt = 15

func (d *disk) shorten(name string, n uint64) error {
	return d.change(name, func(f vfs.File, size int64) error { return f.Truncate(int64(n) % size) })
}

// change changes a file, on disk.
func (d *disk) change(name string, how func(f vfs.File, size int64) error) error {
	f, err := d.mem.Open(name)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err == nil && size > 0 {
		err = how(f, size)
	}
	return errors.Join(err, f.Sync(), f.Close())
}
