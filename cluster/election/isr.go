package election

import (
	"errors"
	"fmt"
	"slices"

	"understudy/messages"
)

// ErrRevision reports that a change was based on a state that is no longer the
// partition's. Whoever asked gets to know the present one and may ask again.
var ErrRevision = errors.New("the partition has changed meanwhile")

// Member is a replica on one start of its broker (KIP-903).
type Member struct {
	ID    messages.BrokerID
	Epoch messages.BrokerEpoch
}

// Change is a leader's wish for another in-sync set.
type Change struct {
	From     Member // the leader
	Epoch    messages.LeaderEpoch
	Revision int64 // of the state that the wish is based on
	ISR      []Member
	Why      Reason // why a member has to leave, as the leader sees it; 0: it does not say
}

// ChangeISR gives the state with the in-sync set that the leader asks for, in
// the order of placement, or says why it cannot be: NotLeader,
// FencedLeaderEpoch, UnknownLeaderEpoch; InvalidRequest with ErrRevision, or for
// a set that no leader can want; ReplicaNotAvailable for a member that is not
// up, or was started anew since the leader last heard of it. epoch tells a live
// broker's epoch, and false for one that is down.
func ChangeISR(s State, c Change, epoch func(messages.BrokerID) (messages.BrokerEpoch, bool)) (State, error) {
	if err := mayAsk(s, c); err != nil {
		return s, err
	}
	ids := make([]messages.BrokerID, 0, len(c.ISR))
	for _, m := range c.ISR {
		if slices.Contains(ids, m.ID) || !slices.Contains(s.Replicas, m.ID) {
			return s, refuse(messages.InvalidRequest, fmt.Errorf("broker %d comes twice or has no replica", m.ID))
		}
		if e, up := epoch(m.ID); !up || e != m.Epoch {
			return s, refuse(messages.ReplicaNotAvailable, fmt.Errorf("broker %d is not up with epoch %d", m.ID, m.Epoch))
		}
		ids = append(ids, m.ID)
	}
	if !slices.Contains(ids, s.Leader) {
		return s, refuse(messages.InvalidRequest, errors.New("the leader itself is not in the set"))
	}
	isr := make([]messages.BrokerID, 0, len(ids))
	for _, id := range s.Replicas {
		if slices.Contains(ids, id) {
			isr = append(isr, id)
		}
	}
	s.ISR = isr
	return s, nil
}

// mayAsk checks that the change comes from the partition's leader, and that it
// knows the present state.
func mayAsk(s State, c Change) error {
	switch {
	case c.Epoch < s.LeaderEpoch:
		return refuse(messages.FencedLeaderEpoch, fmt.Errorf("epoch %d, now %d", c.Epoch, s.LeaderEpoch))
	case c.Epoch > s.LeaderEpoch:
		return refuse(messages.UnknownLeaderEpoch, fmt.Errorf("epoch %d, now %d", c.Epoch, s.LeaderEpoch))
	case c.From.ID != s.Leader:
		return refuse(messages.NotLeader, fmt.Errorf("leader is %s", who(s.Leader)))
	case c.Revision != s.Revision:
		return refuse(messages.InvalidRequest, ErrRevision)
	}
	return nil
}

func refuse(kind messages.Kind, cause error) error {
	return messages.E("change in-sync set", kind, "", cause)
}
