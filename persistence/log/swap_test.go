package log

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/compact"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// few is a log of several small segments with few keys, of two producers and some
// epochs, of which the last begins within the last segment; and what is in it.
func few(t testing.TB, o Options) (*Log, []batch.Batch) {
	t.Helper()
	l, m := open(t, o, nil), newMaker()
	m.keys, m.size = 10, 64
	var written []batch.Batch
	for i := range 90 {
		m.producer, m.sequence, m.epoch = int64(i%3)-1, int32(m.next), int32(i/20+i/88)
		written = append(written, m.batch(1+i%4))
		appendAll(t, l, written[i])
	}
	flushed(t, l)
	if len(l.segs) < 6 || l.active().Base() >= written[88].BaseOffset() {
		t.Fatalf("only %d segments, the last from %d on", len(l.segs), l.active().Base())
	}
	return l, written
}

// copyFiles copies a directory's files.
func copyFiles(t testing.TB, fs vfs.FS) map[string][]byte {
	t.Helper()
	entries, err := fs.ReadDir(orders.String())
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if files[e.Name], err = vfs.ReadFile(fs, orders.String()+"/"+e.Name, 1<<30); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func writeFiles(t testing.TB, fs vfs.FS, files map[string][]byte) {
	t.Helper()
	for name, content := range files {
		if err := vfs.ReplaceFile(fs, join(orders.String(), name), content); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRecoveryFinishesASwap brings back what a power cut may bring back of the
// segments whose place others have taken, up to the one that is written to.
func TestRecoveryFinishesASwap(t *testing.T) {
	for round := range 40 {
		rnd := rand.New(rand.NewPCG(uint64(round), 1))
		o := compacted(vfs.NewMem(vfs.MemOptions{}), 3000)
		l, written := few(t, o)
		before, c := copyFiles(t, o.FS), l.Checkpoint()
		if round%4 < 2 {
			s := l.current()
			s.SegmentBytes *= 10 // all is put together
			l.Configure(s)
		}
		stats := mustClean(t, l, 0, l.End())
		if stats.Made >= stats.Segments {
			t.Fatalf("nothing was put together: %+v", stats)
		}
		l.Close(false)
		after, _ := bases(t, o.FS)
		back := map[string][]byte{}
		for name, content := range before {
			base, suffix, ok := segment.ParseName(name)
			gone := !slices.Contains(after, base)
			index := suffix == segment.IndexSuffix || suffix == segment.TimeSuffix
			if ok && suffix != snapshotSuffix && (gone || index) && rnd.IntN(2) == 0 {
				back[name] = content
			}
		}
		writeFiles(t, o.FS, back)
		var known *Checkpoint
		if round%2 == 0 {
			known = &c
		}
		l = open(t, o, known)
		compareCompacted(t, l, written, 0, "after the power cut")
		if got, _ := bases(t, o.FS); !slices.Equal(got, after) {
			t.Fatalf("segments %v, want %v", got, after)
		}
		l.Close(false)
		l = open(t, o, known)
		compareCompacted(t, l, written, 0, "opened once more")
		l.Close(false)
	}
}

// TestWhatIsClaimedOfASegmentEndsWhenItIsCompacted: a checkpoint names a position in a
// segment that was compacted since, and that is the last one again after a truncation, as
// unclean elections bring them about.
func TestWhatIsClaimedOfASegmentEndsWhenItIsCompacted(t *testing.T) {
	disk := vfs.NewMem(vfs.MemOptions{PowerCuts: true})
	o := compacted(disk, 3000)
	l, m := open(t, o, nil), newMaker()
	m.keys, m.size = 1, 64
	appendAll(t, l, m.batches(8, 1)...)
	flushed(t, l)
	c := l.Checkpoint()
	m.keys = 0 // of those, compaction leaves all
	for len(l.segs) < 2 {
		appendAll(t, l, m.batch(1))
	}
	l.Close(false) // the process is killed
	l = open(t, o, &c)
	mustClean(t, l, 0, l.End())
	to := l.segs[1].Base() - 1
	if err := l.Truncate(to); err != nil {
		t.Fatal(err)
	}
	flushed(t, l)
	want, err := copyAll(l.Publish(to))
	if err != nil || len(l.segs) != 1 || l.End() != to || to <= c.Recovery {
		t.Fatalf("%d segments up to %d, truncated to %d: %v", len(l.segs), l.End(), to, err)
	}
	for _, loss := range []vfs.Loss{vfs.LoseAll, vfs.LoseNone} {
		o.FS = disk.Cut(loss, nil)
		l = open(t, o, &c)
		got, err := copyAll(l.Publish(l.End()))
		if err != nil || l.End() != to || !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("ends at %d, want %d; %d batches, want %d: %v", l.End(), to, len(got), len(want), err)
		}
		l.Close(false)
	}
}

// TestOnlyWhatIsSafeIsCompacted: nothing above the high watermark, nothing that is
// not durable, nothing young, not the segment that is written to.
func TestOnlyWhatIsSafeIsCompacted(t *testing.T) {
	o := compacted(vfs.NewMem(vfs.MemOptions{}), 2000)
	l, written := few(t, o)
	newest := written[len(written)-1].MaxTimestamp()
	for i, s := range l.segs {
		n, err := l.cleanable(newest, s.Base(), l.current())
		if err != nil || n != min(i, len(l.segs)-1) {
			t.Errorf("high watermark at segment %d: %d may be compacted, %v", i, n, err)
		}
		n, err = l.cleanable(newest, s.Base()+1, l.current())
		if err != nil || n != min(i, len(l.segs)-1) {
			t.Errorf("high watermark in segment %d: %d may be compacted, %v", i, n, err)
		}
	}
	if n, _ := l.cleanable(newest, l.End(), l.current()); n != len(l.segs)-1 {
		t.Errorf("%d of %d segments may be compacted", n, len(l.segs))
	}
	lag := l.current()
	third, err := l.segs[3].Max()
	if err != nil {
		t.Fatal(err)
	}
	lag.MinCompactionLagMs = newest - third.Timestamp + 1
	if n, _ := l.cleanable(newest, l.End(), lag); n != 3 {
		t.Errorf("%d segments are old enough", n)
	}
	m := newMaker()
	m.next, m.epoch, m.keys, m.size = l.End(), 9, 5, 600
	durable := l.active()
	for range 20 {
		appendAll(t, l, m.batch(3)) // not flushed
	}
	n, err := l.cleanable(newest, l.End(), l.current())
	if err != nil || l.segs[n] != durable {
		t.Errorf("%d may be compacted, which is beyond what is durable: %v", n, err)
	}
	l.Close(false)
}

// TestFilth counts what is dirty, and what has waited too long.
func TestFilth(t *testing.T) {
	o := compacted(vfs.NewMem(vfs.MemOptions{}), 2000)
	o.Settings.MaxCompactionLagMs = 5000
	l, written := few(t, o)
	now := written[0].MaxTimestamp() + 5000
	f, err := l.Filth(now, l.End())
	if err != nil || f.Clean != 0 || f.Dirty != l.Size()-l.active().Size() || f.Due || f.Ratio() != 1 {
		t.Fatalf("%+v, %v", f, err)
	}
	if f, _ = l.Filth(now+1, l.End()); !f.Due {
		t.Fatal("the first record is too old")
	}
	c, err := l.BeginClean(now, l.End(), false)
	if err != nil || c.Job.Dirty != 0 || c.Job.End != l.active().Base() {
		t.Fatalf("%v, %v", c, err)
	}
	if f, _ := l.Filth(now, l.End()); f.Dirty != 0 {
		t.Fatal("it is being compacted")
	}
	c.Ended()
	l.EndClean(c, l.segs[2].Base())
	f, _ = l.Filth(now, l.End())
	if want := l.segs[0].Size() + l.segs[1].Size(); f.Clean != want || f.Dirty != l.Size()-l.active().Size()-want {
		t.Fatalf("%+v, clean should be %d", f, want)
	}
	s := l.current()
	s.Compact = false
	l.Configure(s)
	if f, _ := l.Filth(now+1, l.End()); f.Dirty != 0 || f.Due {
		t.Fatalf("%+v, and the topic is not compacted", f)
	}
	l.Close(false)
}

// TestWhatChangesTheLogStopsACleaning: the swap fails, and nothing of it is left.
func TestWhatChangesTheLogStopsACleaning(t *testing.T) {
	for name, change := range map[string]func(*Log) error{
		"truncated":         func(l *Log) error { return l.Truncate(l.End() - 1) },
		"emptied":           func(l *Log) error { return l.TruncateAll(7) },
		"its start deleted": func(l *Log) error { return l.SetStart(l.segs[2].Base()) },
		"closed":            func(l *Log) error { return l.Close(true) },
		"deleted":           func(l *Log) error { return l.Delete() },
	} {
		t.Run(name, func(t *testing.T) {
			o := compacted(vfs.NewMem(vfs.MemOptions{}), 3000)
			l, _ := few(t, o)
			c, err := l.BeginClean(0, l.End(), false)
			if err != nil {
				t.Fatal(err)
			}
			ready, ended := make(chan compact.Replacement), make(chan struct{})
			swapped := make(chan error)
			go func() {
				defer close(ended)
				defer c.Ended()
				_, _, err = worker(1<<20).Run(&c.Job, func(r compact.Replacement) error {
					ready <- r
					select {
					case err := <-swapped:
						return err
					case <-c.Stopped():
						return compact.ErrStopped
					}
				})
			}()
			r := <-ready
			if err := change(l); err != nil {
				t.Fatal(err)
			}
			if err := l.Swap(c, r); err == nil {
				t.Fatal("the swap should have failed")
			}
			select {
			case swapped <- compact.ErrStopped: // its segments are gone
			case <-ended:
			}
			<-ended
			if name != "deleted" {
				if err := noLeftovers(l); err != nil {
					t.Error(err)
				}
			}
			if l.Err() != nil {
				t.Error(l.Err())
			}
			l.EndClean(c, 1<<40)
			if l.cleaned > l.End() && name != "its start deleted" {
				t.Errorf("compacted up to %d", l.cleaned)
			}
			l.Close(false)
		})
	}
}

// TestReadersWhileCompacting reads without a pause what is compacted meanwhile:
// nobody is ever told of a missing offset or file, or misses a key.
func TestReadersWhileCompacting(t *testing.T) {
	o := compacted(vfs.OS(t.TempDir()), 3000)
	o.Files = segment.NewFiles(4) // files are opened again and again
	l, written := few(t, o)
	want := latest(unpack(t, written))
	views := make(chan *View, 1)
	views <- l.Publish(l.End())
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				case v := <-views:
					views <- v
					if got := latest(unpack(t, fetchAll(t, v, 700))); !maps.Equal(got, want) {
						t.Errorf("%d keys, want %d", len(got), len(want))
						return
					}
					if _, _, _, err := v.OffsetForTime(written[30].MaxTimestamp()); err != nil {
						t.Error(err)
					}
					if at, _, _, err := v.MaxTimestamp(); err != nil || at != l.End()-1 {
						t.Errorf("newest record at %d, %v", at, err)
					}
				}
			}
		})
	}
	for range 15 {
		l.cleaned = 0
		mustClean(t, l, 0, l.End())
		s := l.current()
		s.SegmentBytes += 500 // so that others are put together
		l.Configure(s)
		<-views
		views <- l.Publish(l.End())
	}
	close(stop)
	readers.Wait()
	l.Close(false)
}

