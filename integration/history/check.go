package history

import (
	"fmt"
	"io"
)

// Checker takes a history, event by event, and judges it at its end. It is not
// safe for concurrent use.
type Checker struct {
	processes  map[uint32]*process
	partitions map[uint32]*log
	sends      sends
	txns       map[uint32]*txn
	edges      map[edge]bool // between transactions: from who wrote to who read
	skips      []skip
	positions  map[stream]int64
	offsets    offsets
	verdict    Verdict
}

type process struct {
	name  string
	flags uint64
}

// stream is one process at one partition.
type stream struct{ process, partition uint32 }

// txn is a transaction.
type txn struct {
	ending  bool // its end has been asked for
	commits bool // as a commit
	ended   bool // and that was acknowledged
}

// edge is that one transaction has read what another wrote.
type edge struct{ writer, reader uint32 }

// skip is a consumer's step over offsets, to be judged when all is known that
// stands at them.
type skip struct {
	process, partition uint32
	from, to           int64
	within             bool // one poll
	committed          bool // it reads what is committed alone
}

// NewChecker makes a checker for a history from its begin.
func NewChecker() *Checker {
	return &Checker{
		processes: map[uint32]*process{}, partitions: map[uint32]*log{}, sends: newSends(), txns: map[uint32]*txn{},
		edges: map[edge]bool{}, positions: map[stream]int64{}, offsets: newOffsets(), verdict: Verdict{Counts: map[Kind]int{}},
	}
}

// Check judges the history in a stream.
func Check(r io.Reader) (*Verdict, error) {
	in, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	c := NewChecker()
	var e Event
	for {
		switch err := in.Next(&e); err {
		case nil:
			c.Add(e)
		case io.EOF:
			return c.Verdict(), nil
		default:
			return nil, err
		}
	}
}

// Add takes the next event.
func (c *Checker) Add(e Event) {
	switch e.Type {
	case Process:
		c.processes[e.Process] = &process{e.Name, e.Flags}
	case Partition:
		c.at(e.Partition).name = fmt.Sprintf("%s-%d", e.Name, e.Number)
	case Send:
		c.verdict.Sends++
		if e.Txn != 0 {
			c.txn(e.Txn)
		}
		if !c.sends.add(e) {
			c.find(Duplicate, e.Process, e.Partition, -1, "value %x was sent twice: this history cannot be judged", e.Value)
		}
	case OK:
		c.acknowledged(e)
	case Fail:
		if s := c.sends.find(e.Value); s != nil {
			c.verdict.Failed++
			s.failed = true
		}
	case Poll:
		c.poll(e)
	case Place:
		delete(c.positions, stream{e.Process, e.Partition})
	case Start:
		l := c.at(e.Partition)
		l.start = max(l.start, e.Offset)
	case End:
		l := c.at(e.Partition)
		l.end = max(l.end, e.Offset)
	case Ending:
		t := c.txn(e.Txn)
		t.ending, t.commits = true, e.Flags == 1
	case Ended:
		c.txn(e.Txn).ended = e.Flags == 1
	case Commit, Committed, Fetching, Fetched:
		c.offset(e)
	}
}

func (c *Checker) at(partition uint32) *log {
	l := c.partitions[partition]
	if l == nil {
		l = newLog(fmt.Sprint("partition ", partition))
		c.partitions[partition] = l
	}
	return l
}

func (c *Checker) txn(id uint32) *txn {
	t := c.txns[id]
	if t == nil {
		t = &txn{}
		c.txns[id] = t
	}
	return t
}

func (c *Checker) who(id uint32) string {
	if p := c.processes[id]; p != nil {
		return p.name
	}
	return fmt.Sprint("process ", id)
}

func (c *Checker) repeats(id uint32) bool {
	p := c.processes[id]
	return p != nil && p.flags&Repeats != 0
}

func (c *Checker) find(k Kind, process, partition uint32, offset int64, format string, args ...any) {
	c.verdict.find(Finding{k, c.who(process), c.at(partition).name, offset, fmt.Sprintf(format, args...)})
}

func (c *Checker) acknowledged(e Event) {
	s := c.sends.find(e.Value)
	if s == nil {
		return
	}
	c.verdict.Acknowledged++
	s.acked, s.offset = true, e.Offset
	c.put(s.process, s.partition, e.Offset, e.Value, s)
}

// put takes note that a value stands at an offset; s is its send, nil if there was none.
func (c *Checker) put(process, partition uint32, offset int64, value uint64, s *send) {
	l := c.at(partition)
	if other := l.get(offset); other != 0 && other != value {
		c.find(InconsistentOffsets, process, partition, offset, "values %x and %x", other, value)
		return
	}
	l.set(offset, value)
	switch {
	case s == nil:
	case !s.placed:
		s.placed, s.placePartition, s.place = true, partition, offset
	case (s.place != offset || s.placePartition != partition) && !c.repeats(s.process):
		c.find(Duplicate, process, partition, offset, "value %x is also at %s offset %d", value, c.at(s.placePartition).name, s.place)
	}
}

// Verdict judges what was added. The checker is of no use afterwards.
func (c *Checker) Verdict() *Verdict {
	c.judgeSends()
	c.judgeSkips()
	c.judgeTxns()
	c.judgeOffsets()
	c.verdict.Txns = int64(len(c.txns))
	c.verdict.sort()
	return &c.verdict
}
