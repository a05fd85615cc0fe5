package log

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/messages/codec"
	"understudy/messages/producer"
	"understudy/persistence/compact"
	"understudy/persistence/vfs"
)

// one is a record as these tests compare it.
type one struct {
	offset     messages.Offset
	timestamp  int64
	key, value string
	headers    string
	tombstone  bool
}

// unpack gives the records of batches.
func unpack(t testing.TB, batches []batch.Batch) (all []one) {
	t.Helper()
	for _, b := range batches {
		for r, err := range codec.Records(b, 1<<30) {
			if err != nil {
				t.Fatal(err)
			}
			o := one{r.Offset(b), r.Timestamp(b), string(r.Key), string(r.Value), "", r.Value == nil}
			for h, err := range r.Headers() {
				if err != nil {
					t.Fatal(err)
				}
				o.headers += fmt.Sprintf("%s=%s ", h.Key, h.Value)
			}
			all = append(all, o)
		}
	}
	return all
}

// fetchAll reads a view as consumers do, in pieces of a size.
func fetchAll(t testing.TB, v *View, piece int) (all []batch.Batch) {
	t.Helper()
	for from := v.LogStart; from < v.HighWatermark; {
		s, err := v.Read(from, piece, true)
		if err != nil {
			t.Fatal(err)
		}
		if s == nil {
			break
		}
		buf, err := s.Bytes(nil)
		if err != nil || len(buf) != s.Len() {
			t.Fatalf("%d bytes of %d: %v", len(buf), s.Len(), err)
		}
		s.Release()
		for len(buf) > 0 {
			b, rest, err := batch.Next(buf)
			if errors.Is(err, batch.ErrShort) {
				break
			}
			if err != nil || b.CheckCRC() != nil || b.NextOffset() <= from || b.IsEmpty() {
				t.Fatalf("at %d: batch at %d with %d records: %v", from, b.BaseOffset(), b.NumRecords(), err)
			}
			all, buf, from = append(all, b), rest, b.NextOffset()
		}
	}
	return all
}

// copyAll reads a view as replication does.
func copyAll(v *View) (all []batch.Batch, err error) {
	for from := v.LogStart; from < v.HighWatermark; {
		s, err := v.ReadAll(from, 1)
		if err != nil {
			return nil, err
		}
		buf, err := s.Bytes(nil)
		s.Release()
		if err != nil {
			return nil, err
		}
		b, _, err := batch.Next(buf)
		if err != nil || b.BaseOffset() > from || b.NextOffset() <= from {
			return nil, fmt.Errorf("at %d: batch at %d: %w", from, b.BaseOffset(), err)
		}
		all, from = append(all, b), b.NextOffset()
	}
	return all, nil
}

func worker(memory int64) *compact.Worker {
	return &compact.Worker{Map: compact.NewMap(memory), Pace: func(int) error { return nil }}
}

// clean compacts all that may be. It reports whether there was anything.
func clean(l *Log, w *compact.Worker, now int64, hw messages.Offset) (compact.Stats, bool, error) {
	c, err := l.BeginClean(now, hw, false)
	if c == nil || err != nil {
		return compact.Stats{}, false, err
	}
	to, stats, err := w.Run(&c.Job, func(r compact.Replacement) error { return l.Swap(c, r) })
	c.Ended()
	l.EndClean(c, to)
	return stats, true, err
}

func mustClean(t testing.TB, l *Log, now int64, hw messages.Offset) compact.Stats {
	t.Helper()
	stats, some, err := clean(l, worker(1<<20), now, hw)
	if err != nil || !some {
		t.Fatalf("compacted %t, %v", some, err)
	}
	return stats
}

// latest are the last records of all keys.
func latest(all []one) map[string]one {
	last := map[string]one{}
	for _, r := range all {
		last[r.key] = r
	}
	return last
}

