package sim

import (
	"fmt"

	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/messages"
)

// The bounds of the root package's watch.go and cluster/link.
const (
	lookInterval = 100 * millisecond
	graceTime    = 2 * second
	silentTime   = 1500 * millisecond
	giveUpTime   = 3 * second
	witnessTime  = 400 * millisecond
)

// eye is what a node has seen of another.
type eye struct {
	heard  int64                // when it was heard last
	silent bool                 // told to be
	last   messages.BrokerEpoch // of the last connection
	gone   messages.BrokerEpoch // whose process is gone
	asked  int64                // when witnesses were asked last
}

// up takes note of a new connection, or that an old one gives signs of life again.
func (p *process) up(m replica.Member) {
	e := &p.eyes[m.ID]
	e.last, e.gone, e.silent, e.heard = m.Epoch, 0, false, p.s.now
	p.replicas.PeerUp(m)
}

// peerGone takes note that another process is no more.
func (p *process) peerGone(id messages.BrokerID) {
	e := &p.eyes[id]
	if e.gone == e.last && e.gone != 0 {
		return
	}
	e.gone = e.last
	p.s.count("seen gone")
	p.replicas.PeerDown(id)
	if p.cell.Image().Controller == id {
		p.later(p.s.rnd.node.Int64N(20*millisecond), func() { p.s.store.depose(p, id) })
	}
}

// look takes note of who is silent, and gives connections up that have been for
// too long.
func (p *process) look(id messages.BrokerID) {
	e := &p.eyes[id]
	m, heard := p.s.links.hears(p, id)
	switch {
	case heard:
		e.heard = p.s.now
		if e.silent {
			p.s.count("heard again")
			p.up(m)
		}
	case !e.silent && p.s.now-e.heard > silentTime:
		e.silent = true
		p.s.count("seen silent")
		p.replicas.PeerDown(id)
	}
	if !heard && p.s.now-e.heard > giveUpTime {
		p.s.links.giveUp(p, id)
	}
	if e.last != 0 && p.s.links.refuses(p, id) {
		p.peerGone(id)
	}
}

// hearing reports whether a start of a broker is heard.
func (p *process) hearing(b metadata.Broker) bool {
	m, open := p.s.links.peer(p, b.ID)
	return open && !p.eyes[b.ID].silent && m.Epoch == b.Epoch
}

// cutOff reports whether this node hears nobody though others are alive.
func (p *process) cutOff() bool {
	brokers := p.cell.Image().Brokers
	if len(brokers) < 3 {
		return false
	}
	for _, b := range brokers {
		if _, open := p.s.links.peer(p, b.ID); open && !p.eyes[b.ID].silent {
			return false
		}
	}
	return p.othersAlive(messages.NoBroker) >= 2
}

// isolated reports whether this node hears neither the metadata nor as many nodes
// as could replace it as a leader.
func (p *process) isolated() bool {
	if p.reachable() {
		return false
	}
	brokers := p.cell.Image().Brokers
	heard := 1
	for _, b := range brokers {
		if b.ID != p.m.id && p.hearing(b) {
			heard++
		}
	}
	return heard <= len(brokers)/2
}

func (p *process) othersAlive(but messages.BrokerID) (alive int) {
	for _, b := range p.cell.Image().Brokers {
		if b.ID != but && b.ID != p.m.id && p.s.store.alive(b.ID) {
			alive++
		}
	}
	return alive
}

// watch looks at who is up, as the controller, and whether this node can go on leading.
func (p *process) watch(r *routine) {
	isolated := false
	term, began := 0, int64(0)
	for r.sleep(lookInterval) {
		for _, m := range p.s.machines {
			if m.id != p.m.id {
				p.look(m.id)
			}
		}
		if now := p.isolated(); now != isolated {
			isolated = now
			p.s.count("isolated or not")
			p.replicas.Isolate(now)
		}
		if !p.active {
			continue
		}
		if p.terms != term {
			term, began = p.terms, p.s.now
		}
		for _, b := range p.cell.Image().Brokers {
			if b.ID != p.m.id && r.alive() {
				p.judge(began, b)
			}
		}
	}
}

// judge decides whether a broker is up, as far as one look can tell.
func (p *process) judge(began int64, b metadata.Broker) {
	e := &p.eyes[b.ID]
	silence := p.s.now - e.heard
	switch {
	case p.hearing(b):
		e.asked = 0
		if !b.Up() {
			p.begin(func(*routine) { _ = p.ctl.BrokerUp(p.ctx, b.ID, b.Epoch) })
		}
	case !b.Up():
	case e.gone == b.Epoch:
		p.down(b, "process gone, redial refused")
	case silence < silentTime && p.s.now-began < graceTime:
	case silence < silentTime && e.gone == 0:
	case e.asked == 0 || p.s.now-e.asked > second:
		e.asked = p.s.now
		p.begin(func(r *routine) { p.inquire(r, b, silence) })
	}
}

func (p *process) down(b metadata.Broker, detail string) {
	p.begin(func(*routine) { _ = p.ctl.BrokerDown(p.ctx, b.ID, b.Epoch, detail) })
}

// inquire asks the other nodes whether they hear one that is not heard here.
func (p *process) inquire(r *routine, b metadata.Broker, silence int64) {
	witnesses, deadline := 0, p.s.now+witnessTime
	for _, m := range p.s.machines {
		if m.id == b.ID || m.id == p.m.id {
			continue
		}
		if _, open := p.s.links.peer(p, m.id); !open || p.eyes[m.id].silent {
			continue
		}
		hears, err := r.request(m.id, max(deadline-p.s.now, 50*millisecond), func(q *process, _ *routine) (any, error) { return q.hearing(b), nil })
		switch {
		case !r.alive() || err == nil && hears.(bool):
			return
		case err == nil:
			witnesses++
		}
	}
	detail := fmt.Sprintf("silent for %d ms, to %d other nodes as well", silence/millisecond, witnesses)
	if witnesses == 0 && p.s.store.alive(b.ID) && p.othersAlive(b.ID) > 0 {
		if p.cutOff() {
			p.resign = true
		}
		return
	}
	if !p.hearing(b) && p.active {
		p.s.count("taken for down by witnesses")
		p.down(b, detail)
	}
}
