package vfs

import (
	"errors"
	"fmt"
	"io"
	"path"
)

// TemporarySuffix ends the names of files that are being written to replace others.
const TemporarySuffix = ".tmp"

// ErrTooLong is why ReadFile refuses a file that it could read.
var ErrTooLong = errors.New("too many for what its name says")

// ReadFile reads a whole file. One of more than limit bytes is not what is meant,
// and refused: ErrTooLong.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("%s: %d bytes are %w", name, size, ErrTooLong)
	}
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if err == io.EOF {
		err = nil // shorter than a moment ago
	}
	return data[:n], err
}

// ReplaceFile gives a file new content, durably and as a whole: after a power
// cut it has the old content or the new one. It goes by way of a file with the
// same name and TemporarySuffix.
func ReplaceFile(fsys FS, name string, data []byte) error {
	if err := ReplaceUnsynced(fsys, name, data); err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}

// ReplaceUnsynced does the same, but leaves it to a later SyncDir of the directory
// to make the change of names durable.
func ReplaceUnsynced(fsys FS, name string, data []byte) error {
	temporary := name + TemporarySuffix
	if err := writeSynced(fsys, temporary, data); err != nil {
		return err
	}
	return fsys.Rename(temporary, name)
}

// writeSynced makes a file with the content on disk; its name is not yet durable.
func writeSynced(fsys FS, name string, data []byte) error {
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(data, 0); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// MkdirAllSync makes a directory and its parents, and makes their names durable.
func MkdirAllSync(fsys FS, name string) error {
	if err := fsys.MkdirAll(name); err != nil {
		return err
	}
	for name != "." {
		name = path.Dir(name)
		if err := fsys.SyncDir(name); err != nil {
			return err
		}
	}
	return nil
}
