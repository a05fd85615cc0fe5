// Package election decides who leads a partition, who is in sync, and how its
// replicas move to other brokers. It is pure: what the metadata says about a
// partition and what is known about brokers go in, the partition's next state
// comes out. The controller commits it before anybody acts on it.
//
// The rules:
//
//   - Only a member of the in-sync set that is up may lead. A leader that can
//     stay, stays; otherwise the first such replica in the order of placement.
//     Brokers that shall not lead do so only if nobody else can, and those that
//     came back a moment ago are not made leaders if others could be.
//   - Members that are down leave the set, but never the last: without a leader
//     the set stays as it was, since any of its members holds all that was
//     committed, and the first to return leads.
//   - From outside the set nobody leads, unless the topic allows it (an unclean
//     election), and then nobody else is in sync and the state says which epoch
//     it was, so that replicas know why committed records are gone.
//   - Every change of leader, to none as well, is a new leader epoch.
//
// How replicas move is in move.go.
package election

import (
	"fmt"
	"slices"

	"understudy/messages"
)

// State is what the metadata says about one partition.
type State struct {
	Replicas     []messages.BrokerID // the first is the preferred leader
	ISR          []messages.BrokerID
	Leader       messages.BrokerID // NoBroker while offline
	LeaderEpoch  messages.LeaderEpoch
	UncleanEpoch messages.LeaderEpoch // newest epoch begun by an unclean election; 0: none

	// While replicas are being moved: those being added, which are the last of
	// Replicas, and what is to be in the end. Otherwise both are nil.
	Adding, Target []messages.BrokerID

	Revision int64
}

// Offline reports whether nobody leads.
func (s State) Offline() bool { return s.Leader == messages.NoBroker }

// Equal reports whether two states are the same but for their revision.
func (s State) Equal(o State) bool {
	return s.Leader == o.Leader && s.LeaderEpoch == o.LeaderEpoch && s.UncleanEpoch == o.UncleanEpoch &&
		slices.Equal(s.ISR, o.ISR) && slices.Equal(s.Replicas, o.Replicas) &&
		slices.Equal(s.Adding, o.Adding) && slices.Equal(s.Target, o.Target)
}

// Circumstances are what an election has to go by.
type Circumstances struct {
	Live  func(messages.BrokerID) bool // which brokers are up
	Avoid func(messages.BrokerID) bool // which of them shall lead only if nobody else can; nil: none

	// Returned says which of them came back a moment ago, so that clients may not have
	// found them again: they keep what they lead, and are given more only if nobody
	// else can lead it that shall. nil: none.
	Returned func(messages.BrokerID) bool

	Unclean   bool // an unclean election is allowed
	Preferred bool // the preferred leader shall lead, even if the present one could stay
	NewEpoch  bool // the leader, if it stays, leads a new epoch: it was restarted and may have forgotten what it sent

	// Suspect may hold less than it acknowledged (its machine went down):
	// it is in sync only as long as no other is. NoBroker: none.
	Suspect messages.BrokerID
	// Barred must not lead, though it is up: it has lost what was committed. Only
	// an unclean election lets it. NoBroker: none.
	Barred messages.BrokerID
	// Emptied has lost its disk: it is in sync no more, unless it is the only
	// member, which IsLast tells beforehand. NoBroker: none.
	Emptied messages.BrokerID
	// Best is whom an unclean election makes leader if it is up: it is known to hold
	// the most. NoBroker: the first in the order of placement.
	Best messages.BrokerID
}

// Ordinary are circumstances in which nothing is to be suspected of anybody.
func Ordinary(live, avoid func(messages.BrokerID) bool) Circumstances {
	return Circumstances{
		Live: live, Avoid: avoid,
		Suspect: messages.NoBroker, Barred: messages.NoBroker, Emptied: messages.NoBroker, Best: messages.NoBroker,
	}
}

// IsLast reports whether a broker is the only one in sync, so that nobody else
// has what was committed.
func (s State) IsLast(id messages.BrokerID) bool { return len(s.ISR) == 1 && s.ISR[0] == id }

