package partition

import (
	"cmp"
	"fmt"
	"slices"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/batch"
)

// CatchUp is what there is to know of a follower for which older records are to
// be read.
type CatchUp struct {
	Follower messages.BrokerID
	InSync   bool // producers wait for it: no throttle holds
	Urgent   bool // producers are refused until it is in sync: it does not wait for others' records to be sent
	// The topic throttles this leader when it sends to replicas that catch up, or the
	// follower when it catches up.
	LeaderThrottled, FollowerThrottled bool
}

// serveReads reads older batches for followers that are behind, and reports
// whether it read any. As long as there is no room for them, because enough waits
// to be sent to a follower's node already or because of a throttle, its reads are
// held back: catching up takes what producing leaves, unless this partition is refused
// to producers meanwhile.
func (m *Machine) serveReads() bool {
	held := m.reads[:0]
	for _, q := range m.reads {
		c := m.catchUp(q.Follower)
		room := m.world.Room(c)
		if room <= 0 {
			held = append(held, q)
			continue
		}
		q.MaxBytes = min(q.MaxBytes, room)
		batches := m.load(q)
		spent := int64(0)
		for _, b := range batches {
			spent += int64(len(b))
		}
		m.world.Spend(c, spent)
		m.core.Loaded(q, batches)
	}
	served := len(held) < len(m.reads)
	m.reads = held
	return served
}

func (m *Machine) catchUp(follower messages.BrokerID) CatchUp {
	s, n := m.core.Status(), m.tp.Partition
	return CatchUp{
		Follower: follower, InSync: slices.Contains(s.ISR, follower), Urgent: s.UnderMin,
		LeaderThrottled: m.settings.LeaderThrottled.Has(n, s.Leader), FollowerThrottled: m.settings.FollowerThrottled.Has(n, follower),
	}
}

// load reads batches for a follower that is behind; none if they cannot be read. They are
// looked at here though they have been before: to the follower's node one that is damaged
// would say that the connection is, over which all partitions go.
func (m *Machine) load(q replica.Read) []batch.Batch {
	slice, err := m.log.Publish(m.log.End()).ReadAll(q.From, int(q.MaxBytes))
	if err != nil || slice == nil {
		m.readFailed(q.From, err)
		return nil
	}
	defer slice.Release()
	buf, err := slice.Bytes(nil)
	if err != nil {
		m.readFailed(q.From, err)
		return nil
	}
	var batches []batch.Batch
	next := q.From
	for len(buf) > 0 {
		b, rest, err := batch.Next(buf)
		if err != nil && len(batches) > 0 {
			break // cut off by MaxBytes
		}
		if err == nil {
			err = b.CheckCRC()
		}
		if err != nil {
			m.readFailed(next, err)
			break
		}
		batches, buf, next = append(batches, b), rest, b.NextOffset()
	}
	return batches
}

// readFailed tells of what could not be read for a follower, if it is more than that it
// is not there any more.
func (m *Machine) readFailed(from messages.Offset, err error) {
	if err == nil || messages.KindOf(err) == messages.OffsetOutOfRange {
		return
	}
	kind := cmp.Or(messages.KindOf(err), messages.StorageError)
	m.world.ReadFailed(messages.E("read for followers", kind, fmt.Sprintf("%v at offset %d", m.tp, from), err))
}
