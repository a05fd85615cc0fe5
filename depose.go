package understudy

import (
	"context"
	"time"

	"understudy/cluster/link"
	"understudy/messages"
)

// deposeAgain is how long it takes to look again at a controller that is silent.
const deposeAgain = 100 * time.Millisecond

// depose frees the lock of a controller whose process is gone, or that most nodes
// do not hear, so that nobody has to wait for it to run out. That is safe at any
// time: who has no lock can write nothing.
func (n *node) depose(id messages.BrokerID) {
	ctx, cancel := context.WithTimeout(n.ctx, graceTime)
	defer cancel()
	if err := n.r.Depose(ctx, id); err != nil && n.ctx.Err() == nil {
		n.b.log.Warn().Err(err).Int32("node", id).Msg("the lock of a controller that is gone could not be freed")
	}
}

// deposeSilent deposes a controller that has fallen silent once most nodes say so,
// for as long as it is silent. A machine that is cut off together with its agent
// would keep its lock for long: there is nobody to fail its check.
func (n *node) deposeSilent(id messages.BrokerID) {
	silent := func() bool {
		p := n.peers()[id]
		return n.b.cell.Image().Controller == id && p.State != link.Connected && p.State != link.ProcessGone
	}
	for silent() {
		if n.mostMiss(id) {
			n.eye.miss(id)
			n.depose(id)
		}
		if !n.pause(deposeAgain) {
			return
		}
	}
}

// mostMiss reports whether most of the nodes that are up do not hear one of them.
// Of two neither can say who it is.
func (n *node) mostMiss(id messages.BrokerID) bool {
	image := n.b.cell.Image()
	missed := image.Broker(id)
	if missed == nil {
		return false
	}
	up := 0
	for i := range image.Brokers {
		if image.Brokers[i].Up() {
			up++
		}
	}
	ctx, cancel := context.WithTimeout(n.ctx, witnessTime)
	defer cancel()
	answers := make(chan answer, len(image.Brokers))
	asked, missing := 0, 1
	for other, p := range n.peers() {
		if other != id && p.State == link.Connected && asked < cap(answers) {
			asked++
			go func() { answers <- n.askWitness(ctx, other, *missed) }()
		}
	}
	for range asked {
		if <-answers == notHeard {
			missing++
		}
	}
	return missing > up/2
}