// TestASliceOutlivesTheSwap: what was given out is read to its end.
func TestASliceOutlivesTheSwap(t *testing.T) {
	o := compacted(vfs.OS(t.TempDir()), 3000)
	l, written := few(t, o)
	s, err := l.Publish(l.End()).Read(0, 1<<20, true)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		l.cleaned = 0
		mustClean(t, l, 0, l.End())
		set := l.current()
		set.SegmentBytes *= 4
		l.Configure(set)
	}
	got, err := s.Bytes(nil)
	if err != nil || string(got) != string(join2(written)[:len(got)]) {
		t.Fatalf("%d bytes: %v", len(got), err)
	}
	s.Release()
	if err := noLeftovers(l); err != nil {
		t.Error(err)
	}
	l.Close(false)
}

// TestTruncateWithinAGap keeps what lies before.
func TestTruncateWithinAGap(t *testing.T) {
	o := compacted(vfs.NewMem(vfs.MemOptions{}), 3000)
	l, _ := few(t, o)
	mustClean(t, l, 0, l.End())
	all, err := copyAll(l.Publish(l.End()))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(b batch.Batch) bool { return b.IsGap() && b.LastOffsetDelta() > 2 && b.BaseOffset() > 20 })
	to := all[i].BaseOffset() + 2
	if err := l.Truncate(to); err != nil {
		t.Fatal(err)
	}
	if l.End() != to || l.cleaned > to {
		t.Fatalf("ends at %d and not %d; compacted up to %d", l.End(), to, l.cleaned)
	}
	m := newMaker()
	m.next, m.epoch = to, 50
	next := m.batch(2)
	appendAll(t, l, next)
	flushed(t, l)
	l.Close(false)
	l = open(t, o, nil)
	again, err := copyAll(l.Publish(l.End()))
	if err != nil || l.End() != next.NextOffset() {
		t.Fatalf("ends at %d: %v", l.End(), err)
	}
	rest := again[len(again)-2]
	if !rest.IsGap() || rest.BaseOffset() != all[i].BaseOffset() || rest.NextOffset() != to || rest.LeaderEpoch() != all[i].LeaderEpoch() {
		t.Fatalf("gap from %d to %d", rest.BaseOffset(), rest.LastOffset())
	}
	l.Close(false)
}

