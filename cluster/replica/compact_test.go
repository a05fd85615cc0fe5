package replica_test

import (
	"slices"
	"testing"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/batch"
)

// key is the key of a batch's records.
func (w *world) key(rec record) int64 { return rec.id % w.keys }

// compact makes a node's disk what compaction would leave of it: of every key only
// the last batch, and gaps in the place of others.
func (w *world) compact(n *node) {
	last := map[int64]messages.Offset{}
	for _, b := range n.disk.batches {
		if b.NextOffset() <= n.compactable() && !b.IsGap() {
			last[w.key(recordOf(b))] = b.BaseOffset()
		}
	}
	w.leaveOut(n, func(b batch.Batch) bool { return last[w.key(recordOf(b))] != b.BaseOffset() })
}

// compactable is up to where a log may be compacted: what is committed and durable.
func (n *node) compactable() messages.Offset {
	return min(n.r.Status().HighWatermark, n.disk.durable)
}

// leaveOut puts gaps in the place of the batches of a node for which gone holds,
// and of the gaps beside them.
func (w *world) leaveOut(n *node, gone func(batch.Batch) bool) {
	var left []batch.Batch
	end := n.disk.start
	for _, b := range n.disk.batches {
		if b.NextOffset() > n.compactable() {
			break
		}
		end = b.NextOffset()
		if !b.IsGap() && gone(b) {
			w.seen["compacted"]++
			b = batch.Gap(nil, b.BaseOffset(), b.LastOffset(), b.LeaderEpoch())
		}
		if k := len(left) - 1; k >= 0 && b.IsGap() && left[k].IsGap() && left[k].LeaderEpoch() == b.LeaderEpoch() {
			left[k] = batch.Gap(nil, left[k].BaseOffset(), b.LastOffset(), b.LeaderEpoch())
			continue
		}
		left = append(left, b)
	}
	for _, list := range [...]*[]batch.Batch{&n.disk.batches, &n.disk.synced, &n.flush} {
		*list = compactedTo(*list, left, end)
	}
}

// compactedTo is a list of batches with others in the place of those up to an
// offset, all of which are durable.
func compactedTo(list, left []batch.Batch, end messages.Offset) []batch.Batch {
	i := slices.IndexFunc(list, func(b batch.Batch) bool { return b.NextOffset() > end })
	if i < 0 {
		i = len(list)
	}
	return slices.Concat(left, list[i:])
}

// covered reports whether a gap stands where a record was.
func (d *disk) covered(rec record) bool {
	return slices.ContainsFunc(d.batches, func(b batch.Batch) bool {
		return b.IsGap() && b.BaseOffset() <= rec.base && b.NextOffset() >= rec.next
	})
}

// holds reports whether a record is there, or a gap where it was, or was deleted.
func (d *disk) holds(rec record) bool {
	return rec.next <= d.start || d.covered(rec) || slices.ContainsFunc(d.batches, func(b batch.Batch) bool { return recordOf(b).id == rec.id })
}

// replaced reports whether a later record that is committed has the same key, so
// that compaction may have removed this one.
func (w *world) replaced(rec record) bool {
	return slices.ContainsFunc(w.committed, func(c record) bool { return w.key(c) == w.key(rec) && c.base > rec.base })
}

// checkGap: what a gap stands for has been replaced.
func (w *world) checkGap(n *node, gap batch.Batch) {
	for _, rec := range w.committed {
		if rec.base >= gap.BaseOffset() && rec.next <= gap.NextOffset() && !w.replaced(rec) {
			w.wrong("%d: has a gap for %v, the last of its key", n.id, rec)
		}
	}
}

// differs finds a batch of one log in whose place another has neither the same nor
// a gap of its epoch.
func differs(one, other []batch.Batch) (at messages.Offset, yes bool) {
	for _, b := range one {
		i := slices.IndexFunc(other, func(x batch.Batch) bool { return x.NextOffset() > b.BaseOffset() })
		if b.IsGap() || i < 0 || other[i].BaseOffset() > b.BaseOffset() {
			continue
		}
		if x := other[i]; x.LeaderEpoch() != b.LeaderEpoch() || !x.IsGap() && recordOf(x) != recordOf(b) {
			return b.BaseOffset(), true
		}
	}
	return 0, false
}

// TestAGapThatIsNotWrittenYetIsCut: what two leaders send may be carried out in
// one go.
func TestAGapThatIsNotWrittenYetIsCut(t *testing.T) {
	r := replica.New(replica.Member{ID: 1, Epoch: 1}, tp, replica.Settings{}, replica.LogState{LedEpoch: messages.NoEpoch})
	r.Receive(2, replica.Message{Type: replica.TypeAppend, Epoch: 1, PrevEpoch: messages.NoEpoch, Batches: []batch.Batch{batch.Gap(nil, 0, 9, 1)}})
	next := makeBatch(7, 2, 100)
	next.Stamp(4, 2)
	r.Receive(3, replica.Message{Type: replica.TypeAppend, Epoch: 2, EpochStart: 4, Base: 4, PrevEpoch: 1, Batches: []batch.Batch{next}})
	var fx replica.Effects
	if !r.Take(&fx) || fx.Cut.Kind != replica.CutNone || len(fx.Append) != 2 {
		t.Fatalf("%+v", fx)
	}
	if gap := fx.Append[0]; !gap.IsGap() || gap.BaseOffset() != 0 || gap.NextOffset() != 4 || gap.LeaderEpoch() != 1 || &fx.Append[1][0] != &next[0] {
		t.Fatalf("gap from %d to %d", gap.BaseOffset(), gap.LastOffset())
	}
	if s := r.Status(); s.End != 6 {
		t.Fatalf("ends at %d", s.End)
	}
}
