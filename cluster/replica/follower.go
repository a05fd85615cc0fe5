package replica

import (
	"fmt"
	"strconv"

	"understudy/messages"
	"understudy/messages/batch"
)

// following is what a replica keeps while it follows.
type following struct {
	// matched is the offset up to which the log is known to agree with the
	// leader's; NoOffset before the first message that fitted.
	matched messages.Offset

	hw, start messages.Offset // newest heard of from the leader; may be ahead of this log

	acked, ackedDurable messages.Offset // what the leader was told
	due                 bool            // tell it again
	early               bool            // was asked by an assignment that it has not heard of
	probe               uint32          // the question to be answered
}

// hello tells a new leader where this log ends, in case the leader asked before
// this replica was there to hear it.
func (r *Replica) hello() {
	last := r.epochs.last()
	r.send(r.leader, Message{Type: TypeHello, Epoch: r.epoch, End: r.end, AgreeEpoch: last, AgreeEnd: r.end})
}

// receiveAppend takes what a leader sends.
func (r *Replica) receiveAppend(from messages.BrokerID, m *Message) {
	switch {
	case m.Epoch < r.epoch:
		r.fence(from)
		return
	case m.Epoch > r.epoch || r.role == Waiting:
		r.followLeader(m.Epoch, from, HeardLeader)
	case r.role != Follower || r.leader != from:
		r.ignore(from, m, "epoch is led by "+strconv.Itoa(int(r.leader)))
		return
	}
	if why := r.misfit(m); why != "" {
		r.ignore(from, m, why)
		return
	}
	f := &r.follow
	if m.Revision > max(0, r.assignment.Revision) {
		f.early = true
		return
	}
	f.hw, f.start = max(f.hw, m.HighWatermark), max(f.start, m.LogStart)
	if !r.dropLost(m) || !r.agree(from, m) || !r.take(m) || !r.dropOlder(m) {
		return
	}
	if m.Probe != 0 {
		f.probe, f.due = m.Probe, true
	}
	r.settle()
}

func (r *Replica) ignore(from messages.BrokerID, m *Message, why string) {
	r.event(Ignored{From: from, What: m.String(), Why: why})
}

// misfit says what is wrong with a message that no correct leader sends.
func (r *Replica) misfit(m *Message) string {
	if m.Base < 0 || m.LogStart < 0 || m.EpochStart < 0 || m.LogStart > m.HighWatermark || m.PrevEpoch > m.Epoch {
		return "malformed"
	}
	next, epoch := m.Base, m.PrevEpoch
	for _, b := range m.Batches {
		switch {
		case len(b) < batch.HeaderSize || b.NextOffset() <= b.BaseOffset():
			return "batch malformed"
		case b.BaseOffset() != next:
			return "batches do not follow each other"
		case b.LeaderEpoch() < epoch || b.LeaderEpoch() > m.Epoch:
			return "batch of epoch " + strconv.Itoa(int(b.LeaderEpoch()))
		}
		next, epoch = b.NextOffset(), b.LeaderEpoch()
	}
	return ""
}

// agree reports whether this log goes up to the message's base and agrees with
// the leader's there, and so all the way before it. If not it says so.
func (r *Replica) agree(from messages.BrokerID, m *Message) bool {
	f := &r.follow
	deleted := m.Base <= m.LogStart || m.Base <= r.start // nothing before it to compare
	switch {
	case m.Base > r.end && deleted && (len(m.Batches) > 0 || m.Base == m.HighWatermark):
		// The leader has deleted everything up to beyond this log's end. (A log
		// start may lie within a batch; these bases do not.)
		r.cutAll(m.Base, BelowLogStart)
	case m.Base > r.end || !deleted && r.epochs.at(m.Base-1) != m.PrevEpoch:
		newest := m.PrevEpoch
		if newest == messages.NoEpoch { // the leader has deleted that record
			newest = m.Epoch
		}
		epoch, end := r.epochs.upTo(newest, r.start, r.end)
		r.send(from, Message{
			Type: TypeReject, Epoch: r.epoch, Probe: m.Probe,
			Base: m.Base, End: r.end, AgreeEpoch: epoch, AgreeEnd: min(end, m.Base),
		})
		return false
	}
	f.matched = max(f.matched, m.Base)
	return true
}

