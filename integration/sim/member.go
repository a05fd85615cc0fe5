package sim

import (
	"cmp"
	"errors"
	"slices"

	"understudy/actors/controller"
	"understudy/cluster/election"
	"understudy/cluster/link"
	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/messages"
)

// attend keeps the node's session with the store, and hears of new versions of
// the metadata that it missed.
func (p *process) attend(r *routine) {
	for r.sleep(200*millisecond + p.s.rnd.node.Int64N(100*millisecond)) {
		p.s.store.visit(p)
	}
}

// reachable reports whether the store can be reached, as far as the node knows.
func (p *process) reachable() bool { return p.s.now-p.contact < second }

// heard takes note of a version of the metadata.
func (p *process) heardOf(version int64) {
	if version <= p.version {
		return
	}
	p.version = version
	if p.learner != nil {
		p.learner.poke()
	}
}

// learn reads the metadata when there is a version that the controller does not
// send soon.
func (p *process) learn(r *routine) {
	p.learner = r
	for r.alive() {
		if p.version <= p.cell.Image().Revision {
			r.sleep(10 * second)
			continue
		}
		wanted := p.version
		wait := int64(0)
		if p.s.links.any(p) {
			wait = 200 * millisecond
		}
		if r.await(wait, func() bool { return p.cell.Image().Revision >= wanted }) || !r.alive() {
			continue
		}
		if image := p.read(r); image != nil {
			p.s.count("metadata read anew")
			p.cell.Publish(metadata.Change{New: image})
		}
	}
}

// committed sends the other nodes what this one's controller has committed.
func (p *process) committed(c controller.Commit) {
	if c.After == c.Before {
		return
	}
	p.s.links.each(p, func(to messages.BrokerID) {
		p.s.links.call(p, to, func(q *process) { q.apply(c) })
	})
}

// apply makes the image that a change leads to, if it fits.
func (p *process) apply(c controller.Commit) {
	im := p.cell.Image()
	switch {
	case c.After <= im.Revision:
		p.s.count("change known already")
	case c.Before > im.Revision:
		p.s.count("change missed")
		p.heardOf(c.After)
	default:
		_, ch, err := im.Apply(c.Txn, c.After)
		if err != nil {
			p.s.count("change not applied")
			p.heardOf(c.After)
			return
		}
		p.cell.Publish(ch)
	}
}

// request asks another node something and waits for the answer.
func (r *routine) request(to messages.BrokerID, within int64, f func(q *process, r *routine) (any, error)) (value any, err error) {
	p := r.p
	done, asker := false, r
	answered := func(v any, e error) {
		done, value, err = true, v, e
		asker.poke()
	}
	sent := p.s.links.call(p, to, func(q *process) {
		q.begin(func(r *routine) {
			v, e := f(q, r)
			if r.alive() {
				q.s.links.call(q, p.m.id, func(back *process) {
					if back == p && !done {
						answered(v, e)
					}
				})
			}
		})
	})
	if !sent {
		return nil, link.ErrNotConnected
	}
	for deadline := p.s.now + within; !done && p.s.now < deadline; {
		if !r.park(deadline) {
			break
		}
	}
	if !done {
		done = true
		return nil, messages.E("request", messages.RequestTimedOut, "", nil)
	}
	return value, err
}

var errNoController error = messages.E("request", messages.NotController, "", errors.New("there is no controller at the moment"))

// ask asks the controller, here or on another node, until there is one that knows.
func (p *process) ask(r *routine, within int64, f func(q *process, r *routine) (any, error)) (any, error) {
	decide := func(q *process, r *routine) (any, error) {
		if !q.active {
			return nil, errNoController
		}
		return f(q, r)
	}
	for deadline := p.s.now + within; ; {
		to := p.cell.Image().Controller
		value, err := any(nil), error(errNoController)
		switch {
		case p.active:
			value, err = decide(p, r)
		case to == p.m.id || to == messages.NoBroker:
		default:
			value, err = r.request(to, deadline-p.s.now, decide)
		}
		retry := err != nil && (messages.KindOf(err) == messages.NotController || errors.Is(err, link.ErrNotConnected))
		if !retry || p.s.now >= deadline || !r.alive() {
			return value, err
		}
		r.await(50*millisecond, func() bool { return p.cell.Image().Controller != to })
	}
}

