package sim

import (
	"context"
	"errors"
	"maps"
	"slices"

	"understudy/actors/group"
	"understudy/messages"
)

// groupClient asks the coordinator of a group, wherever it is.
type groupClient struct {
	*client
	ledger *ledger
	to     messages.BrokerID // the coordinator; NoBroker: it is to be looked for
	busy   bool              // a commit has no answer yet
	hold   int64             // no commit before, as an earlier one may still be on its way
}

func newGroupClient(c *client, l *ledger) *groupClient {
	return &groupClient{client: c, ledger: l, to: messages.NoBroker}
}

// errSilence is what becomes of a request that has no answer: nobody knows what came
// of it.
var errSilence = errors.New("no answer")

// question is asked of a coordinator.
type question func(ctx context.Context, c *group.Coordinator) (any, error)

// call asks the coordinator, after looking for it if need be.
func (c *groupClient) call(patience int64, ask question, finish func(value any, err error)) {
	if c.to != messages.NoBroker {
		c.askNode(c.to, patience, ask, finish)
		return
	}
	some := messages.BrokerID(1 + c.s.rnd.client.IntN(len(c.s.machines)))
	find := func(ctx context.Context, co *group.Coordinator) (any, error) {
		id, err := co.Coordinator(ctx, c.ledger.name)
		co.AwaitServing(ctx, []string{c.ledger.name})
		return id, err
	}
	c.askNode(some, 2*second, find, func(value any, err error) {
		if err != nil {
			finish(nil, err)
			return
		}
		c.to = value.(messages.BrokerID)
		c.askNode(c.to, patience, ask, finish)
	})
}

// askNode asks a node's coordinator. One that is not the group's is not asked again.
func (c *groupClient) askNode(to messages.BrokerID, patience int64, ask question, finish func(value any, err error)) {
	c.ask(to, patience, func(p *process, reply func(any)) { p.coordinate(ask, reply) }, func(err error, value any) {
		answer, ok := value.(coordinated)
		if ok {
			err = answer.err
		} else if err == nil {
			err = errSilence
		}
		if err != nil {
			c.s.count("group: " + messages.KindOf(err).String())
		}
		if kind := messages.KindOf(err); err != nil && (!ok || kind == messages.NotCoordinator || kind == messages.CoordinatorNotAvailable) {
			c.to = messages.NoBroker
		}
		finish(answer.value, err)
	})
}

// refused reports whether an error says that nothing was, or will be, done.
func refused(err error) bool {
	switch messages.KindOf(err) {
	case messages.IllegalGeneration, messages.GroupIDNotFound, messages.UnknownMemberID, messages.FencedInstanceID, messages.RebalanceInProgress:
		return true
	}
	return false
}

// commit commits offsets, if none are being committed, and tells how that has ended.
func (c *groupClient) commit(who group.Member, offsets map[messages.TopicPartition]messages.Offset, finish func(err error)) {
	if len(offsets) == 0 || c.busy || c.s.now < c.hold {
		return
	}
	c.busy = true
	commit := group.Commit{Member: who, Offsets: map[messages.TopicPartition]group.Committed{}}
	var asked []entry
	for _, tp := range sorted(offsets) {
		commit.Offsets[tp] = group.Committed{Offset: offsets[tp], LeaderEpoch: c.known(tp).epoch}
		asked = append(asked, c.ledger.asks(who, tp, offsets[tp]))
	}
	if c.s.verbose {
		c.s.say("group %s: %s commits %v in generation %d, of node %d", who.Group, who.MemberID, offsets, who.Generation, c.to)
	}
	c.call(c.s.cfg.requestTimeout, func(ctx context.Context, co *group.Coordinator) (any, error) { return co.Commit(ctx, commit) }, func(value any, err error) {
		c.busy = false
		if c.s.verbose {
			c.s.say("group %s: commit of %s: %v, %v", who.Group, who.MemberID, value, err)
		}
		if err != nil && !refused(err) {
			c.hold = c.s.now + second
		}
		each, _ := value.(map[messages.TopicPartition]error)
		for _, e := range asked {
			switch {
			case each[e.tp] != nil:
				c.s.wrong("refused", "group %s: commit of %v: %v", who.Group, e.tp, each[e.tp])
			case err == nil:
				c.ledger.acknowledged(e)
			}
		}
		finish(err)
	})
}

// fetch reads committed offsets; NoOffset: nothing is committed.
func (c *groupClient) fetch(tps []messages.TopicPartition, finish func(offsets map[messages.TopicPartition]messages.Offset, err error)) {
	var asked []reading
	for _, tp := range tps {
		asked = append(asked, c.ledger.reads(tp))
	}
	who := group.Member{Group: c.ledger.name, Generation: -1}
	c.call(c.s.cfg.requestTimeout, func(ctx context.Context, co *group.Coordinator) (any, error) { return co.Offsets(ctx, who, tps) }, func(value any, err error) {
		if err != nil {
			finish(nil, err)
			return
		}
		found := value.(map[messages.TopicPartition]group.Committed)
		offsets := map[messages.TopicPartition]messages.Offset{}
		for _, r := range asked {
			offset := messages.NoOffset
			if at, ok := found[r.tp]; ok {
				offset = at.Offset
				c.notOlder(r.tp, at.LeaderEpoch)
			}
			c.s.count("group: offset read back")
			c.ledger.read(r, offset)
			offsets[r.tp] = offset
		}
		if c.s.verbose {
			c.s.say("group %s: node %d has %v", who.Group, c.to, offsets)
		}
		finish(offsets, nil)
	})
}

func sorted(offsets map[messages.TopicPartition]messages.Offset) []messages.TopicPartition {
	return slices.SortedFunc(maps.Keys(offsets), comparePartitions)
}

// committer is a consumer that assigns itself its partitions, and commits how far it
// has come; now and then it reads that back.
type committer struct {
	*groupClient
	c *consumer
}

func (s *Sim) newCommitter(c *consumer) {
	m := &committer{newGroupClient(c.client, newLedger(s, c.name())), c}
	s.ledgers = append(s.ledgers, m.ledger)
	s.after(s.rnd.client.Int64N(second), m.work)
}

func (m *committer) work() {
	s := m.s
	offsets := map[messages.TopicPartition]messages.Offset{}
	for _, at := range m.c.places {
		if !s.model.books[at.tp].lossy && m.ledger.behind(at.tp, at.next) {
			offsets[at.tp] = at.next
		}
	}
	who := group.Member{Group: m.ledger.name, Generation: -1}
	if s.rnd.client.IntN(3) == 0 {
		m.fetch(sorted(offsets), func(map[messages.TopicPartition]messages.Offset, error) {})
	} else {
		m.commit(who, offsets, func(err error) {
			if refused(err) {
				s.wrong("refused", "group %s, which has no members: %v", who.Group, err)
			}
		})
	}
	s.after(s.cfg.gatherings[0].pause/2+s.rnd.client.Int64N(s.cfg.gatherings[0].pause), m.work)
}
