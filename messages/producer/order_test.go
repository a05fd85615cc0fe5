package producer

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"understudy/messages"
	"understudy/messages/batch"
)

// small is a state with few places.
func small(most int, batches ...batch.Batch) *State {
	s := New()
	s.most = most
	for _, b := range batches {
		s.Apply(b)
	}
	return s
}

// one is a producer's batch of one record; its sequence is its offset.
func one(id, offset int64) batch.Batch { return build(id, 0, int32(offset), 1, offset, 0) }

func ids(s *State) []messages.ProducerID {
	all := []messages.ProducerID{}
	for info := range s.All() {
		all = append(all, info.ID)
	}
	return all
}

// wantKnown compares the producers that are known, and makes sure that the order is of
// those which may be forgotten.
func wantKnown(t *testing.T, s *State, want ...messages.ProducerID) {
	t.Helper()
	if got := ids(s); !slices.Equal(got, want) {
		t.Errorf("producers %d are known, want %d", got, want)
	}
	if err := s.ordered(); err != nil {
		t.Error(err)
	}
}

// ordered checks the order against the entries, both ways.
func (s *State) ordered() error {
	var want, up, down []*entry
	for id, e := range s.entries {
		if e.id != id {
			return fmt.Errorf("producer %d has the entry of %d", id, e.id)
		}
		if e.txnStart == messages.NoOffset && s.ahead[id] == nil {
			want = append(want, e)
		} else if e.ordered() {
			return fmt.Errorf("producer %d may be forgotten", id)
		}
	}
	slices.SortFunc(want, func(a, b *entry) int { return cmp.Compare(a.lastOffset, b.lastOffset) })
	for e := s.order.end.newer; e != s.order.end; e = e.newer {
		up = append(up, e)
	}
	for e := s.order.end.older; e != s.order.end; e = e.older {
		down = append(down, e)
	}
	slices.Reverse(down)
	if !slices.Equal(up, want) || !slices.Equal(down, want) {
		return fmt.Errorf("the order has %d entries, or %d read back, want %d, or they stand otherwise", len(up), len(down), len(want))
	}
	for _, e := range slices.Concat(s.spare, slices.Collect(maps.Values(s.ahead))) {
		if e.ordered() {
			return fmt.Errorf("an entry of producer %d that is ahead or spare stands in the order", e.id)
		}
	}
	return nil
}

func TestTheProducerThatWroteLongestAgoMakesRoom(t *testing.T) {
	s := small(3, one(1, 0), one(2, 1), one(3, 2))
	wantKnown(t, s, 1, 2, 3)
	s.Apply(one(1, 3))
	wantKnown(t, s, 1, 2, 3)
	s.Apply(one(4, 4))
	wantKnown(t, s, 1, 3, 4)
	if v, err := s.Check(one(2, 99)); err != nil || v.Duplicate || s.Has(2) || s.Knows(one(2, 99)) {
		t.Errorf("a producer that was forgotten may not begin anew: %+v, %v", v, err)
	}
	s.Apply(one(2, 5))
	wantKnown(t, s, 1, 2, 4)
	s.Apply(one(5, 6))
	wantKnown(t, s, 2, 4, 5)
	if at := maps.Collect(s.LastBatches()); !maps.Equal(at, map[int64]int64{2: 5, 4: 4, 5: 6}) {
		t.Errorf("last batches %v", at)
	}
}

// TestABatchThatIsReadAgainTakesNobodysPlace applies what a replay that begins too early
// does.
func TestABatchThatIsReadAgainTakesNobodysPlace(t *testing.T) {
	log := []batch.Batch{one(1, 0), one(2, 1), one(3, 2), one(2, 3), one(4, 4)}
	s := small(2, log...)
	want, _ := s.MarshalBinary()
	for _, b := range log {
		s.Apply(b)
		wantKnown(t, s, 2, 4)
	}
	if got, _ := s.MarshalBinary(); !slices.Equal(got, want) {
		t.Error("the state is another")
	}
}

func TestProducersWithATransactionAreNotForgotten(t *testing.T) {
	s := small(3, build(7, 0, 0, 1, 0, batch.AttrTransactional), one(1, 1), one(2, 2), one(3, 3))
	wantKnown(t, s, 2, 3, 7)
	s.Apply(build(8, 0, 0, 1, 4, batch.AttrTransactional))
	s.Apply(build(9, 0, 0, 1, 5, batch.AttrTransactional))
	s.Apply(build(10, 0, 0, 1, 6, batch.AttrTransactional))
	wantKnown(t, s, 7, 8, 9, 10) // one too many, none of which can go
	s.Apply(marker(0, 7, true))
	wantKnown(t, s, 8, 9, 10)
}

