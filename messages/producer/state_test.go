package producer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"understudy/messages"
	"understudy/messages/batch"
)

// data is a batch of n records of producer 7, stamped with its offset.
func data(epoch int16, sequence int32, n int, offset int64) batch.Batch {
	return build(7, epoch, sequence, n, offset, 0)
}

func build(id int64, epoch int16, sequence int32, n int, offset int64, attributes int16) batch.Batch {
	f := batch.NoProducer
	f.ProducerID, f.ProducerEpoch, f.BaseSequence, f.Attributes = id, epoch, sequence, attributes
	bu := batch.NewBuilder(f)
	for i := range n {
		bu.Add(1000+offset+int64(i), nil, nil)
	}
	b := bu.Build(nil)
	b.Stamp(offset, 1)
	return b
}

func marker(epoch int16, offset int64, commit bool) batch.Batch {
	b := batch.BuildMarker(nil, 7, epoch, 2000, batch.Marker{Commit: commit, CoordinatorEpoch: 5})
	b.Stamp(offset, 1)
	return b
}

// after is a state that has taken up the batches.
func after(batches ...batch.Batch) *State {
	s := New()
	for _, b := range batches {
		s.Apply(b)
	}
	return s
}

func TestCheck(t *testing.T) {
	const top = math.MaxInt32
	ten := []batch.Batch{} // batches of one record, sequences and offsets 0 to 9
	for i := range 10 {
		ten = append(ten, data(0, int32(i), 1, int64(i)))
	}
	transaction := build(7, 0, 0, 2, 10, batch.AttrTransactional)
	for name, c := range map[string]struct {
		before []batch.Batch
		b      batch.Batch
		want   messages.Kind // Unknown: may be appended
		dup    int64         // base offset of the batch it repeats, -1 for none
	}{
		"no producer id":                 {ten, build(-1, -1, -1, 1, 0, 0), messages.Unknown, -1},
		"no producer id, zeros instead":  {ten, build(-1, 0, 0, 1, 0, 0), messages.Unknown, -1},
		"unknown producer":               {nil, data(0, 0, 1, 0), messages.Unknown, -1},
		"unknown producer, any sequence": {nil, data(3, 4711, 1, 0), messages.Unknown, -1},
		"next":                           {ten, data(0, 10, 3, 0), messages.Unknown, -1},
		"gap":                            {ten, data(0, 11, 1, 0), messages.OutOfOrderSequence, -1},
		"repeats the last":               {ten, data(0, 9, 1, 0), messages.Unknown, 9},
		"repeats the fifth to last":      {ten, data(0, 5, 1, 0), messages.Unknown, 5},
		"repeats what is forgotten":      {ten, data(0, 4, 1, 0), messages.OutOfOrderSequence, -1},
		"repeats, but is longer":         {ten, data(0, 9, 2, 0), messages.OutOfOrderSequence, -1},
		"older epoch":                    {[]batch.Batch{data(2, 0, 1, 0)}, data(1, 1, 1, 0), messages.InvalidProducerEpoch, -1},
		"older epoch, a repetition":      {[]batch.Batch{data(1, 0, 1, 0), data(2, 0, 1, 1)}, data(1, 0, 1, 0), messages.InvalidProducerEpoch, -1},
		"newer epoch":                    {ten, data(1, 0, 1, 0), messages.Unknown, -1},
		"newer epoch, not from 0":        {ten, data(1, 10, 1, 0), messages.OutOfOrderSequence, -1},
		"sequence wraps":                 {[]batch.Batch{data(0, top, 1, 0)}, data(0, 0, 1, 0), messages.Unknown, -1},
		"sequence wraps within":          {[]batch.Batch{data(0, top-1, 5, 0)}, data(0, 3, 1, 0), messages.Unknown, -1},
		"repeats what wrapped":           {[]batch.Batch{data(0, top-1, 5, 20)}, data(0, top-1, 5, 0), messages.Unknown, 20},
		"does not wrap too early":        {[]batch.Batch{data(0, top-1, 1, 0)}, data(0, 0, 1, 0), messages.OutOfOrderSequence, -1},
		"in the transaction":             {[]batch.Batch{transaction}, build(7, 0, 2, 1, 0, batch.AttrTransactional), messages.Unknown, -1},
		"outside of the transaction":     {[]batch.Batch{transaction}, data(0, 2, 1, 0), messages.InvalidTxnState, -1},
		"after the transaction":          {[]batch.Batch{transaction, marker(0, 12, true)}, data(0, 2, 1, 0), messages.Unknown, -1},
		"after a marker that bumps":      {[]batch.Batch{transaction, marker(1, 12, true)}, build(7, 1, 0, 1, 0, 0), messages.Unknown, -1},
		"fenced by a marker":             {[]batch.Batch{transaction, marker(1, 12, false)}, build(7, 0, 2, 1, 0, batch.AttrTransactional), messages.InvalidProducerEpoch, -1},
		"a marker":                       {[]batch.Batch{transaction}, marker(0, 12, true), messages.Unknown, -1},
		"a late marker":                  {[]batch.Batch{data(1, 0, 1, 0)}, marker(0, 12, true), messages.InvalidProducerEpoch, -1},
	} {
		s := after(c.before...)
		v, err := s.Check(c.b)
		if (err != nil) != (c.want != messages.Unknown) || messages.KindOf(err) != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if v.Duplicate != (c.dup >= 0) {
			t.Errorf("%s: %+v", name, v)
		}
		if n := int64(c.b.NumRecords()); v.Duplicate && (v.Base != c.dup || v.Last != c.dup+n-1 || v.AppendTime != 1000+v.Last) {
			t.Errorf("%s: %+v, want base %d", name, v, c.dup)
		}
		if before, now := after(c.before...), s; !slices.Equal(slices.Collect(before.All()), slices.Collect(now.All())) {
			t.Errorf("%s: checking changed the state", name)
		}
	}
}