// Elect gives the state that follows; State.Equal tells whether it differs. The
// given state's slices are not changed.
func Elect(s State, c Circumstances) State {
	if slices.Contains(s.ISR, c.Emptied) && !s.IsLast(c.Emptied) {
		s.ISR = without(s.ISR, c.Emptied)
	}
	able := able(s, c)
	if len(able) == 0 {
		if last(s, c) != messages.NoBroker {
			return Force(s, c)
		}
		if !s.Offline() {
			s.Leader, s.LeaderEpoch = messages.NoBroker, s.LeaderEpoch+1
		}
		return s
	}
	leader := s.Leader
	if c.Preferred || !slices.Contains(able, leader) || c.avoids(leader) && !c.avoids(able[0]) {
		leader = able[0]
	}
	if leader != s.Leader || c.NewEpoch {
		s.LeaderEpoch++
	}
	s.Leader = leader
	if len(able) < len(s.ISR) {
		s.ISR = s.inOrder(able)
	}
	return s
}

// Force gives the state after an operator's unclean election of a partition that
// is offline: whoever is up leads, the best of them if it is known, and nobody
// else is in sync. That one of the in-sync set is up and does not lead means that
// it has refused to: it is no better than the others. The state stays as it is
// if nobody is up.
func Force(s State, c Circumstances) State {
	c.Unclean = true
	if leader := last(s, c); leader != messages.NoBroker {
		s.Leader, s.LeaderEpoch = leader, s.LeaderEpoch+1
		s.ISR, s.UncleanEpoch = []messages.BrokerID{leader}, s.LeaderEpoch
	}
	return s
}

// able are the members of the in-sync set that may lead, in the order of
// placement, those that came back a moment ago after the others, and those to be
// avoided last.
func able(s State, c Circumstances) []messages.BrokerID {
	list := make([]messages.BrokerID, 0, len(s.ISR))
	for _, id := range s.Replicas {
		if slices.Contains(s.ISR, id) && c.Live(id) && id != c.Barred && !(id == c.Emptied && s.IsLast(id)) {
			list = append(list, id)
		}
	}
	if i := slices.Index(list, c.Suspect); i >= 0 && len(list) > 1 {
		list = slices.Delete(list, i, i+1)
	}
	if c.Avoid != nil || c.Returned != nil {
		slices.SortStableFunc(list, func(a, b messages.BrokerID) int { return c.rank(a) - c.rank(b) })
	}
	return list
}

func (c Circumstances) avoids(id messages.BrokerID) bool { return c.Avoid != nil && c.Avoid(id) }

// rank is the higher, the less a broker is wanted as a leader. The preferred one is
// asked for by those who know how long it has been back.
func (c Circumstances) rank(id messages.BrokerID) int {
	switch {
	case c.avoids(id):
		return 2
	case c.Returned != nil && !c.Preferred && c.Returned(id):
		return 1
	}
	return 0
}

// inOrder gives the members of a set in the order of placement.
func (s State) inOrder(set []messages.BrokerID) []messages.BrokerID {
	list := make([]messages.BrokerID, 0, len(set))
	for _, id := range s.Replicas {
		if slices.Contains(set, id) {
			list = append(list, id)
		}
	}
	return list
}

// without gives a list without one of its members, or without some.
func without(list []messages.BrokerID, gone ...messages.BrokerID) []messages.BrokerID {
	return slices.DeleteFunc(slices.Clone(list), func(id messages.BrokerID) bool { return slices.Contains(gone, id) })
}

// last finds whom an unclean election makes leader, if it is allowed; one that
// is barred or has lost its disk only if there is no other.
func last(s State, c Circumstances) messages.BrokerID {
	best := messages.NoBroker
	if !c.Unclean {
		return best
	}
	for _, id := range s.Replicas {
		if c.Live(id) && (best == messages.NoBroker || best == c.Barred || best == c.Emptied || id == c.Best) {
			best = id
		}
	}
	return best
}

