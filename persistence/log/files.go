package log

import (
	"bytes"
	"errors"
	"io"

	"understudy/persistence/vfs"
)

// tmpSuffix ends the names of files that are being written to replace others.
const tmpSuffix = ".tmp"

// replaceFile puts a file with new content in the place of name, so that after a
// loss of power either the old or the new one is there, whole.
func replaceFile(fs vfs.FS, dir, name string, content []byte) error {
	if err := replaceUnsynced(fs, dir, name, content); err != nil {
		return err
	}
	return fs.SyncDir(dir)
}

// replaceUnsynced does the same, but leaves the change of names to a later SyncDir.
func replaceUnsynced(fs vfs.FS, dir, name string, content []byte) error {
	to := join(dir, name)
	tmp := to + tmpSuffix
	f, err := fs.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return fs.Rename(tmp, to)
}

// join is the path of a file in a directory.
func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

// readFile reads a whole file of at most limit bytes.
func readFile(fs vfs.FS, path string, limit int64) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, errors.New("file is too large to be what its name says")
	}
	content := make([]byte, size)
	n, err := f.ReadAt(content, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return content[:n], nil
}

// lines splits a text file into its lines, without the line ends.
func lines(content []byte) []string {
	var all []string
	for line := range bytes.Lines(content) {
		all = append(all, string(bytes.TrimRight(line, "\r\n")))
	}
	return all
}
