package replica

import (
	"slices"
	"testing"

	"understudy/messages"
)

func TestHistoryOfEpochs(t *testing.T) {
	h := history{{1, 0}, {4, 40}, {5, 70}}
	const end = 100
	for _, c := range []struct {
		offset messages.Offset
		epoch  messages.LeaderEpoch
	}{{0, 1}, {39, 1}, {40, 4}, {69, 4}, {70, 5}, {99, 5}} {
		if got := h.at(c.offset); got != c.epoch {
			t.Errorf("record %d is of epoch %d, want %d", c.offset, got, c.epoch)
		}
	}
	for _, c := range []struct {
		asked, epoch messages.LeaderEpoch
		end          messages.Offset
	}{{0, messages.NoEpoch, 0}, {1, 1, 40}, {3, 1, 40}, {4, 4, 70}, {5, 5, 100}, {9, 5, 100}} {
		if epoch, e := h.upTo(c.asked, 0, end); epoch != c.epoch || e != c.end {
			t.Errorf("up to %d: epoch %d ends at %d, want %d at %d", c.asked, epoch, e, c.epoch, c.end)
		}
	}
	if got := slices.Clone(h).truncate(70); got.last() != 4 {
		t.Errorf("truncated to 70: %v", got)
	}
	if got := slices.Clone(h).truncate(71); got.last() != 5 {
		t.Errorf("truncated to 71: %v", got)
	}
	if got := slices.Clone(h).trim(69); !slices.Equal(got, history{{4, 40}, {5, 70}}) {
		t.Errorf("trimmed to 69: %v", got)
	}
	if got := slices.Clone(h).trim(100); !slices.Equal(got, history{{5, 70}}) {
		t.Errorf("the last epoch must stay: %v", got)
	}
	if got := slices.Clone(h).add(5, 100).add(7, 100); !slices.Equal(got, append(h, EpochStart{7, 100})) {
		t.Errorf("added: %v", got)
	}
}

func TestWaitersAreAnsweredInOrderOfOffset(t *testing.T) {
	var q waiters
	for _, until := range []messages.Offset{3, 5, 9, 4, 9} { // 4 has repeated itself
		q.add(waiter{until: until})
	}
	reached := func(offset messages.Offset) (got []messages.Offset) {
		for w := range q.reached(offset) {
			got = append(got, w.until)
		}
		return got
	}
	if got := reached(2); got != nil {
		t.Errorf("at 2: %v", got)
	}
	if got := reached(5); !slices.Equal(got, []messages.Offset{3, 4, 5}) {
		t.Errorf("at 5: %v", got)
	}
	q.add(waiter{until: 10, deadline: 7})
	for w := range q.expired(7) {
		if w.until != 10 {
			t.Errorf("%v expired", w)
		}
	}
	if q.len() != 2 || len(reached(9)) != 2 || q.len() != 0 {
		t.Error("those without a deadline must stay until they are reached")
	}
}

// TestWaitersReuseMemory: a queue that is never empty does not grow.
func TestWaitersReuseMemory(t *testing.T) {
	var q waiters
	for i := range messages.Offset(10_000) {
		q.add(waiter{until: i})
		if i >= 3 {
			for range q.reached(i - 3) {
			}
		}
	}
	if cap(q.queue) > 16 {
		t.Errorf("room for %d, to hold 4", cap(q.queue))
	}
}

func TestFlightReusesMemory(t *testing.T) {
	var q flight
	for i := range messages.Offset(10_000) {
		q.add(i, 10)
		q.landed(i - 3)
	}
	if cap(q.sent) > 16 || q.bytes != 30 {
		t.Errorf("room for %d, %d bytes", cap(q.sent), q.bytes)
	}
}

// TestAnEpochThatOnlyTheLogKnowsOfIsNotTold: it may be a bit that has turned on the
// disk, and would end a leadership that is in order.
func TestAnEpochThatOnlyTheLogKnowsOfIsNotTold(t *testing.T) {
	both := []messages.BrokerID{1, 2}
	tp := messages.TopicPartition{Topic: "orders"}
	for _, led := range []messages.LeaderEpoch{messages.NoEpoch, 256} {
		r := New(Member{ID: 1, Epoch: 1}, tp, Settings{}, LogState{End: 10, Durable: 10, LedEpoch: led, Epochs: []EpochStart{{1, 0}, {256, 4}}})
		r.Assign(Assignment{Epoch: 4, Leader: 2, Replicas: both, ISR: both, Revision: 1})
		r.Receive(2, Message{Type: TypeAppend, Epoch: 4, BrokerEpoch: 1, Base: 10, PrevEpoch: 1, Probe: 1})
		var fx Effects
		fenced := false
		for r.Take(&fx) {
			for _, out := range fx.Send {
				fenced = fenced || out.Message.Epoch == 256
			}
		}
		if fenced != (led == 256) {
			t.Errorf("led %d: the leader of epoch 4 was told of epoch 256: %v", led, fenced)
		}
	}
}
