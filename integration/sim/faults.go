package sim

import (
	"slices"

	"understudy/messages"
	"understudy/persistence/vfs"
)

// kind is a kind of fault.
type kind uint8

// The kinds.
const (
	crash    kind = iota // a process is killed, and started again
	crashAll             // all of them at once
	powerCut             // a machine loses its power, and what was not synced
	powerCutAll
	pause         // a process is frozen
	restart       // a process is stopped in order, and started again
	roll          // all of them, one after the other
	partitionOne  // a node is cut off from all others
	partitionWay  // one way between two nodes is cut
	partitionPair // two nodes are cut off from each other
	partitionHalf // two parts
	cutStore      // a node is cut off from the store
	storeAway     // all of them
	cutClients    // a node is cut off from clients
	sessionLost   // a node's session ends early
	sessionLate   // sessions of the dead linger
	resets        // connections are reset
	slowNet
	roughNet // single messages are lost, doubled, overtaken
	slowSync
	ioError
	failedSync // one, after which all seems well
	fullDisk
	lyingDisk
	clockStep
	rot // files of a machine are damaged while its process is down
	swap
	move
	drain
	preferred
	alter
	trim
	grow
	retire  // a node leaves for good, and another comes in its place
	crowdIn // many partitions on one node
	errand  // an administrator asks something else
	babble  // a node says what no correct one says
	memberGone
	upgrade // a newer program is put on machines
	downgrade
	faultKinds
)

// String names the kind.
func (k kind) String() string { return faults[k].name }

// what says what a kind of fault is.
type what struct {
	name string
	// possible reports whether it makes sense in a configuration.
	possible func(*config) bool
	strike   func(s *Sim, f Fault)
}

func always(*config) bool    { return true }
func several(c *config) bool { return c.nodes > 1 }

var faults [faultKinds]what

func init() {
	faults = [faultKinds]what{
		crash:         {"crash", always, (*Sim).crash},
		crashAll:      {"crash of all", always, (*Sim).crashAll},
		powerCut:      {"power cut", always, (*Sim).powerCut},
		powerCutAll:   {"power cut of all", always, (*Sim).powerCutAll},
		pause:         {"pause", always, (*Sim).pauseOne},
		restart:       {"restart", always, (*Sim).restart},
		roll:          {"rolling restart", several, (*Sim).roll},
		partitionOne:  {"partition of one", several, (*Sim).partitionOne},
		partitionWay:  {"one-way partition", several, (*Sim).partitionWay},
		partitionPair: {"partition of two", several, (*Sim).partitionPair},
		partitionHalf: {"partition in parts", several, (*Sim).partitionHalf},
		cutStore:      {"node without store", always, (*Sim).cutStore},
		storeAway:     {"store away", always, (*Sim).storeAway},
		cutClients:    {"node without clients", always, (*Sim).cutClients},
		sessionLost:   {"session lost early", always, (*Sim).sessionLost},
		sessionLate:   {"sessions lost late", always, (*Sim).sessionLate},
		resets:        {"connections reset", several, (*Sim).resets},
		slowNet:       {"slow network", several, (*Sim).slowNet},
		roughNet:      {"rough network", several, (*Sim).roughNet},
		slowSync:      {"slow syncs", always, (*Sim).slowSync},
		ioError:       {"input/output errors", always, (*Sim).ioError},
		failedSync:    {"failed sync", always, (*Sim).failedSync},
		fullDisk:      {"full disk", always, (*Sim).fullDisk},
		lyingDisk:     {"lying disk", func(c *config) bool { return c.nodes > 2 }, (*Sim).lie},
		clockStep:     {"clock step", always, (*Sim).clockStep},
		rot:           {"damaged files", func(c *config) bool { return c.nodes > 2 }, (*Sim).rot},
		swap:          {"disk replaced", several, (*Sim).swap},
		move:          {"replicas moved", several, (*Sim).move},
		drain:         {"node drained", several, (*Sim).drain},
		preferred:     {"preferred leaders elected", several, (*Sim).preferred},
		alter:         {"settings changed", always, (*Sim).alter},
		trim:          {"records deleted", always, (*Sim).trim},
		grow:          {"partitions added", always, (*Sim).grow},
		retire:        {"node removed", func(c *config) bool { return c.nodes > 2 }, (*Sim).retire},
		crowdIn:       {"many partitions", func(c *config) bool { return c.crowded }, (*Sim).crowdIn},
		errand:        {"administrator's errand", always, (*Sim).errand},
		babble:        {"nonsense between nodes", several, (*Sim).babble},
		memberGone:    {"group member gone", func(c *config) bool { return len(c.gatherings) > 0 }, (*Sim).memberFault},
		upgrade:       {"upgrade", several, (*Sim).upgrade},
		downgrade:     {"downgrade", several, (*Sim).downgrade},
	}
}

// strike has a fault happen.
func (s *Sim) strike(f Fault) {
	if s.healing {
		return
	}
	s.struck++
	s.count("fault: " + f.Kind.String())
	s.say("FAULT %v", f)
	s.notes.fault(f)
	faults[f.Kind].strike(s, f)
}