// TestSegmentsWithoutRecordsDoNotStopRetention.
func TestSegmentsWithoutRecordsDoNotStopRetention(t *testing.T) {
	o := compacted(vfs.NewMem(vfs.MemOptions{}), 3000)
	o.Settings.DeleteRetentionMs = 0
	l, m := open(t, o, nil), newMaker()
	build := func(timestamp int64) batch.Batch {
		bu := batch.NewBuilder(batch.NoProducer)
		for range 50 {
			bu.Add(timestamp, []byte("k"), nil)
		}
		b := bu.Build(nil)
		b.Stamp(m.next, 0)
		m.next = b.NextOffset()
		return b
	}
	for i := range 10 {
		appendAll(t, l, build(int64(1000+i)))
	}
	flushed(t, l)
	for _, now := range []int64{5000, 5001} { // the second time, the tombstones' time has come
		l.cleaned = 0
		mustClean(t, l, now, l.End())
	}
	if newest, _ := l.segs[0].Max(); newest.Timestamp != messages.NoTimestamp {
		t.Fatalf("the first segment has records of %d", newest.Timestamp)
	}
	s := l.current()
	s.RetentionMs = 1000
	l.Configure(s)
	if n, err := l.Retain(1500, l.End()); n != 0 || err != nil {
		t.Fatalf("%d segments removed, %v", n, err)
	}
	if n, err := l.Retain(9000, l.End()); n < 2 || err != nil || l.Start() != l.End() {
		t.Fatalf("%d segments removed, start %d: %v", n, l.Start(), err)
	}
	l.Close(false)
}

