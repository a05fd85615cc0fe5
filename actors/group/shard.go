package group

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"

	"understudy/actors/group/core"
	"understudy/actors/group/journal"
	"understudy/actors/mailbox"
	"understudy/actors/partition"
	"understudy/actors/supervision"
	"understudy/messages"
)

// shard is one partition of the offsets topic in an epoch in which this broker
// leads it. It outlives restarts of its actor, which alone touches what stands
// below alarm.
type shard struct {
	c       *Coordinator
	tp      messages.TopicPartition
	topicID messages.TopicID
	epoch   messages.LeaderEpoch
	mail    *mailbox.Batching
	ready   atomic.Bool // groups can be asked
	writing atomic.Bool // an append is under way

	alarm *alarm
	claim int // counts the times that the partition was begun to be read
}

// The messages of a shard, beside requests.
type (
	// loaded: the partition was read, for that claim.
	loaded struct {
		claim  int
		handle *partition.Handle
		groups []*core.Group
		err    error
	}
	// reread asks for a group to be read once more: its actor has failed.
	reread struct{ slot *slot }
	// written and lost tell how an append has ended: see write.go.

	// gone: nothing is left of a group that has been sent so many requests.
	gone struct {
		slot *slot
		got  int64
	}
	// expire is the time to look for what need not be kept.
	expire struct{}
	// topicGone: a topic was deleted.
	topicGone struct{ name string }
	// topicGrown: a topic has more partitions than before.
	topicGrown struct{ name string }
	// listGroups asks which groups there are.
	listGroups struct{}
)

type phase uint8

const (
	loading phase = iota
	serving
	pausing
)

// shardActor runs a shard.
//
//	           the replica leads in the shard's epoch,
//	           and the partition was read
//	Started ──▶ loading ─────────────────────────────▶ serving
//	              ▲  │                                    │
//	              │  │ it could not be read               │ an append is refused, or
//	   time is up │  ▼                                    │ the replica leads no more
//	            pausing ◀─────────────────────────────────┘
//
// It ends with the epoch. Only when serving are there groups; what they were asked
// and have not answered is refused when they end.
type shardActor struct {
	*shard
	phase  phase
	ctx    context.Context // ends with the claim
	cancel context.CancelFunc
	handle *partition.Handle
	slots  map[string]*slot
	pause  int64       // ms to wait before the next try
	held   []*request  // that wait for the reading to end
	hold   int64       // until when they do
	again  []*slot     // to be read once more when nothing is being written
	unseen []topicGone // while there were no groups to tell
	out    writer
	mailed mailbox.Mail // what of this turn's mail has not been handled
}

const (
	// holdTime is for how long requests wait while a partition is read, before they
	// are told to come back, ms: most partitions are read sooner, and clients take
	// their time.
	holdTime = 250
	// trustTime is for how long heartbeats are taken on trust after that, ms: what the
	// shortest session is unless it is set otherwise.
	trustTime = 6000
	// maxHeld bounds the requests that wait.
	maxHeld = 4096
	// firstPause and maxPause bound the time between two tries to read, ms.
	firstPause, maxPause = 50, 2000
)

// Receive handles a turn. A panic is told to whoever waits before the supervisor
// decides.
func (s *shardActor) Receive(ctx actor.Context) {
	defer func() {
		if reason := recover(); reason != nil {
			err := supervision.AsError(reason)
			s.fail()
			panic(err)
		}
	}()
	switch m := ctx.Message().(type) {
	case *actor.Started:
		s.out.encoder = journal.NewEncoder()
		s.mail.Divert(nil)
		s.begin()
	case mailbox.Mail:
		s.work(ctx, m)
	case *actor.Stopping:
		// The library goes on delivering until all groups have ended. A tick that was
		// still waiting would begin anew, with groups that nobody ends.
		s.end()
		s.c.alarms.unset(s.alarm)
		s.mail.Divert(s.refuse)
	}
}

func (s *shardActor) work(ctx actor.Context, mail mailbox.Mail) {
	if s.phase == serving && !s.leads(s.handle.View()) {
		s.giveUp(ctx, cmp.Or(s.handle.View().Err, errEpoch))
	}
	for s.mailed = mail; len(s.mailed) > 0; {
		s.handleOne(ctx, s.mailed[0])
		s.mailed = s.mailed[1:]
	}
	if s.phase == serving {
		s.flush()
	}
}

func (s *shardActor) handleOne(ctx actor.Context, message any) {
	switch m := message.(type) {
	case *request:
		s.take(ctx, m)
	case withdrawn:
		s.withdraw(m)
	case *write:
		if s.phase == serving && m.slot.claim == s.claim {
			s.out.queue = append(s.out.queue, m)
		}
	case appended:
		s.appended(ctx, m)
	case loaded:
		s.loaded(ctx, m)
	case reread:
		s.again = append(s.again, m.slot)
	case gone:
		s.forget(ctx, m)
	case expire, topicGrown:
		s.tell(m)
	case topicGone:
		if s.tell(m); s.phase != serving {
			s.unseen = append(s.unseen, m)
		}
	case tick:
		s.tick()
	}
}

// tell tells all groups.
func (s *shardActor) tell(message any) {
	for _, sl := range s.slots {
		sl.mail.PostUserMessage(message)
	}
}

var errEpoch error = messages.E("group", messages.FencedLeaderEpoch, "", nil)

// leads reports whether a replica leads in the shard's epoch.
func (s *shard) leads(v *partition.View) bool {
	return v != nil && v.Err == nil && v.Leader == s.c.o.Self && v.Epoch == s.epoch
}

