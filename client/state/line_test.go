package state

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// told is a partition that has been told of entries.
func told(t *testing.T, what ...struct {
	k key
	e *Entry
}) *part {
	t.Helper()
	p := newPart(0)
	for i, w := range what {
		r := &kgo.Record{Key: w.k.bytes()}
		if w.e != nil {
			r = w.e.record(w.k)
		}
		r.Offset = int64(i)
		p.takeIn([]*kgo.Record{r})
	}
	return p
}

type entry = struct {
	k key
	e *Entry
}

// TestTheLineThatHasComeFurthestCounts tells partitions of lines in all orders in
// which they may be written.
func TestTheLineThatHasComeFurthestCounts(t *testing.T) {
	old, now, other := line{"g", 4, 1}, line{"g", 5, 2}, line{"h", 1, 3}
	from := func(offset int64) Source { return Source{"orders", 0, offset} }
	snapshot := func(l line, index, offset int64) entry {
		return entry{key{l, "a", true, 0}, &Entry{Index: index, Data: []byte(l.String()), From: from(offset)}}
	}
	change := func(l line, index, offset int64) entry {
		return entry{key{l, "a", false, index}, &Entry{Index: index, From: from(offset)}}
	}
	for name, test := range map[string]struct {
		told []entry
		want line
	}{
		"one":                          {[]entry{snapshot(old, 0, 7)}, old},
		"written without a line":       {[]entry{snapshot(line{}, 0, 7), change(line{}, 1, 8)}, line{}},
		"begun anew":                   {[]entry{snapshot(old, 0, 7), snapshot(now, 0, 8)}, now},
		"late":                         {[]entry{snapshot(old, 0, 7), snapshot(now, 0, 9), snapshot(old, 0, 8)}, now},
		"late, after changes":          {[]entry{snapshot(now, 1, 7), change(now, 1, 9), snapshot(old, 0, 8)}, now},
		"changes that are covered":     {[]entry{snapshot(now, 5, 7), snapshot(old, 0, 8), change(now, 4, 9)}, old},
		"as far":                       {[]entry{snapshot(old, 0, 7), snapshot(now, 0, 7)}, now},
		"late, without a snapshot":     {[]entry{snapshot(now, 0, 7), change(old, 3, 9)}, now},
		"from somewhere else":          {[]entry{snapshot(old, 0, 70), {key{now, "a", true, 0}, &Entry{From: Source{"orders", 1, 5}}}}, now},
		"another group, further":       {[]entry{snapshot(other, 0, 9), snapshot(now, 0, 8)}, other},
		"removed":                      {[]entry{snapshot(now, 0, 9), snapshot(old, 0, 7), {k: key{now, "a", true, 0}}}, old},
		"nothing that can be restored": {[]entry{change(old, 3, 9)}, line{}},
	} {
		t.Run(name, func(t *testing.T) {
			if have := told(t, test.told...).journal("a"); have.line != test.want {
				t.Errorf("%+v instead of %+v", have.line, test.want)
			}
		})
	}
	if j := told(t, change(old, 3, 9)).journal("a"); len(j.Changes) > 0 {
		t.Errorf("%+v", j)
	}
}

// TestOlderLinesAreRemoved removes what is superseded, once, and again when somebody
// has written to it since.
func TestOlderLinesAreRemoved(t *testing.T) {
	old, now, later := line{"g", 4, 1}, line{"g", 5, 2}, line{"g", 6, 3}
	p := told(t,
		entry{key{old, "a", true, 0}, &Entry{}}, entry{key{old, "a", false, 3}, &Entry{}},
		entry{key{now, "a", true, 0}, &Entry{}}, entry{key{later, "a", true, 0}, &Entry{}})
	tombs, lines := p.remove("a", now.supersedes)
	if len(tombs) != 2 || !strings.HasPrefix(string(tombs[0].Key), "w/"+old.String()+"/c/") || len(lines) != 1 {
		t.Fatalf("%d records, %d lines", len(tombs), len(lines))
	}
	if again, _ := p.remove("a", now.supersedes); len(again) > 0 {
		t.Errorf("%d records are removed twice", len(again))
	}
	late := (&Entry{}).record(key{old, "a", false, 4})
	p.takeIn(append(tombs, late))
	if again, _ := p.remove("a", now.supersedes); len(again) != 1 || string(again[0].Key) != string(late.Key) {
		t.Errorf("%d records", len(again))
	}
	p.keep(lines)
	if j := p.journal("a"); j.line != later {
		t.Errorf("%+v", j.line)
	}
}
