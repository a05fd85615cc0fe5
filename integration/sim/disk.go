package sim

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"syscall"

	"github.com/rs/zerolog"

	"understudy/messages"
	"understudy/persistence/vfs"
)

var quiet = zerolog.Nop()

// disk is what a machine keeps when its process ends, and, if it was synced, when
// the power goes.
type disk struct {
	s       *Sim
	name    string // tells it from one that takes its place
	mem     *vfs.Mem
	slow    int64   // µs that a sync takes at most, beside what is usual
	lies    bool    // a sync does nothing, and says that all is well
	full    bool    // nothing can be written
	errors  trouble // calls that fail
	forgets bool    // what a sync that fails was to write is read from the disk again
	harmed  int64   // until when replicas on it may fail for what was done to it
	short   bool    // it has lost what it said was synced
	last    run     // that wrote to it
	fuse    int     // the power goes with so many more changes; 0: it does not
	blow    func()  // what the last of them does
}

// run is one run of a broker, in one of its machine's.
type run struct {
	boot  int
	epoch messages.BrokerEpoch
}

// trouble is calls that fail with an input/output error.
type trouble struct {
	op   vfs.Op
	skip int // let these pass first
	left int
}

func newDisk(s *Sim, name string) *disk {
	return &disk{s: s, name: name, mem: vfs.NewMem(vfs.MemOptions{PowerCuts: true})}
}

// suspect reports whether a replica may fail for what was done to its disk.
func (d *disk) suspect() bool { return d.short || d.s.now < d.harmed }

// harm has replicas on the disk fail, perhaps, during a fault and for a while after.
func (d *disk) harm(f Fault) { d.harmed = max(d.harmed, d.s.now+f.Length+5*second) }

// syncTime is how long the next sync takes.
func (d *disk) syncTime() int64 {
	t := d.s.cfg.syncTime/2 + d.s.rnd.disk.Int64N(d.s.cfg.syncTime)
	if d.slow > 0 {
		t += d.s.rnd.disk.Int64N(d.slow)
	}
	return t
}

// cutPower leaves on the disk what was synced, and of the rest what chance wants.
func (d *disk) cutPower() {
	loss := []vfs.Loss{vfs.LoseAll, vfs.LoseTorn, vfs.LosePages, vfs.LoseMixed}[d.s.rnd.disk.IntN(4)]
	d.s.count(fmt.Sprint("power cut with loss ", loss))
	d.mem = d.mem.Cut(loss, d.s.rnd.disk)
}

// mount is the disk as one process has it: when that ends, its files are closed,
// and what still runs of it can do no harm.
type mount struct {
	d     *disk
	dead  bool
	spare bool // the model reads: nothing goes wrong
	open  []*handle
}

var _ vfs.FS = (*mount)(nil)

// close ends the mount.
func (m *mount) close() {
	m.dead = true
	for _, h := range m.open {
		_ = h.f.Close()
	}
	m.open = nil
}

// check says why a call fails, or nil.
func (m *mount) check(op vfs.Op, name string) error {
	d := m.d
	switch {
	case m.dead:
		return vfs.ErrCut
	case m.spare:
		return nil
	case d.burns(op):
		m.dead = true // the process does nothing more, and its turn is not at its end
		d.s.after(0, d.blow)
		return vfs.ErrCut
	case d.full && op&takesSpace != 0:
		d.s.count("disk was full")
		return &fs.PathError{Op: op.String(), Path: name, Err: syscall.ENOSPC}
	case d.errors.left > 0 && d.errors.op&op != 0:
		if d.errors.skip > 0 {
			d.errors.skip--
			return nil
		}
		d.errors.left--
		d.s.count("input/output error: " + op.String())
		return &fs.PathError{Op: op.String(), Path: name, Err: syscall.EIO}
	}
	return nil
}

// burns reports whether the power goes in the place of a call.
func (d *disk) burns(op vfs.Op) bool {
	if d.fuse == 0 || op&changes == 0 {
		return false
	}
	d.fuse--
	return d.fuse == 0
}

const changes = vfs.OpCreate | vfs.OpWrite | vfs.OpRename | vfs.OpRemove | vfs.OpTruncate | vfs.OpSync | vfs.OpSyncDir

const takesSpace = vfs.OpCreate | vfs.OpWrite | vfs.OpMkdir | vfs.OpAllocate

func (m *mount) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	h := &handle{m: m, name: name, f: f, slot: len(m.open)}
	m.open = append(m.open, h)
	return h, nil
}

func (m *mount) Create(name string) (vfs.File, error) {
	if err := m.check(vfs.OpCreate, name); err != nil {
		return nil, err
	}
	f, err := m.d.mem.Create(name)
	return m.wrap(name, f, err)
}

