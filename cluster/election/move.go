package election

import (
	"errors"
	"fmt"
	"slices"

	"understudy/messages"
)

// How replicas move to other brokers (KIP-455). The new ones are added behind the
// original ones and fill; when all of them are in sync, the switch makes the
// target the partition's replicas, in its order, and the rest go:
//
//	           Begin                      Arrive: all that were added are in sync
//	[1 2 3] ──────────▶ [1 2 3 4]        ───────────────────▶ [4 2 3]
//	   ▲                adding [4]
//	   └──── Cancel ─── target [4 2 3]
//
// Another Begin meanwhile replaces the target: the original replicas stay the
// ones that they were, so that whatever was asked for can be cancelled until the
// switch.

var (
	errNoMove   = errors.New("its replicas are not being moved")
	errOnlyCopy = errors.New("the only replica in sync is one that would be dropped")
)

// Original are the replicas before the move, or as they are if there is none.
func (s State) Original() []messages.BrokerID { return without(s.Replicas, s.Adding...) }

// Removing are the replicas that go with the switch; nil without a move.
func (s State) Removing() []messages.BrokerID {
	if s.Target == nil {
		return nil
	}
	return without(s.Replicas, s.Target...)
}

// Begin gives the state in which replicas begin to move to the target, whose first
// is to be the preferred leader. Nothing is dropped yet but what an earlier move
// was adding and this one does not want. The target must not be empty nor name a
// broker twice. The error has the kind InvalidReplicaAssignment: what would be
// dropped is the only replica in sync.
func Begin(s State, target []messages.BrokerID, c Circumstances) (State, error) {
	original := s.Original()
	adding := without(target, original...)
	next := s
	next.Replicas = slices.Concat(original, adding)
	next.ISR = next.inOrder(s.ISR)
	if len(next.ISR) == 0 {
		return s, messages.E("move replicas", messages.InvalidReplicaAssignment, "", errOnlyCopy)
	}
	next.Adding, next.Target = adding, slices.Clone(target)
	if slices.Equal(original, target) {
		next.Adding, next.Target = nil, nil
	}
	if len(adding) == 0 {
		next.Adding = nil
	}
	if next.Offline() || slices.Contains(next.Replicas, next.Leader) {
		return next, nil
	}
	return Elect(next, c), nil
}

// Cancel gives the state with the original replicas. The error is that there is no
// move (NoReassignment), or that of Begin.
func Cancel(s State, c Circumstances) (State, error) {
	if s.Target == nil {
		return s, messages.E("move replicas", messages.NoReassignment, "", errNoMove)
	}
	return Begin(s, s.Original(), c)
}

// Arrive makes the switch, if it is time: all replicas that were added are in sync,
// and going on with the target leaves as many in sync as minISR wants, unless
// there are fewer anyway. Otherwise the state stays as it is. A leader that is in
// the target stays; else one of the target is elected.
func Arrive(s State, c Circumstances, minISR int) State {
	if s.Target == nil || s.Offline() { // any of those in sync may bring it back
		return s
	}
	next := s
	next.Replicas = s.Target
	next.ISR = next.inOrder(s.ISR)
	for _, id := range s.Adding {
		if !slices.Contains(next.ISR, id) {
			return s
		}
	}
	enough := min(minISR, len(s.Target), len(s.ISR))
	if len(next.ISR) < max(enough, 1) {
		return s
	}
	next.Adding, next.Target = nil, nil
	if slices.Contains(next.Replicas, next.Leader) {
		return next
	}
	next = Elect(next, c)
	if next.Offline() { // the old leader can go on, and nobody of the target can
		return s
	}
	return next
}

// CheckTarget says what is wrong with a target, or nil; known tells which brokers
// there are. The error has the kind InvalidReplicaAssignment.
func CheckTarget(target []messages.BrokerID, known func(messages.BrokerID) bool) error {
	bad := func(cause error) error {
		return messages.E("move replicas", messages.InvalidReplicaAssignment, "", cause)
	}
	if len(target) == 0 {
		return bad(errors.New("no replicas are named"))
	}
	for i, id := range target {
		if slices.Contains(target[:i], id) {
			return bad(fmt.Errorf("broker %d is named twice", id))
		}
		if !known(id) {
			return bad(fmt.Errorf("broker %d is not registered", id))
		}
	}
	return nil
}
