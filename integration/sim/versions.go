package sim

import (
	"errors"
	"math/rand/v2"

	"understudy/cluster/link"
	"understudy/cluster/replica"
	"understudy/messages"
)

// drawVersions draws what programs the machines have at first: all the older one, all
// the newer one, or some this and some that, as while a cluster is upgraded. Programs
// differ in the newest version of the protocol between nodes that they speak.
func (s *Sim) drawVersions(rnd *rand.Rand) {
	mix := rnd.IntN(3)
	for _, m := range s.machines {
		m.program = [...]link.Versions{older, newer, older}[mix]
		if mix == 2 && rnd.IntN(2) == 0 {
			m.program = newer
		}
	}
}

// The programs: of this version of the protocol, and of the one before.
var (
	newer = link.Known
	older = link.Known.UpTo(link.Known.Newest - 1)
)

// upgrade and downgrade put another program on a machine, or on one after the other.
func (s *Sim) upgrade(f Fault)   { s.install(f, newer) }
func (s *Sim) downgrade(f Fault) { s.install(f, older) }

func (s *Sim) install(f Fault, program link.Versions) {
	from, n := f.A, 1
	if f.B%3 == 0 {
		from, n = 0, len(s.machines)
	}
	for i := range n {
		s.after(int64(i)*(f.Length+500*millisecond), func() {
			if !s.healing {
				s.installOne(s.pick(from+uint64(i)), f, program)
			}
		})
	}
}

// installOne stops a machine's process, as a rule in order, for the next one to be of
// the program. Of one that does not run, or is about to end, the next is as well.
func (s *Sim) installOne(m *machine, f Fault, program link.Versions) {
	if m.program == program {
		return
	}
	m.program = program
	switch p := m.proc; {
	case p == nil:
		s.count("another program on a machine that was down")
	case f.B>>8%4 == 0:
		s.crashOne(m, f)
	default:
		s.restartOne(m, f)
	}
}

// speak has a process speak what its machine's program does, for as long as it lives.
func (p *process) speak() {
	p.speaks = p.m.program
	if before := p.m.spoke; before != (link.Versions{}) && before != p.speaks {
		p.s.say("node %d speaks %v now, and spoke %v", p.m.id, p.speaks, before)
		if before.Newest < p.speaks.Newest {
			p.s.count("node upgraded")
		} else {
			p.s.count("node downgraded")
		}
	}
	p.m.spoke = p.speaks
}

// agree is the version that a connection's ends speak.
func (c *conn) agree(s *Sim) {
	var some bool
	if c.version, some = c.ends[0].speaks.Common(c.ends[1].speaks); !some {
		panic("programs that have no version in common")
	}
	switch mixed := c.ends[0].speaks != c.ends[1].speaks; {
	case mixed:
		s.count("connected: older with newer")
	case c.version == older.Newest:
		s.count("connected: older with older")
	}
}

// translate is what arrives of a message at the other end of a connection, by the
// broker's own codec for the version that is spoken there.
func (c *conn) translate(s *Sim, id messages.TopicID, n int32, m *replica.Message) (replica.Message, error) {
	arrives, err := link.Carry(c.version, id, n, m)
	if errors.Is(err, link.ErrTooNew) {
		s.count("message too new for the other node")
	} else if err == nil && m.Type == replica.TypeFailed {
		s.count("leader told of a failed log")
	}
	arrives.BrokerEpoch = m.BrokerEpoch
	return arrives, err
}
