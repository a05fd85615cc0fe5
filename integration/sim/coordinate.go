package sim

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"

	"understudy/actors/controller"
	"understudy/actors/group"
	"understudy/actors/group/core"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// offsetsTopic is where groups are kept.
const offsetsTopic = "__consumer_offsets"

// openGroups has the node coordinate groups, as the root package's groups.go does.
func (p *process) openGroups(r *routine) bool {
	s := p.s
	if len(s.cfg.gatherings) == 0 {
		return true
	}
	c := group.New(group.Options{
		Self: p.m.id, Cell: p.cell, Partitions: p.replicas, Topics: topics{p}, Log: p.log(), Memory: 1 << 30,
		Settings: func(*metadata.Image) group.Settings { return s.cfg.groups },
		Restarts: p.restarts("groups"),
		Now:      func() core.Time { return core.Time{Clock: p.clock(), Wall: p.m.wallClock()} },
		Fresh: func() string {
			s.names++
			return fmt.Sprint(s.names)
		},
		Stage: group.Stage{
			Context:    p.ctx,
			Dispatcher: p.groupTurns,
			Beside:     func(f func()) { p.begin(func(*routine) { f() }) },
			Pause:      s.pausePatiently,
			Timeout:    p.timeout,
		},
	})
	ok := p.inTree(r, func(a actor.Context) {
		pid, err := a.SpawnNamed(c.Props().Configure(actor.WithDispatcher(p.groupTurns(""))), "groups")
		if err != nil {
			panic(err)
		}
		p.groupTree = pid
	})
	if ok {
		p.groups = c
		p.begin(p.wakeGroups)
	}
	return ok
}

// groupTurns runs the turns of an actor of the groups; the empty name is their
// supervisor's.
func (p *process) groupTurns(name string) actor.Dispatcher {
	t := p.turns("group "+name, nil)
	t.slow = max(t.slow, p.s.cfg.slowGroups)
	return t
}

// log is where what the node logs is written down, if anybody wants to read it.
func (p *process) log() zerolog.Logger {
	if !p.s.verbose {
		return quiet
	}
	return zerolog.New(said{p})
}

type said struct{ p *process }

func (w said) Write(line []byte) (int, error) {
	w.p.s.say("node %d logs %s", w.p.m.id, bytes.TrimSpace(line))
	return len(line), nil
}

// wakeGroups tells the groups the time.
func (p *process) wakeGroups(r *routine) {
	scan := p.s.now + p.s.cfg.scanEvery
	for r.sleep(25 * millisecond) {
		p.groups.Wake()
		if p.s.now >= scan {
			p.groups.Scan()
			scan = p.s.now + p.s.cfg.scanEvery
		}
	}
}

// pausePatiently is pause for who may wait long: it looks less and less often.
func (s *Sim) pausePatiently(ready func() bool) {
	r := s.current
	if r == nil {
		panic("sim: something waits that is no routine")
	}
	for wait := int64(300); !ready() && r.sleep(wait); {
		wait = min(2*wait, 20*millisecond)
	}
}

// timeout is context.WithTimeout in the simulation's time.
func (p *process) timeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	p.later(d.Microseconds(), cancel)
	return ctx, cancel
}

// coordinate has the node's coordinator asked something, which may wait.
func (p *process) coordinate(ask func(ctx context.Context, c *group.Coordinator) (any, error), reply func(any)) {
	if p.groups == nil || !p.serving {
		reply(coordinated{err: errNoCoordinator})
		return
	}
	p.begin(func(r *routine) {
		value, err := ask(p.ctx, p.groups)
		if r.alive() {
			reply(coordinated{value, err})
		}
	})
}

// coordinated is a coordinator's answer.
type coordinated struct {
	value any
	err   error
}

var errNoCoordinator error = messages.E("group", messages.NotCoordinator, "", nil)

// topics has the controller make the topic of the groups.
type topics struct{ p *process }

// CreateTopics implements group.Topics.
func (t topics) CreateTopics(_ context.Context, wanted []controller.NewTopic, validateOnly bool) []controller.TopicResult {
	p := t.p
	value, err := p.ask(p.s.current, 3*second, func(q *process, _ *routine) (any, error) {
		return q.ctl.CreateTopics(q.ctx, wanted, validateOnly), nil
	})
	if results, ok := value.([]controller.TopicResult); ok {
		return results
	}
	return []controller.TopicResult{{Name: wanted[0].Name, Err: err}}
}
