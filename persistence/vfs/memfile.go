package vfs

import (
	"io"
	"io/fs"
	"maps"
	"math"
	"sync"
	"sync/atomic"
	"syscall"
)

// memFile is a file's content, whatever its name and however often it is open.
type memFile struct {
	mu      sync.RWMutex
	content sparse
	journal []fileChange          // what was done since the last Sync, oldest first; only with PowerCuts
	failed  map[int64]*failedPage // by number; see FailSync
	handles int                   // open handles
	linked  bool                  // has a name
}

// fileChange is what takes back one write or truncation.
type fileChange struct {
	offset  int64 // where the changed range begins
	length  int64 // bytes written or cut off
	oldSize int64
	old     []byte  // what a write replaced: up to oldSize, at most length bytes
	tail    *sparse // what a truncation cut off; nil for a write
}

// undo takes the change back. Of a write the first prefix bytes are left.
func (c fileChange) undo(content *sparse, prefix int64) {
	if c.tail != nil {
		content.resize(min(c.offset, c.oldSize))
		content.join(*c.tail)
		return
	}
	size := c.oldSize
	if prefix > 0 {
		size = max(size, c.offset+prefix)
	}
	content.resize(size)
	if prefix < int64(len(c.old)) {
		content.writeAt(c.old[prefix:], c.offset+prefix, nil)
	}
}

// open makes a handle.
func (f *memFile) open(m *Mem, name string) *memHandle {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handles++
	h := &memHandle{m: m, name: name}
	h.file.Store(f)
	return h
}

// unlink takes the name away; without handles the bytes count no longer.
func (f *memFile) unlink(m *Mem) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.linked = false
	f.release(m)
}

// close drops a handle.
func (f *memFile) close(m *Mem) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handles--
	f.release(m)
}

// release gives the bytes back once nobody can reach the file.
func (f *memFile) release(m *Mem) {
	if !f.gone() {
		return
	}
	_ = m.reserve(-f.content.allocated)
	if !m.options.PowerCuts {
		f.content = sparse{}
	}
}

func (f *memFile) gone() bool { return !f.linked && f.handles == 0 }

func (f *memFile) length() int64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.content.size
}

// truncate sets the size. The caller has counted it.
func (f *memFile) truncate(m *Mem, size int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	oldSize := f.content.size
	tail := sparse{size: oldSize}
	if size < oldSize {
		before := f.content.allocated
		tail = f.content.split(size)
		_ = m.reserve(f.content.allocated - before)
	}
	f.content.size = size
	if m.options.PowerCuts && size != oldSize {
		f.journal = append(f.journal, fileChange{
			offset: size, length: max(0, oldSize-size), oldSize: oldSize, tail: &tail,
		})
	}
}

// write puts the buffers back to back at an offset, as one change.
func (f *memFile) write(m *Mem, buffers [][]byte, off int64) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone() {
		return 0, fs.ErrClosed
	}
	oldSize := f.content.size
	var old []byte
	if m.options.PowerCuts && off < oldSize {
		old = make([]byte, min(totalLength(buffers), oldSize-off))
		f.content.readAt(old, off)
	}
	var done int64
	var err error
	for _, b := range buffers {
		var n int
		n, err = f.content.writeAt(b, off+done, m.reserve)
		done += int64(n)
		if err != nil {
			break
		}
	}
	f.redo(off, done)
	if m.options.PowerCuts {
		f.journal = append(f.journal, fileChange{
			offset: off, length: done, oldSize: oldSize, old: old[:min(int64(len(old)), done)],
		})
	}
	return done, err
}

// sync makes everything durable.
func (f *memFile) sync() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.journal)
	f.journal = f.journal[:0]
	maps.DeleteFunc(f.failed, func(_ int64, p *failedPage) bool { return p.again })
}

// failSync takes the changes since the last sync for written, as a system does whose
// sync has failed: no later sync writes them. Only a page that is written to once
// more is. They stay visible, unless their pages are evicted from memory: then they
// are read from the disk again, where nothing has changed.
func (f *memFile) failSync(m *Mem, evict bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.content.clone()
	undo(&before, f.journal)
	for _, page := range changedPages(f.journal) {
		if evict {
			f.evict(m, page, &before)
		}
		if known := f.failed[page]; known != nil {
			known.again = false
			continue
		}
		was := make([]byte, pageSize)
		before.readAt(was, page*pageSize)
		if f.failed == nil {
			f.failed = map[int64]*failedPage{}
		}
		f.failed[page] = &failedPage{was: was}
	}
	clear(f.journal)
	f.journal = f.journal[:0]
}

