package producer

import (
	"cmp"
	"math"
	"slices"

	"understudy/messages"
)

// Most is how many producers a partition remembers; see State. With 500 new ones in
// every second, 60,000 come in the two minutes for which clients send a batch again by
// default. As many as may be take 22 MB of memory and at most 17 MB of a snapshot, which
// the partition writes in its own turn, in 15 to 60 ms, whenever a segment begins.
const Most = 100_000

// An order is a ring of entries from the one whose last batch is oldest to the newest,
// closed by one that belongs to no producer.
//
//	┌─▶ end ─▶ oldest ─▶ … ─▶ newest ─┐   newer
//	└─────────────────────────────────┘
//
// An entry that is in no order has no neighbours.
type order struct{ end *entry }

func newOrder() order {
	end := &entry{lastOffset: math.MinInt64}
	end.older, end.newer = end, end
	return order{end}
}

// add puts an entry where its last batch belongs: behind all others, as the log's
// order has it, unless the batch was read again.
func (o order) add(e *entry) {
	older := o.end.older
	for older.lastOffset > e.lastOffset {
		older = older.older
	}
	e.older, e.newer = older, older.newer
	e.older.newer, e.newer.older = e, e
}

// oldest is nil if the order is empty.
func (o order) oldest() *entry {
	if e := o.end.newer; e != o.end {
		return e
	}
	return nil
}

// ordered reports whether the entry is in an order.
func (e *entry) ordered() bool { return e.newer != nil }

// leave takes the entry out of its order, if it is in one.
func (e *entry) leave() {
	if e.ordered() {
		e.older.newer, e.newer.older = e.newer, e.older
		e.older, e.newer = nil, nil
	}
}

// sort builds the order anew, and forgets whom there is no room for. Nothing must be
// ahead.
func (s *State) sort() {
	s.order = newOrder()
	all := make([]*entry, 0, len(s.entries))
	for _, e := range s.entries {
		e.older, e.newer = nil, nil
		if e.txnStart == messages.NoOffset {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.lastOffset, b.lastOffset), cmp.Compare(a.id, b.id))
	})
	for _, e := range all {
		s.order.add(e)
	}
	s.forget(nil)
}

// forget makes room: while there are more producers than may be, the one that wrote
// longest ago is unknown again. Its entry is appended to the spare ones.
func (s *State) forget(spare []*entry) []*entry {
	for len(s.entries) > s.most {
		e := s.order.oldest()
		if e == nil {
			break
		}
		e.leave()
		delete(s.entries, e.id)
		spare = append(spare, e)
	}
	return spare
}