// compacted is a compacted topic's options on a disk.
func compacted(fs vfs.FS, segmentBytes int64) Options {
	o := quiet(fs)
	o.Settings.SegmentBytes, o.Settings.IndexIntervalBytes = segmentBytes, 200
	o.Settings.Compact, o.Settings.DeleteRetentionMs, o.Settings.MaxCompactionLagMs = true, 1000, 1<<60
	return o
}

// TestTheLastOfEveryKeyStays compares logs of random records, compacted several
// times, with what was written.
func TestTheLastOfEveryKeyStays(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		m := newMaker()
		m.rnd, m.keys, m.size = rand.New(rand.NewPCG(seed, 8)), 1+rnd.IntN(60), 8*rnd.IntN(20)
		o := compacted(vfs.NewMem(vfs.MemOptions{}), int64(2000<<rnd.IntN(4)))
		l := open(t, o, nil)
		small := worker(0)
		small.Map = compact.NewMap(1) // as few keys as there can be
		now := m.timestamp
		var written []batch.Batch
		for range 1 + rnd.IntN(5) {
			for range rnd.IntN(80) {
				m.codec = batch.Codec(rnd.IntN(5))
				m.producer, m.sequence = int64(rnd.IntN(5))-1, int32(m.next)
				if rnd.IntN(20) == 0 {
					m.epoch++
				}
				written = append(written, m.batch(1+rnd.IntN(6)))
				appendAll(t, l, written[len(written)-1])
			}
			flushed(t, l)
			w := worker(1 << 20)
			if rnd.IntN(3) == 0 {
				w = small
			}
			before := l.Publish(l.End())
			if _, _, err := clean(l, w, now, l.End()); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			compareCompacted(t, l, written, now, fmt.Sprintf("seed %d", seed))
			if stale := fetchAll(t, before, 1000); !maps.Equal(latest(unpack(t, stale)), latest(unpack(t, fetchAll(t, l.Publish(l.End()), 300)))) {
				t.Fatalf("seed %d: a view of before the compaction shows other records", seed)
			}
			now += int64(rnd.IntN(1500))
		}
		if err := l.Close(rnd.IntN(2) == 0); err != nil {
			t.Fatal(err)
		}
		c := l.Checkpoint()
		l = open(t, o, &c)
		compareCompacted(t, l, written, now, fmt.Sprintf("seed %d, opened again", seed))
		l.Close(false)
		l = open(t, o, nil)
		compareCompacted(t, l, written, now, fmt.Sprintf("seed %d, recovered", seed))
		l.Close(false)
	}
}

// TestAProducersLastCommittedBatchesStay compacts a log at whose end a producer has written
// what is not committed. A replica may be sent the log as it is then, and have to take back
// the end: of the producer it must know all that was committed, and that may be sent again.
func TestAProducersLastCommittedBatchesStay(t *testing.T) {
	l, m := open(t, compacted(vfs.NewMem(vfs.MemOptions{}), 1000), nil), newMaker()
	m.keys = 1
	write := func(id messages.ProducerID) {
		m.producer = id
		appendAll(t, l, m.batch(1))
	}
	for range producer.Remembered + 1 {
		write(7)
	}
	last := l.End() - 1
	for len(l.segs) < 4 {
		write(messages.NoProducerID)
	}
	committed := l.segs[3].Base()
	write(7)
	flushed(t, l)
	mustClean(t, l, m.timestamp, committed)
	all, err := copyAll(l.Publish(l.End()))
	if err != nil {
		t.Fatal(err)
	}
	for i := range messages.Offset(producer.Remembered + 1) {
		left := slices.ContainsFunc(all, func(b batch.Batch) bool { return b.ProducerID() == 7 && b.LastOffset() == last-i })
		if left != (i < producer.Remembered) {
			t.Errorf("of the producer's batch at %d something is left: %t", last-i, left)
		}
	}
}