// take takes a request about a group.
func (s *shardActor) take(ctx actor.Context, r *request) {
	if s.phase != serving {
		if _, list := r.question.(listGroups); list || len(s.held) == maxHeld || s.c.o.Now().Clock >= s.hold {
			s.putOff(r)
			return
		}
		s.held = append(s.held, r)
		return
	}
	if _, list := r.question.(listGroups); list {
		r.answer(s.list())
		return
	}
	sl := s.slots[r.group]
	if sl == nil {
		if !r.begins() {
			r.answerAbsent()
			return
		}
		if s.c.room() <= 0 {
			r.refuse(messages.E(r.op, messages.PolicyViolation, r.group, errors.New("the groups of this broker keep as much as its memory allows")))
			return
		}
		sl = s.add(ctx, core.New(r.group, &s.c.settings.Load().Settings))
	}
	sl.sent++
	sl.mail.PostUserMessage(r)
}

// putOff answers a request that has come too early, or has waited for long enough. A
// member's heartbeat is taken on trust meanwhile, as with Kafka: a client that is told
// anything else may give up what it consumes, and the group is to go on as it was. But
// not for ever: whoever waits in vain is to look for another coordinator.
func (s *shardActor) putOff(r *request) {
	if _, beats := r.question.(heartbeat); beats && s.c.o.Now().Clock < s.hold+trustTime {
		r.answer(nil)
		return
	}
	r.refuseAs(messages.CoordinatorLoadInProgress)
}

// withdraw lets go of a request that nobody waits for any more, which a group may have.
func (s *shardActor) withdraw(m withdrawn) {
	s.held = slices.DeleteFunc(s.held, func(r *request) bool { return r == m.r })
	if sl := s.slots[m.r.group]; sl != nil {
		sl.mail.PostUserMessage(m)
	}
}

func (s *shardActor) list() []Listing {
	all := make([]Listing, 0, len(s.slots))
	for _, sl := range s.slots {
		if l := sl.listing.Load(); l != nil && l.State != core.Dead {
			all = append(all, *l)
		}
	}
	return all
}

// add gives a group an actor.
func (s *shardActor) add(ctx actor.Context, g *core.Group) *slot {
	sl := &slot{shard: s.shard, claim: s.claim, name: g.Name(), mail: mailbox.NewBatching(), first: g}
	sl.alarm = newAlarm(sl.mail)
	sl.list(g)
	sl.pid = ctx.Spawn(actor.PropsFromProducer(func() actor.Actor { return &groupActor{slot: sl} },
		actor.WithMailbox(func() actor.Mailbox { return sl.mail })).Configure(s.c.o.Stage.options(sl.name)...))
	s.slots[sl.name] = sl
	s.c.count(1)
	return sl
}

// forget lets go of a group of which nothing is left, unless it was asked
// something since.
func (s *shardActor) forget(ctx actor.Context, m gone) {
	if sl := s.slots[m.slot.name]; sl == m.slot && sl.sent == m.got {
		s.drop(ctx, sl)
	}
}

func (s *shardActor) drop(ctx actor.Context, sl *slot) {
	delete(s.slots, sl.name)
	s.c.count(-1)
	ctx.Stop(sl.pid)
}

// giveUp ends the groups: whoever waits is told to look for the coordinator anew.
// What was being written may have been written or not.
func (s *shardActor) giveUp(ctx actor.Context, cause error) {
	level := zerolog.WarnLevel
	switch messages.KindOf(cause) {
	case messages.NotLeader, messages.FencedLeaderEpoch, messages.LeaderNotAvailable, messages.ShuttingDown:
		level = zerolog.DebugLevel // another broker goes on
	}
	s.c.o.Log.WithLevel(level).Err(cause).Stringer("partition", s.tp).Int32("epoch", s.epoch).Msg("the groups of this partition are given up; it is read again when this broker leads it")
	for _, sl := range s.slots {
		s.drop(ctx, sl)
	}
	s.forgetAll()
	s.retry()
}

// forgetAll forgets what belongs to the claim that ends.
func (s *shardActor) forgetAll() {
	s.ready.Store(false)
	if s.cancel != nil {
		s.cancel()
	}
	s.c.count(-len(s.slots))
	s.slots, s.handle, s.again = nil, nil, nil
	s.out.reset()
}

// retry reads the partition again after a pause.
func (s *shardActor) retry() {
	s.phase = pausing
	s.pause = min(max(firstPause, 2*s.pause), maxPause)
	s.c.alarms.set(s.alarm, s.c.o.Now().Clock+s.pause)
}

// tick is when a pause is over, or requests have waited for long enough.
func (s *shardActor) tick() {
	if s.phase == pausing {
		s.begin()
	}
	if now := s.c.o.Now().Clock; now >= s.hold {
		s.letGo(s.putOff)
	} else if len(s.held) > 0 {
		s.c.alarms.set(s.alarm, s.hold)
	}
}

// end is the end of the shard, or of this incarnation of its actor.
func (s *shardActor) end() {
	s.forgetAll()
	s.phase = pausing
	s.letGo(func(r *request) { r.refuseAs(messages.NotCoordinator) })
}

// letGo answers all requests that wait.
func (s *shardActor) letGo(answer func(*request)) {
	for _, r := range s.held {
		answer(r)
	}
	s.held = nil
}

// fail makes known that the actor has failed. The library ends its groups.
func (s *shardActor) fail() {
	s.end()
	s.mail.Divert(s.refuse)
	for _, message := range s.mailed {
		s.refuse(message)
	}
	s.mailed = nil
}

// refuse answers what comes after the end; nothing else of it counts any more.
func (s *shard) refuse(message any) bool {
	if r, ok := message.(*request); ok {
		r.refuseAs(messages.NotCoordinator)
	}
	return true
}
