package log

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"understudy/messages"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// faulty is a log on a disk that can be made to fail, with some records durable.
func faulty(t *testing.T) (o Options, l *Log, disk *vfs.Faulty, m *maker) {
	t.Helper()
	disk = vfs.NewFaulty(vfs.NewMem(vfs.MemOptions{}), nil)
	o = quiet(disk)
	o.Settings.SegmentBytes = 20_000
	o.Files = segment.NewFiles(10)
	l = open(t, o, nil)
	m = newMaker()
	appendAll(t, l, m.batches(20, 5)...)
	flushed(t, l)
	return o, l, disk, m
}

// reopened opens a log again after a failure, as the partition's actor does.
func reopened(t *testing.T, o Options, l *Log) *Log {
	t.Helper()
	l.Close(false)
	c := l.Checkpoint()
	return open(t, o, &c)
}

func wantKind(t *testing.T, err error, kind messages.Kind, words ...string) {
	t.Helper()
	if messages.KindOf(err) != kind {
		t.Fatalf("%v: is of kind %v, want %v", err, messages.KindOf(err), kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Fatalf("%q does not say %q", err, w)
		}
	}
}

func TestFailedWriteFailsTheLog(t *testing.T) {
	for _, short := range []int64{0, 1, 60, 61, 700} {
		o, l, disk, m := faulty(t)
		durable, whole := l.End(), readAll(t, l.Publish(l.End()), 1<<20)
		disk.Add(vfs.Rule{Ops: vfs.OpWrite, Path: "*.log", Err: syscall.EIO, Short: short, Times: 1})
		lost := m.batches(3, 5)
		wantKind(t, l.Append(lost), messages.StorageError, ".log", "input/output error")
		wantKind(t, l.Append(lost), messages.StorageError, "input/output error") // for good
		l.Flush(func(end messages.Offset, err error) { wantKind(t, err, messages.StorageError) })
		wantKind(t, l.Truncate(0), messages.StorageError)
		if got := readAll(t, l.Publish(l.End()), 1<<20); string(got) != string(whole) {
			t.Fatal("readers see something else")
		}
		l = reopened(t, o, l)
		if l.End() < durable || l.End() > durable+5 {
			t.Fatalf("%d bytes written: ends at %d, and %d was durable", short, l.End(), durable)
		}
		m.next = l.End()
		appendAll(t, l, m.batches(3, 5)...)
		flushed(t, l)
		readAll(t, l.Publish(l.End()), 1<<20)
	}
}

func TestDiskFull(t *testing.T) {
	disk := vfs.NewMem(vfs.MemOptions{Limit: 200_000})
	o := quiet(disk)
	o.Settings.SegmentBytes = 30_000
	l := open(t, o, nil)
	m := newMaker()
	var err error
	for err == nil {
		b := m.batches(3, 7)
		before := l.End()
		if err = l.Append(b); err == nil {
			flushed(t, l)
		} else if l.Durable() != before {
			t.Fatalf("durable up to %d, want %d", l.Durable(), before)
		}
	}
	wantKind(t, err, messages.StorageError, "no space left on device")
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	durable := l.Durable()
	l = reopened(t, o, l)
	if l.End() < durable {
		t.Fatalf("ends at %d, and %d was durable", l.End(), durable)
	}
	readAll(t, l.Publish(l.End()), 1<<20)
	// Deleting records makes room again.
	if err := l.SetStart(l.End() / 2); err != nil {
		t.Fatal(err)
	}
	m.next = l.End()
	appendAll(t, l, m.batches(3, 7)...)
	flushed(t, l)
}