// evict has a page be as it was before.
func (f *memFile) evict(m *Mem, page int64, before *sparse) {
	begin := page * pageSize
	if left := f.content.size - begin; left > 0 {
		was := make([]byte, min(pageSize, left))
		before.readAt(was, begin)
		_, _ = f.content.writeAt(was, begin, m.reserve)
	}
}

// redo takes note that pages are written to: the next sync writes them.
func (f *memFile) redo(off, length int64) {
	for page := off / pageSize; len(f.failed) > 0 && page*pageSize < off+length; page++ {
		if p := f.failed[page]; p != nil {
			p.again = true
		}
	}
}

// failedPage is a page whose sync has failed.
type failedPage struct {
	was   []byte // as it is on disk
	again bool   // written to since, so that the next sync writes it
}

func totalLength(buffers [][]byte) int64 {
	var n int64
	for _, b := range buffers {
		n += int64(len(b))
	}
	return n
}

// memHandle is an open memFile. Its pointer is nil once closed, so that a closed
// handle holds no memory.
type memHandle struct {
	m    *Mem
	name string
	file atomic.Pointer[memFile]
}

// use gives the file while the handle is open and there is power.
func (h *memHandle) use(op string) (*memFile, error) {
	f := h.file.Load()
	if f == nil {
		return nil, h.fail(op, fs.ErrClosed)
	}
	return f, h.m.alive(op, h.name)
}

func (h *memHandle) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: h.name, Err: err}
}

func (h *memHandle) ReadAt(p []byte, off int64) (int, error) {
	f, err := h.use("read")
	if err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, h.fail("read", fs.ErrInvalid)
	}
	f.mu.RLock()
	n := f.content.readAt(p, off)
	f.mu.RUnlock()
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *memHandle) WriteAt(p []byte, off int64) (int, error) {
	n, err := h.WriteVAt([][]byte{p}, off)
	return int(n), err
}

func (h *memHandle) WriteVAt(buffers [][]byte, off int64) (int64, error) {
	f, err := h.use("write")
	if err != nil {
		return 0, err
	}
	length := totalLength(buffers)
	switch {
	case off < 0:
		return 0, h.fail("write", fs.ErrInvalid)
	case off > math.MaxInt64-length:
		return 0, h.fail("write", syscall.EFBIG)
	case length == 0:
		return 0, nil
	}
	cut := h.m.count()
	n, err := f.write(h.m, buffers, off)
	if cut {
		return 0, cutError("write", h.name, cut)
	}
	return n, h.fail("write", err)
}

// Allocate does nothing: memory is taken as bytes are written.
func (h *memHandle) Allocate(int64, int64) error {
	_, err := h.use("fallocate")
	return err
}

// StartWriteback does nothing: what is not synced may be on disk or not anyway.
func (h *memHandle) StartWriteback(int64, int64) {}

func (h *memHandle) Sync() error {
	f, err := h.use("sync")
	if err != nil {
		return err
	}
	if h.m.count() {
		return cutError("sync", h.name, true)
	}
	f.sync()
	return nil
}

// FailSync is a Sync that fails, as a disk makes it: what was written since the last
// one is lost with the power even if a later Sync succeeds, unless it is written once
// more. Until then it can still be read, unless the system evicts it from memory, which
// it may as it takes it for written. Only with MemOptions.PowerCuts.
func (h *memHandle) FailSync(evict bool) {
	if f := h.file.Load(); f != nil && h.m.options.PowerCuts {
		f.failSync(h.m, evict)
	}
}

func (h *memHandle) Truncate(size int64) error {
	f, err := h.use("truncate")
	if err != nil {
		return err
	}
	if size < 0 {
		return h.fail("truncate", fs.ErrInvalid)
	}
	cut := h.m.count()
	f.truncate(h.m, size)
	return cutError("truncate", h.name, cut)
}

func (h *memHandle) Size() (int64, error) {
	f, err := h.use("stat")
	if err != nil {
		return 0, err
	}
	return f.length(), nil
}

// Close works without power too: it only drops the handle.
func (h *memHandle) Close() error {
	f := h.file.Swap(nil)
	if f == nil {
		return h.fail("close", fs.ErrClosed)
	}
	f.close(h.m)
	return nil
}
