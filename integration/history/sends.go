package history

// send is one record that was sent.
type send struct {
	value          uint64
	offset         int64 // that it was acknowledged at
	place          int64 // that it was seen at first
	process        uint32
	partition      uint32
	placePartition uint32
	txn, call      uint32

	acked, failed, placed   bool
	read, readWhenCommitted bool // by anybody; by a consumer of what is committed
}

// sendBlock is how many sends are kept together: they are never copied.
const sendBlock = 1 << 14

// sends are all sends, in their order and by value.
type sends struct {
	blocks  [][]send
	byValue map[uint64]uint32
	n       uint32
}

func newSends() sends { return sends{byValue: map[uint64]uint32{}} }

// add keeps a send, and reports whether its value is new.
func (s *sends) add(e Event) bool {
	if _, known := s.byValue[e.Value]; known {
		return false
	}
	if s.n%sendBlock == 0 {
		s.blocks = append(s.blocks, make([]send, 0, sendBlock))
	}
	last := len(s.blocks) - 1
	s.blocks[last] = append(s.blocks[last], send{
		value: e.Value, process: e.Process, partition: e.Partition, txn: e.Txn, call: e.Call, offset: -1, place: -1,
	})
	s.byValue[e.Value] = s.n
	s.n++
	return true
}

func (s *sends) find(value uint64) *send {
	if n, known := s.byValue[value]; known {
		return &s.blocks[n/sendBlock][n%sendBlock]
	}
	return nil
}

// all calls f for each send, in order.
func (s *sends) all(f func(*send)) {
	for _, block := range s.blocks {
		for i := range block {
			f(&block[i])
		}
	}
}

// judgeSends looks for acknowledged records that nobody read, for records that
// were read and must not have been, and for producers whose offsets do not rise
// as they sent.
func (c *Checker) judgeSends() {
	type last struct {
		offset int64
		call   uint32
		value  uint64
	}
	lasts := map[stream]last{}
	c.sends.all(func(s *send) {
		c.judgeReads(s)
		if !s.acked {
			return
		}
		c.judgeLoss(s)
		if c.repeats(s.process) {
			return
		}
		key := stream{s.process, s.partition}
		if before, any := lasts[key]; any && s.offset <= before.offset {
			kind := NonmonotonicSend
			if s.call != 0 && s.call == before.call {
				kind = IntNonmonotonicSend
			}
			c.find(kind, s.process, s.partition, s.offset, "value %x was sent after %x at offset %d", s.value, before.value, before.offset)
		}
		lasts[key] = last{s.offset, s.call, s.value}
	})
}

func (c *Checker) judgeLoss(s *send) {
	l := c.at(s.partition)
	if s.offset < l.start || l.wasRead(s.offset) { // another value there is an inconsistent offset
		return
	}
	if s.txn != 0 && !c.txn(s.txn).done() { // only who reads what is not committed would see it
		return
	}
	if l.highest > s.offset {
		c.find(LostWrite, s.process, s.partition, s.offset, "value %x was acknowledged; offset %d was read", s.value, l.highest)
		return
	}
	c.find(Unseen, s.process, s.partition, s.offset, "value %x was acknowledged", s.value)
}

func (c *Checker) judgeReads(s *send) {
	switch {
	case s.failed && s.read:
		c.find(G1a, s.process, s.placePartition, s.place, "value %x was read, and its send had failed", s.value)
	case s.txn != 0 && s.readWhenCommitted && c.txn(s.txn).aborted():
		c.find(G1a, s.process, s.placePartition, s.place, "value %x was read, and its transaction %d was aborted", s.value, s.txn)
	}
}
