package partition

import (
	"understudy/cluster/replica"
	"understudy/messages/batch"
)

// serveReads reads older batches for followers that are behind, and reports
// whether it read any. As long as enough waits to be sent to a follower's node
// already, its reads are held back: catching up takes what producing leaves.
func (m *Machine) serveReads() bool {
	held := m.reads[:0]
	for _, q := range m.reads {
		if m.world.Crowded(q.Follower) {
			held = append(held, q)
			continue
		}
		m.core.Loaded(q, m.load(q))
	}
	served := len(held) < len(m.reads)
	m.reads = held
	return served
}

// load reads batches for a follower that is behind; none if they cannot be read.
func (m *Machine) load(q replica.Read) []batch.Batch {
	slice, err := m.log.Publish(m.log.End()).ReadAll(q.From, int(q.MaxBytes))
	if err != nil || slice == nil {
		return nil
	}
	defer slice.Release()
	buf, err := slice.Bytes(nil)
	if err != nil {
		return nil
	}
	var batches []batch.Batch
	for len(buf) > 0 {
		b, rest, err := batch.Next(buf)
		if err != nil {
			break // cut off by MaxBytes
		}
		batches, buf = append(batches, b), rest
	}
	return batches
}
