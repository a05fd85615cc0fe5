package sim

import (
	"errors"
	"slices"

	"understudy/actors/partition"
	"understudy/messages"
)

// client is somebody outside: a producer or a consumer. Requests to a node keep
// their order as long as the node's process runs.
type client struct {
	s      *Sim
	place  int     // see links.passes
	wires  []*wire // by broker id
	leader map[messages.TopicPartition]leader
	asking map[messages.TopicPartition][]func() // whoever waits for the leader
}

// leader is whom a client takes for a partition's leader.
type leader struct {
	id    messages.BrokerID
	epoch messages.LeaderEpoch
}

func newClient(s *Sim) *client {
	s.places++
	c := &client{s: s, place: s.places, leader: map[messages.TopicPartition]leader{}, asking: map[messages.TopicPartition][]func(){}}
	c.wires = make([]*wire, len(s.machines)+1)
	s.clients = append(s.clients, c)
	return c
}

// wire is a client's connection to a node. What is sent over it keeps its order, in
// both directions; when anything on it is lost, all that follows is, until it is
// given up or found to be broken. Then everything that waits on it fails.
type wire struct {
	c      *client
	to     messages.BrokerID
	p      *process // at the other end
	broken bool
	calls  []*call
	arrive [2]int64 // when the last request, and the last answer, arrives
}

// call is a request that has no answer yet.
type call struct {
	w      *wire
	done   bool
	finish func(err error, value any)
}

func (x *call) end(err error, value any) {
	if !x.done {
		x.done = true
		x.w.calls = slices.DeleteFunc(x.w.calls, func(o *call) bool { return o == x })
		x.finish(err, value)
	}
}

var (
	errRefused = errors.New("connection refused")
	errReset   = errors.New("connection reset")
	errPatient = errors.New("no answer in time")
)

// hangUp ends a connection: everything that waits on it fails.
func (w *wire) hangUp(err error) {
	if w.c.wires[w.to] == w {
		w.c.wires[w.to] = nil
	}
	w.broken = true
	calls := w.calls
	w.calls = nil
	for _, x := range calls {
		w.c.s.after(0, func() { x.end(err, nil) })
	}
}

// ask sends a request to a node. do runs in the node's process and gets what
// sends the answer; finish is called once.
func (c *client) ask(to messages.BrokerID, patience int64, do func(p *process, reply func(any)), finish func(err error, value any)) {
	s := c.s
	m := s.machines[to-1]
	w := c.wires[to]
	if w == nil {
		if s.links.passes(c.place, int(to)) && !m.off && m.proc == nil {
			s.after(s.links.delay(), func() { finish(errRefused, nil) })
			return
		}
		w = &wire{c: c, to: to, p: m.proc}
		c.wires[to] = w
	}
	x := &call{w: w, finish: finish}
	w.calls = append(w.calls, x)
	s.after(patience, func() {
		if !x.done {
			w.hangUp(errPatient)
		}
	})
	passes := s.links.passes(c.place, int(to)) && !m.off
	if passes && m.proc != w.p { // its machine knows nothing of this connection
		w.broken = true
		s.after(s.links.delay(), func() { w.hangUp(errReset) })
		return
	}
	if w.broken = w.broken || !passes; w.broken {
		return
	}
	p := w.p
	w.arrive[0] = max(s.now+s.links.delay(), w.arrive[0])
	s.planAt(w.arrive[0], func() {
		p.do(func() { do(p, func(value any) { x.answer(value) }) })
	})
}

// answer sends what a node has answered back.
func (x *call) answer(value any) {
	w := x.w
	s, p := w.c.s, w.p
	if w.broken = w.broken || p.dead || !s.links.passes(int(p.m.id), w.c.place); w.broken {
		return
	}
	w.arrive[1] = max(s.now+s.links.delay(), w.arrive[1])
	s.planAt(w.arrive[1], func() { x.end(nil, value) })
}

// dropClients tells the clients of a process that is no more, if its machine can.
func (s *Sim) dropClients(p *process) {
	for _, c := range s.clients {
		w := c.wires[p.m.id]
		if w != nil && w.p == p && !p.m.off && s.links.passes(int(p.m.id), c.place) {
			w.broken = true
			s.after(s.links.delay(), func() { w.hangUp(errReset) })
		}
	}
}

// refresh asks some node who leads a partition, and calls then when it is known
// anew, or was not to be had.
func (c *client) refresh(tp messages.TopicPartition, then func()) {
	c.asking[tp] = append(c.asking[tp], then)
	if len(c.asking[tp]) > 1 {
		return
	}
	s := c.s
	to := messages.BrokerID(1 + s.rnd.client.IntN(len(s.machines)))
	c.ask(to, second, func(p *process, reply func(any)) {
		l := leader{messages.NoBroker, messages.NoEpoch}
		if at := p.cell.Image().Partition(tp); at != nil {
			l = leader{at.Leader, at.LeaderEpoch}
		}
		reply(l)
	}, func(err error, value any) {
		if l, ok := value.(leader); ok && l.epoch >= c.known(tp).epoch {
			c.leader[tp] = l
		}
		s.after(20*millisecond+s.rnd.client.Int64N(100*millisecond), func() {
			waiting := c.asking[tp]
			delete(c.asking, tp)
			for _, then := range waiting {
				then()
			}
		})
	})
}

// known is whom a client takes for the leader.
func (c *client) known(tp messages.TopicPartition) leader {
	l, ok := c.leader[tp]
	if !ok {
		return leader{messages.NoBroker, messages.NoEpoch}
	}
	return l
}

// forget has the leader asked for anew. That of an older epoch is not taken then.
func (c *client) forget(tp messages.TopicPartition) {
	c.leader[tp] = leader{messages.NoBroker, c.known(tp).epoch}
}

// notOlder has no leader of an older epoch be taken for one: what was committed after
// it need not be there (KIP-320).
func (c *client) notOlder(tp messages.TopicPartition, epoch messages.LeaderEpoch) {
	if epoch > c.known(tp).epoch {
		c.leader[tp] = leader{messages.NoBroker, epoch}
	}
}

// retriable reports whether a client asks again after an error of a broker.
func retriable(err error) bool {
	switch messages.KindOf(err) {
	case messages.NotLeader, messages.LeaderNotAvailable, messages.UnknownTopicOrPartition, messages.NotEnoughReplicas,
		messages.NotEnoughReplicasAfterAppend, messages.RequestTimedOut, messages.StorageError, messages.ShuttingDown,
		messages.FencedLeaderEpoch, messages.UnknownLeaderEpoch, messages.OffsetNotAvailable, messages.CorruptMessage:
		return true
	}
	return false
}

var errElsewhere error = messages.E("find partition", messages.NotLeader, "", nil)

// serves finds a node's replica for a client.
func (p *process) serves(tp messages.TopicPartition) (*partition.Handle, error) {
	if h := p.replicas.Lookup(tp); h != nil && p.serving {
		return h, nil
	}
	return nil, errElsewhere
}
