package partition

import (
	"testing"

	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/cluster/topicconfig"
	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/log"
	"understudy/persistence/vfs"
)

// silence is a World without anybody in it.
type silence struct {
	stage
	views   int
	flushed messages.Offset
}

func (s *silence) Publish(*View)                                     { s.views++ }
func (s *silence) Flushed(_ *Machine, end messages.Offset, _ error)  { s.flushed = end }
func (s *silence) Send(messages.BrokerID, *replica.Message, Payload) {}
func (s *silence) ChangeISR(replica.ISRChange)                       {}
func (s *silence) Event(replica.Event)                               {}

// counted counts answers.
type counted struct{ n int }

func (c *counted) Appended(_ int, r Result) {
	if r.Err == nil {
		c.n++
	}
}

// publishing is what a view for readers, which may keep it, is made of: itself and
// the log's.
const publishing = 2

// TestReplicatedAppendAllocatesItsViewAlone: a batch that is appended, sent to two
// followers, flushed, acknowledged by both, committed and answered.
func TestReplicatedAppendAllocatesItsViewAlone(t *testing.T) {
	if poolsForget {
		t.Skip("the race detector has pools drop some of what they get")
	}
	settings, err := topicconfig.Parse(nil, topicconfig.Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := log.Open(log.Options{FS: vfs.OS(t.TempDir()), Dir: "orders-0", TP: orders0, Settings: Tuning{}.log(settings)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close(false) }) // the folder goes too
	world := &silence{stage: stage{clock: 1}}
	m := newMachine(orders0, replica.Member{ID: 1, Epoch: 1}, world, l, replica.LogState{LedEpoch: messages.NoEpoch}, settings, Tuning{})
	ids := []messages.BrokerID{1, 2, 3}
	m.Assign(metadata.Partition{Replicas: ids, ISR: ids, Leader: 1, LeaderEpoch: 3, Revision: 7, UncleanEpoch: messages.NoEpoch})
	settle := func() {
		if err := m.Settle(); err != nil {
			t.Fatal(err)
		}
	}
	settle()
	builder := batch.NewBuilder(batch.NoProducer)
	builder.Add(500, nil, make([]byte, 16<<10))
	reply := &counted{}
	a := &Append{Batches: []batch.Batch{builder.Build(nil)}, Acks: messages.AcksAll, Reply: reply}
	end, probes := messages.Offset(0), []uint32{1, 2} // the first question to each follower
	acknowledge := func() {
		for i, id := range ids[1:] {
			m.Receive(id, &replica.Message{Type: replica.TypeAck, Epoch: 3, BrokerEpoch: 1, End: end, Durable: end, Probe: probes[i]})
		}
		settle()
	}
	acknowledge()
	clear(probes)
	appended := 0
	one := func() {
		m.Append(a)
		settle()
		end++
		appended++
		m.Flushed(world.flushed, nil)
		acknowledge()
	}
	one()
	if reply.n != 1 {
		t.Fatalf("%d of 1 batches were answered; status %+v", reply.n, m.Status())
	}
	if n := testing.AllocsPerRun(100, one); n > publishing {
		t.Errorf("%v allocations for each batch, want %d", n, publishing)
	}
	if reply.n != appended {
		t.Errorf("%d of %d batches were answered", reply.n, appended)
	}
}
