package sim

import (
	"understudy/actors/controller"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// govern makes this node the controller whenever it can be, as the root package's
// govern.go does.
func (p *process) govern(r *routine) {
	for r.sleep(20*millisecond + p.s.rnd.node.Int64N(40*millisecond)) {
		if p.cutOff() || p.leaving || p.overtaken() || !p.s.store.acquire(p) {
			continue
		}
		p.preside(r)
	}
}

// preside is the controller until the lock is lost.
func (p *process) preside(r *routine) {
	p.resign = false
	for r.alive() && p.holds() {
		_, err := p.ctl.TakeOver(p.ctx, p.takeover())
		if err == nil {
			break
		}
		p.s.say("node %d could not take over: %v", p.m.id, err)
		if messages.KindOf(err) == messages.InvalidConfig || p.overtaken() {
			p.m.refused = !p.overtaken()
			p.s.after(0, p.exit)
			p.s.store.release(p)
			return
		}
		p.s.count("takeover failed")
		r.sleep(50 * millisecond)
	}
	if r.alive() && p.holds() {
		p.terms++
		p.active = true
		p.s.say("node %d is the controller", p.m.id)
		p.begin(p.tend)
		for p.holds() && !p.resign && p.cell.Image().Controller == p.m.id && r.sleep(20*millisecond) {
		}
	}
	p.active = false
	if !r.alive() {
		return
	}
	p.s.say("node %d is the controller no more", p.m.id)
	_ = p.ctl.StandDown(p.ctx)
	p.s.store.release(p)
}

// holds reports whether the node has the lock, as far as it knows.
func (p *process) holds() bool { return p.session != nil && p.session.holds && !p.leaving }

// takeover is the node's wish to be the controller, as things stand.
func (p *process) takeover() controller.Takeover {
	return controller.Takeover{Self: p.self, Register: !p.registered(), Doubtful: p.doubtful, Down: p.knownDown}
}

// knownDown says why a broker counts as down for one who takes over; "": unknown.
func (p *process) knownDown(b metadata.Broker) string {
	if p.eyes[b.ID].gone == b.Epoch {
		return "process gone, redial refused"
	}
	return ""
}

// tend has the controller do what is to be done by and by.
func (p *process) tend(r *routine) {
	term := p.terms
	for r.sleep(second) && p.active && p.terms == term {
		_, _ = p.ctl.Tend(p.ctx, func(id messages.BrokerID) bool { return p.s.machines[id-1].steady() }, 4)
	}
}
