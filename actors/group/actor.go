package group

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"

	"understudy/actors/group/core"
	"understudy/actors/mailbox"
	"understudy/actors/supervision"
	"understudy/messages"
)

// slot is what stays of a group when its actor is restarted.
type slot struct {
	shard   *shard
	claim   int // of the shard, when it began
	name    string
	mail    *mailbox.Batching
	pid     *actor.PID
	sent    int64        // requests that the shard has passed on; the shard's
	got     atomic.Int64 // and those of them that have come to an end, or to the group
	life    atomic.Int64 // counts the actor's starts
	listing atomic.Pointer[Listing]

	alarm *alarm
	first *core.Group // what the first actor begins with; the actor's
	bytes int64       // that the coordinator was told of; the actor's
}

// rebuilt is a group that was read again.
type rebuilt struct {
	life   int64
	groups []*core.Group // one
	err    error
}

func (sl *slot) list(g *core.Group) {
	now := g.List()
	if before := sl.listing.Load(); before == nil || *before != now {
		sl.listing.Store(&now)
	}
}

// groupActor runs one group.
//
//	Started: as it was loaded, or new
//	────────────────────────────────────▶ working ──Stopping──▶ whoever waits is refused
//	                                        │  ▲
//	      a panic: whoever waits is refused ▼  │ read again
//	                                       failed
type groupActor struct {
	*slot
	g       *core.Group // nil until it was read again
	open    map[*request]struct{}
	effects core.Effects
	mailed  mailbox.Mail // what of this turn's mail has not been handled
}

// Receive handles a turn. A panic is a bug: it ends nobody else's work, and
// whoever waits for this group is told.
func (a *groupActor) Receive(ctx actor.Context) {
	defer func() {
		if reason := recover(); reason != nil {
			err := messages.E("group", messages.Unknown, a.name, supervision.AsError(reason))
			a.fail()
			panic(err)
		}
	}()
	switch m := ctx.Message().(type) {
	case *actor.Started:
		a.begin()
	case mailbox.Mail:
		a.work(m)
	case *actor.Stopping:
		a.shard.c.alarms.unset(a.alarm)
		a.refuseAll(messages.NotCoordinator)
	case *actor.Stopped:
		a.tell(0)
		a.mail.Divert(a.refuseWith(messages.NotCoordinator))
	}
}

func (a *groupActor) begin() {
	a.open = map[*request]struct{}{}
	if a.life.Add(1); a.life.Load() > 1 {
		a.shard.mail.PostUserMessage(reread{a.slot})
		return
	}
	a.g, a.first = a.first, nil
	a.settle()
}

func (a *groupActor) work(mail mailbox.Mail) {
	now := a.shard.c.o.Now()
	if a.g != nil {
		a.g.Configure(&a.shard.c.settings.Load().Settings)
		a.g.Room(a.shard.c.room(), a.shard.c.o.Memory/4)
	}
	for a.mailed = mail; len(a.mailed) > 0; {
		message := a.mailed[0]
		a.mailed = a.mailed[1:]
		if m, ok := message.(rebuilt); ok {
			a.rebuilt(m)
		} else if a.g != nil {
			a.handle(now, message)
		}
	}
	if a.g != nil {
		a.settle()
	}
}

// rebuilt goes on with what was read.
func (a *groupActor) rebuilt(m rebuilt) {
	if m.life != a.life.Load() || a.g != nil || errors.Is(m.err, context.Canceled) {
		return
	}
	if m.err != nil {
		panic(m.err)
	}
	a.g = m.groups[0]
	a.mail.Divert(nil)
}

func (a *groupActor) handle(now core.Time, message any) {
	switch m := message.(type) {
	case *request:
		a.got.Add(1)
		a.open[m] = struct{}{}
		a.ask(now, m)
	case withdrawn:
		if _, waits := a.open[m.r]; waits {
			delete(a.open, m.r)
			a.g.Withdraw(now, m.r)
		}
	case written:
		if m.life == a.life.Load() {
			a.g.Written(now, m.err)
		}
	case tick:
		a.g.Tick(now)
	case expire:
		image := a.shard.c.o.Cell.Image()
		a.g.Expire(now, func(topic string) bool { return image.Topic(topic) == nil })
	case topicGrown:
		a.g.Grew(now, m.name)
	case topicGone:
		a.g.Expire(now, func(topic string) bool { return topic == m.name })
	}
}

// ask asks the group. What it does not answer at once it answers by an effect; it has
// what it needs of the question then, which may be large.
func (a *groupActor) ask(now core.Time, r *request) {
	question := r.question
	r.question = nil
	switch q := question.(type) {
	case core.Join:
		a.g.Join(now, q, a.shard.c.o.Fresh(), r)
	case core.Sync:
		a.g.Sync(now, q, r)
	case core.Commit:
		a.g.Commit(now, q, r)
	case heartbeat:
		a.close(r, nil, a.g.Heartbeat(now, q.who))
	case leave:
		errs, err := a.g.Leave(now, q.leaving)
		a.close(r, errs, err)
	case fetchOffsets:
		a.close(r, a.g.Offsets(q.tps), nil)
	case deleteOffsets:
		a.g.DeleteOffsets(now, q.tps, r)
	case describe:
		a.close(r, a.g.Describe(), nil)
	case deleteGroup:
		a.g.Delete(now, r)
	}
}

// close answers a request.
func (a *groupActor) close(r *request, value any, err error) {
	delete(a.open, r)
	r.reply <- answer{value, err}
}

// settle carries out what the group wants done.
func (a *groupActor) settle() {
	for a.g.Take(&a.effects) {
		for _, w := range a.effects.Writes {
			a.shard.mail.PostUserMessage(&write{a.slot, a.life.Load(), w})
		}
		for _, answered := range a.effects.Answers {
			a.close(answered.To.(*request), answered.Value, nil)
		}
		for _, e := range a.effects.Events {
			if line := a.shard.c.o.Log.Debug(); line.Enabled() {
				line.Msg(e.String())
			}
		}
	}
	a.list(a.g)
	a.tell(a.g.Bytes())
	a.shard.c.alarms.set(a.alarm, a.g.Deadline())
	if a.g.Gone() {
		a.shard.mail.PostUserMessage(gone{a.slot, a.got.Load()})
	}
}

// tell tells the coordinator how much memory the group takes.
func (a *groupActor) tell(bytes int64) {
	a.shard.c.bytes.Add(bytes - a.bytes)
	a.bytes = bytes
}

// fail has nobody wait for an actor that has failed.
func (a *groupActor) fail() {
	a.mail.Divert(a.refuseWith(messages.CoordinatorLoadInProgress))
	a.refuseAll(messages.CoordinatorLoadInProgress)
	for _, message := range a.mailed {
		if r, ok := message.(*request); ok {
			a.got.Add(1)
			r.refuseAs(messages.CoordinatorLoadInProgress)
		}
	}
	a.mailed, a.g = nil, nil
}

func (a *groupActor) refuseAll(kind messages.Kind) {
	for r := range a.open {
		r.refuseAs(kind)
	}
	clear(a.open)
}

// refuseWith makes a diversion that refuses requests, and leaves the rest to the
// actor.
func (sl *slot) refuseWith(kind messages.Kind) func(message any) bool {
	return func(message any) bool {
		r, ok := message.(*request)
		if ok {
			sl.got.Add(1)
			r.refuseAs(kind)
		}
		return ok
	}
}