// wish is what a replica asks of the controller.
type wish struct {
	tp     messages.TopicPartition
	isr    *election.Change
	resign *controller.Resignation
	change replica.ISRChange
}

// leaves says for a leader's causes what they mean for a member that leaves.
var leaves = map[replica.ISRCause]election.Reason{
	replica.Lagging: election.ISRShrunk, replica.Down: election.ISRCutOff, replica.LostLog: election.ISRLost,
	replica.LogFailed: election.ISRFailed,
}

// ChangeISR asks the controller for another in-sync set.
func (a around) ChangeISR(tp messages.TopicPartition, c replica.ISRChange) {
	change := &election.Change{From: election.Member(a.p.member()), Epoch: c.Epoch, Revision: c.Revision, Why: leaves[c.Cause]}
	for _, m := range c.ISR {
		change.ISR = append(change.ISR, election.Member(m))
	}
	a.p.want(wish{tp: tp, isr: change, change: c})
}

// Resign asks the controller for an election in a new epoch.
func (a around) Resign(tp messages.TopicPartition, r replica.Resignation) {
	a.p.want(wish{tp: tp, resign: &controller.Resignation{
		From: election.Member(a.p.member()), Epoch: r.Epoch, Lost: r.Cause == replica.LostCommitted, Failed: r.Cause == replica.StorageFailed, Detail: r.Cause.String(),
	}})
}

func (p *process) want(w wish) {
	p.wishes[w.tp] = w
	if p.wisher != nil {
		p.wisher.poke()
	}
}

// wish sends what replicas wish, all that has gathered in one request.
func (p *process) wish(r *routine) {
	p.wisher = r
	for r.alive() {
		if len(p.wishes) == 0 {
			r.sleep(10 * second)
			continue
		}
		var list []wish
		for _, w := range p.wishes {
			list = append(list, w)
		}
		clear(p.wishes)
		slices.SortFunc(list, func(a, b wish) int { return comparePartitions(a.tp, b.tp) })
		refusals, err := p.ask(r, second, func(q *process, r *routine) (any, error) { return q.grant(r, list) })
		if err != nil {
			p.s.count("wishes not heard")
			continue
		}
		for i, refusal := range refusals.([]error) {
			if h := p.replicas.Lookup(list[i].tp); refusal != nil && list[i].isr != nil && h != nil {
				h.Refused(list[i].change, refusal)
			}
		}
	}
}

// grant has this node's controller decide what replicas wish.
func (p *process) grant(r *routine, list []wish) (any, error) {
	if p.cutOff() {
		return nil, messages.E("change in-sync set", messages.NotController, "", errors.New("the controller hears no other node"))
	}
	errs := make([]error, len(list))
	left := len(list)
	for i, w := range list {
		answer := func(err error) { errs[i], left = err, left-1 }
		if w.isr != nil {
			p.ctl.ChangeISR(w.tp, *w.isr, func(_ metadata.Partition, err error) { answer(err) })
		} else {
			p.ctl.Resign(w.tp, *w.resign, answer)
		}
	}
	if !r.await(second, func() bool { return left == 0 }) {
		return nil, messages.E("change in-sync set", messages.RequestTimedOut, "", nil)
	}
	return errs, nil
}

func comparePartitions(a, b messages.TopicPartition) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

// leave is how a node stops in order: it hands over what it leads, closes its
// logs and writes the checkpoints from which the next start need not recover.
func (p *process) leave(r *routine) {
	p.leaving = true
	p.s.links.each(p, func(to messages.BrokerID) {
		p.s.links.call(p, to, func(q *process) { q.replicas.PeerDown(p.m.id) })
	})
	_, err := p.ask(r, second, func(q *process, _ *routine) (any, error) {
		return nil, q.ctl.BrokerDown(q.ctx, p.m.id, p.self.Epoch, "stops in order")
	})
	if err == nil {
		r.await(second, func() bool { return !leads(p.cell.Image(), p.m.id) })
	}
	if p.tree != nil {
		p.closePartitions(r)
	}
	if r.alive() {
		p.endController(r)
	}
	if r.alive() {
		p.s.say("node %d has stopped in order", p.m.id)
		p.s.count("stopped in order")
		p.s.store.leave(p)
		p.s.after(0, func() {
			p.kill()
			if p.s.healing {
				p.m.start()
			}
		})
	}
}