func TestFailedSyncFailsTheLogAndIsNotRetried(t *testing.T) {
	o, l, disk, m := faulty(t)
	durable := l.Durable()
	appendAll(t, l, m.batches(4, 5)...)
	fault := disk.Add(vfs.Rule{Ops: vfs.OpSync, Path: "*.log", Err: syscall.EIO, Times: 1})
	l.Flush(func(end messages.Offset, err error) {
		wantKind(t, err, messages.StorageError, ".log", "input/output error")
		if end != durable {
			t.Fatalf("says durable up to %d, was %d", end, durable)
		}
	})
	if fault.Struck() != 1 {
		t.Fatal("nothing failed")
	}
	l.Flush(func(_ messages.Offset, err error) { wantKind(t, err, messages.StorageError) })
	if l.Durable() != durable {
		t.Fatalf("durable up to %d", l.Durable())
	}
	// What the page cache shows of those bytes must be written anew.
	l = reopened(t, o, l)
	if r := l.Report(); l.End() != m.next || r.Rewritten == 0 {
		t.Fatalf("ends at %d: %+v", l.End(), r)
	}
}

// TestAFailedSyncIsNotForgottenWithItsProcess has another process open the log: it
// reads what the failed sync was to write, and cannot know that it is in memory alone.
// It may be the first sync of the log, so that nothing was ever durable.
func TestAFailedSyncIsNotForgottenWithItsProcess(t *testing.T) {
	for name, durable := range map[string]int{"first sync": 0, "another sync": 4} {
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewMem(vfs.MemOptions{PowerCuts: true})
			l, m := open(t, quiet(disk), nil), newMaker()
			if durable > 0 {
				appendAll(t, l, m.batches(durable, 5)...)
				flushed(t, l)
			}
			appendAll(t, l, m.batches(4, 5)...)
			f, err := disk.Open(l.active().Path())
			if err != nil {
				t.Fatal(err)
			}
			f.(interface{ FailSync(bool) }).FailSync(false)
			l = open(t, quiet(disk), nil)
			if l.End() != m.next || l.Durable() != m.next {
				t.Fatalf("ends at %d, durable up to %d, want %d", l.End(), l.Durable(), m.next)
			}
			l = open(t, quiet(disk.Cut(vfs.LoseAll, nil)), nil)
			if l.End() != m.next {
				t.Fatalf("ends at %d, and %d was durable", l.End(), m.next)
			}
			readAll(t, l.Publish(l.End()), 1<<20)
		})
	}
}

// TestWhatAFailureLeftHasNoDurableName makes a file but does not get as far as to use
// it. The log that is opened again goes on in that file, of which the directory, or the
// directory's own name, was never synced.
func TestWhatAFailureLeftHasNoDurableName(t *testing.T) {
	for name, before := range map[string]int{"first segment": 0, "another segment": 20} {
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewMem(vfs.MemOptions{PowerCuts: true})
			if err := errors.Join(disk.MkdirAll("data"), disk.SyncDir(".")); err != nil {
				t.Fatal(err)
			}
			fails := vfs.NewFaulty(disk, nil)
			o := quiet(fails)
			o.Dir = "data/t-0"
			o.Settings.SegmentBytes = 2000
			l, m := open(t, o, nil), newMaker()
			appendAll(t, l, m.batches(before, 5)...)
			flushed(t, l)
			fault := fails.Add(vfs.Rule{Ops: vfs.OpSize, Path: "*.log", Err: syscall.EIO, Times: 1})
			for end := l.End(); fault.Struck() == 0; end = l.End() {
				b := m.batches(1, 5)
				if err := l.Append(b); err == nil {
					flushed(t, l)
				} else if m.next = end; fault.Struck() == 0 {
					t.Fatal(err)
				}
			}
			l = reopened(t, o, l)
			appendAll(t, l, m.batches(1, 5)...)
			flushed(t, l)
			o.FS = disk.Cut(vfs.LoseAll, nil)
			l = open(t, o, nil)
			if l.End() != m.next {
				t.Fatalf("ends at %d, and %d was durable", l.End(), m.next)
			}
		})
	}
}

