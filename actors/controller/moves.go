package controller

import (
	"fmt"
	"slices"

	"understudy/cluster/election"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// Reassignment asks that a partition's replicas be moved (KIP-455).
type Reassignment struct {
	Topic     string
	Partition int32
	Target    []messages.BrokerID // the preferred leader first; nil: cancel what is under way
}

// ReassignmentResult is what became of a Reassignment: whether it has begun, or
// was cancelled.
type ReassignmentResult struct {
	Topic     string
	Partition int32
	Err       error
}

// reassign begins and cancels moves of replicas, each for itself.
type reassign struct {
	moves       []Reassignment
	fixedFactor bool // the number of replicas must stay as it is (KIP-860)
	results     []ReassignmentResult
}

func (c *reassign) decide(d *decision) error {
	if err := d.lead(); err != nil {
		return err
	}
	c.results = make([]ReassignmentResult, len(c.moves))
	seen := make(map[messages.TopicPartition]bool, len(c.moves))
	run := moving{elections: elections{d: d, cause: election.Cause{Reason: election.AskedFor, Broker: messages.NoBroker}}}
	for i, m := range c.moves {
		tp := messages.TopicPartition{Topic: m.Topic, Partition: m.Partition}
		c.results[i] = ReassignmentResult{Topic: m.Topic, Partition: m.Partition}
		if seen[tp] {
			c.results[i].Err = refuse("move replicas", messages.InvalidRequest, tp.String(), "comes more than once in the request")
			continue
		}
		seen[tp] = true
		c.results[i].Err = run.reassign(tp, m.Target, c.fixedFactor)
	}
	run.end()
	return nil
}

// moving gathers the moves that begin, or are cancelled, for one cause.
type moving struct {
	elections
	begun, cancelled []Move
}

func (m *moving) reassign(tp messages.TopicPartition, target []messages.BrokerID, fixedFactor bool) error {
	t, err := m.d.partition(tp)
	if err != nil {
		return err
	}
	s := election.State(t.Partitions[tp.Partition])
	if target == nil {
		next, err := election.Cancel(s, m.d.ordinary())
		if err != nil {
			return about(tp, err)
		}
		m.start(t, tp, next)
		return nil
	}
	if err := m.check(s, target, fixedFactor); err != nil {
		return about(tp, err)
	}
	return m.begin(t, tp, target)
}

// check says what is wrong with a target that somebody has asked for, or nil.
func (m *moving) check(s election.State, target []messages.BrokerID, fixedFactor bool) error {
	known := func(id messages.BrokerID) bool { return m.d.image().Broker(id) != nil }
	if err := election.CheckTarget(target, known); err != nil {
		return err
	}
	if have := len(s.Original()); fixedFactor && have != len(target) {
		return refuse("move replicas", messages.InvalidReplicationFactor, "", fmt.Sprintf("there are %d replicas and would be %d", have, len(target)))
	}
	for _, id := range target {
		if m.d.isDraining(id) && !slices.Contains(s.Replicas, id) {
			return refuse("move replicas", messages.InvalidReplicaAssignment, "", fmt.Sprintf("broker %d is being drained", id))
		}
	}
	return nil
}

// begin has a partition's replicas move to a target that was checked.
func (m *moving) begin(t *metadata.Topic, tp messages.TopicPartition, target []messages.BrokerID) error {
	next, err := election.Begin(election.State(t.Partitions[tp.Partition]), target, m.d.ordinary())
	if err != nil {
		return about(tp, err)
	}
	m.start(t, tp, next)
	return nil
}

// start records a move's first state, or the one after a cancellation.
func (m *moving) start(t *metadata.Topic, tp messages.TopicPartition, next election.State) {
	old := election.State(t.Partitions[tp.Partition])
	switch {
	case next.Equal(old):
		return
	case next.Target != nil:
		m.begun = append(m.begun, Move{Partition: tp, From: next.Original(), To: next.Target})
	default:
		m.cancelled = append(m.cancelled, Move{Partition: tp, From: old.Target, To: next.Replicas})
	}
	m.become(t, int(tp.Partition), next)
}

// end tells the events.
func (m *moving) end() {
	for _, moved := range []Moved{{MoveBegun, m.cause.String(), m.begun}, {MoveCancelled, m.cause.String(), m.cancelled}} {
		if len(moved.Moves) > 0 {
			m.d.event(moved)
			m.d.forgetLoads()
		}
	}
	m.elections.end()
}

// about names the partition that an error is about.
func about(tp messages.TopicPartition, err error) error {
	if e, ok := err.(*messages.Error); ok && e.Subject == "" {
		return messages.E(e.Op, e.Kind, tp.String(), e.Err)
	}
	return messages.E("controller", messages.Unknown, tp.String(), err)
}

// clone copies what the caller might change while a command waits.
func (m Reassignment) clone() Reassignment {
	m.Target = slices.Clone(m.Target)
	return m
}
