package controller

import (
	"slices"

	"understudy/cluster/election"
	"understudy/cluster/metadata"
	"understudy/cluster/topicconfig"
	"understudy/messages"
)

// elections gathers the changes that have one cause.
type elections struct {
	d       *decision
	cause   election.Cause
	changed []election.Event
	arrived []Move
	parsed  map[string]*topicconfig.Settings // of topics, as far as they were wanted; nil: not readable
}

// elect decides about one partition and records a change. Whether the topic
// allows an unclean election is looked up only when nothing else helps.
func (e *elections) elect(t *metadata.Topic, n int, c election.Circumstances) {
	old := election.State(t.Partitions[n])
	next := election.Elect(old, c)
	if next.Offline() && e.uncleanAllowed(t) {
		c.Unclean = true
		next = election.Elect(old, c)
	}
	e.become(t, n, next)
}

// become makes a partition's next state of one that was worked out. If replicas
// are being moved and all have arrived, that is the one after the switch.
func (e *elections) become(t *metadata.Topic, n int, next election.State) {
	old := election.State(t.Partitions[n])
	tp := messages.TopicPartition{Topic: t.Name, Partition: int32(n)}
	if next.Target != nil {
		switched := election.Arrive(next, e.d.ordinary(), e.minISR(t))
		if switched.Target == nil {
			e.arrived = append(e.arrived, Move{Partition: tp, From: next.Original(), To: next.Target})
			e.d.leave(next.Removing())
		}
		next = switched
	}
	if next.Equal(old) {
		return
	}
	e.d.edit.SetPartition(tp, metadata.Partition(next))
	if old.Leader != next.Leader || old.LeaderEpoch != next.LeaderEpoch || !slices.Equal(old.ISR, next.ISR) {
		e.changed = append(e.changed, election.Event{Partition: tp, Old: old, New: next, Cause: e.cause})
	}
}

// end tells the events, if anything changed.
func (e *elections) end() {
	if len(e.changed) > 0 {
		e.d.event(Elected{Cause: e.cause, Partitions: e.changed})
	}
	if len(e.arrived) > 0 {
		e.d.event(Moved{Step: MoveDone, Cause: e.cause.String(), Moves: e.arrived})
		e.d.forgetLoads()
	}
}

// uncleanAllowed reports whether a topic prefers going on to keeping everything.
// Settings that cannot be read allow nothing.
func (e *elections) uncleanAllowed(t *metadata.Topic) bool {
	s := e.settings(t)
	return s != nil && s.UncleanElection
}

// minISR is how many replicas should stay in sync; 1 if that cannot be read.
func (e *elections) minISR(t *metadata.Topic) int {
	if s := e.settings(t); s != nil {
		return s.MinInsyncReplicas
	}
	return 1
}

func (e *elections) settings(t *metadata.Topic) *topicconfig.Settings {
	s, known := e.parsed[t.Name]
	if known {
		return s
	}
	if parsed, err := topicconfig.Parse(t.Config, e.d.defaults()); err == nil {
		s = &parsed
	}
	if e.parsed == nil {
		e.parsed = map[string]*topicconfig.Settings{}
	}
	e.parsed[t.Name] = s
	return s
}
