package client

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kgo"
)

// flow is one partition that the subscription has been assigned: an actor whose
// children are the actors that the records are for. What is above the line is
// shared; below it everything is the actor's.
type flow struct {
	s          *subscriber
	topic      string
	partition  int32
	assignment Assignment
	pid        *actor.PID
	ctx        context.Context // of what is written for it; ends when its actors stop
	stop       context.CancelFunc

	mu        sync.Mutex
	front     front
	closed    bool  // it is being taken away: nothing new is delivered
	saved     saved // what was committed last
	watermark int64 // high watermark, as of the last poll

	// ----
	lanes    map[string]*lane
	children map[string]*lane // by the id of the actor
	released *release         // somebody waits for the work to end
	quiet    bool             // it has ended, and that was told
	burying  int              // records on their way to the dead letters
	aside    map[*lane]bool   // the lanes of which something was put aside
	reading  *reading         // of what was; nil: none
	paused   bool             // nothing more is polled
	first    *lane            // the first of all
	mixed    bool             // there have been others
	ending   bool             // it stops: who fails now is not started again
}

// saved is a commit.
type saved struct {
	offset   int64
	metadata string
}

// Messages of the actor of a partition, beside verdict and *run.
type (
	records  struct{ items []*item }
	resume   struct{ run *run }      // a pause is over
	buried   struct{ item *item }    // a dead letter has been written
	unburied struct{}                // one will not be, since the subscription ends
	tick     struct{ now time.Time } // look for actors that have nothing to do
	// release has the actor deliver nothing more; done is closed when nothing is
	// being worked on.
	release struct{ done chan struct{} }
)

// tell sends the partition's actor a message.
func (f *flow) tell(message any) { f.s.system.Root.Send(f.pid, message) }

// arrived takes note of records that have been polled, and hands those that are
// to be delivered to the actor.
func (f *flow) arrived(polled []*kgo.Record, watermark int64) {
	fresh := make([]*item, 0, len(polled))
	bytes := int64(0)
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	f.watermark = watermark
	for _, r := range polled {
		if it := newItem(f, r); f.front.add(it) {
			fresh = append(fresh, it)
			bytes += it.size
		}
	}
	f.mu.Unlock()
	if len(fresh) > 0 {
		f.s.room.take(len(fresh), bytes)
		f.tell(records{fresh})
	}
}

// advance moves the front on. It is called by any goroutine.
func (f *flow) advance() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.front.advance()
}

// toCommit is what is to be committed; news is false if it has been.
func (f *flow) toCommit() (at saved, epoch int32, news bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at.offset = f.front.offset()
	at.metadata = encodeBeyond(at.offset, f.front.beyond())
	return at, f.front.epoch, at != f.saved
}

// committed takes note of a commit.
func (f *flow) committed(at saved) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.saved = at
}

// close has nothing new delivered.
func (f *flow) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
}

// Receive is the actor.
func (f *flow) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case records:
		f.route(ctx, m.items)
	case *run:
		if m == m.lane.run {
			f.feed(ctx, m.lane)
		}
		f.checkReleased()
	case verdict:
		f.judge(m)
	case resume:
		if m.run == m.run.lane.run && f.released == nil {
			m.run.lane.paused = false
			f.feed(ctx, m.run.lane)
		}
	case buried:
		f.buried(ctx, m.item)
	case unburied:
		f.burying--
		f.checkReleased()
	case tick:
		f.passivate(ctx, m.now)
		f.readAgain()
		f.pauseOrResume()
	case press:
		f.press(m.now)
	case reread:
		f.takeBack(ctx, m)
	case *actor.Terminated:
		f.ended(ctx, m.Who)
	case *actor.Stopping:
		f.ending = true
	case *release:
		f.released, f.quiet = m, false
		f.forgetAside()
		f.giveUpQueues()
		f.checkReleased()
	}
}

// route leads records to their lanes.
func (f *flow) route(ctx actor.Context, items []*item) {
	var last *lane
	for _, it := range items {
		name, err := f.s.o.routeOf(it.record.Load())
		if err != nil {
			f.astray(it, err)
			continue
		}
		l := last
		if l == nil || l.name != name {
			l = f.laneOf(name)
			if last != nil {
				f.feed(ctx, last)
			}
			last = l
		}
		if l.aside.n > 0 {
			f.putAside(l, it)
			continue
		}
		l.add(it)
	}
	f.pauseOrResume()
	if last != nil {
		f.feed(ctx, last)
	}
	if f.released != nil {
		f.giveUpQueues()
	}
}

// astray has a record go to the dead letters for which there is no route.
func (f *flow) astray(it *item, cause error) {
	if f.released != nil {
		it.free()
		return
	}
	it.lane = &lane{flow: f, paused: true} // of its own: nothing waits for it
	it.lane.begin()
	f.burying++
	f.s.bury(&Delivery{Record: it.record.Load(), item: it, run: it.lane.run}, cause)
}

// laneOf gives the lane of that name.
func (f *flow) laneOf(name string) *lane {
	l := f.lanes[name]
	if l == nil {
		l = &lane{flow: f, name: name}
		l.begin()
		f.lanes[name] = l
	}
	if f.first == nil {
		f.first = l
	}
	f.mixed = f.mixed || l.name != f.first.name
	return l
}

