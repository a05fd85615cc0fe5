package compact_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/messages/codec"
	"understudy/persistence/compact"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// shop is a directory with segments that are to be compacted.
type shop struct {
	t        testing.TB
	dir      *segment.Dir
	segments []*segment.Segment
	next     messages.Offset
	epochs   []messages.Offset // where each epoch begins
	last     map[messages.ProducerID]messages.Offset
	now      int64
}

func newShop(t testing.TB) *shop {
	t.Helper()
	files := vfs.NewMem(vfs.MemOptions{})
	if err := files.MkdirAll("orders-3"); err != nil {
		t.Fatal(err)
	}
	return &shop{
		t: t, dir: &segment.Dir{FS: files, Files: segment.NewFiles(0), Path: "orders-3"}, epochs: []messages.Offset{0},
		last: map[messages.ProducerID]messages.Offset{}, now: 1_000_000,
	}
}

// put is a segment of these batches, stamped with what follows.
func (s *shop) put(batches ...batch.Batch) {
	s.t.Helper()
	made, err := segment.Create(s.dir, s.next)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, b := range batches {
		b.Stamp(s.next, int32(len(s.epochs)-1))
		s.next = b.NextOffset()
		if b.HasProducer() {
			s.last[b.ProducerID()] = b.LastOffset()
		}
	}
	err = errors.Join(made.Append(batches, segment.Writing{IndexInterval: 100}), made.Seal(), made.Sync())
	if err != nil {
		s.t.Fatal(err)
	}
	s.segments = append(s.segments, made)
}

// newEpoch begins an epoch with the next segment.
func (s *shop) newEpoch() { s.epochs = append(s.epochs, s.next) }

func (s *shop) job() compact.Job {
	return compact.Job{
		Dir: s.dir, Segments: slices.Clone(s.segments), End: s.next, Keep: messages.NoOffset, Last: s.last,
		EpochOf: func(o messages.Offset) messages.LeaderEpoch {
			i := len(s.epochs) - 1
			for s.epochs[i] > o {
				i--
			}
			return int32(i)
		},
		Now: s.now, TombstonesFor: 1000, Limit: 1 << 20, IndexInterval: 100, MaxUnpacked: 1 << 20,
	}
}

// run does a job and puts what comes of it in its place.
func (s *shop) run(j compact.Job, memory int64) (messages.Offset, compact.Stats) {
	s.t.Helper()
	w := compact.Worker{Map: compact.NewMap(memory), Pace: func(int) error { return nil }}
	to, stats, err := w.Run(&j, s.swap)
	if err != nil {
		s.t.Fatal(err)
	}
	return to, stats
}

func (s *shop) swap(r compact.Replacement) error {
	at := slices.Index(s.segments, r.Old[0])
	for _, old := range r.Old {
		old.ReplaceBy(r.New)
	}
	if err := r.New.Adopt(); err != nil {
		return err
	}
	s.segments = slices.Concat(s.segments[:at], []*segment.Segment{r.New}, s.segments[at+len(r.Old):])
	return nil
}

// batches reads all that there is.
func (s *shop) batches() (all []batch.Batch) {
	s.t.Helper()
	for i, seg := range s.segments {
		f, err := seg.Pin()
		if err != nil {
			s.t.Fatal(err)
		}
		end := s.next
		if i+1 < len(s.segments) {
			end = s.segments[i+1].Base()
		}
		j := s.job()
		p := segment.NewPieces(f, segment.Place{Base: seg.Base()}, seg.Size(), j.EpochOf, nil)
		for {
			some, err := p.Next()
			if err != nil {
				s.t.Fatal(err)
			}
			if len(some) == 0 {
				break
			}
			for _, b := range some {
				all = append(all, bytes.Clone(b))
			}
		}
		if err := p.EndsAt(end, seg.Path()); err != nil {
			s.t.Fatal(err)
		}
		seg.Unpin()
	}
	return all
}

