package log

import (
	"errors"
	"slices"
	"testing"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// TestWhatARecoveryFoundIsThereForTheNext opens a log twice after a process that
// died: the second recovery need not read what the first has made durable, so
// the epochs that the first found there must be written down.
func TestWhatARecoveryFoundIsThereForTheNext(t *testing.T) {
	fs := vfs.NewMem(vfs.MemOptions{})
	l := open(t, quiet(fs), nil)
	m := newMaker()
	appendAll(t, l, m.batch(3))
	flushed(t, l)
	c := l.Checkpoint()
	m.epoch = 7
	appendAll(t, l, m.batch(2)) // the process dies before it is synced
	want := []replica.EpochStart{{Epoch: 0, Start: 0}, {Epoch: 7, Start: 3}}
	for n := range 3 {
		l = open(t, quiet(fs), &c)
		if got := l.Epochs(); !slices.Equal(got, want) || l.End() != 5 {
			t.Fatalf("opening %d: epochs %v, end %d; want %v, 5", n+1, got, l.End(), want)
		}
		if err := l.Close(false); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWhatWasTruncatedIsNotCommitted truncates below what a checkpoint says to be
// committed, and lets the log grow beyond that again.
func TestWhatWasTruncatedIsNotCommitted(t *testing.T) {
	l := open(t, quiet(vfs.NewMem(vfs.MemOptions{})), nil)
	m := newMaker()
	appendAll(t, l, m.batches(5, 2)...)
	flushed(t, l)
	c := l.Checkpoint()
	c.Committed = 8
	if got := l.Committed(&c); got != 8 {
		t.Errorf("committed %d, want 8", got)
	}
	if err := l.Truncate(4); err != nil {
		t.Fatal(err)
	}
	m.next = 4
	appendAll(t, l, m.batches(5, 2)...)
	if got := l.Committed(&c); got != 4 {
		t.Errorf("committed %d after a truncation to 4", got)
	}
	c = l.Checkpoint()
	c.Committed = 6
	if got := l.Committed(&c); got != 6 {
		t.Errorf("committed %d, as of after the truncation, want 6", got)
	}
}

// TestALogOfAnotherBrokerIsOpenedTwice takes over segments of which the first were
// deleted long ago. The process is killed before there is a checkpoint of them.
func TestALogOfAnotherBrokerIsOpenedTwice(t *testing.T) {
	o, l, _, written := segmented(t)
	l.Close(false)
	first := l.segs[3].Base()
	for name := range copyFiles(t, o.FS) {
		base, suffix, ok := segment.ParseName(name)
		if !ok || base < first || suffix == snapshotSuffix {
			if err := o.FS.Remove(join(o.Dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 3 {
		l = open(t, o, nil)
		if l.Start() != first {
			t.Fatalf("starts at %d, want %d", l.Start(), first)
		}
		wantBytes(t, l, written[first/3:])
		l.Close(false)
	}
}

// TestProducersOutliveTheirRecords kills the process, or cuts the power, between a roll
// and the next flush, and then cuts the power again: a snapshot that no flush has synced is
// as good as any when the segment before it is deleted.
func TestProducersOutliveTheirRecords(t *testing.T) {
	for _, cut := range []bool{false, true} {
		disk := vfs.NewMem(vfs.MemOptions{PowerCuts: true})
		o := quiet(disk)
		o.Settings.SegmentBytes = 2000
		l, m := open(t, o, nil), newMaker()
		m.producer = 7
		appendAll(t, l, m.batches(1, 5)...)
		m.producer = messages.NoProducerID
		for len(l.segs) < 2 {
			flushed(t, l)
			appendAll(t, l, m.batches(1, 5)...)
		}
		base := l.active().Base()
		if cut { // of the snapshot nothing but its name is on the disk
			f, err := disk.Open(join(o.Dir, segment.Name(base, segment.LogSuffix)))
			if err := errors.Join(err, f.Sync(), disk.SyncDir(o.Dir)); err != nil {
				t.Fatal(err)
			}
			disk = disk.Cut(vfs.LoseAll, nil)
			o.FS = disk
		}
		open(t, o, nil)
		disk = disk.Cut(vfs.LoseAll, nil)
		o.FS = disk
		l = open(t, o, nil)
		if err := l.SetStart(base); err != nil || l.segs[0].Base() != base {
			t.Fatal(err, l.segs[0].Base())
		}
		l.Close(false)
		if l = open(t, o, nil); l.Producers().Len() != 1 {
			t.Errorf("power cut %t: the producer is not known", cut)
		}
	}
}