// feed sends a lane's actor what there is room for.
func (f *flow) feed(ctx actor.Context, l *lane) {
	if f.released != nil {
		return
	}
	for batch := l.take(); len(batch) > 0; batch = l.take() {
		if l.pid == nil {
			l.pid = ctx.Spawn(f.s.props)
			f.children[l.pid.Id] = l
		}
		l.lastSent = time.Now()
		for _, it := range batch {
			it.attempts++
			d := &Delivery{Record: it.record.Load(), Attempt: it.attempts, item: it, run: l.run}
			if d.Record == nil { // it was acknowledged late, in an earlier run
				d.finish()
				continue
			}
			ctx.Send(l.pid, d)
		}
		f.s.metrics.delivered.Add(float64(len(batch)))
	}
	if l.aside.n > 0 {
		f.readAgain()
	}
}

// judge carries out what an actor has said of a record.
func (f *flow) judge(v verdict) {
	d := v.delivery
	l := d.item.lane
	if d.run != l.run {
		return
	}
	l.begin()
	l.paused = true
	for _, later := range l.queue {
		if later != d.item && later.attempts > 0 {
			later.attempts-- // it was in the mailbox, and its actor has not come to it
		}
	}
	if f.released != nil {
		f.giveUpQueues()
		f.checkReleased()
		return
	}
	if d.item.done.Load() { // acknowledged after all
		f.resumeAfter(l, 0)
		return
	}
	most := f.s.o.Retry.Attempts
	if v.reject || most > 0 && d.Attempt >= most {
		f.burying++
		f.s.bury(d, v.cause)
		return
	}
	after := v.after
	if after < 0 {
		after = f.s.o.Retry.pause(d.Attempt)
	}
	f.s.told(Retried{Record: d.Record, Attempt: d.Attempt, After: after, Cause: v.cause})
	f.resumeAfter(l, after)
}

// resumeAfter ends a lane's pause.
func (f *flow) resumeAfter(l *lane, after time.Duration) {
	r := l.run
	f.s.after(after, func() { f.tell(resume{r}) })
}

// pause is how long a record waits after its attempt has failed, half of it by chance.
func (r Retry) pause(attempt int) time.Duration {
	pause := r.Max
	if shift := attempt - 1; r.Initial < r.Max>>shift {
		pause = r.Initial << shift
	}
	return pause/2 + time.Duration(rand.Int64N(int64(pause/2)+1))
}

// buried goes on after a record that is among the dead letters now.
func (f *flow) buried(ctx actor.Context, it *item) {
	f.burying--
	it.settle()
	l := it.lane
	l.queue = dropDone(l.queue)
	l.paused = false
	f.feed(ctx, l)
	f.checkReleased()
}

// HandleFailure restarts an actor that has failed, and has its records come again: the
// actor has forgotten those that it had, too. If it did not fail at a record, that
// counts as a failure of the first that it had.
func (f *flow) HandleFailure(_ *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, message any) {
	l := f.children[child.Id]
	if l == nil {
		supervisor.StopChildren(child)
		return
	}
	f.s.metrics.panics.Inc()
	d, ok := actor.UnwrapEnvelopeMessage(message).(*Delivery)
	if l.sent = dropDone(l.sent); !ok && len(l.sent) > 0 {
		first := l.sent[0]
		d = &Delivery{Record: first.record.Load(), Attempt: first.attempts, item: first, run: l.run}
	}
	if d != nil && d.run.end() {
		f.judge(verdict{delivery: d, cause: panicked(reason), after: -1})
	}
	// One that cannot start would not the next time. One that was told to stop, and waits
	// for its own children, would go on as if it had not been.
	if _, system := message.(actor.SystemMessage); system || f.ending {
		l.stopping = true
		supervisor.StopChildren(child)
		return
	}
	supervisor.RestartChildren(child)
}

// passivate stops the actors that have had nothing to do for a while.
func (f *flow) passivate(ctx actor.Context, now time.Time) {
	for _, l := range f.lanes {
		l.sent = slices.Clip(dropDone(l.sent))
		if l.pid != nil && !l.stopping && l.idle() && now.Sub(l.lastSent) >= f.s.o.IdleAfter {
			l.stopping = true
			ctx.Poison(l.pid)
		}
	}
}

// ended takes note that a child has stopped: one that had nothing to do, or one
// that has stopped itself.
func (f *flow) ended(ctx actor.Context, who *actor.PID) {
	l := f.children[who.Id]
	if l == nil {
		return
	}
	delete(f.children, who.Id)
	l.pid, l.stopping = nil, false
	if !l.paused && !l.run.ended.Load() { // else a failure is dealt with already, or about to be
		l.begin() // what it left undone is for its successor
	}
	if len(l.queue) > 0 || l.aside.n > 0 {
		f.feed(ctx, l)
	} else if l.idle() {
		delete(f.lanes, l.name)
	}
	f.checkReleased()
}

// giveUpQueues forgets what has not been delivered: it is for who has the
// partition next.
func (f *flow) giveUpQueues() {
	for _, l := range f.lanes {
		for _, it := range l.queue {
			it.free()
		}
		l.queue, l.paused = nil, true
		l.run.wakeAt.Store(0)
	}
}

// checkReleased tells who waits for the work to end when it has.
func (f *flow) checkReleased() {
	if f.released == nil || f.burying > 0 || f.quiet {
		return
	}
	for _, l := range f.lanes {
		if l.run.outstanding.Load() > 0 {
			return
		}
	}
	f.quiet = true
	close(f.released.done)
}

// forget gives back the room of what was never acknowledged. The actors have ended.
func (f *flow) forget() {
	f.mu.Lock()
	left := f.front.left()
	f.mu.Unlock()
	for _, it := range left {
		it.free()
	}
}