// text writes batches down: [base-last records], and what was in them.
func text(batches []batch.Batch) string {
	var all []string
	for _, b := range batches {
		what := ""
		for r, err := range codec.Records(b, 1<<20) {
			if err != nil {
				what += err.Error()
				break
			}
			value := string(r.Value)
			if r.Value == nil {
				value = "-"
			}
			key := string(r.Key)
			if r.Key == nil {
				key = "?"
			}
			what += fmt.Sprintf(" %d:%s=%s", r.Offset(b), key, value)
		}
		switch {
		case b.IsGap():
			what = " gap"
		case b.IsEmpty():
			what = fmt.Sprintf(" empty, producer %d", b.ProducerID())
		}
		all = append(all, fmt.Sprintf("[%d-%d%s]", b.BaseOffset(), b.LastOffset(), what))
	}
	return strings.Join(all, " ")
}

// of is a batch of records "key=value"; "key" alone is a tombstone, "=value" has
// no key.
func of(records ...string) batch.Batch { return build(batch.NoProducer, batch.None, records...) }

func build(f batch.Fields, c batch.Codec, records ...string) batch.Batch {
	bu := batch.NewBuilder(f)
	for i, r := range records {
		key, value, valued := strings.Cut(r, "=")
		k, v := []byte(key), []byte(value)
		if !valued {
			v = nil
		}
		if key == "" {
			k = nil
		}
		bu.Add(5000+int64(i), k, v, batch.Header{Key: []byte("h"), Value: []byte(r)})
	}
	b, err := codec.Build(nil, bu, c, codec.DefaultLevel)
	if err != nil {
		panic(err)
	}
	return b
}

func (s *shop) want(want string) {
	s.t.Helper()
	if got := text(s.batches()); got != want {
		s.t.Errorf("have %s\nwant %s", got, want)
	}
}

func TestOfEveryKeyTheLastRecordStays(t *testing.T) {
	s := newShop(t)
	s.put(of("a=1", "b=1", "c=1"), of("d=1"), of("d=2"))
	s.put(of("a=2", "e=1"), of("f=1", "f=2", "f=3"))
	s.put(of("b=2"))
	to, stats := s.run(s.job(), 1<<20)
	s.want("[0-2 2:c=1] [3-3 gap] [4-4 4:d=2] [5-6 5:a=2 6:e=1] [7-9 9:f=3] [10-10 10:b=2]")
	if len(s.segments) != 1 || to != 11 || stats.Records != 11 || stats.Stayed != 6 || stats.Segments != 3 || stats.Made != 1 || stats.Keys != 6 {
		t.Errorf("%d segments, up to %d, %+v", len(s.segments), to, stats)
	}
	// Everything is as it was, to the bit, when there is nothing to do.
	before := s.segments[0]
	if _, stats := s.run(s.job(), 1<<20); s.segments[0] != before || stats.Made != 0 {
		t.Errorf("%+v", stats)
	}
}

// TestWhatStaysIsAsItWas: offsets, timestamps, headers, codec and producer.
func TestWhatStaysIsAsItWas(t *testing.T) {
	for _, c := range []batch.Codec{batch.None, batch.Gzip, batch.Snappy, batch.LZ4, batch.Zstd} {
		s := newShop(t)
		f := batch.NoProducer
		f.ProducerID, f.ProducerEpoch, f.BaseSequence = 7, 2, 40
		first := build(f, c, "a=1", "b=1", "c=1", "d=1")
		whole := build(f, c, "x=1", "y=1")
		s.put(first, whole, of("a=2", "d=2"))
		s.run(s.job(), 1<<20)
		got := s.batches()
		b, want := got[0], first.Fields()
		want.NumRecords, want.MaxTimestamp = 2, 5002
		if b.Fields() != want || b.Codec() != c {
			t.Errorf("%v: %+v, want %+v", c, b.Fields(), want)
		}
		for r, err := range codec.Records(b, 1<<20) {
			if err != nil {
				t.Fatal(err)
			}
			key := string(r.Key)
			at := map[string]int64{"b": 1, "c": 2}[key]
			if r.Offset(b) != at || r.Timestamp(b) != 5000+at || string(r.Value) != "1" || r.NumHeaders() != 1 {
				t.Errorf("%v: %s is at %d, %d", c, key, r.Offset(b), r.Timestamp(b))
			}
			for h := range r.Headers() {
				if string(h.Value) != key+"=1" {
					t.Errorf("%v: header %s of %s", c, h.Value, key)
				}
			}
		}
		if !bytes.Equal(got[1], whole) {
			t.Errorf("%v: a batch that is wanted as it is was changed", c)
		}
	}
}

