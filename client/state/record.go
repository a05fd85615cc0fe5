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
//	mark              who reads up to here has read all that was written before
//
// The header "from" says which record of another topic led to it, if one did. A
// record without a value removes what has its key.
const (
	snapshotPrefix = "s/"
	changePrefix   = "c/"
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

func snapshotKey(name string) []byte { return []byte(snapshotPrefix + name) }

func changeKey(name string, index int64) []byte {
	return fmt.Appendf(nil, "%s%s/%0*d", changePrefix, name, indexDigits, index)
}

// parseKey takes a key apart. ok is false for those that are none of ours.
func parseKey(key string) (name string, index int64, snapshot, ok bool) {
	if name, ok = strings.CutPrefix(key, snapshotPrefix); ok {
		return name, 0, true, true
	}
	name, ok = strings.CutPrefix(key, changePrefix)
	at := len(name) - indexDigits - 1
	if !ok || at < 0 || name[at] != '/' {
		return "", 0, false, false
	}
	for _, digit := range []byte(name[at+1:]) {
		if digit < '0' || digit > '9' || index > (1<<63-1-9)/10 {
			return "", 0, false, false
		}
		index = 10*index + int64(digit-'0')
	}
	return name[:at], index, false, true
}

// record is the entry under a key.
func (e Entry) record(key []byte) *kgo.Record {
	r := &kgo.Record{Key: key, Value: e.Data}
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
