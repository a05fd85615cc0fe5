package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"understudy/actors/supervision"
	"understudy/integration/history"
	"understudy/messages"
)

// genesis is when the first faults may come: by then the cluster and its topics
// must be there.
const genesis = 4 * second

// Sim is one history. It is not safe for concurrent use, but any number of them
// can run beside each other.
type Sim struct {
	loop
	seed    uint64
	cfg     config
	agenda  []Fault
	verbose bool

	rnd struct{ net, disk, client, store, node *rand.Rand }

	system     *actor.ActorSystem
	machines   []*machine // by broker id - 1
	links      *links
	store      *store
	model      *model
	notes      notes
	partitions []messages.TopicPartition
	offsets    []messages.TopicPartition // of the topic in which groups are kept
	producers  []*producer
	consumers  []*consumer
	clients    []*client
	groups     []*consumerGroup
	ledgers    []*ledger // of all groups
	names      int       // given to members
	starts     int       // of members
	ids        []messages.ProducerID
	lastAck    map[messages.TopicPartition]int64

	current  *routine
	runs     int // processes started
	places   int
	slowness int64 // µs that everything takes longer on the network
	rough    int   // of 1000 messages lost, doubled or overtaken
	roughed  bool  // some were
	liar     *machine
	lied     bool
	babbled  bool // somebody has said what no correct node says
	struck   int
	cures    []func()
	healing  bool
	missing  messages.Offset // by replicas that are behind, when it was last looked: see copies

	blind  bool
	bad    *Violation
	ending string // why the history ends before its time; "": it does not
	counts map[string]int
	hash   uint64
	steps  int
	lines  []string
}

// Violation is a promise that was broken.
type Violation struct {
	Name string // as in the literature, or of what is wrong
	Text string
	At   int64 // µs
}

// String is the violation in one line.
func (v *Violation) String() string {
	return fmt.Sprintf("%s at %.6fs: %s", v.Name, float64(v.At)/float64(second), v.Text)
}

// Result is what became of a history.
type Result struct {
	Seed      uint64
	Violation *Violation // nil: all promises were kept
	Plan      []Fault    // all of them
	Struck    int        // how many have happened
	Counts    map[string]int
	Hash      uint64 // of all that happened
	Steps     int
	Length    int64    // µs simulated
	Done      bool     // it has come to its end: all was read once more
	Lines     []string // what happened, if that was asked for
}

// Options say how a history is run.
type Options struct {
	// Keep says which faults of the plan are struck; nil: all.
	Keep func(n int) bool
	// Lines has what happens written down, the last so many lines.
	Lines int
	// History takes what the clients do and are told; may be nil.
	History history.Sink
	// Blind has only what clients see count, which History is judged by, and whether
	// the cluster serves again in the end.
	Blind bool
}

// Run runs the history of a seed.
func Run(seed uint64, o Options) Result {
	s := &Sim{seed: seed, verbose: o.Lines > 0, counts: map[string]int{}, lastAck: map[messages.TopicPartition]int64{}}
	stream := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }
	s.cfg = draw(stream(1))
	s.cfg.drawGroups(stream(8))
	s.agenda = makePlan(&s.cfg, stream(2))
	s.rnd.net, s.rnd.disk, s.rnd.client, s.rnd.store, s.rnd.node = stream(3), stream(4), stream(5), stream(6), stream(7)
	s.notes.s, s.blind = s, o.Blind
	if o.History != nil {
		s.notes.rec = history.NewRecorder(o.History)
	}
	defer s.end()
	s.set(o)
	for s.bad == nil && s.ending == "" {
		fn, ok := s.next()
		if !ok {
			break
		}
		s.steps++
		fn()
		if s.verbose && len(s.lines) > 2*o.Lines {
			s.lines = append(s.lines[:0], s.lines[len(s.lines)-o.Lines:]...)
		}
	}
	return Result{
		Seed: seed, Violation: s.bad, Done: s.ending == done, Plan: s.agenda, Struck: s.struck, Counts: s.counts, Hash: s.hash, Steps: s.steps, Length: s.now,
		Lines: s.lines[max(0, len(s.lines)-max(o.Lines, 0)):],
	}
}

