package log

import (
	"math/rand/v2"
	"testing"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/messages/codec"
	"understudy/persistence/vfs"
)

// stamped is one record as a search by time sees it.
type stamped struct {
	offset    messages.Offset
	timestamp int64
}

func recordsOf(t testing.TB, batches []batch.Batch) (all []stamped) {
	t.Helper()
	for _, b := range batches {
		for r, err := range codec.Records(b, 1<<20) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, stamped{b.BaseOffset() + int64(r.OffsetDelta), r.Timestamp(b)})
		}
	}
	return all
}

// wantTimes compares searches by time with a walk over all records.
func wantTimes(t testing.TB, l *Log, batches []batch.Batch) {
	t.Helper()
	all := recordsOf(t, batches)
	for _, hw := range []messages.Offset{l.End(), (l.Start() + l.End()) / 2, l.Start() + 1, l.Start()} {
		v := l.Publish(hw)
		visible := visibleIn(v, batches, all)
		newest := stamped{messages.NoOffset, messages.NoTimestamp}
		for _, r := range visible {
			if r.timestamp > newest.timestamp {
				newest = r
			}
		}
		offset, timestamp, _, err := v.MaxTimestamp()
		if err != nil || (stamped{offset, timestamp}) != newest {
			t.Fatalf("high watermark %d: newest is %d at %d, want %v (%v)", hw, timestamp, offset, newest, err)
		}
		for _, r := range all {
			for _, ts := range []int64{r.timestamp - 1, r.timestamp, r.timestamp + 1} {
				want := stamped{messages.NoOffset, messages.NoTimestamp}
				for _, candidate := range visible {
					if candidate.timestamp >= ts {
						want = candidate
						break
					}
				}
				offset, timestamp, _, err := v.OffsetForTime(ts)
				if err != nil || (stamped{offset, timestamp}) != want {
					t.Fatalf("high watermark %d, time %d: %d at %d, want %v (%v)", hw, ts, timestamp, offset, want, err)
				}
			}
		}
	}
}

// visibleIn are the records that a view shows: those of whole batches.
func visibleIn(v *View, batches []batch.Batch, all []stamped) (visible []stamped) {
	end := v.LogStart
	for _, b := range batches {
		if b.NextOffset() <= v.HighWatermark {
			end = b.NextOffset()
		}
	}
	for _, r := range all {
		if r.offset >= v.LogStart && r.offset < end {
			visible = append(visible, r)
		}
	}
	return visible
}

// mixed makes batches of every codec, with timestamps that go up and down.
func mixed(t testing.TB, m *maker, n int) (all []batch.Batch) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(8, 8))
	for i := range n {
		m.timestamp += rnd.Int64N(300) - 100
		b := m.batch(1 + rnd.IntN(6))
		var err error
		if b, err = codec.Recompress(b, batch.Codec(i%5), 0, 1<<20); err != nil {
			t.Fatal(err)
		}
		if i%7 == 0 {
			b.SetLogAppendTime(m.timestamp)
		}
		all = append(all, b)
	}
	return all
}

func TestSearchByTime(t *testing.T) {
	o := quiet(vfs.NewMem(vfs.MemOptions{}))
	o.Settings.SegmentBytes, o.Settings.IndexIntervalBytes = 5000, 500
	l := open(t, o, nil)
	if offset, _, _, err := l.Publish(0).OffsetForTime(1); offset != messages.NoOffset || err != nil {
		t.Fatal(offset, err)
	}
	m := newMaker()
	m.size = 40
	written := mixed(t, m, 120)
	appendAll(t, l, written...)
	wantTimes(t, l, written)
	if err := l.SetStart(l.End() / 3); err != nil {
		t.Fatal(err)
	}
	wantTimes(t, l, written)
	flushed(t, l)
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
	c := l.Checkpoint()
	wantTimes(t, open(t, o, &c), written)
	wantTimes(t, open(t, o, nil), written)
}

// TestSearchInABatchThatUnpacksToTooMuch gives an offset that is not behind the record.
func TestSearchInABatchThatUnpacksToTooMuch(t *testing.T) {
	o := quiet(vfs.NewMem(vfs.MemOptions{}))
	o.MaxUnpacked = 1000
	l := open(t, o, nil)
	m := newMaker()
	m.size = 5000
	b, err := codec.Recompress(m.batch(3), batch.Zstd, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	appendAll(t, l, b)
	offset, _, _, err := l.Publish(l.End()).OffsetForTime(m.timestamp)
	if offset != 0 || err != nil {
		t.Fatal(offset, err)
	}
}