// TestFlippedBitsOfACompactedLog: as before compaction, nothing else is served
// than what was written, and every flipped bit is noticed by who reads everything.
func TestFlippedBitsOfACompactedLog(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 5))
	for round := range 200 {
		o := compacted(vfs.NewMem(vfs.MemOptions{}), 3000)
		l, _ := few(t, o)
		mustClean(t, l, 0, l.End())
		l.Close(false)
		c := l.Checkpoint()
		all, sizes := bases(t, o.FS)
		i := rnd.IntN(len(all) - 1)
		bit := rnd.IntN(int(sizes[i]) * 8)
		change(t, o.FS, fileName(all[i], ".log"), flip(bit))
		for _, known := range []*Checkpoint{&c, nil} {
			l, err := Open(o, known)
			if err == nil {
				_, err = copyAll(l.Publish(l.End()))
				if _, wrong := copyAll(l.Publish(l.End())); (err == nil) != (wrong == nil) {
					t.Fatalf("round %d: read once %v, again %v", round, err, wrong)
				}
				l.cleaned = 0
				if _, _, refused := clean(l, worker(1<<20), 0, l.End()); refused == nil {
					t.Fatalf("round %d: damage was compacted away: %v", round, err)
				}
				l.Close(false)
			}
			if err == nil || !strings.Contains(err.Error(), segment.Name(all[i], ".log")) && !strings.Contains(err.Error(), "after epoch") {
				t.Fatalf("round %d: bit %d of segment %d, checkpoint %t: %v", round, bit, all[i], known != nil, err)
			}
		}
	}
}

// TestEpochsBelowTheLogStartAreForgotten, and what is left of their records in the
// first segment is no damage.
func TestEpochsBelowTheLogStartAreForgotten(t *testing.T) {
	o := compacted(vfs.NewMem(vfs.MemOptions{}), 3000)
	l, _ := few(t, o)
	inside, epochs := 0, l.Epochs()
	for _, e := range epochs[:len(epochs)-1] {
		if err := l.SetStart(e.Start); err != nil {
			t.Fatal(err)
		}
		if l.segs[0].Base() < e.Start {
			inside++
		}
		l.cleaned = 0
		mustClean(t, l, 0, l.End())
	}
	if inside == 0 {
		t.Fatal("no epoch began within a segment")
	}
	l.Close(false)
}
