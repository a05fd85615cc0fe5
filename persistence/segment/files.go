package segment

import (
	"errors"
	"sync"
	"syscall"

	"understudy/persistence/vfs"
)

// ErrGone is what a segment that was deleted or closed answers to a reader.
var ErrGone = errors.New("segment is gone")

// Files bounds how many files of a broker's logs are open at a time. Files are
// opened when they are needed, stay open while they are pinned, and afterwards
// until others need the room: those not used since the last look go first.
//
// Pinned files count but are never closed, so the bound can be exceeded: a file
// with bytes that are not synced is pinned until they are.
type Files struct {
	limit int

	mu   sync.Mutex
	open []*Handle // a clock: hand is the next to be looked at
	hand int
}

// NewFiles makes a cache of at most limit open files; 0 means 1000.
func NewFiles(limit int) *Files {
	if limit <= 0 {
		limit = 1000
	}
	return &Files{limit: limit}
}

// Len is how many files are open.
func (f *Files) Len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.open)
}

// openFile opens by call. If the process has too many files open, others are
// closed first and it tries once more.
func (f *Files) openFile(call func(string) (vfs.File, error), path string) (vfs.File, error) {
	file, err := call(path)
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		f.mu.Lock()
		f.evict(len(f.open) / 2)
		f.mu.Unlock()
		file, err = call(path)
	}
	return file, err
}

// add takes in a handle that was just opened. Its lock is held by the caller.
func (f *Files) add(h *Handle) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.evict(f.limit - 1)
	h.slot = len(f.open)
	f.open = append(f.open, h)
}

// remove takes out a handle that is being closed. Its lock is held by the caller.
func (f *Files) remove(h *Handle) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(h)
}

func (f *Files) drop(h *Handle) {
	last := len(f.open) - 1
	f.open[h.slot] = f.open[last]
	f.open[h.slot].slot = h.slot
	f.open[last] = nil
	f.open = f.open[:last]
}

// evict closes files until at most n are open, or none is left that may be
// closed. It passes each twice: the first time it only forgets that it was used.
func (f *Files) evict(n int) {
	for tries := 2 * len(f.open); len(f.open) > n && tries > 0; tries-- {
		if f.hand >= len(f.open) {
			f.hand = 0
		}
		h := f.open[f.hand]
		// Whoever holds the lock is using the file, or opening it and waiting for us.
		if !h.mu.TryLock() {
			f.hand++
			continue
		}
		switch {
		case h.pins > 0:
			f.hand++
		case h.used:
			h.used = false
			f.hand++
		default:
			f.drop(h) // the last one takes its place under the hand
			h.file.Close()
			h.file = nil
		}
		h.mu.Unlock()
	}
}

// Dir is the directory of one log, and how its files are opened.
type Dir struct {
	FS    vfs.FS
	Files *Files
	Path  string
}

// Join is the path of a file in the directory.
func (d *Dir) Join(name string) string { return d.Path + "/" + name }

// Handle is a file that may be open at the moment or not.
type Handle struct {
	dir   *Dir
	check func(vfs.File) error // runs whenever the file was opened; may be nil

	mu   sync.Mutex // taken before Files.mu
	name string
	file vfs.File // nil when not open
	pins int32    // users at the moment
	used bool     // since the clock last came by
	dead bool     // may not be opened again
	slot int      // place in Files.open; guarded by Files.mu
}

// NewHandle makes a handle for a file of a directory, without opening it.
func NewHandle(dir *Dir, name string) *Handle { return &Handle{dir: dir, name: name} }

// Path is the file's path.
func (h *Handle) Path() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.path()
}

func (h *Handle) path() string { return h.dir.Join(h.name) }

// rename gives the file another name, replacing a file of that name. Whoever has
// it open, or opens it by this handle, does not notice.
func (h *Handle) rename(name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.dir.FS.Rename(h.path(), h.dir.Join(name)); err != nil {
		return err
	}
	h.name = name
	return nil
}

// Pin gives the file, open until Unpin. It fails with ErrGone after Kill.
func (h *Handle) Pin() (vfs.File, error) { return h.pin(h.dir.FS.Open) }

// Create gives the file, made anew and empty, open until Unpin. It must not be
// open already.
func (h *Handle) Create() (vfs.File, error) { return h.pin(h.dir.FS.Create) }

func (h *Handle) pin(call func(string) (vfs.File, error)) (vfs.File, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dead {
		return nil, ErrGone
	}
	if h.file == nil {
		file, err := h.dir.Files.openFile(call, h.path())
		if err != nil {
			return nil, err
		}
		if h.check != nil {
			if err := h.check(file); err != nil {
				file.Close()
				return nil, err
			}
		}
		h.file = file
		h.dir.Files.add(h)
	}
	h.pins++
	h.used = true
	return h.file, nil
}

// Unpin gives back what Pin or Create gave.
func (h *Handle) Unpin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pins--
	if h.dead && h.pins == 0 {
		h.close()
	}
}

// Kill makes every later Pin fail. The file is closed once nobody has it pinned.
func (h *Handle) Kill() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dead = true
	if h.pins == 0 {
		h.close()
	}
}

func (h *Handle) close() {
	if h.file != nil {
		h.dir.Files.remove(h)
		h.file.Close()
		h.file = nil
	}
}