// TestFailuresOfEveryKind fails one call of a workload after another, opens the log
// again, goes on, and cuts the power.
func TestFailuresOfEveryKind(t *testing.T) {
	ops := map[string]vfs.Op{
		"create": vfs.OpCreate, "rename": vfs.OpRename, "syncdir": vfs.OpSyncDir, "write": vfs.OpWrite,
		"sync": vfs.OpSync, "truncate": vfs.OpTruncate, "remove": vfs.OpRemove, "open": vfs.OpOpen,
		"size": vfs.OpSize, "mkdir": vfs.OpMkdir,
	}
	for name, op := range ops {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(crashSeeds()) {
				for after := 0; failOnce(t, op, seed, after); after++ {
				}
			}
		})
	}
}

// failOnce fails one call of a kind, after some that did not. It reports whether there
// were so many.
func failOnce(t *testing.T, op vfs.Op, seed uint64, after int) bool {
	t.Helper()
	mem := vfs.NewMem(vfs.MemOptions{PowerCuts: true})
	disk := vfs.NewFaulty(mem, nil)
	w := newWorkload(disk, seed)
	fault := disk.Add(vfs.Rule{Ops: op, After: after, Times: 1, Err: syscall.EIO})
	if err := w.run(50); err != nil && !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if fault.Struck() == 0 {
		return false
	}
	disk.Clear()
	if w.log != nil {
		w.log.Close(false)
	}
	err := w.start()
	if err == nil {
		err = w.check(w.log)
	}
	if err == nil {
		w.fs = mem // a disk of which the power can be cut
		err = w.goOn()
	}
	if err != nil {
		t.Fatalf("seed %d, after %d: %v", seed, after, err)
	}
	return true
}

func TestFailedReadIsToldAndHarmless(t *testing.T) {
	_, l, disk, _ := faulty(t)
	v := l.Publish(l.End())
	disk.Add(vfs.Rule{Ops: vfs.OpRead, Path: "*.log", Err: syscall.EIO, Times: 1})
	_, err := v.Read(3, 1000, true)
	wantKind(t, err, messages.StorageError, "00000000000000000000.log", "input/output error")
	readAll(t, v, 1000)
	if l.Err() != nil {
		t.Fatal(l.Err())
	}
}

// TestATruncationThatFailedIsNotClaimedAgainst fails each call of a truncation in turn:
// what was durable before is not missed afterwards.
func TestATruncationThatFailedIsNotClaimedAgainst(t *testing.T) {
	truncations := map[string]func(l *Log) error{
		"to 40": func(l *Log) error { return l.Truncate(40) },
		"all":   func(l *Log) error { return l.TruncateAll(500) },
	}
	for name, truncation := range truncations {
		for after := 0; ; after++ {
			o, l, disk, m := faulty(t)
			fault := disk.Add(vfs.Rule{Ops: vfs.OpAny &^ vfs.OpClose, After: after, Times: 1, Err: syscall.EIO})
			err := truncation(l)
			if fault.Struck() == 0 {
				break
			}
			if err == nil {
				continue // what failed was a hint
			}
			l.Close(false)
			c := l.Checkpoint()
			if l, err = Open(o, &c); err != nil {
				t.Fatalf("%s, after %d: %v", name, after, err)
			}
			m.next = l.End()
			appendAll(t, l, m.batches(3, 5)...)
			flushed(t, l)
			l = reopened(t, o, l)
			if l.End() != m.next {
				t.Fatalf("%s, after %d: ends at %d, want %d", name, after, l.End(), m.next)
			}
		}
	}
}