// TestTheLastBatchOfWhoMadeRoomStays compacts a log at whose end, not committed, so many
// new producers have written that one is forgotten that had written before.
func TestTheLastBatchOfWhoMadeRoomStays(t *testing.T) {
	for _, expired := range []bool{false, true} {
		l, m := open(t, compacted(vfs.NewMem(vfs.MemOptions{}), 1000), nil), newMaker()
		m.keys, m.producer = 1, 7
		appendAll(t, l, m.batch(1))
		m.producer = messages.NoProducerID
		for len(l.segs) < 4 {
			appendAll(t, l, m.batch(1))
		}
		flushed(t, l)
		known := l.Producers()
		if expired {
			known.Expire(1, 1)
			known.Expire(2, 1)
		} else {
			f := batch.NoProducer
			for i := range int64(producer.Most) {
				f.ProducerID, f.ProducerEpoch, f.BaseSequence, f.NumRecords = 8+i, 0, 0, 1
				b := batch.Assemble(nil, f, nil)
				b.Stamp(l.End()+i, m.epoch)
				known.Apply(b)
			}
		}
		if known.Has(7) {
			t.Fatal("the producer is known")
		}
		last, err := l.lastBatches(l.segs[3].Base())
		if _, kept := last[7]; err != nil || kept == expired {
			t.Errorf("expired %t: its last batch is kept: %t, %v", expired, kept, err)
		}
	}
}

// compareCompacted checks a compacted log against all that was ever written to it.
func compareCompacted(t *testing.T, l *Log, written []batch.Batch, now int64, when string) {
	t.Helper()
	if err := matchesCompacted(l, outcome{history{batches: written}, l.End()}); err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	all := unpack(t, written)
	last, got := latest(all), unpack(t, fetchAll(t, l.Publish(l.End()), 500))
	at := messages.NoOffset
	for _, r := range got {
		if r.offset <= at || !slices.Contains(all, r) {
			t.Fatalf("%s: read %+v after offset %d, which was not written", when, r, at)
		}
		at = r.offset
		if r.offset < l.cleaned && last[r.key].offset < l.cleaned && last[r.key] != r {
			t.Fatalf("%s: %+v is still there, compacted up to %d", when, r, l.cleaned)
		}
	}
}

// matchesCompacted is matches for a log that may have been compacted: it has the
// last record of every key, and nothing that was not written.
func matchesCompacted(l *Log, h outcome) error {
	switch {
	case l.Start() < h.start:
		return fmt.Errorf("starts at %d, and everything below %d was deleted", l.Start(), h.start)
	case l.End() < min(h.acked, h.end()):
		return fmt.Errorf("ends at %d, and %d was durable", l.End(), h.acked)
	case l.End() > h.end():
		return fmt.Errorf("ends at %d, and only %d was appended", l.End(), h.end())
	}
	if err := noLeftovers(l); err != nil {
		return err
	}
	kept := h.upTo(l.End())
	kept.start = l.Start()
	got, err := copyAll(l.Publish(l.End()))
	if err != nil {
		return err
	}
	if err := kept.explains(got, l.Start()); err != nil {
		return err
	}
	if !slices.Equal(trimEpochs(l.Epochs(), l.Start()), kept.epochs()) {
		return fmt.Errorf("epochs %v, want %v", l.Epochs(), kept.epochs())
	}
	return errors.Join(kept.sameSequences(l), l.Err())
}

// noLeftovers makes sure that nothing is in the directory but the log. Nobody reads
// it, so that what was removed is gone.
func noLeftovers(l *Log) error {
	entries, err := l.dir.FS.ReadDir(l.dir.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if isLeftover(e.Name) {
			return fmt.Errorf("%s is still there", e.Name)
		}
	}
	return err
}

