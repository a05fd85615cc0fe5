package local

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"understudy/cluster/metadata"
	"understudy/messages"
	"understudy/persistence/vfs"
)

// fileName is the file's name in the directory. While it is being replaced
// there is another with ".tmp" behind.
const fileName = "metadata.log"

// maxFile is far more than the metadata of any broker, in bytes.
const maxFile = 1 << 32

// keptBuffer is the largest buffer that is kept from one transaction to the
// next, in bytes.
const keptBuffer = 1 << 20

// file is the file on disk.
type file struct {
	fs    vfs.FS
	name  string
	slack int64 // Options.CompactBytes
	f     vfs.File
	size  int64 // where the next frame goes
	limit int64 // the size past which the file is replaced
	buf   []byte
}

// openFile opens the file, or makes it, and reads the state.
func openFile(fsys vfs.FS, dir string, slack int64) (*file, metadata.State, error) {
	f := &file{fs: fsys, name: path.Join(dir, fileName), slack: slack}
	state, err := f.open(dir)
	if err != nil {
		if f.f != nil {
			f.f.Close()
		}
		return nil, metadata.State{}, messages.E("open metadata", messages.StorageError, f.name, err)
	}
	return f, state, nil
}

func (f *file) open(dir string) (metadata.State, error) {
	data, err := vfs.ReadFile(f.fs, f.name, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		if err := vfs.MkdirAllSync(f.fs, dir); err != nil {
			return metadata.State{}, err
		}
		// Made as any replacement is, so a file of this name is never half made.
		state := metadata.State{Entries: map[string]metadata.Entry{}}
		return state, f.replace(state)
	}
	if err != nil {
		return metadata.State{}, err
	}
	found, err := replay(data)
	if err != nil {
		return metadata.State{}, err
	}
	if f.f, err = f.fs.Open(f.name); err != nil {
		return metadata.State{}, err
	}
	f.size, f.limit = found.size, 2*found.snapshot+f.slack
	if err := f.settle(data, found.snapshot); err != nil {
		return metadata.State{}, err
	}
	return found.state, f.compact(found.state)
}

// settle makes durable what was read from the file. A process that ended before
// its sync, or whose sync failed, leaves bytes that are in the system's memory
// and not on disk, and the system may take them for written: so the transactions
// are written again before this sync. What is behind the last whole frame goes.
func (f *file) settle(data []byte, from int64) error {
	if _, err := f.f.WriteAt(data[from:f.size], from); err != nil {
		return err
	}
	if f.size < int64(len(data)) {
		if err := f.f.Truncate(f.size); err != nil {
			return err
		}
	}
	if err := f.f.Sync(); err != nil {
		return err
	}
	return f.fs.SyncDir(path.Dir(f.name))
}

// encode makes the frame of a change, which is valid until the next one.
func (f *file) encode(c change) ([]byte, error) {
	if cap(f.buf) > keptBuffer {
		f.buf = nil
	}
	frame, err := appendFrame(f.buf[:0], c)
	if err == nil {
		f.buf = frame
	}
	return frame, err
}

// append writes a frame at the end and returns when it is on disk. After an
// error the file must not be written again.
func (f *file) append(frame []byte) error {
	if _, err := f.f.WriteAt(frame, f.size); err != nil {
		return err
	}
	f.size += int64(len(frame))
	return f.f.Sync()
}

// compact replaces the file when most of it is history.
func (f *file) compact(state metadata.State) error {
	if f.size <= f.limit {
		return nil
	}
	return f.replace(state)
}

// replace puts a file that holds nothing but a snapshot in the place of this
// one. A power cut finds either.
func (f *file) replace(state metadata.State) error {
	data, err := appendFrame([]byte(fileHeader), snapshotOf(state))
	if err != nil {
		return err
	}
	if err := vfs.ReplaceFile(f.fs, f.name, data); err != nil {
		return err
	}
	next, err := f.fs.Open(f.name)
	if err != nil {
		return err
	}
	old := f.f
	f.f, f.size = next, int64(len(data))
	f.limit = 2*f.size + f.slack
	if old != nil {
		return old.Close()
	}
	return nil
}

func (f *file) close() error { return f.f.Close() }

// replayed is what a file holds.
type replayed struct {
	state    metadata.State
	snapshot int64 // bytes of header and snapshot
	size     int64 // bytes up to the end of the last whole frame
}

// replay reads a whole file. What follows the last whole frame, if no whole
// frame is behind it, is an unfinished write and left out; it was never
// acknowledged. (That the last frame was damaged later cannot be told from it.)
func replay(data []byte) (replayed, error) {
	if !bytes.HasPrefix(data, []byte(fileHeader)) {
		return replayed{}, headerError(data)
	}
	r := replayed{size: int64(len(fileHeader))}
	for rest := data[r.size:]; len(rest) > 0; {
		frame, behind, err := splitFrame(rest)
		if err != nil && r.snapshot > 0 && !wholeFrameIn(rest[1:], r.state.Revision) {
			break
		}
		if err == nil {
			err = r.add(frame)
		}
		if err != nil {
			return replayed{}, corrupt(r.size, err)
		}
		rest = behind
	}
	if r.snapshot == 0 {
		return replayed{}, corrupt(r.size, errors.New("snapshot is missing"))
	}
	// The values point into data, most of which is history: let it go.
	for key, e := range r.state.Entries {
		e.Value = slices.Clone(e.Value)
		r.state.Entries[key] = e
	}
	return r, nil
}

// add applies a frame.
func (r *replayed) add(frame []byte) error {
	c, err := decode(frame)
	if err != nil {
		return err
	}
	first := r.snapshot == 0
	switch {
	case c.snapshot != first:
		return errors.New("snapshot is not the first frame")
	case !first && c.revision != r.state.Revision+1:
		return fmt.Errorf("revision %d follows %d", c.revision, r.state.Revision)
	}
	c.apply(&r.state)
	r.size += int64(len(frame))
	if first {
		r.snapshot = r.size
	}
	return nil
}

// wholeFrameIn tells whether a frame later than a revision is anywhere in b.
func wholeFrameIn(b []byte, revision int64) bool {
	for {
		at := bytes.Index(b, []byte(frameMark))
		if at < 0 {
			return false
		}
		if frame, _, err := splitFrame(b[at:]); err == nil {
			if c, err := decode(frame); err == nil && c.revision > revision {
				return true
			}
		}
		b = b[at+1:]
	}
}

// corrupt says where a file is damaged.
func corrupt(at int64, why error) error {
	return messages.E("", messages.CorruptMessage, fmt.Sprintf("at byte %d", at), why)
}

// headerError says why the file's first bytes are not the header.
func headerError(data []byte) error {
	name := fileHeader[:len(fileHeader)-2]
	if strings.HasPrefix(string(data[:min(len(data), len(name))]), name) && len(data) >= len(fileHeader) {
		return fmt.Errorf("format version %d is not known to this version", int(data[6])<<8|int(data[7]))
	}
	return corrupt(0, errors.New("not a metadata file"))
}