// TestAProducerWithAdmittedBatchesIsNotForgotten has others apply between the admission
// of a producer's batches and their application.
func TestAProducerWithAdmittedBatchesIsNotForgotten(t *testing.T) {
	for _, dropped := range []bool{false, true} {
		s := small(2, one(1, 0), one(2, 1))
		first, second := build(1, 0, 1, 1, 4, 0), build(1, 0, 2, 1, 5, 0)
		for _, b := range []batch.Batch{one(3, 2), one(4, 3), first, second} {
			if v, err := s.Admit(b); err != nil || v.Duplicate {
				t.Fatal(v, err)
			}
		}
		wantKnown(t, s, 1, 2)
		s.Apply(one(3, 2))
		wantKnown(t, s, 1, 3)
		if s.Expire(1, 0)+s.Expire(2, 0) != 1 {
			t.Error("it has expired, or producer 3 has not")
		}
		s.Apply(one(4, 3))
		wantKnown(t, s, 1, 4)
		if dropped {
			s.DropAdmitted()
			wantKnown(t, s, 1, 4)
			s.Apply(one(5, 4))
			wantKnown(t, s, 4, 5)
			continue
		}
		s.Apply(first)
		wantKnown(t, s, 1, 4)
		s.Apply(second)
		for sequence := range int32(3) {
			if v, err := s.Check(build(1, 0, sequence, 1, 9, 0)); err != nil || !v.Duplicate {
				t.Errorf("sequence %d is not recognised: %+v, %v", sequence, v, err)
			}
		}
		s.Apply(one(6, 6))
		wantKnown(t, s, 1, 6)
	}
}

func TestASnapshotKeepsTheOrder(t *testing.T) {
	want := small(3, one(3, 0), one(1, 1), one(2, 2), one(3, 3))
	content, _ := want.MarshalBinary()
	got := small(3)
	if err := got.UnmarshalBinary(content); err != nil {
		t.Fatal(err)
	}
	wantKnown(t, got, 1, 2, 3)
	for i, left := range [][]int64{{2, 3, 4}, {3, 4, 5}, {4, 5, 6}} {
		got.Apply(one(int64(4+i), int64(4+i)))
		wantKnown(t, got, left...)
	}
}

// TestASnapshotOfTooManyProducers is read as it was written before there was a bound.
func TestASnapshotOfTooManyProducers(t *testing.T) {
	for _, n := range []int64{4, 5, 9, 10, 11, 30, 100} {
		old := New()
		old.Apply(build(1000, 0, 0, 1, 0, batch.AttrTransactional))
		for i := range n { // in no order of their ids
			old.Apply(one((i*37)%101, 1+i))
		}
		want := []int64{}
		for i := max(0, n-4); i < n; i++ {
			want = append(want, (i*37)%101)
		}
		slices.Sort(want)
		content, _ := old.MarshalBinary()
		s := small(5)
		if err := s.UnmarshalBinary(content); err != nil {
			t.Fatal(err)
		}
		wantKnown(t, s, append(want, 1000)...)
		if len(s.spare) > 0 {
			t.Errorf("%d entries are spare", len(s.spare))
		}
	}
}

func TestTruncationKeepsTheOrder(t *testing.T) {
	s := small(3, one(1, 0), one(2, 1), build(3, 0, 0, 1, 2, 0), build(1, 0, 1, 1, 3, 0), build(3, 0, 1, 1, 4, batch.AttrTransactional))
	s.Admit(one(2, 5))
	s.TruncateTo(3) // after which 1 wrote before 2, and 3 has no transaction
	wantKnown(t, s, 1, 2, 3)
	s.Apply(one(4, 3))
	wantKnown(t, s, 2, 3, 4)
	s.TruncateTo(2)
	wantKnown(t, s, 2)
}

func TestSnapshotsAreAsLongAsWasReserved(t *testing.T) {
	s := example()
	s.Admit(build(12, 0, 5, 1, 9, 0))
	if content, _ := s.MarshalBinary(); len(content) != cap(content) {
		t.Errorf("%d bytes, %d were reserved", len(content), cap(content))
	}
}

// book is the order's model: all that was applied, by producer.
type book struct {
	last     map[int64]int64 // offset of the last batch
	open     map[int64]bool  // transactions
	admitted map[int64]int64 // the last offset that was admitted, until it is applied
}

