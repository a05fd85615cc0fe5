package replica

import (
	"iter"
	"slices"

	"understudy/messages"
)

// Status is what there is to know of a replica. Its slices must not be changed;
// they stay as they are when the replica goes on.
type Status struct {
	Role     Role
	Epoch    messages.LeaderEpoch // newest heard of
	Leader   messages.BrokerID    // of Epoch; NoBroker: not known
	Replicas []messages.BrokerID  // as of the newest assignment
	ISR      []messages.BrokerID
	Revision int64

	// The log, once the effects taken so far are carried out.
	LogStart, HighWatermark, Durable, End messages.Offset

	// Committed is what to record for LogState.HighWatermark: the high watermark,
	// or more if records are known to have been committed and are not here.
	Committed messages.Offset
	// Heard is up to where the replica has heard that records are committed, whether
	// or not it has ever had them.
	Heard messages.Offset

	// EpochStart is, of a leader, its log end when its epoch began; else NoOffset.
	EpochStart messages.Offset
	// Settled: the leader's high watermark counts all that was committed before
	// it. Until then it may be behind what an earlier leader has told consumers
	// (KIP-207): the end of the log is OffsetNotAvailable to them, not
	// OffsetOutOfRange.
	Settled bool
	// Isolated: the leader may have been replaced without knowing (see Isolate), and
	// takes no writes. Nothing will be appended here as long as it is so.
	Isolated bool
	// UnderMin: the in-sync set is smaller than min.insync.replicas.
	UnderMin bool
}

// Status is the replica's state at the moment. It does not allocate.
func (r *Replica) Status() Status {
	s := Status{
		Role: r.role, Epoch: r.epoch, Leader: r.leader,
		Replicas: r.assignment.Replicas, ISR: r.assignment.ISR, Revision: r.assignment.Revision,
		LogStart: r.start, HighWatermark: r.hw, Durable: r.durable, End: r.end, Committed: max(r.hw, r.lost),
		Heard:      max(r.hw, r.lost, r.follow.hw),
		EpochStart: messages.NoOffset,
	}
	if r.role == Leader {
		s.EpochStart, s.Settled = r.lead.epochStart, r.lead.settled
		s.Isolated = r.isolated && r.replaceable()
		s.UnderMin = len(s.ISR) < r.minISR()
	}
	return s
}

// Epochs is a copy of the epoch history.
func (r *Replica) Epochs() []EpochStart { return slices.Clone([]EpochStart(r.epochs)) }

// FollowerStatus is what a leader knows of one follower.
type FollowerStatus struct {
	ID        messages.BrokerID
	InSync    bool
	Joining   bool            // is about to be let in
	Down      bool            // its node is
	Lagging   bool            // for longer than replica.lag.time.max.ms
	Streaming bool            // false: its log is being compared
	CatchUp   bool            // waits for older records to be read
	Appended  messages.Offset // agrees with the leader's log up to here; NoOffset: not known
	Durable   messages.Offset // and has it on disk up to here
	Next      messages.Offset // first offset not yet sent
	InFlight  int64           // bytes sent and not acknowledged
}

// Followers yields what a leader knows of its followers; nothing if this is none.
func (r *Replica) Followers() iter.Seq[FollowerStatus] {
	return func(yield func(FollowerStatus) bool) {
		if r.role != Leader {
			return
		}
		for _, f := range r.lead.followers {
			s := FollowerStatus{
				ID: f.id, InSync: f.isr, Joining: f.joining || f.proposed && !f.isr, Down: f.down, Lagging: f.lagging,
				Streaming: f.streaming, CatchUp: f.loading != 0 || f.readLater,
				Appended: f.appended, Durable: f.durable, Next: f.next, InFlight: f.flight.bytes,
			}
			if !yield(s) {
				return
			}
		}
	}
}