// Reason says what made an election or a change of the in-sync set necessary.
type Reason uint8

// The reasons. Leaders tell controllers of other versions some of their numbers: new
// ones come last.
const (
	BrokerStarted Reason = iota + 2 // 1 was for topics that were created
	BrokerCrashed                   // started again after its machine went down, as far as is known
	BrokerDown
	LeaderResigned
	UncleanAllowed
	ISRShrunk // the leader says that a follower is behind
	ISRGrown
	ISRCutOff    // the leader does not reach a follower
	ISRLost      // a follower holds less than it had acknowledged
	BrokerEmpty  // registered with a new data directory
	BrokerDrains // shall hold nothing
	BrokerSteady // has been back for a while
	AskedFor     // by an operator
	_            // was for replicas that have been moved
	ISRFailed    // a follower's log has failed
)

// String says the reason in words.
func (r Reason) String() string {
	switch r {
	case BrokerStarted:
		return "started"
	case BrokerCrashed:
		return "started, and may have lost what was not on its disk"
	case BrokerDown:
		return "down"
	case LeaderResigned:
		return "refused to lead"
	case UncleanAllowed:
		return "unclean elections were allowed"
	case ISRShrunk:
		return "fell behind"
	case ISRGrown:
		return "caught up"
	case ISRCutOff:
		return "cannot be reached by the leader"
	case ISRLost:
		return "lost part of its log"
	case BrokerEmpty:
		return "has a new data directory"
	case BrokerDrains:
		return "is drained"
	case BrokerSteady:
		return "is the preferred leader and has been back for a while"
	case AskedFor:
		return "asked for"
	case ISRFailed:
		return "says that its log has failed"
	}
	return "no reason"
}

// Cause is why a decision was made: what happened to which broker.
type Cause struct {
	Reason Reason
	Broker messages.BrokerID // NoBroker if it concerns none
	Detail string            // further words: "process gone, redial refused"
}

// String is the cause in words: "node 2 process gone, redial refused", "node 3
// caught up".
func (c Cause) String() string {
	if c.Reason == BrokerDown && c.Detail != "" {
		return fmt.Sprintf("node %d %s", c.Broker, c.Detail)
	}
	s := c.Reason.String()
	if c.Broker != messages.NoBroker {
		s = fmt.Sprintf("node %d %s", c.Broker, s)
	}
	if c.Detail != "" {
		s += ": " + c.Detail
	}
	return s
}

// Event is a change of a partition's leader or in-sync set.
type Event struct {
	Partition messages.TopicPartition
	Old, New  State
	Cause     Cause
}

// Unclean reports whether the election may have lost committed records.
func (e Event) Unclean() bool { return e.New.UncleanEpoch != e.Old.UncleanEpoch }

// String is one line: "partition orders-3: leader 2 → 1, epoch 8; cause: node 2 down".
func (e Event) String() string {
	s := fmt.Sprintf("partition %v:", e.Partition)
	if e.Old.Leader != e.New.Leader {
		s += fmt.Sprintf(" leader %s → %s,", who(e.Old.Leader), who(e.New.Leader))
	} else {
		s += fmt.Sprintf(" leader %s,", who(e.New.Leader))
	}
	s += fmt.Sprintf(" epoch %d", e.New.LeaderEpoch)
	if !slices.Equal(e.Old.Replicas, e.New.Replicas) {
		s += fmt.Sprintf(", replicas %v → %v", e.Old.Replicas, e.New.Replicas)
	}
	if !slices.Equal(e.Old.ISR, e.New.ISR) {
		s += fmt.Sprintf(", in sync %v → %v", e.Old.ISR, e.New.ISR)
	}
	if e.Unclean() {
		s += ", UNCLEAN: committed records may be lost"
	}
	return s + "; cause: " + e.Cause.String()
}

func who(id messages.BrokerID) string {
	if id == messages.NoBroker {
		return "none"
	}
	return fmt.Sprint(id)
}
