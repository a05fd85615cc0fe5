package understudy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"time"

	"understudy/cluster/consul"
	"understudy/cluster/metadata"
	"understudy/messages"
	"understudy/persistence/vfs"
)

// Each node keeps a copy of the cluster's metadata in its data directory. It is
// never believed as long as the rendezvous has metadata; but if that has lost it
// while no node ran, the nodes start with their copies, so that an operator can
// have the newest of them written back:
//
//	read the copy ──▶ the rendezvous has metadata: go on with that
//	                  └─ has lost it: the links, the admin endpoint, ──restore──▶ registered ──▶ as ever
//
// A copy may lack what was decided in the last moments before all nodes died, about
// copyPause and no more; so it is not used without being asked for.
const copyFile = "metadata-copy"

const (
	// copyPause is how often a copy is written at most.
	copyPause = 250 * time.Millisecond
	// maxCopy bounds what is read, in bytes.
	maxCopy = 1 << 30
)

// savedEntry is one key in the file, which is the CRC32C of the rest in hexadecimal,
// a new line, and the JSON of a savedState.
type savedEntry struct {
	Value    json.RawMessage `json:"value"`
	Revision int64           `json:"revision"`
}

type savedState struct {
	Revision int64                 `json:"revision"`
	Entries  map[string]savedEntry `json:"entries"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// saveCopy replaces the copy.
func saveCopy(files vfs.FS, im *metadata.Image) error {
	state, err := consul.StateOf(im)
	if err != nil {
		return err
	}
	saved := savedState{Revision: state.Revision, Entries: make(map[string]savedEntry, len(state.Entries))}
	for key, e := range state.Entries {
		saved.Entries[key] = savedEntry{e.Value, e.Revision}
	}
	text, err := json.Marshal(saved)
	if err != nil {
		return err
	}
	return vfs.ReplaceFile(files, copyFile, append(fmt.Appendf(nil, "%08x\n", crc32.Checksum(text, castagnoli)), text...))
}

// loadCopy reads the copy; nil: there is none.
func loadCopy(files vfs.FS) (*metadata.Image, error) {
	text, err := vfs.ReadFile(files, copyFile, maxCopy)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	sum, text, _ := bytes.Cut(text, []byte("\n"))
	if string(sum) != fmt.Sprintf("%08x", crc32.Checksum(text, castagnoli)) {
		return nil, messages.E("open", messages.CorruptMessage, copyFile, errors.New("does not match its checksum"))
	}
	var saved savedState
	if err := json.Unmarshal(text, &saved); err != nil {
		return nil, messages.E("open", messages.CorruptMessage, copyFile, err)
	}
	state := metadata.State{Revision: saved.Revision, Entries: make(map[string]metadata.Entry, len(saved.Entries))}
	for key, e := range saved.Entries {
		state.Entries[key] = metadata.Entry{Value: e.Value, Revision: e.Revision}
	}
	return metadata.Build(state)
}

// keepCopy writes the copy whenever the image has changed.
func (n *node) keepCopy() {
	saved, failing := int64(0), false
	for {
		im, next := n.b.cell.Next()
		ends := n.ctx.Err() != nil
		if im.Revision != saved && !n.dead.Load() {
			err := saveCopy(n.b.files, im)
			if err != nil && !failing {
				n.b.log.Warn().Err(err).Msg("the copy of the metadata in the data directory cannot be written; it is needed only if the cluster's is lost while no node runs")
			}
			if failing = err != nil; !failing {
				saved = im.Revision
			}
			n.pause(copyPause)
		}
		if ends {
			return
		}
		select {
		case <-next:
		case <-n.ctx.Done(): // once more: it has the last changes then
		}
	}
}

// firstImage is the metadata that a start begins with: what the rendezvous has, or
// the copy if that has lost it.
func (n *node) firstImage(ctx context.Context) (*metadata.Image, error) {
	copied, err := loadCopy(n.b.files)
	if err != nil {
		n.b.log.Warn().Err(err).Msg("the copy of the metadata in the data directory cannot be read")
	}
	if copied == nil {
		return n.read(ctx)
	}
	if r, ok := n.r.(interface{ Know(string, int64) }); ok {
		r.Know(copied.ClusterID, copied.Revision)
	}
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		image *metadata.Image
		err   error
	}
	results := make(chan result, 1)
	go func() {
		im, err := n.read(reading)
		results <- result{im, err}
	}()
	look := time.NewTicker(retryPause)
	defer look.Stop()
	for {
		select {
		case r := <-results:
			return r.image, r.err
		case <-look.C:
		}
		if trouble := n.r.Trouble(); lost(trouble) {
			cancel()
			if r := <-results; r.err == nil {
				return r.image, nil
			}
			n.b.log.Error().Err(trouble).Int64("version", copied.Revision).
				Msg("the cluster's metadata is lost: this node has a copy, and waits for `understudy cluster restore`, which writes the newest back")
			n.unsure = true
			return copied, nil
		}
	}
}
