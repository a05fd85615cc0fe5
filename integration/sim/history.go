package sim

import (
	"fmt"

	"understudy/integration/history"
	"understudy/messages"
	"understudy/messages/batch"
)

// notes is what the clients of a simulation do and are told, in the format that
// real workloads have too. Of partitions in which what was committed may be lost, or
// compacted, nothing is written down.
type notes struct {
	s   *Sim
	rec *history.Recorder // nil: nothing is written down
}

// maxRecords is how many records a producer's batch has at most; each is a value of
// the history.
const maxRecords = 4

func valueOf(number int64, record int) uint64 { return uint64(number)*maxRecords + uint64(record) + 1 }

func (n *notes) skips(tp messages.TopicPartition) bool {
	if n.rec == nil {
		return true
	}
	b := n.s.model.books[tp]
	return b != nil && (b.lossy || b.past != nil)
}

func (n *notes) partition(tp messages.TopicPartition) uint32 {
	return n.rec.Partition(tp.Topic, tp.Partition)
}

// sends writes down that a batch is sent for the first time.
func (n *notes) sends(p *producer, out *parcelOut) {
	if n.skips(out.tp) {
		return
	}
	flags := uint64(0)
	if !out.idempotent {
		flags = history.Repeats
	}
	process, partition, call := n.rec.Process(fmt.Sprint("producer ", p.number), flags), n.partition(out.tp), n.rec.Call()
	for i := range out.records {
		n.rec.Add(history.Event{Type: history.Send, Process: process, Partition: partition, Call: call, Value: valueOf(out.number, i)})
	}
}

// forgotten writes down that a producer is unknown to a leader, so that what it sends
// again may be there again.
func (n *notes) forgotten(producer int) {
	if n.rec == nil {
		return
	}
	name := fmt.Sprint("producer ", producer)
	n.rec.Add(history.Event{Type: history.Process, Process: n.rec.Process(name, 0), Name: name, Flags: history.Repeats})
}

// acknowledged writes down a producer's success.
func (n *notes) acknowledged(out *parcelOut, base messages.Offset) {
	if n.skips(out.tp) {
		return
	}
	for i := range out.records {
		n.rec.Add(history.Event{Type: history.OK, Value: valueOf(out.number, i), Offset: base + int64(i)})
	}
}

// read writes down a batch that a consumer got, from an offset on.
func (n *notes) read(reader string, tp messages.TopicPartition, one batch.Batch, from messages.Offset) {
	if n.skips(tp) {
		return
	}
	e := history.Event{Type: history.Poll, Process: n.rec.Process(reader, 0), Partition: n.partition(tp)}
	number := numberOf(one)
	for offset := max(one.BaseOffset(), from); offset < one.NextOffset(); offset++ {
		e.Records = append(e.Records, history.Record{Offset: offset, Value: valueOf(number, int(offset-one.BaseOffset()))})
	}
	n.rec.Add(e)
}

// moved writes down that a consumer goes on elsewhere, of its own will.
func (n *notes) moved(c *consumer, tp messages.TopicPartition) {
	if !n.skips(tp) {
		n.rec.Add(history.Event{Type: history.Place, Process: n.rec.Process(c.name(), 0), Partition: n.partition(tp)})
	}
}

// starts writes down that records below an offset are deleted.
func (n *notes) starts(tp messages.TopicPartition, start messages.Offset) {
	if !n.skips(tp) {
		n.rec.Add(history.Event{Type: history.Start, Partition: n.partition(tp), Offset: start})
	}
}

// fault writes down what goes wrong, for who reads.
func (n *notes) fault(f Fault) {
	if n.rec != nil {
		n.rec.Add(history.Event{Type: history.Note, Name: f.String()})
	}
}

// readAll has everything that is committed in a partition read from its leader, in
// the end.
func (n *notes) readAll(p *process, tp messages.TopicPartition) {
	if n.skips(tp) {
		return
	}
	l := p.replicas.Lookup(tp).View().Log
	for from := l.LogStart; from < l.HighWatermark; {
		bytes, err := n.s.model.read(p, l, from)
		if err != nil || len(bytes) == 0 {
			return // the model says so
		}
		for len(bytes) > 0 {
			one, rest, err := batch.Next(bytes)
			if err != nil {
				return
			}
			bytes = rest
			n.read("reader", tp, one, from)
			from = max(from, one.NextOffset())
		}
	}
}

// group is a consumer group's number among processes.
func (n *notes) group(name string) uint32 { return n.rec.Process("group "+name, 0) }

// commits writes down that a group's offset is to be committed, and gives the call's
// number.
func (n *notes) commits(group string, tp messages.TopicPartition, offset messages.Offset) (call uint32) {
	if n.skips(tp) {
		return 0
	}
	call = n.rec.Call()
	n.rec.Add(history.Event{Type: history.Commit, Process: n.group(group), Partition: n.partition(tp), Offset: offset, Call: call})
	return call
}

// committed writes down that it was.
func (n *notes) committed(call uint32) {
	if call != 0 {
		n.rec.Add(history.Event{Type: history.Committed, Call: call})
	}
}

// fetching writes down that a group's offset is asked for, and gives the call's number.
func (n *notes) fetching(group string, tp messages.TopicPartition) (call uint32) {
	if n.skips(tp) {
		return 0
	}
	call = n.rec.Call()
	n.rec.Add(history.Event{Type: history.Fetching, Process: n.group(group), Partition: n.partition(tp), Call: call})
	return call
}

// fetched writes down what it was.
func (n *notes) fetched(call uint32, offset messages.Offset) {
	if call != 0 {
		n.rec.Add(history.Event{Type: history.Fetched, Call: call, Offset: offset})
	}
}
