package history

// offsets are the offsets that groups have committed.
type offsets struct {
	groups map[stream]*groupOffset // a group's number is that of a process
	calls  map[uint32]commit
}

type commit struct {
	key    stream
	offset int64
	order  int
}

// groupOffset is one group's offset of one partition.
type groupOffset struct {
	acked   commit   // the newest that was acknowledged, by the order in which they were asked for
	any     bool     // there is one
	maybe   []commit // asked for later, not known to have failed
	begun   int
	highest int64 // that was ever asked for
}

func newOffsets() offsets {
	return offsets{groups: map[stream]*groupOffset{}, calls: map[uint32]commit{}}
}

func (c *Checker) offset(e Event) {
	if e.Type == Committed {
		if call, known := c.offsets.calls[e.Call]; known {
			c.verdict.Commits++
			c.offsets.groups[call.key].acknowledged(call)
			delete(c.offsets.calls, e.Call)
		}
		return
	}
	key := stream{e.Process, e.Partition}
	g := c.offsets.groups[key]
	if g == nil {
		g = &groupOffset{}
		c.offsets.groups[key] = g
	}
	if e.Type == Commit {
		g.begun++
		call := commit{key, e.Offset, g.begun}
		c.offsets.calls[e.Call] = call
		g.maybe = append(g.maybe, call)
		g.highest = max(g.highest, e.Offset)
		return
	}
	if g.any && e.Offset < g.acked.offset && !g.possible(e.Offset) {
		c.find(CommitRegression, e.Process, e.Partition, e.Offset, "offset %d was committed before", g.acked.offset)
	}
}

// acknowledged takes the success of a commit: those that were asked for before it
// are of the past.
func (g *groupOffset) acknowledged(call commit) {
	if g.any && call.order < g.acked.order {
		return
	}
	g.acked, g.any = call, true
	later := g.maybe[:0]
	for _, m := range g.maybe {
		if m.order > call.order {
			later = append(later, m)
		}
	}
	g.maybe = later
}

func (g *groupOffset) possible(offset int64) bool {
	for _, m := range g.maybe {
		if m.offset == offset {
			return true
		}
	}
	return false
}

// judgeOffsets looks for groups that have committed what never was.
func (c *Checker) judgeOffsets() {
	for key, g := range c.offsets.groups {
		if l := c.at(key.partition); g.highest > max(l.end, l.start) {
			c.find(CommitPastEnd, key.process, key.partition, g.highest, "nobody knows of anything at %d or above", max(l.end, l.start))
		}
	}
}
