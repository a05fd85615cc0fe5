// Package checker judges what clients of a log were told: it is given a history
// of what was sent, acknowledged and polled, and names every contradiction in
// the words that the literature has for it. It knows nothing of brokers, so the
// same checks serve real processes, simulated clusters and other systems.
//
// A value identifies one send: workloads never send the same value twice.
package checker

import (
	"cmp"
	"fmt"
	"slices"
)

// Kind is what is wrong.
type Kind string

// The contradictions.
const (
	LostWrite           Kind = "lost-write"           // acknowledged, not there, though later offsets were read
	Unseen              Kind = "unseen"               // acknowledged, and nobody read so far
	Duplicate           Kind = "duplicate"            // one value at two offsets
	InconsistentOffsets Kind = "inconsistent-offsets" // two values at one offset
	Phantom             Kind = "phantom"              // read, and never sent
	AbortedRead         Kind = "G1a"                  // read, though its producer was told that it failed
	PollSkip            Kind = "poll-skip"            // a consumer went over a record, from one poll to the next
	IntPollSkip         Kind = "int-poll-skip"        // the same within one poll
	NonmonotonicPoll    Kind = "nonmonotonic-poll"    // a consumer went back, from one poll to the next
	IntNonmonotonicPoll Kind = "int-nonmonotonic-poll"
	NonmonotonicSend    Kind = "nonmonotonic-send" // a producer's later send has the lower offset
)

// Outcome is what a producer knows of a send in the end.
type Outcome int

// Unknown sends, such as those that ran out of time, may be in the log or not.
const (
	Unknown Outcome = iota
	OK
	Failed
)

// Partition names one partition.
type Partition struct {
	Topic  string
	Number int32
}

func (p Partition) String() string { return fmt.Sprintf("%s-%d", p.Topic, p.Number) }

// Send is one record that a producer sent.
type Send struct {
	Process   string
	Partition Partition
	Value     string
	Outcome   Outcome
	Offset    int64 // when OK
}

// Record is one record as a consumer read it.
type Record struct {
	Offset int64
	Value  string
}

// Poll is what a consumer got of one partition in one poll.
type Poll struct {
	Process   string
	Partition Partition
	Records   []Record
	Seek      bool // the consumer was moved before it: skips and steps back are its own wish
}

// History is what happened. Sends of one process and partition stand in the
// order in which they were sent, polls of one process in the order in which they returned.
type History struct {
	Sends []Send
	Polls []Poll
}

// Finding is one contradiction.
type Finding struct {
	Kind      Kind
	Process   string
	Partition Partition
	Offset    int64
	Detail    string
}

func (f Finding) String() string {
	return fmt.Sprintf("%s: %s offset %d (%s): %s", f.Kind, f.Partition, f.Offset, f.Process, f.Detail)
}

// Check returns all contradictions of a history, ordered by partition and offset.
func Check(h *History) []Finding {
	c := &check{logs: map[Partition]map[int64]string{}, read: map[Partition]map[int64]string{}, places: map[string]place{}, highest: map[Partition]int64{}}
	sent := c.sends(h)
	c.observe(h, sent)
	c.missing(h)
	c.sendOrder(h)
	c.pollOrder(h)
	slices.SortStableFunc(c.found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Partition.Topic, b.Partition.Topic), cmp.Compare(a.Partition.Number, b.Partition.Number), cmp.Compare(a.Offset, b.Offset))
	})
	return c.found
}

// place is where a value stands.
type place struct {
	partition Partition
	offset    int64
}

type check struct {
	logs    map[Partition]map[int64]string // what stands at each offset, by acknowledgements and reads
	read    map[Partition]map[int64]string // by reads alone
	places  map[string]place               // where each value was first seen
	highest map[Partition]int64            // the highest offset that was read
	found   []Finding
}

func (c *check) find(k Kind, process string, p Partition, offset int64, format string, args ...any) {
	c.found = append(c.found, Finding{k, process, p, offset, fmt.Sprintf(format, args...)})
}

