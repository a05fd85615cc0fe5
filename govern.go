package understudy

import (
	"cmp"
	"context"
	"time"

	"understudy/messages"
)

// retryPause is how long it takes to look again whether something works now
// that did not.
const retryPause = 50 * time.Millisecond

// pause waits, and reports whether the node goes on.
func (n *node) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-n.ctx.Done():
		return false
	}
}

// govern makes this node the controller whenever it can be. One that has begun to
// stop does not become it any more: it would take itself for up.
//
//	waiting for the lock ──held──▶ taking over ──▶ active ──lost──▶ standing down
//	      ▲                             │            │ cut off from the others     │
//	      └─────────────────────────────┴────────────┴──────────◀──────────────────┘
func (n *node) govern() {
	for n.candidacy.Err() == nil {
		if n.cutOff() || n.overtaken() != nil { // another may be able to do what this one cannot
			n.pause(retryPause)
			continue
		}
		lost, err := n.r.Acquire(n.candidacy)
		if err != nil {
			if n.candidacy.Err() == nil {
				n.b.log.Warn().Err(err).Msg("the controller's lock cannot be had")
			}
			n.pause(retryPause)
			continue
		}
		n.preside(lost)
	}
}

// preside is the controller until the lock is lost or the node stops.
func (n *node) preside(lost <-chan struct{}) {
	ctx, cancel := context.WithCancel(n.ctx)
	defer cancel()
	go func() {
		select {
		case <-lost:
		case <-n.eye.resign:
		case <-ctx.Done():
		}
		cancel()
	}()
	defer func() {
		n.active.Store(false)
		ending, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer done()
		if err := n.b.controller.StandDown(ending); err != nil {
			n.b.log.Warn().Err(err).Msg("the controller did not stand down")
		}
		if err := n.r.Release(ending); err != nil && n.ctx.Err() == nil {
			n.b.log.Warn().Err(err).Msg("the controller's lock was not released")
		}
	}()
	for ctx.Err() == nil {
		_, err := n.b.controller.TakeOver(ctx, n.takeover())
		if err == nil {
			break
		}
		if messages.KindOf(err) == messages.InvalidConfig || n.overtaken() != nil { // nor can it be registered: let others have the lock
			n.eye.refuse(cmp.Or(n.overtaken(), err))
			return
		}
		if ctx.Err() == nil {
			n.b.log.Warn().Err(err).Msg("this node could not take over as the controller yet")
			n.pause(retryPause)
		}
	}
	if ctx.Err() != nil {
		return
	}
	n.eye.begin()
	n.active.Store(true)
	go func() {
		n.awaitSuccessor(ctx)
		cancel()
	}()
	n.tend(ctx)
}

// awaitSuccessor waits until the image, which the other nodes see to as well, says
// that another node is the controller. One that is cut off from the rendezvous alone
// does not hear from there that it has lost the lock.
func (n *node) awaitSuccessor(ctx context.Context) {
	for {
		im, next := n.b.cell.Next()
		if im.Controller != n.self.ID {
			return
		}
		select {
		case <-next:
		case <-ctx.Done():
			return
		}
	}
}