// explains compares batches with those that were written.
func (h history) explains(got []batch.Batch, start messages.Offset) error {
	last, there := map[string]messages.Offset{}, map[messages.Offset]bool{}
	tombstone := map[messages.Offset]bool{}
	written := map[messages.Offset]batch.Record{}
	for _, b := range h.batches {
		for r := range codec.Records(b, 1<<30) {
			o := r.Offset(b)
			if o >= start {
				last[string(r.Key)], written[o], tombstone[o] = o, r, r.Value == nil
			}
		}
	}
	for _, b := range got {
		if err := b.CheckCRC(); err != nil {
			return err
		}
		for r := range codec.Records(b, 1<<30) {
			o := r.Offset(b)
			was, known := written[o]
			if o >= start && (!known || !bytes.Equal(was.Key, r.Key) || !bytes.Equal(was.Value, r.Value) || (was.Value == nil) != (r.Value == nil)) {
				return fmt.Errorf("offset %d has key %q, and %q was written", o, r.Key, was.Key)
			}
			there[o] = true
		}
	}
	for o, r := range written {
		end := last[string(r.Key)]
		switch {
		case end == o && !there[o] && !tombstone[o]:
			return fmt.Errorf("the last record of %q, at %d, is not there", r.Key, o)
		case end != o && there[o] && !there[end]:
			return fmt.Errorf("%q at %d is there, and the tombstone at %d is not", r.Key, o, end)
		}
	}
	return nil
}

// sameSequences compares the producers that a log knows with those that wrote.
func (h history) sameSequences(l *Log) error {
	want := producer.New()
	for _, b := range h.batches {
		want.Apply(b)
	}
	known := map[messages.ProducerID]producer.Info{}
	for info := range l.Producers().All() {
		known[info.ID] = info
	}
	for info := range want.All() {
		if got := known[info.ID]; got.LastSequence != info.LastSequence || got.Epoch != info.Epoch {
			return fmt.Errorf("producer %d: last sequence %d in epoch %d, want %d in %d",
				info.ID, got.LastSequence, got.Epoch, info.LastSequence, info.Epoch)
		}
	}
	return nil
}

// clean compacts what is committed: what was reported durable.
func (w *workload) clean() error {
	w.committed = max(w.committed, w.now.acked)
	from := w.fs.(*vfs.Mem).Ops()
	_, some, err := clean(w.log, worker(1<<20), w.m.timestamp+w.rnd.Int64N(3000), w.committed)
	if some {
		w.cleanings = append(w.cleanings, [2]int64{from, w.fs.(*vfs.Mem).Ops()})
	}
	return err
}

// TestPowerCutWhileCompacting cuts the power at every call that changes the disk
// while a log is compacted, and at those that come next.
func TestPowerCutWhileCompacting(t *testing.T) {
	const next = 6
	for seed := range uint64(max(crashSeeds()/2, 1)) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			make := func(disk *vfs.Mem) *workload {
				w := newWorkload(disk, seed)
				w.compacts, w.m.keys, w.m.codec = true, 20, batch.Codec(seed%5)
				return w
			}
			whole := make(vfs.NewMem(vfs.MemOptions{PowerCuts: true}))
			if err := whole.run(60); err != nil {
				t.Fatal(err)
			}
			if err := whole.check(whole.log); err != nil {
				t.Fatal(err)
			}
			done := int64(0)
			for _, c := range whole.cleanings {
				for n := max(c[0], done) + 1; n <= c[1]+next; n++ {
					cutWhileCompacting(t, make, seed, n)
					done = n
				}
			}
			if done == 0 && seed == 0 { // chance may have it so with others
				t.Error("nothing was compacted")
			}
		})
	}
}

// cutWhileCompacting cuts the power at the n-th call.
func cutWhileCompacting(t *testing.T, make func(*vfs.Mem) *workload, seed uint64, n int64) {
	t.Helper()
	disk := vfs.NewMem(vfs.MemOptions{PowerCuts: true})
	disk.StopAt(n)
	w := make(disk)
	if err := w.run(60); err != nil && !errors.Is(err, vfs.ErrCut) {
		t.Fatalf("cut at %d: %v", n, err)
	}
	for _, loss := range losses {
		if err := w.recover(disk.Cut(loss, rand.New(rand.NewPCG(seed, uint64(n))))); err != nil {
			t.Fatalf("seed %d, cut at operation %d, loss %d: %v", seed, n, loss, err)
		}
	}
}