// TestWhatATruncationHasLeftIsGoneForGood fails each call of a truncation to where a
// segment begins, or of all. What the next opening does not find must not come back, by
// a power cut, neither records nor their epochs.
func TestWhatATruncationHasLeftIsGoneForGood(t *testing.T) {
	truncations := map[string]func(l *Log) error{
		"to a segment": func(l *Log) error { return l.Truncate(l.segs[1].Base()) },
		"all":          func(l *Log) error { return l.TruncateAll(500) },
	}
	for name, truncation := range truncations {
		for after := 0; ; after++ {
			mem := vfs.NewMem(vfs.MemOptions{PowerCuts: true})
			disk := vfs.NewFaulty(mem, nil)
			o := quiet(disk)
			o.Settings.SegmentBytes = 2000
			l, m := open(t, o, nil), newMaker()
			m.epoch = 4
			appendAll(t, l, m.batches(10, 5)...)
			if err := l.SetStart(7); err != nil {
				t.Fatal(err)
			}
			fault := disk.Add(vfs.Rule{Ops: vfs.OpAny &^ vfs.OpClose, After: after, Times: 1, Err: syscall.EIO})
			_ = truncation(l)
			if fault.Struck() == 0 {
				break
			}
			l = reopened(t, o, l)
			start, end := l.Start(), l.End()
			o.FS = mem.Cut(vfs.LoseAll, nil)
			l = open(t, o, nil)
			if l.Start() != start || l.End() != end {
				t.Fatalf("%s, after %d: %d to %d, after the power cut %d to %d", name, after, start, end, l.Start(), l.End())
			}
			if l.End() > l.Start() {
				continue
			}
			if err := l.roll(l.End()); err != nil {
				t.Fatal(err)
			}
			if l = reopened(t, o, l); len(l.Epochs()) > 0 {
				t.Fatalf("%s, after %d: nothing is there, of epochs %v", name, after, l.Epochs())
			}
		}
	}
}

// TestASnapshotThatCannotBeReadIsNotPassedOver fails a call on the only snapshot by which
// a producer is known: its batches were deleted.
func TestASnapshotThatCannotBeReadIsNotPassedOver(t *testing.T) {
	for _, clean := range []bool{false, true} {
		o, l, disk, m := faulty(t)
		m.producer = 7
		appendAll(t, l, m.batches(2, 5)...)
		m.producer = messages.NoProducerID
		for s := l.active(); l.active() == s; {
			appendAll(t, l, m.batches(1, 5)...)
		}
		if err := errors.Join(l.SetStart(l.active().Base()), l.Close(clean)); err != nil {
			t.Fatal(err)
		}
		c := l.Checkpoint()
		for _, op := range []vfs.Op{vfs.OpOpen, vfs.OpSize, vfs.OpRead} {
			l = open(t, o, &c)
			disk.Add(vfs.Rule{Ops: op, Path: "*.snapshot", Err: syscall.EMFILE, Times: 1})
			if n := l.Producers().Len(); l.Err() == nil {
				t.Errorf("%v failed, and %d producers are known", op, n)
			}
			l = reopened(t, o, l)
			if l.Producers().Len() != 1 {
				t.Error("the producer is not known")
			}
			l.Close(false)
		}
	}
}

// TestTheOnlySnapshotIsNotWrittenOver fails the writing of a snapshot where there is one
// already, and no batches any more.
func TestTheOnlySnapshotIsNotWrittenOver(t *testing.T) {
	o, l, disk, m := faulty(t)
	m.producer = 7
	appendAll(t, l, m.batches(2, 5)...)
	s := o.Settings
	s.RetentionMs = 1
	l.Configure(s)
	if _, err := l.Retain(m.timestamp+1000, l.End()); err != nil || l.Start() != l.End() {
		t.Fatal(l.Start(), l.End(), err)
	}
	l = reopened(t, o, l)
	if n := l.Producers().Len(); n != 1 {
		t.Fatalf("%d producers are known", n)
	}
	disk.Add(vfs.Rule{Ops: vfs.OpWrite, Path: "*.snapshot", Err: syscall.ENOSPC, Times: 1})
	_ = l.Close(true) // whether it needs to write one or not
	disk.Clear()
	l = open(t, o, nil)
	if n := l.Producers().Len(); n != 1 {
		t.Errorf("%d producers are known", n)
	}
}
