package replica

import (
	"fmt"
	"slices"

	"understudy/messages"
)

// Assign tells what the metadata says. What is older than what is already known
// is ignored, so assignments may arrive in any order and more than once. This replica is
// among the Replicas: one that is not any more is to be ended.
func (r *Replica) Assign(a Assignment) {
	old := &r.assignment
	if r.role == Broken || a.Epoch < old.Epoch || a.Epoch == old.Epoch && a.Revision <= old.Revision {
		return
	}
	if a.Epoch < r.epoch {
		if last := r.epochs.last(); old.Epoch == messages.NoEpoch && a.Epoch < last { // metadata that was lost and begun anew would look like this
			r.event(Ignored{From: r.self.ID, What: fmt.Sprintf("assignment of epoch %d", a.Epoch), Why: fmt.Sprintf("the log has records of epoch %d", last)})
		}
		return
	}
	previous := r.assignment.ISR
	a.Replicas, a.ISR = slices.Clone(a.Replicas), slices.Clone(a.ISR)
	r.assignment = a
	newer := a.Epoch > r.epoch
	switch {
	case a.Leader == r.self.ID:
		if newer || r.role != Leader && r.role != Standby {
			r.elected(a)
		} else if r.role == Leader {
			r.changeISR(previous)
		}
	case a.Leader == messages.NoBroker:
		r.loseLeader(a.Epoch, r.self.ID, Assigned)
	case newer || r.role != Follower || r.leader != a.Leader:
		r.followLeader(a.Epoch, a.Leader, Assigned)
		r.hello()
	case r.follow.matched == messages.NoOffset || r.follow.early:
		r.follow.early = false
		r.hello() // what was refused for want of this assignment may go now
	}
}

// elected makes the replica the leader of a new epoch, unless it must not be.
func (r *Replica) elected(a Assignment) {
	alone := len(a.Replicas) == 1 && len(a.ISR) <= 1
	switch {
	case a.Epoch <= r.led && !alone:
		r.standBy(a.Epoch, LedBefore)
	case r.lost > r.hw && !r.settings.WriteCaching && !r.settings.UncleanElection && a.UncleanEpoch != a.Epoch:
		r.standBy(a.Epoch, LostCommitted)
	default:
		r.becomeLeader(a)
	}
}

// standBy refuses to lead, and asks the controller for another election.
func (r *Replica) standBy(epoch messages.LeaderEpoch, cause ResignCause) {
	r.stepDown(epoch, r.self.ID, Assigned)
	r.role, r.epoch, r.heard, r.leader = Standby, epoch, epoch, r.self.ID
	r.lead = leading{resigned: cause, asked: timer(r.now)}
	r.out.Publish = true
	resignation := Resignation{Epoch: epoch, Cause: cause}
	r.out.Resign = &resignation
	r.event(Resigned{Resignation: resignation, End: r.end, Committed: max(r.lost, r.hw)})
}

// becomeLeader begins a leadership: every follower is asked how far its log agrees.
func (r *Replica) becomeLeader(a Assignment) {
	r.stepDown(a.Epoch, r.self.ID, Assigned)
	r.role, r.epoch, r.heard, r.leader, r.led, r.lost = Leader, a.Epoch, a.Epoch, r.self.ID, a.Epoch, 0
	r.lead = leading{epochStart: r.end}
	r.arrange()
	r.out.Publish = true
	r.event(BecameLeader{Epoch: r.epoch, Start: r.end, HW: r.hw, ISR: a.ISR})
	r.advance()
	r.reviewISR()
}

// followLeader begins to follow. Nothing is known yet of how far the logs agree.
func (r *Replica) followLeader(epoch messages.LeaderEpoch, leader messages.BrokerID, cause EpochCause) {
	r.stepDown(epoch, leader, cause)
	r.role, r.epoch, r.heard, r.leader = Follower, epoch, epoch, leader
	r.led = max(r.led, epoch) // another leads it
	r.follow = following{matched: messages.NoOffset, acked: messages.NoOffset, ackedDurable: messages.NoOffset}
	r.out.Publish = true
	r.event(BecameFollower{Epoch: epoch, Leader: leader, Cause: cause})
}

// loseLeader waits for news of the epoch's leader.
func (r *Replica) loseLeader(epoch messages.LeaderEpoch, from messages.BrokerID, cause EpochCause) {
	if r.role == Waiting && r.epoch == epoch {
		return
	}
	r.stepDown(epoch, from, cause)
	r.role, r.epoch, r.heard, r.leader = Waiting, epoch, epoch, messages.NoBroker
	r.out.Publish = true
	r.event(LostLeader{Epoch: epoch, Cause: cause})
}

// stepDown ends a leadership, if there is one: from now on nothing that it
// appended is acknowledged by this replica.
func (r *Replica) stepDown(newer messages.LeaderEpoch, from messages.BrokerID, cause EpochCause) {
	if r.role != Leader {
		return
	}
	n := r.release(messages.E("produce", messages.NotLeader, r.tp.String(), nil))
	r.lead = leading{}
	r.event(SteppedDown{Epoch: r.epoch, Newer: newer, From: from, Unanswered: n, Cause: cause})
}

// release answers everybody who waits with an error, and says how many they were.
func (r *Replica) release(err error) int {
	n := 0
	for _, q := range []*waiters{&r.lead.waiting, &r.lead.deletes, &r.lead.confirms} {
		n += q.len()
		for w := range q.drain() {
			r.answer(w, err)
		}
	}
	return n
}