// take appends those of the leader's batches that are not there yet, and removes
// what is in their place. It reports whether it could.
func (r *Replica) take(m *Message) bool {
	f := &r.follow
	for i, b := range m.Batches {
		if r.has(b) {
			f.matched = max(f.matched, b.NextOffset())
			f.due = true // sent again: an acknowledgement may have been lost
			continue
		}
		b = r.lacking(b)
		o := b.BaseOffset()
		f.matched = max(f.matched, min(o, r.end))
		older := b.LeaderEpoch() < r.epochs.last() // at the very end: diverged in what the leader has deleted
		if (o < r.end || older) && !r.cut(o, Diverged) {
			return false
		}
		r.append(b)
		for _, b := range m.Batches[i+1:] {
			r.append(b)
		}
		f.matched = r.end
		break
	}
	return true
}

// lacking is what of a batch this log lacks. Batches have the same bounds in all
// logs, but the gaps that compaction leaves stand for several: what is here of
// those, in the gap's epoch, is as good as the gap.
func (r *Replica) lacking(b batch.Batch) batch.Batch {
	base, epoch := b.BaseOffset(), b.LeaderEpoch()
	if !b.IsGap() || base >= r.end {
		return b
	}
	end := r.end
	if r.start < r.end {
		if r.epochs.at(max(base, r.start)) != epoch {
			return b
		}
		_, end = r.epochs.upTo(epoch, r.start, r.end)
	}
	return batch.Gap(nil, end, b.LastOffset(), epoch)
}

// dropOlder removes what lies beyond the start of the leader's epoch here and is
// of an older one: the leader has, or will have, other records in its place.
// Without it, a tail that was never committed would stay on an idle partition,
// and come to life if this replica led again. It reports whether it could.
func (r *Replica) dropOlder(m *Message) bool {
	from := r.follow.matched
	first := max(from, r.start)
	if from < m.EpochStart || first >= r.end || r.epochs.at(first) >= m.Epoch {
		return true
	}
	return r.cut(from, OlderEpoch)
}

// dropLost begins anew where this replica has deleted records, of an older epoch,
// that a leader after them does not have: they were lost there in an unclean
// election. What the leader has in their place must not be taken for deleted.
func (r *Replica) dropLost(m *Message) bool {
	if r.follow.matched != messages.NoOffset || r.start <= m.EpochStart || r.epochs.last() >= m.Epoch || !r.mayLose() {
		return true
	}
	return r.cut(m.EpochStart, OlderEpoch)
}

// has reports whether the log holds the batch (or has deleted it). A record's
// offset and epoch determine it and all before it.
func (r *Replica) has(b batch.Batch) bool {
	next := b.NextOffset()
	return next <= r.start || next <= r.end && r.epochs.at(next-1) == b.LeaderEpoch()
}

func (r *Replica) append(b batch.Batch) {
	r.epochs = r.epochs.add(b.LeaderEpoch(), r.end)
	r.end = b.NextOffset()
	r.out.Append = append(r.out.Append, b)
}