// set puts everything in its place.
func (s *Sim) set(o Options) {
	s.system = supervision.NewSystem()
	for n := range s.cfg.nodes {
		m := &machine{s: s, id: messages.BrokerID(n + 1)}
		m.drift = s.rnd.node.Int64N(2*s.cfg.drift+1) - s.cfg.drift
		m.rack = fmt.Sprint("rack", n%s.cfg.racks)
		m.disk = newDisk(s, fmt.Sprint("disk", n+1))
		s.machines = append(s.machines, m)
	}
	s.drawVersions(rand.New(rand.NewPCG(s.seed, 9)))
	s.places = len(s.machines)
	s.links = newLinks(s)
	s.store = newStore(s)
	s.model = newModel(s)
	s.partitions = s.cfg.all()
	s.say("%+v", s.cfg)
	for n, m := range s.machines {
		if n < len(s.machines)-s.cfg.late {
			m.start()
			continue
		}
		s.planAt(genesis+s.rnd.node.Int64N(s.cfg.length), func() {
			s.count("node added")
			m.start()
		})
	}
	s.begin()
	for n, f := range s.agenda {
		if o.Keep == nil || o.Keep(n) {
			s.planAt(f.At, func() { s.strike(f) })
		}
	}
	s.planAt(genesis+s.cfg.length, s.heal)
}

func (s *Sim) planAt(at int64, fn func()) { s.loop.plan(at, 0, fn) }

// begin creates the topics, and then the clients begin.
func (s *Sim) begin() {
	s.planAt(2*second, func() {
		s.eachProcess(func(p *process) {
			if p.active {
				p.begin(p.create)
			}
		})
	})
	s.planAt(genesis-second/2, func() {
		for _, tp := range s.partitions {
			if s.store.image.Partition(tp) == nil {
				s.wrong("no-genesis", "%v was not created", tp)
				return
			}
		}
		for n := range s.cfg.producers {
			s.producers = append(s.producers, s.newProducer(n))
		}
		for n := range s.cfg.consumers {
			s.consumers = append(s.consumers, s.newConsumer(n))
		}
		s.beginGroups()
		s.insist()
	})
}

// everything is all partitions that are followed.
func (s *Sim) everything() []messages.TopicPartition {
	return append(slices.Clone(s.partitions), s.offsets...)
}

func (s *Sim) eachProcess(f func(*process)) {
	for _, m := range s.machines {
		if m.proc != nil {
			f(m.proc)
		}
	}
}

// end lets go of what would outlive the history.
func (s *Sim) end() {
	s.eachProcess(func(p *process) { p.kill() })
	s.system.Shutdown()
}

// wrong says that a promise was broken. The first one ends the history.
func (s *Sim) wrong(name, format string, args ...any) {
	if s.bad != nil || s.ending != "" {
		return
	}
	if s.blind && name != notWritable && name != notAtRest {
		s.count("not looked at: " + name)
		return
	}
	s.bad = &Violation{Name: name, Text: fmt.Sprintf(format, args...), At: s.now}
	s.say("WRONG %v", s.bad)
}

// count takes note that something has happened.
func (s *Sim) count(what string) {
	s.counts[what]++
	s.trace(uint64(len(what)))
}

// trace takes something that happened into the history's hash.
func (s *Sim) trace(values ...uint64) {
	s.hash = mix(s.hash, uint64(s.now))
	for _, v := range values {
		s.hash = mix(s.hash, v)
	}
}

// say writes down what happens, if anybody wants to read it.
func (s *Sim) say(format string, args ...any) {
	if s.verbose {
		s.lines = append(s.lines, fmt.Sprintf("%10.6f  ", float64(s.now)/float64(second))+fmt.Sprintf(format, args...))
	}
}

// entropy is randomness for a controller.
type entropy struct{ rnd *rand.Rand }

func (e entropy) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(e.rnd.Uint32())
	}
	return len(b), nil
}