func TestTombstonesStayForTheirTime(t *testing.T) {
	s := newShop(t)
	withTime := batch.NoProducer
	withTime.Attributes = batch.AttrLogAppendTime
	stamped := build(batch.NoProducer, batch.LZ4, "b")
	stamped.SetLogAppendTime(777)
	s.put(of("a=1", "b=1", "c=1"), of("a", "c=2"), stamped)
	for range 2 { // the horizon does not move
		s.run(s.job(), 1<<20)
		s.want("[0-2 gap] [3-4 3:a=- 4:c=2] [5-5 5:b=-]")
		for i, want := range map[int]int64{1: 5000, 2: 777} {
			b := s.batches()[i]
			if ms, ok := b.DeleteHorizon(); !ok || ms != 1_001_000 {
				t.Errorf("horizon %d, %t", ms, ok)
			}
			for r := range codec.Records(b, 1<<20) {
				if at := r.Timestamp(b); r.Value == nil && at != want {
					t.Errorf("timestamp %d, want %d", at, want)
				}
			}
		}
		s.now += 500
	}
	s.now = 1_000_999
	s.run(s.job(), 1<<20)
	s.want("[0-2 gap] [3-4 3:a=- 4:c=2] [5-5 5:b=-]")
	s.now++
	keep := s.job()
	keep.KeepTombstones = true
	s.run(keep, 1<<20)
	s.want("[0-2 gap] [3-4 3:a=- 4:c=2] [5-5 5:b=-]")
	last := s.job()
	last.Keep = 5
	s.run(last, 1<<20)
	s.want("[0-2 gap] [3-4 4:c=2] [5-5 5:b=-]")
	s.run(s.job(), 1<<20)
	s.want("[0-2 gap] [3-4 4:c=2] [5-5 gap]")
}

// TestTombstonesForEver: times that cannot be added up.
func TestTombstonesForEver(t *testing.T) {
	s := newShop(t)
	s.put(of("a"))
	j := s.job()
	j.TombstonesFor = math.MaxInt64
	s.run(j, 1<<20)
	if ms, ok := s.batches()[0].DeleteHorizon(); !ok || ms != math.MaxInt64 {
		t.Errorf("horizon %d, %t", ms, ok)
	}
	s.now = math.MaxInt64 - 1
	s.run(s.job(), 1<<20)
	s.want("[0-0 0:a=-]")
}

func TestTheLastBatchOfAProducerStays(t *testing.T) {
	s := newShop(t)
	by := func(id int64, sequence int32, records ...string) batch.Batch {
		f := batch.NoProducer
		f.ProducerID, f.ProducerEpoch, f.BaseSequence = id, 0, sequence
		return build(f, batch.Zstd, records...)
	}
	s.put(by(1, 0, "a=1"), by(1, 1, "a=2", "b=1"), by(2, 0, "a=3"), of("a=4", "b=2"))
	for range 2 {
		s.run(s.job(), 1<<20)
		s.want("[0-0 gap] [1-2 empty, producer 1] [3-3 empty, producer 2] [4-5 4:a=4 5:b=2]")
	}
	b := s.batches()[1]
	if b.BaseSequence() != 1 || b.LastSequence() != 2 || b.MaxTimestamp() != 5001 || b.Codec() != batch.None || len(b) != batch.HeaderSize {
		t.Errorf("%+v", b.Fields())
	}
	// Producers that are forgotten leave nothing.
	s.last = map[messages.ProducerID]messages.Offset{2: 3}
	s.run(s.job(), 1<<20)
	s.want("[0-2 gap] [3-3 empty, producer 2] [4-5 4:a=4 5:b=2]")
}

// TestGapsEndWithTheirEpoch, or else logs could not be compared by epochs.
func TestGapsEndWithTheirEpoch(t *testing.T) {
	s := newShop(t)
	s.put(of("a=1"), of("a=2"))
	s.newEpoch()
	s.put(of("a=3"))
	s.newEpoch()
	s.put(of("a=4"), of("a=5"), of("a=6"))
	for range 2 {
		s.run(s.job(), 1<<20)
		s.want("[0-1 gap] [2-2 gap] [3-4 gap] [5-5 5:a=6]")
	}
	for i, want := range []int32{0, 1, 2, 2} {
		if got := s.batches()[i].LeaderEpoch(); got != want {
			t.Errorf("batch %d has epoch %d, want %d", i, got, want)
		}
	}
}