// over plans the end of a fault; healing ends all of them.
func (s *Sim) over(f Fault, end func()) {
	ended := false
	once := func() {
		if !ended {
			ended = true
			s.say("fault over: %v", f)
			end()
		}
	}
	s.cures = append(s.cures, once)
	s.after(f.Length, once)
}

func (s *Sim) pick(n uint64) *machine { return s.machines[n%uint64(len(s.machines))] }

func (s *Sim) crash(f Fault) { s.crashOne(s.pick(f.A), f) }

func (s *Sim) crashOne(m *machine, f Fault) {
	if m.proc == nil {
		return
	}
	m.proc.kill()
	s.over(f, m.start)
}

func (s *Sim) crashAll(f Fault) {
	for _, m := range s.machines {
		s.crashOne(m, f)
	}
}

// powerCut cuts the power at once, or in the middle of what a process does to its disk.
func (s *Sim) powerCut(f Fault) {
	m := s.pick(f.A)
	if f.B%2 == 0 || m.proc == nil || m.disk.lies {
		s.powerCutOne(m, f)
		return
	}
	d := m.disk
	d.fuse = 1 + int(f.B>>8%40)
	d.blow = func() {
		s.count("power cut in the middle of a call")
		s.powerCutOne(m, f)
		if m.proc != nil { // its disk lies by now: what it holds stays
			m.proc.kill()
			s.over(f, m.start)
		}
	}
	s.over(f, func() { d.fuse = 0 })
}

func (s *Sim) powerCutAll(f Fault) {
	for _, m := range s.machines {
		if !m.disk.lies { // what two disks lose together, the one that lied may have been the last to have
			s.powerCutOne(m, f)
		}
	}
}

func (s *Sim) powerCutOne(m *machine, f Fault) {
	if m.off || m.disk.lies && !s.mayLose(m) {
		return
	}
	m.off = true
	m.boot++
	if m.disk.lies {
		s.count("power cut of a disk that lied")
		m.disk.short = true
	}
	if m.proc != nil {
		m.proc.kill()
	}
	m.disk.cutPower()
	s.over(f, func() {
		m.off = false
		m.start()
	})
}

func (s *Sim) pauseOne(f Fault) {
	if p := s.pick(f.A).proc; p != nil && !p.frozen {
		p.freeze()
		s.over(f, p.thaw)
	}
}

func (s *Sim) restart(f Fault) { s.restartOne(s.pick(f.A), f) }

func (s *Sim) restartOne(m *machine, f Fault) {
	p := m.proc
	if p == nil || !p.serving || p.leaving {
		return
	}
	p.begin(p.leave)
	s.over(f, m.start)
}

func (s *Sim) roll(f Fault) {
	for i, m := range s.machines {
		s.after(int64(i)*(f.Length+500*millisecond), func() {
			if !s.healing {
				s.restartOne(m, f)
			}
		})
	}
}

// cut blocks ways between places, both directions, until a fault is over.
func (s *Sim) cut(f Fault, ways ...[2]int) {
	for _, w := range ways {
		s.links.block(w[0], w[1], 1)
	}
	s.over(f, func() {
		for _, w := range ways {
			s.links.block(w[0], w[1], -1)
		}
	})
}

func both(a, b int) [][2]int { return [][2]int{{a, b}, {b, a}} }

func (s *Sim) partitionOne(f Fault) {
	a := int(s.pick(f.A).id)
	var ways [][2]int
	for _, m := range s.machines {
		if int(m.id) != a {
			ways = append(ways, both(a, int(m.id))...)
		}
	}
	if f.B%2 == 0 { // from the store as well
		ways = append(ways, both(a, 0)...)
	}
	s.cut(f, ways...)
}

func (s *Sim) pair(f Fault) (a, b int) {
	a = int(f.A % uint64(len(s.machines)))
	b = (a + 1 + int(f.B%uint64(len(s.machines)-1))) % len(s.machines)
	return a + 1, b + 1
}

func (s *Sim) partitionWay(f Fault) {
	a, b := s.pair(f)
	s.cut(f, [2]int{a, b})
}

func (s *Sim) partitionPair(f Fault) {
	a, b := s.pair(f)
	s.cut(f, both(a, b)...)
}

// partitionHalf cuts the nodes, and perhaps the store, in two parts.
func (s *Sim) partitionHalf(f Fault) {
	var ways [][2]int
	for a := range len(s.machines) + 1 {
		for b := range a {
			if f.A>>a&1 != f.A>>b&1 && (b > 0 || f.B%2 == 0) {
				ways = append(ways, both(a, b)...)
			}
		}
	}
	s.cut(f, ways...)
}

func (s *Sim) cutStore(f Fault) { s.cut(f, both(int(s.pick(f.A).id), 0)...) }

