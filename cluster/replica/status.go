package replica

import "understudy/messages"

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
