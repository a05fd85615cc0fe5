package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"understudy/actors/controller"
	"understudy/actors/group"
	"understudy/actors/partition"
	"understudy/actors/supervision"
	"understudy/cluster/link"
	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/messages"
)

// machine is a computer of the cluster: its disk and its clock outlive the
// process that runs on it.
//
//	          start              kill, cut power
//	stopped ─────────▶ running ──────────────────▶ stopped
//	                   │    ▲
//	            freeze ▼    │ thaw
//	                   frozen
type machine struct {
	s       *Sim
	id      messages.BrokerID
	disk    *disk
	proc    *process // nil while none runs
	drift   int64    // ppm by which its clocks run fast
	wall    int64    // ms by which its wall clock is wrong
	rack    string
	boot    int  // of its system: what was written and not synced lasts as long
	off     bool // it has no power
	disks   int  // replaced
	refused bool // the disk is empty, and the one before was the last copy
	gone    bool // it was drained and removed: it is not started again

	program link.Versions // that the program on it speaks; see installOne
	spoke   link.Versions // that its last process spoke
}

// process is one run of a broker.
type process struct {
	s       *Sim
	m       *machine
	run     int // number of the process in this history
	born    int64
	dead    bool
	frozen  bool
	since   int64    // of the frost
	thawed  int64    // when the last one ended
	backlog []func() // what happened to it while it was frozen

	ctx           context.Context
	cancel        context.CancelFunc
	fs            *mount
	routines      []*routine
	root          *actor.PID
	ctl           *controller.Client
	endController func(*routine) // nil before it was begun
	cell          *metadata.Cell
	self          metadata.Broker // Epoch 0: not known yet
	doubtful      bool            // what the last run wrote may be missing
	replicas      *partition.Registry
	keeper        *partition.Keeper
	points        *partition.Checkpoints
	cleaner       *partition.Cleaner
	cleaning      *routine   // in which it runs
	tree          *actor.PID // the supervisor of the partitions; nil before
	groups        *group.Coordinator
	groupTree     *actor.PID       // nil before
	linked        bool             // others may connect to it
	ended         func(*actor.PID) // called when a part of it has stopped; may be nil
	serving       bool
	speaks        link.Versions
	leaving       bool
	known         map[messages.TopicPartition]*watched

	eyes    []eye // by broker id
	active  bool  // its controller decides
	terms   int
	resign  bool
	session *session
	contact int64 // when the store was reached last
	version int64 // of the metadata that was heard of
	learner *routine
	wishes  map[messages.TopicPartition]wish
	wisher  *routine
}

// start starts a process on a machine.
func (m *machine) start() {
	s := m.s
	if m.proc != nil || m.gone {
		return
	}
	s.runs++
	p := &process{s: s, m: m, run: s.runs, born: s.now, cell: metadata.NewCell(), replicas: partition.NewRegistry(),
		known: map[messages.TopicPartition]*watched{}, eyes: make([]eye, len(s.machines)+1), wishes: map[messages.TopicPartition]wish{},
		contact: -second}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.fs = &mount{d: m.disk}
	m.proc = p
	s.say("node %d starts", m.id)
	p.speak()
	root := actor.PropsFromFunc(func(c actor.Context) {
		switch m := c.Message().(type) {
		case func(actor.Context):
			m(c)
		case *actor.Terminated:
			if p.ended != nil {
				p.ended(m.Who)
			}
		}
	}, actor.WithDispatcher(p.turns("root", nil)), actor.WithSupervisor(p.restarts("root")))
	pid, err := s.system.Root.SpawnNamed(root, fmt.Sprint("node", m.id, ".", p.run))
	if err != nil {
		panic(err)
	}
	p.root = pid
	p.begin(p.boot)
}

// restarts is the broker's own supervision, on the simulation's time.
func (p *process) restarts(what string) *supervision.Backoff {
	return &supervision.Backoff{
		Initial: 100 * time.Millisecond, Max: 2 * time.Second, Healthy: 24 * time.Hour,
		Jitter: func(time.Duration) time.Duration { return 0 },
		After: func(d time.Duration, f func()) {
			p.s.after(d.Microseconds(), func() { p.do(f) })
		},
		OnFailure: func(f supervision.Failure) { p.failed(what, f) },
	}
}

