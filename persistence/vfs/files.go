package vfs

import (
	"errors"
	"io"
	"path"
)

// ReadFile reads a whole file.
func ReadFile(fsys FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if err == io.EOF {
		err = nil // shorter than a moment ago
	}
	return data[:n], err
}

// ReplaceFile gives a file new content, durably and as a whole: after a power
// cut it has the old content or the new one. It goes by way of name+".tmp".
func ReplaceFile(fsys FS, name string, data []byte) error {
	temporary := name + ".tmp"
	if err := writeSynced(fsys, temporary, data); err != nil {
		return err
	}
	if err := fsys.Rename(temporary, name); err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(name))
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
