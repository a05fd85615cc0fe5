package replica

import (
	"iter"
	"slices"

	"understudy/messages"
)

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
