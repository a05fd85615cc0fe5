package controller

import (
	"context"
	"errors"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"understudy/cluster/metadata"
	"understudy/messages"
)

// command is something that the controller can be asked for. Its fields hold the
// question and, after decide, the answer.
type command interface {
	// decide works on the state as it will be once everything before it is
	// committed. It may be run again, on another state: only the last run
	// counts. An error is the answer, and says that nothing was changed.
	decide(d *decision) error
}

// request is a command on its way. done is called exactly once, in the actor's
// turn, and must not block.
type request struct {
	ctx   context.Context // when it has ended, nobody waits any more
	cmd   command
	done  func(error)
	err   error // of the last run of decide
	tries int
	fresh bool // what is decided on must be read after this has come
}

// maxTries is how often a command is decided when others keep changing what it
// is based on. There is no other writer while all is well.
const maxTries = 4

// The messages that the actor sends itself when a store call has ended.
type (
	loaded struct {
		incarnation int64
		state       metadata.State
		err         error
	}
	committed struct {
		incarnation int64
		revision    int64
		err         error
	}
)

// phase is what an instance is doing.
type phase uint8

const (
	loading phase = iota
	idle
	committing
)

// instance is the actor between two restarts.
//
//	          ┌──────────── conflict: decide again ───────────┐
//	          ▼                                               │
//	start ▶ loading ──loaded──▶ idle ──command──▶ committing ─┤
//	          │                  ▲                    │       │
//	          │                  └────committed───────┘       │
//	          └───store error───▶ failed, restarted ◀─────────┘ store error
type instance struct {
	c       *Controller
	number  int64 // of the incarnation
	phase   phase
	stale   bool // read again before anything is decided
	image   *metadata.Image
	waiting []*request
	flight  *flight // while committing, or deciding
}

// flight is a set of commands that share a transaction.
type flight struct {
	requests []*request
	decision *decision
	txn      metadata.Txn // while committing
}

// maxFlight bounds the commands that share a transaction: those that are answered
// first need not wait for thousands.
const maxFlight = 512

// Receive is called by the actor library, one message at a time.
func (i *instance) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		i.load(c)
	case *request:
		i.waiting = append(i.waiting, m)
		i.stale = i.stale || m.fresh
		i.decide(c)
	case loaded:
		i.loaded(c, m)
	case committed:
		i.committed(c, m)
	case *actor.Restarting, *actor.Stopping:
		i.refuseAll()
	case *actor.Stopped:
		i.c.stop()
		close(i.c.stopped)
	}
}

// load reads everything; the result comes as a message.
func (i *instance) load(c actor.Context) {
	i.phase = loading
	i.call(c, func(ctx context.Context) any {
		state, err := i.c.fence.load(ctx, i.number)
		return loaded{incarnation: i.number, state: state, err: err}
	})
}

// call runs a store call outside of the actor's turn and sends its result.
func (i *instance) call(c actor.Context, f func(context.Context) any) {
	root, self := c.ActorSystem().Root, c.Self()
	i.c.o.Stage.start(&i.c.calls, func() { root.Send(self, f(i.c.ctx)) })
}

func (i *instance) loaded(c actor.Context, m loaded) {
	if m.incarnation != i.number || i.phase != loading {
		return
	}
	if m.err != nil {
		panic(messages.E("load metadata", messages.StorageError, "", m.err))
	}
	im, err := metadata.Build(m.state)
	if err != nil {
		panic(messages.E("load metadata", messages.StorageError, "", err))
	}
	i.image, i.phase = im, idle
	if i.c.active && im.Controller != i.c.self {
		i.c.active = false
		i.c.o.Events(Deposed{Self: i.c.self, By: im.Controller})
	}
	i.c.o.Cell.Publish(metadata.Change{New: im})
	i.decide(c)
}

// decide works through the waiting commands and commits what they change.
func (i *instance) decide(c actor.Context) {
	if i.phase == idle && i.stale {
		i.stale = false
		i.load(c)
	}
	for i.phase == idle && len(i.waiting) > 0 {
		n := min(len(i.waiting), maxFlight)
		i.flight = &flight{requests: i.waiting[:n:n], decision: i.c.begin(i.image)}
		i.waiting = i.waiting[n:]
		d := i.flight.decision
		for _, r := range i.flight.requests {
			r.decide(d)
		}
		d.conclude()
		if d.edit.Empty() {
			i.land(nil)
			continue
		}
		i.phase = committing
		txn := d.edit.Txn()
		i.flight.txn = txn
		i.call(c, func(ctx context.Context) any {
			revision, err := i.c.fence.commit(ctx, i.number, txn)
			return committed{incarnation: i.number, revision: revision, err: err}
		})
	}
}

// decide runs the command, unless nobody waits for it any more.
func (r *request) decide(d *decision) {
	r.tries++
	if err := r.ctx.Err(); err != nil {
		r.err = d.c.timedOut(err)
		return
	}
	r.err = r.cmd.decide(d)
}

func (i *instance) committed(c actor.Context, m committed) {
	if m.incarnation != i.number || i.phase != committing {
		return
	}
	i.phase = idle
	switch {
	case m.err == nil:
		im, ch, err := i.flight.decision.edit.Seal(m.revision)
		if err != nil {
			panic(err)
		}
		before := i.image.Revision
		i.image = im
		i.c.o.Cell.Publish(ch)
		i.c.o.Committed(Commit{Before: before, After: m.revision, Txn: i.flight.txn})
		i.land(nil)
		i.decide(c)
	case errors.Is(m.err, metadata.ErrConflict):
		i.again()
		i.load(c)
	default:
		err := messages.E("commit metadata", messages.StorageError, "", m.err)
		i.land(err)
		panic(err)
	}
}

// land ends the flight: with err, nothing of it has come about.
func (i *instance) land(err error) {
	f := i.flight
	i.flight = nil
	if err == nil {
		i.c.adopt(f.decision)
		for _, e := range f.decision.events {
			i.c.o.Events(e)
		}
		if f.decision.more {
			rest := &request{ctx: i.c.ctx, cmd: &repairs{}, done: func(error) {}}
			i.waiting = append([]*request{rest}, i.waiting...)
		}
	}
	for _, r := range f.requests {
		if err != nil {
			r.err = err
		}
		r.done(r.err)
	}
}

// again puts the commands of the flight back in front of those waiting.
func (i *instance) again() {
	var keep []*request
	for _, r := range i.flight.requests {
		if r.tries < maxTries {
			keep = append(keep, r)
			continue
		}
		r.done(messages.E("controller", messages.NotController, "", metadata.ErrConflict))
	}
	i.flight = nil
	i.waiting = append(keep, i.waiting...)
}

// refuseAll answers everybody before the instance goes.
func (i *instance) refuseAll() {
	if f := i.flight; f != nil {
		i.flight = nil
		for _, r := range f.requests {
			r.done(messages.E("controller", messages.RequestTimedOut, "", errUnknown))
		}
	}
	waiting := i.waiting
	i.waiting = nil
	for _, r := range waiting {
		r.done(messages.E("controller", messages.NotController, "", errGoing))
	}
}

var (
	errUnknown = errors.New("the controller stopped or failed; whether this was done is not known")
	errGoing   = errors.New("the controller stopped or failed before this was done")
)

// timedOut is the error of a command that has waited in vain, with what the store
// has to do with it.
func (c *Controller) timedOut(cause error) error {
	if trouble := c.o.Trouble(); trouble != nil {
		cause = fmt.Errorf("%w; nothing can be decided at the moment: %w", cause, trouble)
	}
	return messages.E("controller", messages.RequestTimedOut, "", cause)
}