// TestWhatCannotBeLookedIntoStays, and then so do tombstones that may be meant
// for it.
func TestWhatCannotBeLookedIntoStays(t *testing.T) {
	txn := batch.NoProducer
	txn.Attributes, txn.ProducerID, txn.ProducerEpoch, txn.BaseSequence = batch.AttrTransactional, 9, 0, 0
	bomb := build(batch.NoProducer, batch.Gzip, "a="+strings.Repeat("x", 2<<20))
	malformed := of("a=1", "b=1")
	malformed = batch.Assemble(nil, malformed.Fields(), malformed.Payload()[1:])
	stray := of("a=1")
	payload := bytes.Clone(stray.Payload())
	payload[3] = 80 // the offset delta
	for name, odd := range map[string]batch.Batch{
		"of a transaction": build(txn, batch.None, "a=1"),
		"a marker":         batch.BuildMarker(nil, 9, 0, 5000, batch.Marker{Commit: true}),
		"unpacks to more":  bomb,
		"malformed":        malformed,
		"stray offsets":    batch.Assemble(nil, stray.Fields(), payload),
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			s.put(of("b"), bytes.Clone(odd), of("a"), of("c=1"), of("c=2"))
			s.run(s.job(), 1<<20)
			s.now += 5000
			s.run(s.job(), 1<<20)
			got := s.batches()
			if want := bytes.Clone(odd); !bytes.Equal(got[1][12+4:], want[12+4:]) {
				t.Fatal("it was changed")
			}
			if !got[0].IsGap() || got[2].IsGap() || !got[3].IsGap() {
				t.Error(text(got))
			}
		})
	}
}

// TestRecordsWithoutAKeyGo: they are of the time before the topic was compacted.
func TestRecordsWithoutAKeyGo(t *testing.T) {
	s := newShop(t)
	s.put(of("=1", "a=1"), of("=2"))
	j := s.job()
	j.Keep = 2
	s.run(j, 1<<20)
	s.want("[0-1 1:a=1] [2-2 2:?=2]")
}

// TestAMapThatIsFull compacts up to where it got, and goes on there.
func TestAMapThatIsFull(t *testing.T) {
	s := newShop(t)
	perBatch, n := 10, 400
	for i := range n {
		var records []string
		for k := range perBatch {
			records = append(records, fmt.Sprintf("key %d=%d", (i*perBatch+k)%2000, i))
		}
		s.put(of(records...))
	}
	j := s.job()
	j.Limit = 3000
	to, runs := messages.Offset(0), 0
	for to < j.End {
		j.Segments, j.Dirty = s.segments, to
		next, stats := s.run(j, 1) // as little as there can be
		if next <= to || next < j.End && stats.Keys < 500 {
			t.Fatalf("from %d to %d with %d keys", to, next, stats.Keys)
		}
		to = next
		runs++
	}
	if runs < 3 {
		t.Errorf("took %d runs", runs)
	}
	last := map[string]int{}
	records := 0
	for _, b := range s.batches() {
		for r := range codec.Records(b, 1<<20) {
			records++
			last[string(r.Key)] = int(r.Offset(b))
		}
	}
	if records != 2000 || len(last) != 2000 {
		t.Errorf("%d records of %d keys", records, len(last))
	}
	for key, at := range last {
		if at < n*perBatch-2000 {
			t.Errorf("%s is at %d", key, at)
		}
	}
}

// TestSegmentsArePutTogether as long as the limit allows.
func TestSegmentsArePutTogether(t *testing.T) {
	s := newShop(t)
	for i := range 20 {
		s.put(of(fmt.Sprintf("a=%d", i), fmt.Sprintf("key %d=%s", i, strings.Repeat("x", 200))))
	}
	j := s.job()
	j.Limit = 1000
	_, stats := s.run(j, 1<<20)
	if len(s.segments) < 5 || len(s.segments) > 10 || stats.Segments != 20 || stats.Made != len(s.segments) {
		t.Errorf("%d segments, %+v", len(s.segments), stats)
	}
	for _, seg := range s.segments {
		if seg.Size() > 1000 {
			t.Errorf("a segment of %d bytes", seg.Size())
		}
	}
}

