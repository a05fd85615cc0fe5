package history

// poll takes what a consumer got.
func (c *Checker) poll(e Event) {
	c.verdict.Polls++
	c.verdict.Reads += int64(len(e.Records))
	l := c.at(e.Partition)
	committed := e.Flags&ReadCommitted != 0
	key := stream{e.Process, e.Partition}
	position, known := c.positions[key]
	for i, r := range e.Records {
		s := c.sends.find(r.Value)
		if s == nil {
			if !l.wasRead(r.Offset) || l.get(r.Offset) != r.Value {
				c.find(Phantom, e.Process, e.Partition, r.Offset, "value %x was never sent", r.Value)
			}
		} else {
			c.seen(e, r, s, committed)
		}
		c.put(e.Process, e.Partition, r.Offset, r.Value, s)
		l.markRead(r.Offset)
		if known {
			c.step(e, position, r.Offset, i > 0, committed)
		}
		position, known = r.Offset, true
	}
	if known {
		c.positions[key] = position
	}
}

// seen takes note that a record that was sent has been read.
func (c *Checker) seen(e Event, r Record, s *send, committed bool) {
	s.read = true
	s.readWhenCommitted = s.readWhenCommitted || committed
	if s.txn == 0 || s.txn == e.Txn {
		return
	}
	if committed && !c.txn(s.txn).ending {
		c.find(PrecommittedRead, e.Process, e.Partition, r.Offset, "value %x was read, and its transaction %d goes on", r.Value, s.txn)
	}
	if e.Txn != 0 {
		c.txn(e.Txn)
		c.edges[edge{s.txn, e.Txn}] = true
	}
}

// step checks one consumer's step from one offset to the next.
func (c *Checker) step(e Event, from, to int64, within, committed bool) {
	switch {
	case to <= from:
		kind := NonmonotonicPoll
		if within {
			kind = IntNonmonotonicPoll
		}
		c.find(kind, e.Process, e.Partition, to, "after offset %d", from)
	case to > from+1:
		c.skips = append(c.skips, skip{e.Process, e.Partition, from, to, within, committed})
	}
}

// judgeSkips looks for records that consumers went over. What is not committed
// does not count for who reads what is committed.
func (c *Checker) judgeSkips() {
	for _, k := range c.skips {
		l := c.at(k.partition)
		at := l.between(k.from, k.to, func(value uint64) bool {
			s := c.sends.find(value)
			return s == nil || s.txn == 0 || !k.committed || c.txn(s.txn).done()
		})
		if at < 0 {
			continue
		}
		kind := PollSkip
		if k.within {
			kind = IntPollSkip
		}
		c.find(kind, k.process, k.partition, at, "value %x lies between offsets %d and %d", l.get(at), k.from, k.to)
	}
	c.skips = nil
}
