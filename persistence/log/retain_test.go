package log

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/flush"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// segmented is a log of segments of about ten batches, one batch a second.
func segmented(t testing.TB) (o Options, l *Log, m *maker, written []batch.Batch) {
	t.Helper()
	o = quiet(vfs.NewMem(vfs.MemOptions{}))
	m = newMaker()
	one := m.batch(3)
	o.Settings.SegmentBytes = int64(10*len(one) + 50)
	o.Files = segment.NewFiles(20)
	l = open(t, o, nil)
	m = newMaker()
	for range 100 {
		m.timestamp += 997
		written = append(written, m.batch(3))
	}
	appendAll(t, l, written...)
	flushed(t, l)
	return o, l, m, written
}

func TestRetentionBySize(t *testing.T) {
	o, l, _, written := segmented(t)
	limit := 3*o.Settings.SegmentBytes + 10
	s := o.Settings
	s.RetentionBytes = limit
	l.Configure(s)
	if n, err := l.Retain(0, 40); err != nil || n != 1 { // nothing above the high watermark
		t.Fatal(n, err)
	}
	n, err := l.Retain(0, l.End())
	if err != nil || n == 0 || l.Size() < limit || l.Size()-l.segs[0].Size() >= limit {
		t.Fatalf("%d removed, %d bytes left, %v", n, l.Size(), err)
	}
	if l.Start() != l.segs[0].Base() {
		t.Fatalf("starts at %d", l.Start())
	}
	wantBytes(t, l, written[l.Start()/3:])
	l.Close(false)
	l = open(t, o, nil)
	wantBytes(t, l, written[l.Start()/3:])
}

func TestRetentionByTime(t *testing.T) {
	o, l, m, written := segmented(t)
	s := o.Settings
	s.RetentionMs = 50_000
	l.Configure(s)
	if _, err := l.Retain(m.timestamp, l.End()); err != nil {
		t.Fatal(err)
	}
	newest := func(i int) int64 {
		stamp, err := l.segs[i].Max()
		if err != nil {
			t.Fatal(err)
		}
		return stamp.Timestamp
	}
	if oldest := m.timestamp - newest(0); oldest > 50_000 || oldest < 35_000 {
		t.Fatalf("oldest segment is of %d ms ago", oldest)
	}
	wantBytes(t, l, written[l.Start()/3:])
	// In the end the active segment goes too, and the log goes on.
	if n, err := l.Retain(m.timestamp+60_000, l.End()); err != nil || n == 0 || l.Start() != l.End() || l.Size() != 0 {
		t.Fatalf("%d removed, %d to %d, %v", n, l.Start(), l.End(), err)
	}
	more := m.batches(3, 2)
	appendAll(t, l, more...)
	flushed(t, l)
	l.Close(false)
	wantBytes(t, open(t, o, nil), more)
}

func TestRollByTime(t *testing.T) {
	o := quiet(vfs.NewMem(vfs.MemOptions{}))
	o.Settings.SegmentMs = 1000
	l := open(t, o, nil)
	m := newMaker()
	appendAll(t, l, m.batch(1))
	first := m.timestamp
	m.timestamp = first + 999
	appendAll(t, l, m.batch(1))
	if len(l.segs) != 1 {
		t.Fatal("rolled too early")
	}
	appendAll(t, l, m.batch(1))
	if len(l.segs) != 2 {
		t.Fatal("not rolled")
	}
	if err := l.RollIfOld(m.timestamp + 1000); err != nil || len(l.segs) != 2 {
		t.Fatal("rolled too early", err)
	}
	for range 2 { // an empty segment does not grow old
		if err := l.RollIfOld(m.timestamp + 5000); err != nil || len(l.segs) != 3 {
			t.Fatal(len(l.segs), err)
		}
	}
}

func TestRelativeOffsetsDoNotOverflow(t *testing.T) {
	l := open(t, quiet(vfs.NewMem(vfs.MemOptions{})), nil)
	m := newMaker()
	if err := l.TruncateAll(100); err != nil {
		t.Fatal(err)
	}
	m.next = 100
	appendAll(t, l, m.batch(1))
	far := m.batch(1)
	f := far.Fields()
	f.BaseOffset, f.LastOffsetDelta = 101, 1<<31-1
	wide := batch.Assemble(nil, f, far.Payload()) // takes up all offsets that are left
	appendAll(t, l, wide)
	if len(l.segs) != 2 || l.segs[1].Base() != 101 {
		t.Fatalf("%d segments", len(l.segs))
	}
	flushed(t, l)
	wantRead(t, l, 5000, wide)
}