// TestDamageIsNotCopied, nor anything taken from it.
func TestDamageIsNotCopied(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		s := newShop(t)
		for i := range 4 {
			s.put(of(fmt.Sprintf("a=%d", i), "b=1"), of(fmt.Sprintf("k %d=1", i)))
		}
		i := rnd.IntN(len(s.segments))
		f, err := s.dir.FS.Open(s.segments[i].Path())
		if err != nil {
			t.Fatal(err)
		}
		at := rnd.Int64N(s.segments[i].Size())
		var c [1]byte
		f.ReadAt(c[:], at)
		c[0] ^= 1 << rnd.IntN(8)
		f.WriteAt(c[:], at)
		f.Close()
		j := s.job()
		w := compact.Worker{Map: compact.NewMap(1 << 20), Pace: func(int) error { return nil }}
		_, _, err = w.Run(&j, func(compact.Replacement) error { t.Error("a segment was made"); return nil })
		if messages.KindOf(err) != messages.CorruptMessage || !strings.Contains(err.Error(), segment.Name(s.segments[i].Base(), ".log")) {
			t.Fatalf("bit of byte %d of segment %d: %v", at, i, err)
		}
	}
}

// TestSegmentsThatDoNotMeetAreDamage.
func TestSegmentsThatDoNotMeetAreDamage(t *testing.T) {
	for _, ends := range []messages.Offset{3, 5} {
		s := newShop(t)
		s.put(of("a=1", "b=1"), of("a=2", "b=2"))
		j := s.job()
		j.End = ends
		w := compact.Worker{Map: compact.NewMap(1 << 20), Pace: func(int) error { return nil }}
		if _, _, err := w.Run(&j, s.swap); messages.KindOf(err) != messages.CorruptMessage {
			t.Errorf("should end at %d: %v", ends, err)
		}
	}
}

// TestAStopLeavesNothing: whenever it is told to stop.
func TestAStopLeavesNothing(t *testing.T) {
	stop := errors.New("stop")
	for after := 0; ; after++ {
		s := newShop(t)
		for i := range 6 {
			s.put(of(fmt.Sprintf("a=%d", i), "b=1"), of(fmt.Sprintf("k %d=1", i)))
		}
		j, n := s.job(), 0
		j.Limit = 100
		w := compact.Worker{Map: compact.NewMap(1 << 20), Pace: func(int) error {
			if n++; n > after {
				return stop
			}
			return nil
		}}
		to, _, err := w.Run(&j, s.swap)
		entries, _ := s.dir.FS.ReadDir(s.dir.Path)
		for _, e := range entries {
			if strings.HasSuffix(e.Name, segment.CleanedSuffix) {
				t.Fatalf("after %d: %s is left", after, e.Name)
			}
		}
		if err == nil {
			if after < 10 {
				t.Errorf("only %d chances to stop", after)
			}
			return
		}
		if !errors.Is(err, stop) || to != 0 {
			t.Fatalf("up to %d: %v", to, err)
		}
		if s.batches(); s.segments == nil {
			t.Fatal("nothing is left")
		}
	}
}

func TestMap(t *testing.T) {
	m := compact.NewMap(compact.EntrySize * 4096)
	m.Reset(1 << 40)
	want := map[string]int64{}
	rnd := rand.New(rand.NewPCG(4, 4))
	refused := 0
	for i := range int64(20_000) {
		key := fmt.Appendf(nil, "key %d", rnd.IntN(5000))
		_, known := want[string(key)]
		switch put := m.Put(key, i); {
		case put:
			want[string(key)] = i
		case known:
			t.Fatalf("%s is in the map and was refused", key)
		default:
			refused++
		}
	}
	if m.Len() != len(want) || m.Len() != 3072 || refused == 0 {
		t.Errorf("%d keys, want %d; %d refused", m.Len(), len(want), refused)
	}
	for key, at := range want {
		if got := m.Last([]byte(key)); got != at {
			t.Errorf("%s is at %d, want %d", key, got, at)
		}
	}
	if m.Last([]byte("other")) != messages.NoOffset {
		t.Error("a key that was never put")
	}
	m.Free()
	m.Reset(10)
	if m.Len() != 0 || m.Last([]byte("key 1")) != messages.NoOffset || !m.Put(nil, 0) || m.Last(nil) != 0 {
		t.Error("a map that was emptied is not empty")
	}
}