func TestAdmittedBatchesCountUntilApplied(t *testing.T) {
	s := after(data(0, 0, 2, 100))
	first, second := data(0, 2, 1, 102), data(0, 3, 1, 103)
	for _, b := range []batch.Batch{first, second} {
		if v, err := s.Admit(b); err != nil || v.Duplicate {
			t.Fatal(v, err)
		}
	}
	if v, err := s.Admit(data(0, 2, 1, 104)); err != nil || !v.Duplicate || v.Base != 102 {
		t.Errorf("an admitted batch is not recognised: %+v, %v", v, err)
	}
	if v, err := s.Check(data(0, 0, 2, 0)); err != nil || v.Base != 100 {
		t.Errorf("an applied batch is not recognised: %+v, %v", v, err)
	}
	if info := slices.Collect(s.All()); info[0].LastSequence != 1 {
		t.Errorf("admitted batches show: %+v", info)
	}
	s.Apply(first)
	if _, err := s.Check(data(0, 4, 1, 0)); err != nil {
		t.Errorf("the second batch no longer counts: %v", err)
	}
	s.Apply(second)
	if len(s.ahead) != 0 || len(s.spare) != 1 {
		t.Errorf("%d entries are ahead, %d spare", len(s.ahead), len(s.spare))
	}
	if _, err := s.Check(data(0, 4, 1, 0)); err != nil {
		t.Error(err)
	}
}

func TestApplyIgnoresWhatItHas(t *testing.T) {
	batches := []batch.Batch{data(0, 0, 2, 0), data(0, 2, 1, 2), data(1, 0, 1, 3)}
	s := after(append(slices.Clone(batches), batches...)...)
	want := Info{ID: 7, Epoch: 1, LastSequence: 0, LastTimestamp: 1003, CoordinatorEpoch: -1, TxnStart: messages.NoOffset}
	if got := slices.Collect(s.All()); len(got) != 1 || got[0] != want {
		t.Errorf("have %+v, want %+v", got, want)
	}
}

func TestTransactionsShowInAll(t *testing.T) {
	s := after(build(7, 0, 0, 2, 10, batch.AttrTransactional), build(7, 0, 2, 2, 12, batch.AttrTransactional), build(3, 0, 0, 1, 14, 0))
	got := slices.Collect(s.All())
	if len(got) != 2 || got[0].ID != 3 || got[1].TxnStart != 10 || got[1].CoordinatorEpoch != -1 {
		t.Errorf("have %+v", got)
	}
	s.Apply(marker(0, 15, true))
	for i := range s.All() {
		if i.TxnStart != messages.NoOffset || (i.ID == 7) != (i.CoordinatorEpoch == 5) {
			t.Errorf("have %+v", i)
		}
	}
	// What a group coordinator writes for a transaction has no sequence.
	s.Apply(build(7, 0, messages.NoSequence, 1, 16, batch.AttrTransactional))
	if _, err := s.Check(build(7, 0, messages.NoSequence, 1, 17, batch.AttrTransactional)); err != nil {
		t.Error(err)
	}
	if _, err := s.Check(build(7, 0, 4, 1, 17, batch.AttrTransactional)); err != nil {
		t.Error(err)
	}
}

