package replica_test

import (
	"slices"

	"understudy/cluster/replica"
	"understudy/messages"
)

// controller decides as a real one does, in the fewest words: every change of
// the metadata is a new revision, every election a new epoch.
type controller struct {
	w        *world
	meta     replica.Assignment
	down     map[messages.BrokerID]bool // by its own judgement
	unfit    map[messages.BrokerID]bool // resigned because committed records are lost
	changes  []isrRequest
	resigned []resignRequest
}

type isrRequest struct {
	from messages.BrokerID
	c    replica.ISRChange
}

type resignRequest struct {
	from messages.BrokerID
	c    replica.Resignation
}

// elect makes the broker the leader of a new epoch.
func (c *controller) elect(leader messages.BrokerID) {
	c.meta.Epoch++
	c.meta.Revision++
	c.meta.Leader = leader
	c.w.trace("controller: leader %d, epoch %d, in-sync %v", leader, c.meta.Epoch, c.meta.ISR)
}

// electAny elects the first in-sync replica that can lead, or nobody.
func (c *controller) electAny() {
	for _, id := range c.meta.ISR {
		if !c.down[id] && !c.unfit[id] {
			c.elect(id)
			return
		}
	}
	if c.meta.Leader != messages.NoBroker {
		c.elect(messages.NoBroker)
	}
}

// grant decides the oldest wish for another in-sync set.
func (c *controller) grant() {
	req := c.changes[0]
	c.changes = c.changes[1:]
	stale := req.c.Epoch != c.meta.Epoch || req.c.Revision != c.meta.Revision || req.from != c.meta.Leader
	var isr []messages.BrokerID
	for _, m := range req.c.ISR {
		n := c.w.node(m.ID)
		if c.down[m.ID] || m.Epoch >= 0 && n.epoch != m.Epoch {
			stale = true
		}
		isr = append(isr, m.ID)
	}
	if stale {
		c.w.trace("controller: refuses in-sync %v", isr)
		if n := c.w.node(req.from); n.up {
			n.r.Refused(req.c, errStopped)
			c.w.perform(n)
		}
		return
	}
	slices.Sort(isr)
	c.meta.ISR = isr
	c.meta.Revision++
	c.w.trace("controller: in-sync %v", isr)
}

// resign elects anew for the oldest resignation, if it still concerns anybody.
func (c *controller) resign() {
	req := c.resigned[0]
	c.resigned = c.resigned[1:]
	if req.c.Epoch != c.meta.Epoch || req.from != c.meta.Leader {
		return
	}
	if req.c.Cause == replica.LostCommitted {
		c.unfit[req.from] = true
	}
	c.electAny()
}

// tell gives a node the metadata as it is now.
func (c *controller) tell(n *node) {
	if !n.up {
		return
	}
	n.r.Assign(c.meta)
	c.w.perform(n)
}
