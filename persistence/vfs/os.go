package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"understudy/messages"
)

// Permissions of what OS creates: the data of a broker is not for everyone.
const (
	fileMode = 0o640
	dirMode  = 0o750
)

// ErrLocked is wrapped by the error of Lock when somebody else has the lock.
var ErrLocked = errors.New("locked")

// osFS is the real file system below a root directory.
type osFS struct{ root string }

// OS is the real file system below root. The root itself is "." and need not
// exist: MkdirAll(".") makes it. Files have a Descriptor.
func OS(root string) FS { return osFS{root} }

// checkName refuses names that are not slash-separated, unrooted and clean, so
// that no name reaches outside of the root and each file has one name only.
func checkName(op, name string) error {
	if fs.ValidPath(name) {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
}

// path is where a name lies on the real file system.
func (o osFS) path(op, name string) (string, error) {
	if err := checkName(op, name); err != nil {
		return "", err
	}
	return filepath.Join(o.root, filepath.FromSlash(name)), nil
}

func (o osFS) open(op, name string, flags int) (File, error) {
	p, err := o.path(op, name)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(p, flags, fileMode)
	if err != nil {
		return nil, err
	}
	return &osFile{f: f, fd: int(f.Fd())}, nil
}

func (o osFS) Create(name string) (File, error) {
	return o.open("create", name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

func (o osFS) Open(name string) (File, error) { return o.open("open", name, os.O_RDWR) }

func (o osFS) Remove(name string) error {
	p, err := o.path("remove", name)
	if err != nil {
		return err
	}
	return os.Remove(p)
}

func (o osFS) RemoveAll(name string) error {
	p, err := o.path("removeall", name)
	if err != nil {
		return err
	}
	return os.RemoveAll(p)
}

func (o osFS) Rename(from, to string) error {
	p, err := o.path("rename", from)
	if err != nil {
		return err
	}
	q, err := o.path("rename", to)
	if err != nil {
		return err
	}
	return os.Rename(p, q)
}

func (o osFS) MkdirAll(name string) error {
	p, err := o.path("mkdir", name)
	if err != nil {
		return err
	}
	return os.MkdirAll(p, dirMode)
}

func (o osFS) ReadDir(name string) ([]Entry, error) {
	p, err := o.path("readdir", name)
	if err != nil {
		return nil, err
	}
	found, err := os.ReadDir(p)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(found))
	for _, d := range found {
		// Stat and not Lstat: a partition's directory may be a link to another disk.
		info, err := os.Stat(filepath.Join(p, d.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since the listing
		}
		if err != nil {
			return nil, err
		}
		e := Entry{Name: d.Name(), Dir: info.IsDir()}
		if !e.Dir {
			e.Size = info.Size()
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func (o osFS) SyncDir(name string) error {
	p, err := o.path("syncdir", name)
	if err != nil {
		return err
	}
	d, err := os.Open(p)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (o osFS) Space(name string) (free, total uint64, err error) {
	p, err := o.path("statfs", name)
	if err != nil {
		return 0, 0, err
	}
	var st unix.Statfs_t
	if err := retryEINTR(func() error { return unix.Statfs(p, &st) }); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: p, Err: err}
	}
	size := uint64(st.Bsize)
	return uint64(st.Bavail) * size, uint64(st.Blocks) * size, nil
}

// Lock holds the lock by flock on the named file, which stays behind with the
// holder's process id in it: removing a lock file lets two processes in.
func (o osFS) Lock(name string) (io.Closer, error) {
	p, err := o.path("lock", name)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(p, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, err
	}
	err = retryEINTR(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%w by %s", ErrLocked, holder(f))
		}
		return nil, messages.E("lock", messages.Unknown, p, err)
	}
	// The id is for people: without it the lock holds all the same.
	if f.Truncate(0) == nil {
		f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}

// holder reads who wrote a lock file.
func holder(f *os.File) string {
	buf := make([]byte, 20)
	n, _ := f.ReadAt(buf, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	if err != nil {
		return "another process"
	}
	return fmt.Sprintf("process %d", pid)
}

// retryEINTR repeats a call that a signal interrupted.
func retryEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// osFile is a file of the real file system. The lock is shared by all calls and
// exclusive for Close alone: a call on a number that was closed under it could
// reach a file that was opened since.
type osFile struct {
	mu     sync.RWMutex
	f      *os.File
	fd     int
	closed bool
}

// use keeps the descriptor valid until done; the error is that it is closed.
func (o *osFile) use(op string) error {
	o.mu.RLock()
	if o.closed {
		o.mu.RUnlock()
		return &fs.PathError{Op: op, Path: o.f.Name(), Err: fs.ErrClosed}
	}
	return nil
}

func (o *osFile) done() { o.mu.RUnlock() }

// fail names the file in an error of a system call.
func (o *osFile) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: o.f.Name(), Err: err}
}

func (o *osFile) ReadAt(p []byte, off int64) (int, error)  { return o.f.ReadAt(p, off) }
func (o *osFile) WriteAt(p []byte, off int64) (int, error) { return o.f.WriteAt(p, off) }

func (o *osFile) WriteVAt(buffers [][]byte, off int64) (int64, error) {
	if err := o.use("pwritev"); err != nil {
		return 0, err
	}
	defer o.done()
	n, err := writeV(o.f, o.fd, buffers, off)
	return n, o.fail("pwritev", err)
}

func (o *osFile) Allocate(off, length int64) error {
	if length <= 0 {
		return nil
	}
	if err := o.use("fallocate"); err != nil {
		return err
	}
	defer o.done()
	return o.fail("fallocate", allocate(o.fd, off, length))
}

func (o *osFile) StartWriteback(off, length int64) {
	if length <= 0 || o.use("sync_file_range") != nil {
		return
	}
	defer o.done()
	startWriteback(o.fd, off, length)
}

func (o *osFile) Sync() error {
	if err := o.use("fdatasync"); err != nil {
		return err
	}
	defer o.done()
	return o.fail("fdatasync", dataSync(o.f, o.fd))
}

func (o *osFile) Truncate(size int64) error { return o.f.Truncate(size) }

func (o *osFile) Size() (int64, error) {
	info, err := o.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (o *osFile) Fd() uintptr { return uintptr(o.fd) }

func (o *osFile) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	return o.f.Close()
}
