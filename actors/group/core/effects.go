package core

import "understudy/messages"

// Time is now, on two clocks: durations are measured on one, records dated by
// the other, on which no safety depends.
type Time struct {
	Clock int64 // ms; never goes back
	Wall  int64 // ms since the epoch
}

// Effects are what a group wants done. The order of the fields is the order in
// which they are to be done.
type Effects struct {
	// Writes are to be appended to the group's partition of the offsets topic, in
	// order, each as a whole or not at all. When it is known how one ended, and not
	// before, Written is called; once for each, in the same order.
	Writes []Write
	// Answers are for those who asked.
	Answers []Answer
	// Events tell what was decided, and why.
	Events []Event
}

// Answer answers a request.
type Answer struct {
	To    any // what came with the request
	Value any // Joined, Synced or Done
}

// Done answers Commit, DeleteOffsets and Delete.
type Done struct {
	Err  error                             // concerns the whole
	Each map[messages.TopicPartition]error // what else went wrong with single partitions
}

// Write is a change of what is kept of the group.
type Write struct {
	Metadata *Metadata                 // the group's; nil: unchanged
	Forget   bool                      // nothing of the group's metadata is to stay
	Offsets  []Offset                  // that were committed
	Dropped  []messages.TopicPartition // whose offsets are not to stay
	Wall     int64                     // when, in ms since the epoch
}

// Offset is a committed offset as it is kept.
type Offset struct {
	messages.TopicPartition
	Committed
	Time    int64 // of the commit, ms since the epoch
	Expires int64 // until when it is to be kept, ms since the epoch; 0: as the broker's setting says
}

// Metadata is what is kept of a group beside its offsets.
type Metadata struct {
	ProtocolType string
	Generation   int32
	Protocol     string // empty: none, as there are no members
	Leader       string // member id; empty: none
	Since        int64  // when the group became what it is, ms since the epoch; -1: not known
	Members      []MemberRecord
}

// MemberRecord is what is kept of a member.
type MemberRecord struct {
	MemberID, InstanceID string
	Client               Client
	RebalanceTimeout     int64 // ms
	SessionTimeout       int64 // ms
	Subscription         []byte
	Assignment           []byte
}

// Take moves what there is to be done into e, and reports whether there is
// anything. The slices of e are used again.
func (g *Group) Take(e *Effects) bool {
	e.Writes, g.effects.Writes = g.effects.Writes, e.Writes[:0]
	e.Answers, g.effects.Answers = g.effects.Answers, e.Answers[:0]
	e.Events, g.effects.Events = g.effects.Events, e.Events[:0]
	return len(e.Writes)+len(e.Answers)+len(e.Events) > 0
}

func (g *Group) answer(to, value any) {
	g.effects.Answers = append(g.effects.Answers, Answer{To: to, Value: value})
}

func (g *Group) event(e Event) { g.effects.Events = append(g.effects.Events, e) }

// flying is a write of which it is not known yet how it ends.
type flying struct {
	write Write
	then  func(err error)
}

// write has something written, and then done.
func (g *Group) write(w Write, then func(err error)) {
	w.Wall = g.now.Wall
	g.flight = append(g.flight, flying{w, then})
	g.effects.Writes = append(g.effects.Writes, w)
}

// Written tells how the oldest of the writes under way has ended. Its error is
// one that the group's members understand: see messages.CoordinatorNotAvailable.
func (g *Group) Written(t Time, err error) {
	g.now = t
	oldest := g.flight[0]
	g.flight[0] = flying{}
	if g.flight = g.flight[1:]; len(g.flight) == 0 {
		g.flight = nil
	}
	oldest.then(err)
}