func wantRead(t *testing.T, l *Log, at messages.Offset, want batch.Batch) {
	t.Helper()
	s, err := l.Publish(l.End()).Read(at, 1, true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	if got, err := s.Bytes(nil); err != nil || !bytes.Equal(got, want) {
		t.Fatal("other bytes", err)
	}
}

func TestDeletedRecordsAreGoneAtOnce(t *testing.T) {
	o, l, _, written := segmented(t)
	if err := l.SetStart(l.End() + 1); messages.KindOf(err) != messages.OffsetOutOfRange {
		t.Fatal(err)
	}
	before := l.Publish(l.End())
	if err := l.SetStart(100); err != nil {
		t.Fatal(err)
	}
	v := l.Publish(l.End())
	if _, err := v.Read(99, 100, true); messages.KindOf(err) != messages.OffsetOutOfRange {
		t.Fatal(err)
	}
	wantRead(t, l, 100, written[33]) // the whole batch, as a client expects
	// Who still has the view of before is told that it is too old.
	if _, err := before.Read(0, 100, true); messages.KindOf(err) != messages.OffsetOutOfRange {
		t.Fatal(err)
	}
	if err := l.SetStart(50); err != nil || l.Start() != 100 {
		t.Fatal("the start went back", err)
	}
	l.Close(false)
	l = open(t, o, nil)
	if l.Start() != 100 {
		t.Fatalf("starts at %d", l.Start())
	}
	all, _ := bases(t, o.FS)
	if all[0] > 100 || len(all) > 1 && all[1] <= 100 {
		t.Fatalf("segments %v", all)
	}
}

func TestReadersKeepDeletedSegments(t *testing.T) {
	o, l, _, written := segmented(t)
	s, err := l.Publish(l.End()).Read(0, 2000, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.SetStart(l.End()); err != nil {
		t.Fatal(err)
	}
	deleted := func() (names []string) {
		entries, err := o.FS.ReadDir(o.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name, segment.DeletedSuffix) {
				names = append(names, e.Name)
			}
		}
		return names
	}
	if got := deleted(); len(got) != 3 || got[1] != "00000000000000000000.log.deleted" {
		t.Fatalf("deleted: %v", got)
	}
	got, err := s.Bytes(nil)
	if err != nil || !bytes.HasPrefix(join2(written), got) {
		t.Fatal("other bytes", err)
	}
	s.Release()
	if got := deleted(); len(got) != 0 {
		t.Fatalf("still there: %v", got)
	}
}

func TestLeftoversAreRemovedAtOpen(t *testing.T) {
	o, l, _, written := segmented(t)
	s, err := l.Publish(l.End()).Read(0, 2000, true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	if err := l.SetStart(60); err != nil {
		t.Fatal(err)
	}
	l.Close(false)
	l = open(t, o, nil)
	wantBytes(t, l, written[20:])
	entries, err := o.FS.ReadDir(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name, segment.DeletedSuffix) {
			t.Fatal(e.Name)
		}
	}
}

func TestTruncate(t *testing.T) {
	for _, to := range []messages.Offset{299, 298, 150, 151, 152, 31, 1, 0} {
		o, l, _, written := segmented(t)
		keep := int(to / 3)
		if err := l.Truncate(to); err != nil {
			t.Fatal(err)
		}
		if l.End() != int64(keep)*3 || l.Durable() != l.End() {
			t.Fatalf("to %d: ends at %d, durable up to %d", to, l.End(), l.Durable())
		}
		wantBytes(t, l, written[:keep])
		m := newMaker()
		m.next, m.epoch = l.End(), 1
		more := m.batches(50, 2)
		appendAll(t, l, more...)
		flushed(t, l)
		want := append(slices.Clone(written[:keep]), more...)
		wantBytes(t, l, want)
		wantTimes(t, l, want)
		l.Close(false)
		l = open(t, o, nil)
		wantBytes(t, l, want)
	}
}

func TestTruncateAll(t *testing.T) {
	for _, start := range []messages.Offset{0, 100, 1000} {
		o, l, _, _ := segmented(t)
		if err := l.TruncateAll(start); err != nil {
			t.Fatal(err)
		}
		if l.Start() != start || l.End() != start || l.Durable() != start || l.Size() != 0 || len(l.Epochs()) != 0 {
			t.Fatalf("%d to %d", l.Start(), l.End())
		}
		c := l.Checkpoint()
		l.Close(false)
		l = open(t, o, &c)
		m := newMaker()
		m.next = start
		written := m.batches(20, 3)
		appendAll(t, l, written...)
		flushed(t, l)
		if err := l.Close(true); err != nil {
			t.Fatal(err)
		}
		c = l.Checkpoint()
		wantBytes(t, open(t, o, &c), written)
	}
}

func TestEndOffsetFor(t *testing.T) {
	l := open(t, quiet(vfs.NewMem(vfs.MemOptions{})), nil)
	m := newMaker()
	for _, epoch := range []int32{1, 1, 4, 5} {
		m.epoch = epoch
		appendAll(t, l, m.batch(10))
	}
	for _, c := range []struct {
		asked, epoch messages.LeaderEpoch
		end          messages.Offset
	}{{-1, -1, -1}, {0, 0, 0}, {1, 1, 20}, {2, 1, 20}, {3, 1, 20}, {4, 4, 30}, {5, 5, 40}, {6, -1, -1}} {
		if epoch, end := l.EndOffsetFor(c.asked); epoch != c.epoch || end != c.end {
			t.Errorf("epoch %d: %d up to %d, want %d up to %d", c.asked, epoch, end, c.epoch, c.end)
		}
	}
}

func TestDelete(t *testing.T) {
	o, l, _, _ := segmented(t)
	if err := l.Delete(); err != nil {
		t.Fatal(err)
	}
	if entries, err := o.FS.ReadDir("."); err != nil || len(entries) != 0 {
		t.Fatal(entries, err)
	}
	if err := RemoveDir(o.FS, o.Dir); err != nil {
		t.Fatal(err)
	}
	if n := o.Files.Len(); n != 0 {
		t.Fatalf("%d files open", n)
	}
	// A removal that was interrupted is completed.
	if err := o.FS.MkdirAll(o.Dir + deletedDir); err != nil {
		t.Fatal(err)
	}
	if err := RemoveLeftovers(o.FS, "."); err != nil {
		t.Fatal(err)
	}
	if entries, err := o.FS.ReadDir("."); err != nil || len(entries) != 0 {
		t.Fatal(entries, err)
	}
}

// TestIdleLogsHoldNothingOpen opens many logs with few files.
func TestIdleLogsHoldNothingOpen(t *testing.T) {
	fs := vfs.NewMem(vfs.MemOptions{})
	files := segment.NewFiles(10)
	var logs []*Log
	for i := range 100 {
		o := quiet(fs)
		o.Dir, o.Files = fmt.Sprint("t-", i), files
		l := open(t, o, nil)
		m := newMaker()
		appendAll(t, l, m.batches(3, 3)...)
		flushed(t, l)
		logs = append(logs, l)
	}
	if n := files.Len(); n > 10 {
		t.Fatalf("%d files open", n)
	}
	for _, l := range logs {
		readAll(t, l.Publish(l.End()), 100)
	}
	if n := files.Len(); n > 10 {
		t.Fatalf("%d files open", n)
	}
	for _, l := range logs {
		if err := l.Close(true); err != nil {
			t.Fatal(err)
		}
		c := l.Checkpoint()
		o := l.o
		reopened := open(t, o, &c)
		reopened.Publish(reopened.End())
	}
	if n := files.Len(); n != 0 {
		t.Fatalf("%d files open", n)
	}
}

func TestALogAtRestGivesMemoryBack(t *testing.T) {
	o := quiet(vfs.NewMem(vfs.MemOptions{}))
	o.Settings.IndexIntervalBytes = 1
	l := open(t, o, nil)
	m := newMaker()
	written := m.batches(50, 2)
	appendAll(t, l, written...)
	flushed(t, l)
	before := l.Publish(l.End() - 20)
	for range 2 {
		if err := l.RollIfOld(m.timestamp); err != nil {
			t.Fatal(err)
		}
	}
	if l.recent != nil {
		t.Fatal("still remembers what was appended last")
	}
	readAll(t, before, 100)
	wantBytes(t, l, written)
	more := m.batches(50, 2)
	appendAll(t, l, more...)
	wantBytes(t, l, append(written, more...))
	wantTimes(t, l, append(written, more...))
}

// TestReadersBesideTheOwner lets readers loose on the views of a log that is
// appended to, flushed, rolled and cut at its start.
func TestReadersBesideTheOwner(t *testing.T) {
	scheduler := flush.New(flush.Options{})
	defer scheduler.Close()
	o := quiet(vfs.OS(t.TempDir()))
	o.Flush, o.Files = scheduler, segment.NewFiles(4)
	o.Settings.SegmentBytes, o.Settings.IndexIntervalBytes, o.Settings.RetentionBytes = 20_000, 200, 60_000
	l := open(t, o, nil)
	var latest atomic.Pointer[View]
	latest.Store(l.Publish(0))
	var stop atomic.Bool
	var readers sync.WaitGroup
	for seed := range uint64(3) {
		readers.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 0))
			for !stop.Load() {
				readSome(t, latest.Load(), rnd)
			}
		})
	}
	m := newMaker()
	m.producer = 1
	var pending sync.WaitGroup
	for i := range 400 {
		appendAll(t, l, m.batches(1+m.rnd.IntN(5), 1+m.rnd.IntN(4))...)
		pending.Add(1)
		l.Flush(func(_ messages.Offset, err error) {
			if err != nil {
				t.Error(err)
			}
			pending.Done()
		})
		latest.Store(l.Publish(l.End() - m.rnd.Int64N(10)))
		if i%10 == 0 {
			if _, err := l.Retain(m.timestamp, l.End()); err != nil {
				t.Fatal(err)
			}
		}
		l.Checkpoint()
	}
	pending.Wait()
	stop.Store(true)
	readers.Wait()
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
	if n := o.Files.Len(); n != 0 {
		t.Fatalf("%d files open", n)
	}
}

