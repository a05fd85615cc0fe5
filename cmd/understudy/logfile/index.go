package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"understudy/messages"
	"understudy/persistence/segment"
)

// offsetIndex is checked against the batches as they come by. An entry is right
// if a batch begins at its position, and no batch before that position has an
// offset as high as the entry's: then a search by it cannot miss.
//
// Kafka names a batch's last offset; a broker that appended several batches in
// one go may have named the last one's, which is as good.
type offsetIndex struct {
	file    string
	base    messages.Offset
	entries []segment.Entry
	at      int  // the entry that is next to be met
	blind   bool // a part of the log could not be read
}

// timeIndex is the same for the time index: up to and including the batch that
// holds an entry's offset, the entry's timestamp is the largest.
type timeIndex struct {
	file    string
	base    messages.Offset
	entries []segment.TimeEntry
	at      int
	newest  int64 // of the batches that have records
	claimed int64 // of all: one that has lost its records may still say what they had
	blind   bool
}

// openIndexes reads a segment's indexes. What is wrong with the files themselves
// is reported; one that is missing is noted, because a broker builds it anew.
func (v *verifier) openIndexes(f File) (*offsetIndex, *timeIndex) {
	stem := strings.TrimSuffix(f.Path, segment.LogSuffix)
	index := &offsetIndex{file: stem + segment.IndexSuffix, base: f.Base}
	for i, b := range v.entries(index.file, segment.EntrySize, f.Size) {
		e := segment.DecodeEntry(b)
		if i > 0 && (e.Offset <= index.entries[i-1].Offset || e.Position <= index.entries[i-1].Position) {
			v.problem(index.file, int64(i*segment.EntrySize), "entry (offset %d, position %d) does not come after (%d, %d)",
				f.Base+int64(e.Offset), e.Position, f.Base+int64(index.entries[i-1].Offset), index.entries[i-1].Position)
			break
		}
		index.entries = append(index.entries, e)
	}
	times := &timeIndex{file: stem + segment.TimeSuffix, base: f.Base, newest: messages.NoTimestamp, claimed: messages.NoTimestamp}
	for i, b := range v.entries(times.file, segment.TimeEntrySize, f.Size) {
		e := segment.DecodeTimeEntry(b)
		if i > 0 && (e.Timestamp < times.entries[i-1].Timestamp || e.Offset < times.entries[i-1].Offset) {
			v.problem(times.file, int64(i*segment.TimeEntrySize), "entry (time %d, offset %d) does not come after (%d, %d)",
				e.Timestamp, f.Base+int64(e.Offset), times.entries[i-1].Timestamp, f.Base+int64(times.entries[i-1].Offset))
			break
		}
		times.entries = append(times.entries, e)
	}
	return index, times
}

// largestEmptyIndex is how large an index file may be on account of what a broker has
// reserved for it, in bytes. Kafka reserves 10 MiB by default.
const largestEmptyIndex = 64 << 20

// entries cuts an index file into its entries, of a log of so many bytes. A broker that
// runs, or was killed, may have left zeros behind the last.
func (v *verifier) entries(file string, size int, log int64) [][]byte {
	content, err := readFile(file, largestEmptyIndex+log/4) // an entry is for a batch, which is more than four times as large
	if errors.Is(err, fs.ErrNotExist) {
		v.report.Notes = append(v.report.Notes, file+" is missing; a broker will build it anew")
		return nil
	}
	if err != nil {
		v.problem(file, -1, "cannot be read: %v", err)
		return nil
	}
	whole := len(content) / size * size
	if odd := len(content) - whole; odd != 0 {
		v.problem(file, int64(whole), "%d bytes are no whole entry", odd)
	}
	used := len(bytes.TrimRight(content, "\x00"))
	used = max((used+size-1)/size*size, size) // the first entry may be all zeros
	var entries [][]byte
	for at := 0; at < min(used, whole); at += size {
		entries = append(entries, content[at:at+size])
	}
	return entries
}

// readFile reads a file beside a log. One that is larger than it can be is not read.
func readFile(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is no regular file")
	case info.Size() > most:
		return nil, fmt.Errorf("with %d bytes it is larger than it can be", info.Size())
	}
	return os.ReadFile(path)
}

func (x *offsetIndex) batch(v *verifier, b Batch) {
	for x.at < len(x.entries) && !x.blind {
		e := x.entries[x.at]
		offset := x.base + int64(e.Offset)
		switch {
		case int64(e.Position) > b.Position:
			if offset <= b.LastOffset() {
				x.wrong(v, fmt.Sprintf("offset %d is before that, at position %d of the log", offset, b.Position))
				continue
			}
			return
		case int64(e.Position) < b.Position:
			x.wrong(v, "no batch begins there")
			continue
		case offset < b.BaseOffset():
			x.wrong(v, fmt.Sprintf("the batch there begins at offset %d", b.BaseOffset()))
			continue
		}
		x.at++
	}
}

func (x *offsetIndex) wrong(v *verifier, why string) {
	e := x.entries[x.at]
	v.problem(x.file, int64(x.at*segment.EntrySize), "entry says offset %d is at position %d: %s", x.base+int64(e.Offset), e.Position, why)
	x.at++
}

// end reports what points behind the last batch.
func (x *offsetIndex) end(v *verifier) {
	if x.blind {
		return
	}
	if n := len(x.entries); n > 0 && x.at == n && x.base+int64(x.entries[n-1].Offset) >= v.next {
		x.at = n - 1 // its position is right, its offset is not
	}
	for x.at < len(x.entries) {
		x.wrong(v, fmt.Sprintf("the log ends at offset %d", v.next))
	}
}

func (x *timeIndex) batch(v *verifier, b Batch) {
	x.claimed = max(x.claimed, b.MaxTimestamp())
	if !b.IsEmpty() {
		x.newest = max(x.newest, b.MaxTimestamp())
	}
	for x.at < len(x.entries) && !x.blind && x.base+int64(x.entries[x.at].Offset) <= b.LastOffset() {
		if e := x.entries[x.at]; e.Timestamp != x.newest && e.Timestamp != x.claimed {
			v.problem(x.file, int64(x.at*segment.TimeEntrySize), "entry says that %d is the newest time up to offset %d: it is %d", e.Timestamp, x.base+int64(e.Offset), x.newest)
		}
		x.at++
	}
}

func (x *timeIndex) end(v *verifier) {
	for ; x.at < len(x.entries) && !x.blind && x.newest != messages.NoTimestamp; x.at++ {
		e := x.entries[x.at]
		v.problem(x.file, int64(x.at*segment.TimeEntrySize), "entry (time %d, offset %d): the log ends before it", e.Timestamp, x.base+int64(e.Offset))
	}
}
