// Package vfs is the seam between the log and the disk: a small file-system
// interface with three implementations. OS is the real one; Mem lives in memory
// and can lose everything that was not synced, as a power cut does; Faulty wraps
// another one and makes chosen calls fail. All storage goes through it, so that
// a test owns the disk.
package vfs

import "io"

// FS is a file system as the storage code needs it. Names are slash-separated
// paths below a root that the implementation fixes. A missing file is reported
// by an error that wraps fs.ErrNotExist.
//
// Creating, renaming and removing change a directory; such a change is on disk
// only after SyncDir of that directory. A file's bytes and size are on disk only
// after its Sync.
type FS interface {
	// Create makes an empty file, or empties the one that is there, and opens it.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// RemoveAll removes a directory and all below it; a missing one is no error.
	RemoveAll(name string) error
	// Rename gives a file or directory another name, replacing a file of that name.
	Rename(from, to string) error
	// MkdirAll makes a directory and its parents where they are missing.
	MkdirAll(name string) error
	// ReadDir lists a directory, sorted by name.
	ReadDir(name string) ([]Entry, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
	// Lock takes an exclusive lock named by a file, or fails at once when
	// another process (or another holder in this one) has it. Close releases it.
	Lock(name string) (io.Closer, error)
	// Space tells how many bytes are free to use and how many there are in all.
	Space(name string) (free, total uint64, err error)
}

// Entry is one name in a directory.
type Entry struct {
	Name string
	Size int64 // bytes; 0 for a directory
	Dir  bool
}

// File is one open file. Reads may run beside each other and beside one writer.
type File interface {
	io.ReaderAt
	io.WriterAt
	// WriteVAt writes the buffers back to back at an offset, as pwritev does:
	// one system call where the system has it. It returns how many bytes were
	// written, which is less than all only with an error. It does not keep the
	// buffers and does not change the slice.
	WriteVAt(buffers [][]byte, offset int64) (int64, error)
	// Allocate reserves disk blocks for a range without changing the size, so
	// that later writes need no new ones. Unsupported is not an error.
	Allocate(offset, length int64) error
	// StartWriteback asks the system to begin writing a range to disk, without
	// waiting: a hint that lets one Sync round over many files overlap.
	StartWriteback(offset, length int64)
	// Sync returns when bytes and size are on disk (fdatasync). A Sync that
	// failed has lost the data for good as far as anyone can tell; it must not
	// be retried as if nothing had happened.
	Sync() error
	Truncate(size int64) error
	Size() (int64, error)
	Close() error
}

// Descriptor is what a File of the real file system offers besides, so that a
// range can go from it to a socket without passing through memory.
type Descriptor interface {
	// Fd is the file descriptor, valid until Close.
	Fd() uintptr
}