func (m *mount) Open(name string) (vfs.File, error) {
	if err := m.check(vfs.OpOpen, name); err != nil {
		return nil, err
	}
	f, err := m.d.mem.Open(name)
	return m.wrap(name, f, err)
}

func (m *mount) Remove(name string) error {
	if err := m.check(vfs.OpRemove, name); err != nil {
		return err
	}
	return m.d.mem.Remove(name)
}

func (m *mount) RemoveAll(name string) error {
	if err := m.check(vfs.OpRemove, name); err != nil {
		return err
	}
	return m.d.mem.RemoveAll(name)
}

func (m *mount) Rename(from, to string) error {
	if err := m.check(vfs.OpRename, from); err != nil {
		return err
	}
	return m.d.mem.Rename(from, to)
}

func (m *mount) MkdirAll(name string) error {
	if err := m.check(vfs.OpMkdir, name); err != nil {
		return err
	}
	return m.d.mem.MkdirAll(name)
}

func (m *mount) ReadDir(name string) ([]vfs.Entry, error) {
	if err := m.check(vfs.OpReadDir, name); err != nil {
		return nil, err
	}
	return m.d.mem.ReadDir(name)
}

func (m *mount) SyncDir(name string) error {
	if err := m.check(vfs.OpSyncDir, name); err != nil || m.d.lies {
		return err
	}
	return m.d.mem.SyncDir(name)
}

func (m *mount) Lock(name string) (io.Closer, error) { return m.d.mem.Lock(name) }

func (m *mount) Space(name string) (free, total uint64, err error) { return m.d.mem.Space(name) }

// handle is an open file of a mount.
type handle struct {
	m    *mount
	name string
	f    vfs.File
	slot int
}

func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	if err := h.m.check(vfs.OpRead, h.name); err != nil {
		return 0, err
	}
	return h.f.ReadAt(p, off)
}

func (h *handle) WriteAt(p []byte, off int64) (int, error) {
	n, err := h.WriteVAt([][]byte{p}, off)
	return int(n), err
}

// WriteVAt writes; if that fails, a part of the first buffer.
func (h *handle) WriteVAt(buffers [][]byte, off int64) (int64, error) {
	err := h.m.check(vfs.OpWrite, h.name)
	if err == nil {
		return h.f.WriteVAt(buffers, off)
	}
	if h.m.dead || len(buffers) == 0 || len(buffers[0]) == 0 {
		return 0, err
	}
	part := buffers[0][:h.m.d.s.rnd.disk.IntN(len(buffers[0]))]
	n, _ := h.f.WriteVAt([][]byte{part}, off)
	return n, err
}

func (h *handle) Allocate(off, length int64) error {
	if err := h.m.check(vfs.OpAllocate, h.name); err != nil {
		return err
	}
	return h.f.Allocate(off, length)
}

func (h *handle) StartWriteback(off, length int64) { h.f.StartWriteback(off, length) }

func (h *handle) Sync() error {
	if err := h.m.check(vfs.OpSync, h.name); err != nil {
		f, ok := h.f.(interface{ FailSync(evict bool) })
		if ok && !h.m.dead && !h.m.d.lies { // what it has lied about is not lost yet
			f.FailSync(h.m.d.forgets)
		}
		return err
	}
	if h.m.d.lies {
		h.m.d.s.count("disk lied about a sync")
		return nil
	}
	return h.f.Sync()
}

func (h *handle) Truncate(size int64) error {
	if err := h.m.check(vfs.OpTruncate, h.name); err != nil {
		return err
	}
	return h.f.Truncate(size)
}

func (h *handle) Size() (int64, error) {
	if err := h.m.check(vfs.OpSize, h.name); err != nil {
		return 0, err
	}
	return h.f.Size()
}

func (h *handle) Close() error {
	if h.m.dead {
		return nil // closed with the mount
	}
	last := len(h.m.open) - 1
	h.m.open[h.slot] = h.m.open[last]
	h.m.open[h.slot].slot = h.slot
	h.m.open = h.m.open[:last]
	return h.f.Close()
}

// replaceDisk gives the machine an empty disk.
func (m *machine) replaceDisk() {
	if m.proc != nil {
		m.proc.kill()
	}
	m.disks++
	m.disk = newDisk(m.s, fmt.Sprint("disk", m.id, ".", m.disks))
	m.s.count("disk replaced")
}

// settle syncs everything: a disk that has lied about syncs has made up for them.
func (d *disk) settle() { d.settleDir(".") }

func (d *disk) settleDir(dir string) {
	entries, err := d.mem.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name)
		if e.Dir {
			d.settleDir(name)
			continue
		}
		if f, err := d.mem.Open(name); err == nil {
			_ = errors.Join(f.Sync(), f.Close())
		}
	}
	_ = d.mem.SyncDir(dir)
}