func TestExpire(t *testing.T) {
	s := after(build(1, 0, 0, 1, 0, 0), build(2, 0, 0, 1, 1, 0), build(3, 0, 0, 1, 2, batch.AttrTransactional))
	if n := s.Expire(1_000, 500); n != 0 {
		t.Errorf("%d expired that had just written", n)
	}
	s.Apply(build(2, 0, 1, 1, 3, 0))
	if n := s.Expire(1_499, 500); n != 0 {
		t.Errorf("%d expired too early", n)
	}
	if n := s.Expire(1_500, 500); n != 1 || s.entries[1] != nil {
		t.Errorf("%d expired, want producer 1 alone", n)
	}
	snapshot, _ := s.MarshalBinary()
	if n := s.Expire(1_999, 500); n != 1 || s.Len() != 1 || s.entries[3] == nil {
		t.Errorf("%d expired, %d left, want the one with a transaction", n, s.Len())
	}
	// The next process has a clock of its own, and the node stood still for a month:
	// producer 2 has been idle for 1 ms.
	if err := s.UnmarshalBinary(snapshot); err != nil {
		t.Fatal(err)
	}
	if n := s.Expire(50, 500) + s.Expire(548, 500); n != 0 {
		t.Errorf("%d expired too early", n)
	}
	if n := s.Expire(549, 500); n != 1 {
		t.Errorf("%d expired, want producer 2", n)
	}
}

func TestTruncateTo(t *testing.T) {
	s := after(data(0, 0, 2, 0), data(0, 2, 1, 2), data(0, 3, 4, 3), build(9, 0, 0, 1, 7, 0), build(8, 0, 0, 1, 1, 0))
	s.TruncateTo(5) // inside of the third batch, which goes as a whole
	if s.Len() != 2 || s.entries[9] != nil {
		t.Errorf("%d producers are left", s.Len())
	}
	if _, err := s.Check(data(0, 3, 1, 0)); err != nil {
		t.Error(err)
	}
	s.Apply(data(0, 3, 1, 3))
	if got := s.entries[7].lastSequence(); got != 3 {
		t.Errorf("last sequence %d", got)
	}
}

// history is a log of some producers, with repetitions, gaps and new epochs in
// what they send, and what check said to each. Batches are applied once there
// are up to gather of them.
func history(seed uint64, check func(*State, batch.Batch) (Verdict, error), gather int) (log []batch.Batch, said []string, s *State) {
	random, applies := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1))
	s = New()
	epochs, next, applied := map[int64]int16{}, map[int64]int32{}, 0
	for range 400 {
		id, n := random.Int64N(4), 1+random.IntN(3)
		switch random.IntN(12) {
		case 0:
			epochs[id]++
			next[id] = 0
		case 1:
			next[id] = max(0, next[id]-int32(random.IntN(6)))
		case 2:
			next[id]++
		}
		end := int64(0)
		if len(log) > 0 {
			end = log[len(log)-1].NextOffset()
		}
		b := build(id, epochs[id], next[id], n, end, 0)
		v, err := check(s, b)
		said = append(said, fmt.Sprint(v, err))
		if err == nil && !v.Duplicate {
			log = append(log, b)
			next[id] += int32(n)
		}
		if applies.IntN(gather) == 0 {
			for ; applied < len(log); applied++ {
				s.Apply(log[applied])
			}
		}
	}
	for ; applied < len(log); applied++ {
		s.Apply(log[applied])
	}
	return log, said, s
}

func TestGatheringChangesNoVerdict(t *testing.T) {
	for seed := range uint64(50) {
		_, want, one := history(seed, (*State).Check, 1)
		_, got, gathered := history(seed, (*State).Admit, 5)
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: gathered batches are judged differently", seed)
		}
		if len(gathered.ahead) != 0 || !slices.Equal(slices.Collect(one.All()), slices.Collect(gathered.All())) {
			t.Fatalf("seed %d: the states differ, %d entries are ahead", seed, len(gathered.ahead))
		}
	}
}

func TestSnapshotAndReplayGiveTheSameState(t *testing.T) {
	for seed := range uint64(30) {
		log, _, want := history(seed, (*State).Check, 1)
		whole, _ := want.MarshalBinary()
		cut := int(seed) * len(log) / 30
		part, _ := after(log[:cut]...).MarshalBinary()
		s := New()
		if err := s.UnmarshalBinary(part); err != nil {
			t.Fatal(err)
		}
		for _, b := range log[max(0, cut-3):] { // the replay may begin too early
			s.Apply(b)
		}
		if got, _ := s.MarshalBinary(); !slices.Equal(got, whole) {
			t.Errorf("seed %d: a snapshot after %d of %d batches leads elsewhere", seed, cut, len(log))
		}
	}
}