// readSome reads anywhere in a view that may be out of date.
func readSome(t *testing.T, v *View, rnd *rand.Rand) {
	if v.HighWatermark <= v.LogStart {
		return
	}
	from := v.LogStart + rnd.Int64N(v.HighWatermark-v.LogStart)
	s, err := v.Read(from, rnd.IntN(5000), true)
	if err != nil || s == nil {
		if err != nil && messages.KindOf(err) != messages.OffsetOutOfRange {
			t.Error(err)
		}
		return
	}
	defer s.Release()
	got, err := s.Bytes(nil)
	if err != nil {
		t.Error(err)
		return
	}
	b, _, err := batch.Next(got)
	if err != nil || b.BaseOffset() > from || b.LastOffset() < from || b.CheckCRC() != nil {
		t.Errorf("at %d: %v", from, err)
	}
	if _, _, _, err := v.OffsetForTime(b.MaxTimestamp()); err != nil && messages.KindOf(err) != messages.OffsetOutOfRange {
		t.Error(err)
	}
}

// TestIndexesWithoutALogAreRemoved kills the process while a segment is taken away: of its
// files the log goes first. What stays would be found by a later segment of its name.
func TestIndexesWithoutALogAreRemoved(t *testing.T) {
	o, l, _, written := segmented(t)
	first, second := l.segs[0].Base(), l.segs[1].Base()
	if err := l.SetStart(second); err != nil {
		t.Fatal(err)
	}
	l.Close(false)
	writeFiles(t, o.FS, map[string][]byte{
		segment.Name(first, segment.IndexSuffix): make([]byte, segment.EntrySize),
		segment.Name(first, segment.TimeSuffix):  make([]byte, segment.TimeEntrySize),
	})
	l = open(t, o, nil)
	wantBytes(t, l, written[second/3:])
	for name := range copyFiles(t, o.FS) {
		if base, suffix, ok := segment.ParseName(name); ok && base == first && suffix != snapshotSuffix {
			t.Error(name, "is still there")
		}
	}
}

