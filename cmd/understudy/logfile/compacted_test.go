package logfile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/compact"
	"understudy/persistence/log"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// compacted writes a partition of several segments with few keys and idempotent
// producers, compacts it, and gives its directory and what was there before.
func compacted(t *testing.T) (dir string, before map[string][]byte) {
	t.Helper()
	root := t.TempDir()
	l, err := log.Open(log.Options{FS: vfs.OS(root), Dir: "orders-0", Settings: log.Settings{
		SegmentBytes: 2000, IndexIntervalBytes: 200, Compact: true, DeleteRetentionMs: 1000, RetentionMs: -1, RetentionBytes: -1,
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		f := batch.NoProducer
		if i%2 == 0 {
			f.ProducerID, f.ProducerEpoch, f.BaseSequence = int64(i%6), 0, int32(i*3)
		}
		bu := batch.NewBuilder(f)
		for k := range 3 {
			value := fmt.Append(nil, "value ", i)
			if k == i%8 {
				value = nil
			}
			bu.Add(int64(1000*i+k), fmt.Append(nil, "key ", k+i%2), value)
		}
		b := bu.Build(nil)
		b.Stamp(l.End(), int32(i/10))
		if err := l.Append([]batch.Batch{b}); err != nil {
			t.Fatal(err)
		}
	}
	l.Flush(func(_ messages.Offset, err error) {
		if err != nil {
			t.Fatal(err)
		}
	})
	dir = filepath.Join(root, "orders-0")
	before = files(t, dir)
	c, err := l.BeginClean(100_000, l.End(), false)
	if err != nil || c == nil {
		t.Fatal(c, err)
	}
	w := compact.Worker{Map: compact.NewMap(1 << 20), Pace: func(int) error { return nil }}
	to, stats, err := w.Run(&c.Job, func(r compact.Replacement) error { return l.Swap(c, r) })
	if err != nil || stats.Stayed == stats.Records {
		t.Fatalf("%+v, %v", stats, err)
	}
	c.Ended()
	l.EndClean(c, to)
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
	return dir, before
}

func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"+segment.LogSuffix))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, name := range names {
		if all[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestCompactedLogsAreWhole needs no leave to find offsets missing.
func TestCompactedLogsAreWhole(t *testing.T) {
	dir, _ := compacted(t)
	r := verify(t, dir)
	if len(r.Problems) != 0 || len(r.Notes) != 0 || r.Gaps == 0 || r.Records >= 180 || r.Start != 0 || r.End != 180 {
		t.Errorf("have %+v", r)
	}
}

// TestLeftoversOfACompactionAreNoted: after a power cut replaced segments may be back.
func TestLeftoversOfACompactionAreNoted(t *testing.T) {
	dir, before := compacted(t)
	now := files(t, dir)
	back := 0
	for name, content := range before {
		if _, there := now[name]; !there {
			write(t, name, content)
			back++
		}
	}
	r := verify(t, dir)
	if len(r.Problems) != 0 || back == 0 || len(r.Notes) != back || !strings.Contains(r.Notes[0], "was replaced") || r.End != 180 {
		t.Errorf("%d files are back: %+v", back, r)
	}
}

// TestAHoleInACompactedLogIsFound: a gap that is missing, or a bit of an offset.
func TestAHoleInACompactedLogIsFound(t *testing.T) {
	dir, _ := compacted(t)
	path := filepath.Join(dir, segment.Name(0, segment.LogSuffix))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for rest := whole; len(rest) > 0; {
		b, next, err := batch.Next(rest)
		if err != nil {
			t.Fatal(err)
		}
		if len(next) > 0 {
			write(t, path, append(append([]byte{}, whole[:at]...), next...))
			if r := verify(t, dir); len(r.Problems) == 0 {
				t.Errorf("batch at %d is missing, and nothing was found", b.BaseOffset())
			}
		}
		flipped := append([]byte{}, whole...)
		flipped[at+7] ^= 1
		write(t, path, flipped)
		if r := verify(t, dir); len(r.Problems) == 0 {
			t.Errorf("the offset of the batch at %d is wrong, and nothing was found", b.BaseOffset())
		}
		at, rest = at+len(b), next
	}
}
