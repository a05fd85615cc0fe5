package state

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The records of a state topic. Keys are text, so that any tool shows them:
//
//	s/NAME            a snapshot; value: the state, header "index"
//	c/NAME/INDEX      a change; value: the change. INDEX has 20 digits
//	w/LINE/s/NAME     the same of a line of its own, see line.go:
//	w/LINE/c/NAME/…   LINE is GENERATION-ID-GROUP, with an ID of 16 hexadecimal digits
//	mark              who reads up to here has read all that was written before
//
// The header "from" says which record of another topic led to it, if one did. A
// record without a value removes what has its key.
const (
	snapshotPrefix = "s/"
	changePrefix   = "c/"
	linePrefix     = "w/"
	markKey        = "mark"
	indexDigits    = 20

	headerIndex = "index"
	headerFrom  = "from"
)

// Entry is a change or a snapshot.
type Entry struct {
	// Index of a change is its number within the journal; of a snapshot, that of
	// the first change that is not in it.
	Index int64
	Data  []byte
	From  Source
}

// Source is a record of another topic. The zero value is none.
type Source struct {
	Topic     string
	Partition int32
	Offset    int64
}

// of gives the source that a record is.
func sourceOf(r *kgo.Record) Source { return Source{r.Topic, r.Partition, r.Offset} }

// covers reports whether somebody who has come to s has seen other.
func (s Source) covers(other Source) bool {
	return s.Topic == other.Topic && s.Partition == other.Partition && s.Offset >= other.Offset && s.Topic != ""
}

// key says where in a state topic an entry is.
type key struct {
	line     line
	name     string
	snapshot bool
	index    int64 // of a change
}

// bytes is the key as it is written.
func (k key) bytes() []byte {
	text := changePrefix + k.name
	if k.snapshot {
		text = snapshotPrefix + k.name
	}
	if k.line != (line{}) {
		text = linePrefix + k.line.String() + "/" + text
	}
	if k.snapshot {
		return []byte(text)
	}
	return fmt.Appendf(nil, "%s/%0*d", text, indexDigits, k.index)
}

// parseKey takes a key apart. ok is false for those that are none of ours.
func parseKey(text string) (k key, ok bool) {
	if rest, of := strings.CutPrefix(text, linePrefix); of {
		name, rest, _ := strings.Cut(rest, "/")
		if k.line, ok = parseLine(name); !ok {
			return key{}, false
		}
		text = rest
	}
	if k.name, k.snapshot = strings.CutPrefix(text, snapshotPrefix); k.snapshot {
		return k, true
	}
	name, ok := strings.CutPrefix(text, changePrefix)
	at := len(name) - indexDigits - 1
	if !ok || at < 0 || name[at] != '/' {
		return key{}, false
	}
	for _, digit := range []byte(name[at+1:]) {
		if digit < '0' || digit > '9' || k.index > (1<<63-1-9)/10 {
			return key{}, false
		}
		k.index = 10*k.index + int64(digit-'0')
	}
	k.name = name[:at]
	return k, true
}

// record is the entry under a key.
func (e Entry) record(k key) *kgo.Record {
	r := &kgo.Record{Key: k.bytes(), Value: e.Data}
	if r.Value == nil {
		r.Value = []byte{} // nil would remove it
	}
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: headerIndex, Value: binary.AppendVarint(nil, e.Index)})
	if e.From.Topic != "" {
		from := binary.AppendVarint(binary.AppendVarint(nil, int64(e.From.Partition)), e.From.Offset)
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: headerFrom, Value: append(from, e.From.Topic...)})
	}
	return r
}

// entryOf reads an entry. Headers that make no sense are passed over.
func entryOf(r *kgo.Record) (e Entry) {
	e.Data = r.Value
	for _, h := range r.Headers {
		switch h.Key {
		case headerIndex:
			if index, n := binary.Varint(h.Value); n > 0 && index >= 0 {
				e.Index = index
			}
		case headerFrom:
			partition, n := binary.Varint(h.Value)
			if n <= 0 {
				continue
			}
			offset, m := binary.Varint(h.Value[n:])
			if m > 0 {
				e.From = Source{string(h.Value[n+m:]), int32(partition), offset}
			}
		}
	}
	return e
}
