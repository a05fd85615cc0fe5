package history

// offsets are the offsets that groups have committed.
type offsets struct {
	groups map[stream]*groupOffset // a group's number is that of a process
	calls  map[uint32]commit       // that were not acknowledged yet
	reads  map[uint32]commit       // what had been acknowledged when an offset began to be read; order 0: nothing
}

type commit struct {
	key    stream
	offset int64
	order  int // among those of the group for the partition, from 1
}

// groupOffset is one group's offset of one partition.
type groupOffset struct {
	acked   commit   // the newest that was acknowledged, by the order in which they were asked for
	maybe   []commit // asked for later, not known to have failed
	begun   int
	highest int64 // that was ever asked for
}

func newOffsets() offsets {
	return offsets{groups: map[stream]*groupOffset{}, calls: map[uint32]commit{}, reads: map[uint32]commit{}}
}

func (c *Checker) offset(e Event) {
	key := stream{e.Process, e.Partition}
	switch e.Type {
	case Commit:
		g := c.group(key)
		g.begun++
		call := commit{key, e.Offset, g.begun}
		c.offsets.calls[e.Call] = call
		g.maybe = append(g.maybe, call)
		g.highest = max(g.highest, e.Offset)
	case Committed:
		if call, known := c.offsets.calls[e.Call]; known {
			c.verdict.Commits++
			c.group(call.key).acknowledged(call)
			delete(c.offsets.calls, e.Call)
		}
	case Fetching:
		c.offsets.reads[e.Call] = c.group(key).acked
	case Fetched:
		floor, known := c.offsets.reads[e.Call]
		delete(c.offsets.reads, e.Call)
		if known && floor.order > 0 && e.Offset < floor.offset && !c.group(floor.key).possible(e.Offset) {
			c.find(CommitRegression, floor.key.process, floor.key.partition, e.Offset, "offset %d had been committed", floor.offset)
		}
	}
}

func (c *Checker) group(key stream) *groupOffset {
	g := c.offsets.groups[key]
	if g == nil {
		g = &groupOffset{}
		c.offsets.groups[key] = g
	}
	return g
}

// acknowledged takes the success of a commit: those that were asked for before it
// are of the past.
func (g *groupOffset) acknowledged(call commit) {
	if call.order < g.acked.order {
		return
	}
	g.acked = call
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