func (s *Sim) storeAway(f Fault) {
	var ways [][2]int
	for _, m := range s.machines {
		ways = append(ways, both(int(m.id), 0)...)
	}
	s.cut(f, ways...)
}

func (s *Sim) cutClients(f Fault) {
	var ways [][2]int
	for place := len(s.machines) + 1; place <= s.places; place++ {
		switch f.B % 3 {
		case 0: // answers do not arrive
			ways = append(ways, [2]int{int(s.pick(f.A).id), place})
		default:
			ways = append(ways, both(int(s.pick(f.A).id), place)...)
		}
	}
	s.cut(f, ways...)
}

func (s *Sim) sessionLost(f Fault) {
	if se := s.store.sessions[s.pick(f.A).id]; se != nil && se.valid {
		s.store.end(se)
	}
}

func (s *Sim) sessionLate(f Fault) {
	for _, se := range s.store.sessions {
		if se != nil {
			se.grace = f.Length
		}
	}
}

func (s *Sim) resets(f Fault) {
	for i, a := range s.machines {
		for _, b := range s.machines[i+1:] {
			if f.A%3 == 0 || (f.B>>a.id^f.B>>b.id)&1 == 0 {
				s.links.reset(a.id, b.id)
			}
		}
	}
}

func (s *Sim) slowNet(f Fault) {
	more := int64(f.A%100) * millisecond
	s.slowness += more
	s.over(f, func() { s.slowness -= more })
}

func (s *Sim) roughNet(f Fault) {
	more := int(1 + f.A%100)
	s.rough += more
	s.roughed = true
	s.over(f, func() { s.rough -= more })
}

func (s *Sim) slowSync(f Fault) {
	d := s.pick(f.A).disk
	more := int64(1+f.B%2000) * millisecond
	d.slow += more
	d.harm(f) // it may be given up
	s.over(f, func() { d.slow -= more })
}

// ioError has some calls of a disk fail. Now and then its power goes soon after: what
// a failed sync has left behind in memory is gone then.
func (s *Sim) ioError(f Fault) {
	m := s.pick(f.A)
	d := m.disk
	if f.B>>24%3 == 0 {
		s.after(f.Length, func() {
			if !s.healing && m.disk == d {
				s.powerCutOne(m, f)
			}
		})
	}
	ops := []vfs.Op{vfs.OpWrite, vfs.OpSync, vfs.OpRead, vfs.OpSyncDir, vfs.OpRename, vfs.OpAny}
	d.harm(f)
	d.errors = trouble{op: ops[f.B%uint64(len(ops))], skip: int(f.B >> 8 % 20), left: 1 + int(f.B>>16%3)}
	s.over(f, func() { d.errors = trouble{} })
}

// failedSync has one sync fail, and all that follow succeed. What it was to write is
// in no memory that a later sync writes, and perhaps in none that can be read. Soon
// after, as a rule, the process ends, or its machine's power goes: whoever has tried
// again, and believed it, has lost something.
func (s *Sim) failedSync(f Fault) {
	m := s.pick(f.A)
	d := m.disk
	s.say("a sync of node %d will fail", m.id)
	d.harm(f)
	d.errors, d.forgets = trouble{op: vfs.OpSync, skip: int(f.B >> 8 % 3), left: 1}, f.B>>16%2 == 0
	s.over(f, func() { d.errors, d.forgets = trouble{}, false })
	if f.B%4 == 0 {
		return
	}
	s.after(f.Length/2, func() {
		switch {
		case s.healing || m.disk != d:
		case f.B%2 == 0:
			s.crashOne(m, f)
		default:
			s.powerCutOne(m, f)
		}
	})
}

func (s *Sim) fullDisk(f Fault) {
	d := s.pick(f.A).disk
	d.full = true
	d.harm(f)
	s.over(f, func() { d.full = false })
}

// lie has one disk at most say that it has synced what it has not.
func (s *Sim) lie(f Fault) {
	if s.liar == nil {
		s.liar = s.pick(f.A)
	}
	m := s.liar
	if !m.disk.lies {
		m.disk.lies = true
		s.lied = true
		s.over(f, func() {
			m.disk.lies = false
			m.disk.settle()
		})
	}
}

// mayLose reports whether a machine can lose what its disk has lied about, and
// nobody loses a record: for each of its partitions another is in sync and runs.
func (s *Sim) mayLose(m *machine) bool {
	for t := range s.store.image.Topics() {
		for _, p := range t.Partitions {
			if !slices.Contains(p.ISR, m.id) {
				continue
			}
			down := slices.ContainsFunc(p.ISR, func(id messages.BrokerID) bool { return s.machines[id-1].proc == nil })
			if down || len(p.ISR) == 1 {
				return false
			}
		}
	}
	return true
}

func (s *Sim) clockStep(f Fault) {
	m := s.pick(f.A)
	step := int64(f.B%20_000) - 10_000
	if f.A>>32%8 == 0 {
		step *= 10_000 // weeks
	}
	m.wall += step
	s.say("the clock of node %d steps by %d ms", m.id, step)
}
