package log

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"understudy/messages"
	"understudy/persistence/vfs"
)

// RemoveDir removes the directory of a log that is not open, durably. A missing
// one is no error.
func RemoveDir(files vfs.FS, dir string) error {
	gone := dir + deletedDir
	err := files.RemoveAll(gone)
	if err == nil {
		err = files.Rename(dir, gone)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = files.SyncDir(path.Dir(dir))
	}
	if err == nil {
		err = files.RemoveAll(gone)
	}
	if err != nil {
		return messages.E("delete log", messages.StorageError, dir, err)
	}
	return nil
}

// RemoveLeftovers removes the directories below root whose removal was begun
// when the broker stopped.
func RemoveLeftovers(files vfs.FS, root string) error {
	entries, err := files.ReadDir(root)
	if err != nil {
		return messages.E("remove leftovers", messages.StorageError, root, err)
	}
	for _, e := range entries {
		if e.Dir && strings.HasSuffix(e.Name, deletedDir) {
			if err := files.RemoveAll(join(root, e.Name)); err != nil {
				return messages.E("remove leftovers", messages.StorageError, e.Name, err)
			}
		}
	}
	return nil
}