// put notes that a value stands at an offset.
func (c *check) put(process string, p Partition, offset int64, value string) {
	log := c.logs[p]
	if log == nil {
		log = map[int64]string{}
		c.logs[p] = log
	}
	if other, taken := log[offset]; taken && other != value {
		c.find(InconsistentOffsets, process, p, offset, "%s and %s", short(other), short(value))
		return
	}
	log[offset] = value
	if at, seen := c.places[value]; seen && at != (place{p, offset}) {
		c.find(Duplicate, process, p, offset, "%s is also at %s offset %d", short(value), at.partition, at.offset)
		return
	}
	c.places[value] = place{p, offset}
}

func (c *check) sends(h *History) map[string]Outcome {
	sent := make(map[string]Outcome, len(h.Sends))
	for _, s := range h.Sends {
		sent[s.Value] = s.Outcome
		if s.Outcome == OK {
			c.put(s.Process, s.Partition, s.Offset, s.Value)
		}
	}
	return sent
}

func (c *check) observe(h *History, sent map[string]Outcome) {
	for _, poll := range h.Polls {
		for _, r := range poll.Records {
			c.highest[poll.Partition] = max(c.highest[poll.Partition], r.Offset)
			if c.read[poll.Partition] == nil {
				c.read[poll.Partition] = map[int64]string{}
			}
			if before, again := c.read[poll.Partition][r.Offset]; again && before == r.Value {
				continue
			}
			c.read[poll.Partition][r.Offset] = r.Value
			c.put(poll.Process, poll.Partition, r.Offset, r.Value)
			switch outcome, known := sent[r.Value]; {
			case !known:
				c.find(Phantom, poll.Process, poll.Partition, r.Offset, "%s was never sent", short(r.Value))
			case outcome == Failed:
				c.find(AbortedRead, poll.Process, poll.Partition, r.Offset, "%s had failed", short(r.Value))
			}
		}
	}
}

// missing looks for acknowledged records that nobody read.
func (c *check) missing(h *History) {
	for _, s := range h.Sends {
		if s.Outcome != OK {
			continue
		}
		if _, there := c.read[s.Partition][s.Offset]; there {
			continue // another value there is an inconsistent offset
		}
		highest, any := c.highest[s.Partition]
		if any && highest > s.Offset {
			c.find(LostWrite, s.Process, s.Partition, s.Offset, "%s was acknowledged; offset %d was read", short(s.Value), highest)
		} else {
			c.find(Unseen, s.Process, s.Partition, s.Offset, "%s was acknowledged", short(s.Value))
		}
	}
}

// sendOrder looks for producers whose offsets do not rise as they sent.
func (c *check) sendOrder(h *History) {
	type stream struct {
		process   string
		partition Partition
	}
	last := map[stream]Send{}
	for _, s := range h.Sends {
		if s.Outcome != OK {
			continue
		}
		key := stream{s.Process, s.Partition}
		if before, any := last[key]; any && s.Offset <= before.Offset {
			c.find(NonmonotonicSend, s.Process, s.Partition, s.Offset, "%s was sent after %s at offset %d", short(s.Value), short(before.Value), before.Offset)
		}
		last[key] = s
	}
}

// pollOrder looks for consumers that skip records or go back.
func (c *check) pollOrder(h *History) {
	type stream struct {
		process   string
		partition Partition
	}
	last := map[stream]int64{}
	for _, poll := range h.Polls {
		key := stream{poll.Process, poll.Partition}
		before, any := last[key]
		any = any && !poll.Seek
		back, skip := NonmonotonicPoll, PollSkip
		for _, r := range poll.Records {
			if any {
				c.step(back, skip, poll, before, r.Offset)
			}
			before, any, back, skip = r.Offset, true, IntNonmonotonicPoll, IntPollSkip
		}
		if any {
			last[key] = before
		}
	}
}

// step checks one consumer's step from one offset to the next.
func (c *check) step(back, skip Kind, poll Poll, from, to int64) {
	if to <= from {
		c.find(back, poll.Process, poll.Partition, to, "after offset %d", from)
		return
	}
	for offset := from + 1; offset < to; offset++ {
		if value, there := c.logs[poll.Partition][offset]; there {
			c.find(skip, poll.Process, poll.Partition, offset, "%s lies between offsets %d and %d", short(value), from, to)
			return
		}
	}
}

func short(value string) string {
	if len(value) > 40 {
		return fmt.Sprintf("%q…", value[:40])
	}
	return fmt.Sprintf("%q", value)
}