// cut removes the records at to and above, which the leader does not have, and
// reports whether it did. Up to there the logs are known to agree, so that to lies
// between two batches of both, or within a gap, of which the beginning stays;
// unless it lies where there is nothing to compare: then nothing of the log is
// worth keeping.
//
// Records below the high watermark every leader must have. To be asked to remove
// them is a bug somewhere, or the loss that unclean elections and write caching
// bring, and is refused unless it is known to be that.
func (r *Replica) cut(to messages.Offset, cause TruncateCause) bool {
	deleted := max(r.start, r.follow.start) // by the leader, or here
	if max(to, deleted) < r.hw && !r.mayLose() {
		if r.assignment.Epoch < r.epoch {
			return false // the metadata of this epoch may allow it: wait for it
		}
		r.fail(fmt.Sprintf("leader %d of epoch %d lacks committed records: it would have the log truncated to %d, high watermark %d; cause: %v",
			r.leader, r.epoch, to, r.hw, cause))
		return false
	}
	if to < r.start || to <= deleted && to > 0 {
		r.cutAll(to, cause)
		return true
	}
	pending, written := r.out.Append, r.inMemory()
	for len(pending) > 0 && pending[len(pending)-1].NextOffset() > to {
		last := &pending[len(pending)-1]
		if last.IsGap() && last.BaseOffset() < to {
			*last = batch.Gap(nil, last.BaseOffset(), to-1, last.LeaderEpoch())
			break
		}
		*last = nil
		pending = pending[:len(pending)-1]
	}
	r.out.Append = pending
	if to < written {
		r.out.Cut.Kind, r.out.Cut.To = max(r.out.Cut.Kind, CutTail), to
	}
	r.epochs = r.epochs.truncate(to)
	r.shorten(to, false, cause)
	return true
}

// cutAll empties the log and lets it start at to.
func (r *Replica) cutAll(to messages.Offset, cause TruncateCause) {
	clear(r.out.Append)
	r.out.Append = r.out.Append[:0]
	r.out.Cut, r.out.Start = Cut{Kind: CutAll, To: to}, 0
	r.epochs = r.epochs[:0]
	r.shorten(to, true, cause)
}

// shorten brings what is known of the log down (of an emptied one: over) to its
// new end.
func (r *Replica) shorten(to messages.Offset, all bool, cause TruncateCause) {
	r.event(Truncated{
		Epoch: r.epoch, From: r.end, To: to, HW: r.hw, All: all, Cause: cause,
		Lost: max(to, r.start, r.follow.start) < r.hw,
	})
	r.end = to
	if all {
		r.start, r.hw, r.durable = to, to, to
	}
	r.hw, r.durable, r.flushTo = min(r.hw, to), min(r.durable, to), min(r.flushTo, to)
	r.follow.matched = min(r.follow.matched, to)
	r.out.Publish = true
}

// mayLose reports whether committed records may be dropped to follow a leader.
func (r *Replica) mayLose() bool {
	unclean := r.assignment.UncleanEpoch
	return r.settings.WriteCaching || r.settings.UncleanElection || unclean > 0 && unclean > r.epochs.at(r.hw-1)
}

// reported is how much of the log counts as replicated here.
func (r *Replica) reported() messages.Offset {
	if r.settings.WriteCaching {
		return r.follow.matched
	}
	return min(r.durable, r.follow.matched)
}

// settle lets the high watermark and the log start follow the leader's, as far
// as this log reaches.
func (r *Replica) settle() {
	f := &r.follow
	r.hw = max(r.hw, min(f.hw, r.reported()))
	if r.raiseStart(min(f.start, r.hw)) {
		r.out.Start = r.start
	}
	if r.hw >= r.lost {
		r.lost = 0
	}
}

// acknowledge tells the leader how far this log agrees with its own, if that is
// news or it has asked.
func (r *Replica) acknowledge() {
	f := &r.follow
	if f.matched == messages.NoOffset {
		return
	}
	durable := min(r.durable, f.matched)
	news := durable > f.ackedDurable || r.settings.WriteCaching && f.matched > f.acked || r.out.Start != 0
	if !news && !f.due {
		return
	}
	r.send(r.leader, Message{Type: TypeAck, Epoch: r.epoch, Probe: f.probe, End: f.matched, Durable: durable, LogStart: r.start})
	f.acked, f.ackedDurable, f.due, f.probe = f.matched, durable, false, 0
}
