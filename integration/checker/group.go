package checker

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// The contradictions in what the members of a consumer group were told.
const (
	OverlappingClaims Kind = "overlapping-claims" // a partition was two members' at once
	Unclaimed         Kind = "unclaimed"          // a member processed records of a partition that was not its own
	CommittedBack     Kind = "committed-back"     // a committed offset was lower than before
	Unprocessed       Kind = "unprocessed"        // a record that no member processed
)

// GroupEventKind is what happened in a consumer group.
type GroupEventKind int

// What happens. Those above Assigned end claims; of events at the same time they
// count as the earlier ones.
const (
	// Revoked: a member gave a partition up, as it was asked to, and stopped before.
	Revoked GroupEventKind = iota
	// Lost: a member has learned that it was none any more, and what it had may have
	// been another's for a while. Kafka cannot prevent that.
	Lost
	// Gone: the member's process has ended; all that it had is free.
	Gone
	// Silent: a member is about to be silent for longer than its session, so that
	// what it has may become another's before it learns of it.
	Silent
	// Assigned: a member was told that a partition is its own.
	Assigned
	// Processed: a member has processed the records from From on, up to To, which is
	// not one of them.
	Processed
	// Committed: an observer saw To as the group's committed offset.
	Committed
)

// GroupEvent is something that happened to a member of a group.
type GroupEvent struct {
	At        int64 // on a clock that all members share
	Kind      GroupEventKind
	Member    string // one start of one process
	Partition Partition
	From, To  int64
}

// CheckGroup returns the contradictions in what happened in a group. ends says how
// many records each partition has; all of them must have been processed.
func CheckGroup(events []GroupEvent, ends map[Partition]int64) []Finding {
	g := &groupCheck{open: map[claimKey]*claim{}, claims: map[Partition][]*claim{}, committed: map[Partition]int64{}, done: map[Partition][]GroupEvent{}}
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b GroupEvent) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Kind, b.Kind)) })
	for _, e := range events {
		g.take(e)
	}
	g.overlaps()
	for p, end := range ends {
		g.processed(p, end)
	}
	slices.SortStableFunc(g.found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Partition.Topic, b.Partition.Topic), cmp.Compare(a.Partition.Number, b.Partition.Number), cmp.Compare(a.Offset, b.Offset))
	})
	return g.found
}

type claimKey struct {
	member    string
	partition Partition
}

// claim is a time in which a partition was a member's, as that saw it.
type claim struct {
	member   string
	from, to int64
	excused  bool // the member may have been out of the group without knowing
}

type groupCheck struct {
	open      map[claimKey]*claim
	claims    map[Partition][]*claim // in the order in which they began
	committed map[Partition]int64
	done      map[Partition][]GroupEvent
	found     []Finding
}

func (g *groupCheck) take(e GroupEvent) {
	key := claimKey{e.Member, e.Partition}
	switch e.Kind {
	case Assigned:
		c := &claim{member: e.Member, from: e.At, to: math.MaxInt64}
		g.open[key] = c
		g.claims[e.Partition] = append(g.claims[e.Partition], c)
	case Revoked, Lost:
		if c := g.open[key]; c != nil {
			c.to, c.excused = e.At, c.excused || e.Kind == Lost
			delete(g.open, key)
		}
	case Gone, Silent:
		for key, c := range g.open {
			if key.member != e.Member {
				continue
			}
			if e.Kind == Silent {
				c.excused = true
				continue
			}
			c.to = e.At
			delete(g.open, key)
		}
	case Processed:
		if g.open[key] == nil {
			g.found = append(g.found, Finding{Unclaimed, e.Member, e.Partition, e.From, fmt.Sprintf("processed up to offset %d", e.To)})
		}
		g.done[e.Partition] = append(g.done[e.Partition], e)
	case Committed:
		if before := g.committed[e.Partition]; e.To < before {
			g.found = append(g.found, Finding{CommittedBack, e.Member, e.Partition, e.To, fmt.Sprintf("was %d before", before)})
		}
		g.committed[e.Partition] = e.To
	}
}

func (g *groupCheck) overlaps() {
	for p, list := range g.claims {
		for i, c := range list {
			for _, later := range list[i+1:] {
				if c.member != later.member && later.from < c.to && !c.excused && !later.excused {
					g.found = append(g.found, Finding{OverlappingClaims, later.member, p, -1,
						fmt.Sprintf("was assigned it at %d, and it was %s's from %d to %d", later.from, c.member, c.from, c.to)})
				}
			}
		}
	}
}

// processed looks for records that no member has processed.
func (g *groupCheck) processed(p Partition, end int64) {
	list := g.done[p]
	slices.SortFunc(list, func(a, b GroupEvent) int { return cmp.Compare(a.From, b.From) })
	next := int64(0)
	miss := func(until int64) {
		if until > next {
			g.found = append(g.found, Finding{Unprocessed, "", p, next, fmt.Sprintf("nobody processed the records up to offset %d", until)})
		}
	}
	for _, e := range list {
		miss(min(e.From, end))
		next = max(next, e.To)
	}
	miss(end)
}