// apply notes a batch, and forgets as State must.
func (k book) apply(b batch.Batch, most int) {
	id, offset := b.ProducerID(), b.LastOffset()
	k.last[id] = offset
	k.open[id] = !b.IsControl() && (b.IsTransactional() || k.open[id])
	if at, some := k.admitted[id]; some && at <= offset {
		delete(k.admitted, id)
	}
	k.forget(most)
}

func (k book) forget(most int) {
	for len(k.last) > most {
		by := slices.SortedFunc(maps.Keys(k.last), func(a, b int64) int { return cmp.Compare(k.last[a], k.last[b]) })
		i := slices.IndexFunc(by, func(id int64) bool {
			_, held := k.admitted[id]
			return !held && !k.open[id]
		})
		if i < 0 {
			return
		}
		delete(k.last, by[i])
		delete(k.open, by[i])
	}
}

// TestForgettingAgainstAModel compares random histories with book.
func TestForgettingAgainstAModel(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 11))
		most := 1 + rnd.IntN(12)
		s, k := small(most), book{map[int64]int64{}, map[int64]bool{}, map[int64]int64{}}
		offset, applied, waiting := int64(0), int64(0), []batch.Batch{}
		apply := func(n int) {
			for _, b := range waiting[:n] {
				s.Apply(b)
				k.apply(b, most)
				applied = b.NextOffset()
			}
			waiting = waiting[n:]
		}
		for step := range 300 {
			switch rnd.IntN(14) {
			case 0:
				apply(len(waiting))
				content, _ := s.MarshalBinary()
				if err := s.UnmarshalBinary(content); err != nil {
					t.Fatal(err)
				}
			case 1:
				s.DropAdmitted()
				clear(k.admitted)
				k.forget(most)
				waiting, offset = nil, applied
			case 2, 3, 4:
				apply(rnd.IntN(len(waiting) + 1))
			default:
				b := k.next(rnd, s, int64(rnd.IntN(30)), offset)
				if offset = b.NextOffset(); rnd.IntN(3) > 0 {
					if _, err := s.Admit(b); err != nil {
						t.Fatalf("seed %d, step %d: %v", seed, step, err)
					}
					k.admitted[b.ProducerID()] = b.LastOffset()
				}
				waiting = append(waiting, b)
			}
			if got, want := ids(s), slices.Sorted(maps.Keys(k.last)); !slices.Equal(got, want) {
				t.Fatalf("seed %d, step %d: producers %d are known, want %d", seed, step, got, want)
			}
			if err := s.ordered(); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, step, err)
			}
		}
	}
}

// next is a batch that the state must admit: a producer with a transaction open goes on
// with it, or ends it.
func (k book) next(rnd *rand.Rand, s *State, id, offset int64) batch.Batch {
	e := s.latest(id)
	if e == nil {
		e = &unknown
	}
	epoch := max(0, e.epoch)
	var attributes int16
	if e.txnStart != messages.NoOffset || rnd.IntN(6) == 0 {
		attributes = batch.AttrTransactional
	}
	if e.txnStart != messages.NoOffset && rnd.IntN(2) == 0 {
		b := batch.BuildMarker(nil, id, epoch, 2000, batch.Marker{Commit: true, CoordinatorEpoch: 5})
		b.Stamp(offset, 1)
		return b
	}
	return build(id, epoch, e.nextSequence(epoch), 1+rnd.IntN(3), offset, attributes)
}

// TestWhatCompactionLeavesForgetsTheSame takes batches out of a log, but the last ones of
// the producers that are known at its end. What is left of the others must bring nobody
// back, with a sequence that is not its last.
func TestWhatCompactionLeavesForgetsTheSame(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 12))
		most := 1 + rnd.IntN(10)
		var log []batch.Batch
		for offset := range int64(200) {
			log = append(log, one(rnd.Int64N(1+rnd.Int64N(30)), offset))
		}
		whole := small(most, log...)
		last := maps.Collect(whole.LastBatches())
		left := slices.DeleteFunc(slices.Clone(log), func(b batch.Batch) bool {
			at, known := last[b.ProducerID()]
			return (!known || b.LastOffset() < at) && rnd.IntN(4) > 0
		})
		again := small(most, left...)
		if got, want := slices.Collect(again.All()), slices.Collect(whole.All()); !slices.Equal(got, want) {
			t.Fatalf("seed %d: %+v are known, want %+v", seed, got, want)
		}
	}
}