// TestNothingIsLeftBehindByALogClosedInOrder: the next opening does not look for it.
func TestNothingIsLeftBehindByALogClosedInOrder(t *testing.T) {
	for _, reading := range []bool{false, true} {
		disk := vfs.NewMem(vfs.MemOptions{PowerCuts: true})
		o := quiet(disk)
		o.Settings.SegmentBytes = 2000
		l, m := open(t, o, nil), newMaker()
		appendAll(t, l, m.batches(10, 5)...)
		if err := l.Close(true); err != nil {
			t.Fatal(err)
		}
		c := l.Checkpoint()
		l = open(t, o, &c)
		if reading { // until after the log is closed
			s, err := l.Publish(l.End()).Read(0, 100, true)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Release()
		}
		if err := errors.Join(l.SetStart(l.segs[2].Base()), l.Close(true)); err != nil {
			t.Fatal(err)
		}
		o.FS = disk.Cut(vfs.LoseAll, nil)
		for name := range copyFiles(t, o.FS) {
			if base, suffix, ok := segment.ParseName(name); ok && (base < l.segs[0].Base() || isLeftover(suffix)) {
				t.Errorf("reading %t: %s is still there", reading, name)
			}
		}
	}
}

// TestAClosedLogIsNotOutOfRange reads by a view whose log was closed meanwhile. Nothing was
// deleted, and a consumer that is told so would go on at the end, or begin again.
func TestAClosedLogIsNotOutOfRange(t *testing.T) {
	for _, clean := range []bool{false, true} {
		_, l, _, written := segmented(t)
		v := l.Publish(l.End())
		if err := l.Close(clean); err != nil {
			t.Fatal(err)
		}
		_, err := v.Read(100, 1000, true)
		wantKind(t, err, messages.ReplicaNotAvailable, "closed")
		_, _, _, err = v.OffsetForTime(written[50].MaxTimestamp())
		wantKind(t, err, messages.ReplicaNotAvailable, "closed")
	}
}