// failed takes note of an actor's failure: it is a bug unless something was done
// to the disk.
func (p *process) failed(_ string, f supervision.Failure) {
	if p.fs.dead { // its power has gone
		return
	}
	p.s.count("actor failed")
	name := f.Actor[strings.IndexByte(f.Actor, '/')+1:]
	cause := f.Cause.Error()
	p.s.say("node %d: actor %s fails: %s", p.m.id, name, firstLine(cause))
	if strings.HasPrefix(cause, "panic:") || !p.m.disk.suspect() && !p.allowed(f.Cause) {
		p.s.wrong("actor-failed", "node %d: actor %s: %s", p.m.id, name, cause)
	}
}

// allowed reports whether an actor may fail for a cause though nothing was done
// to its disk: the store has not told what became of a transaction, or the process
// was frozen and takes its disk for having been.
func (p *process) allowed(cause error) bool {
	return p.s.babbled && strings.Contains(cause.Error(), "lacks committed records") || errors.Is(cause, errAnswerLost) || errors.Is(cause, errStoreRefuses) ||
		p.thawed > 0 && p.s.now-p.thawed < 5*second && strings.Contains(cause.Error(), "the disk has not answered")
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// do does something in the process, unless it is dead; later, if it is frozen.
func (p *process) do(fn func()) {
	switch {
	case p.dead:
	case p.frozen:
		p.backlog = append(p.backlog, fn)
	default:
		fn()
	}
}

// later is do after a while.
func (p *process) later(delay int64, fn func()) { p.s.after(delay, func() { p.do(fn) }) }

// kill ends the process. What it wrote stays, on disk or in the machine's memory.
func (p *process) kill() {
	if p.dead {
		return
	}
	p.dead = true
	p.cancel()
	for _, r := range p.routines {
		r.end()
	}
	p.fs.close()
	p.m.proc = nil
	p.s.links.dropped(p)
	p.s.dropClients(p)
}

// end stops a routine, wherever it waits.
func (r *routine) end() {
	if r.ended {
		return
	}
	r.ended = true
	s := r.p.s
	outer := s.current
	s.current = r
	r.stop()
	s.current = outer
}

// freeze stops the process for a while, as SIGSTOP does.
func (p *process) freeze() {
	if !p.dead && !p.frozen {
		p.frozen, p.since = true, p.s.now
	}
}

// thaw lets it go on: all that has happened to it meanwhile comes at once.
func (p *process) thaw() {
	if p.dead || !p.frozen {
		return
	}
	p.frozen, p.thawed = false, p.s.now
	slept := p.s.now - p.since
	if d := p.m.disk; d.harmed > p.since { // what became of its writes then, it hears now
		d.harmed = max(d.harmed, p.s.now+5*second)
	}
	for i := range p.eyes {
		p.eyes[i].heard += slept // only time in which it runs counts
	}
	todo := p.backlog
	p.backlog = nil
	for i, fn := range todo {
		p.later(int64(i), fn)
	}
}

// clock is the process's clock that never goes back, in ms.
func (p *process) clock() int64 {
	t := (p.s.now - p.born) / millisecond
	return 1 + t + t*p.m.drift/1_000_000
}

// epoch0 is the wall clock when a history begins, in ms.
const epoch0 = 1_700_000_000_000

// wallClock is the machine's wall clock, in ms.
// steady reports whether the machine's process has been there for a while.
func (m *machine) steady() bool { return m.proc != nil && m.s.now-m.proc.born > 5*second }

func (m *machine) wallClock() int64 { return epoch0 + m.s.now/millisecond + m.wall }

func (p *process) member() replica.Member { return replica.Member{ID: p.m.id, Epoch: p.self.Epoch} }

// inTree has the root actor do something, and waits for it.
func (p *process) inTree(r *routine, task func(actor.Context)) bool {
	done := false
	p.s.system.Root.Send(p.root, func(c actor.Context) {
		task(c)
		done = true
	})
	return r.await(10*second, func() bool { return done })
}

// leads reports whether a node leads any partition in an image.
func leads(im *metadata.Image, id messages.BrokerID) bool {
	for t := range im.Topics() {
		if slices.ContainsFunc(t.Partitions, func(p metadata.Partition) bool { return p.Leader == id }) {
			return true
		}
	}
	return false
}
