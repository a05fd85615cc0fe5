package state

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
)

// A member of a group may have lost a partition and not know it yet, while another
// has gone on with it: its actors may write once more. So that this harms nobody,
// each assignment of a partition writes lines of its own, with keys that are no
// other's:
//
//	line of generation 4   snapshot, change, change          ─▶ the member that was
//	line of generation 5             └─ snapshot, change, …  ─▶ the member that is
//
// A line begins with a snapshot, and so depends on no other. Each is what some
// actor made of all records up to one. Of several the one that has come furthest in
// the topic of the records counts; what a late writer adds to its own has not come as
// far as what was acknowledged since. What lines of earlier generations have left
// is removed when a new one begins, and with each of its snapshots.

// line says whose entries are meant. The zero value means those that are written
// without an assignment, by the methods of Store.
type line client.Assignment

// String is the line as it stands in keys.
func (l line) String() string {
	return fmt.Sprintf("%d-%016x-%s", l.Generation, l.ID, url.PathEscape(l.Group))
}

// parseLine reads what String gives.
func parseLine(text string) (l line, ok bool) {
	number, rest, _ := strings.Cut(text, "-")
	id, group, _ := strings.Cut(rest, "-")
	generation, err := strconv.ParseInt(number, 10, 32)
	if err != nil || generation < 0 || len(id) != 16 {
		return line{}, false
	}
	l.Generation = int32(generation)
	if l.ID, err = strconv.ParseUint(id, 16, 64); err != nil {
		return line{}, false
	}
	if l.Group, err = url.PathUnescape(group); err != nil || l == (line{}) || l.String() != text {
		return line{}, false
	}
	return l, true
}

// supersedes reports whether nobody who is still a member writes to the other line,
// if the asker is one.
func (l line) supersedes(other line) bool {
	return other.Group != l.Group || other.Generation < l.Generation
}

// entries are what is known of a line of a journal.
type entries struct {
	line     line
	snapshot *Entry
	changes  map[int64]Entry
	at       int64 // offset of the last that was written
	removed  bool  // it has been, and its end has not come back
}

// put takes in a record.
func (e *entries) put(k key, r *kgo.Record) {
	e.at, e.removed = r.Offset, e.removed && r.Value == nil
	entry := entryOf(r)
	switch {
	case k.snapshot && r.Value == nil:
		e.snapshot = nil
	case k.snapshot:
		e.snapshot = &entry
	case r.Value == nil:
		delete(e.changes, k.index)
	default:
		if e.changes == nil {
			e.changes = map[int64]Entry{}
		}
		entry.Index = k.index
		e.changes[k.index] = entry
	}
}

// empty reports whether nothing is left.
func (e *entries) empty() bool { return e.snapshot == nil && len(e.changes) == 0 }

// whole reports whether it can be restored from: one whose snapshot was removed is
// what a late writer has added to what was superseded.
func (e *entries) whole() bool { return e.snapshot != nil || e.line == line{} }

// from is the last record that has led to anything.
func (e *entries) from() (from Source) {
	index := int64(-1)
	if e.snapshot != nil {
		index, from = e.snapshot.Index-1, e.snapshot.From
	}
	for i, change := range e.changes {
		if i > index {
			index, from = i, change.From
		}
	}
	return from
}

// ahead reports whether it counts, and the other does not.
func (e *entries) ahead(other *entries) bool {
	mine, its := e.from(), other.from()
	if mine.Topic == its.Topic && mine.Partition == its.Partition && mine.Offset != its.Offset {
		return mine.Offset > its.Offset
	}
	return e.at > other.at
}

// journal gives a copy, whose data must not be changed.
func (e *entries) journal() Journal {
	return Journal{
		Snapshot: e.snapshot,
		Changes:  slices.SortedFunc(maps.Values(e.changes), func(a, b Entry) int { return cmp.Compare(a.Index, b.Index) }),
		line:     e.line,
	}
}

// tombs are the records that remove it.
func (e *entries) tombs(name string) (records []*kgo.Record) {
	for index := range e.changes {
		records = append(records, &kgo.Record{Key: key{line: e.line, name: name, index: index}.bytes()})
	}
	if e.snapshot != nil { // the last to go: without it the rest is worth nothing
		records = append(records, &kgo.Record{Key: key{line: e.line, name: name, snapshot: true}.bytes()})
	}
	return records
}
