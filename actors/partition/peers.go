package partition

import (
	"maps"
	"slices"

	"understudy/cluster/link"
	"understudy/cluster/replica"
	"understudy/messages"
)

// What a replica is told of other nodes, beside the messages themselves, which
// come as *link.Incoming.
type (
	// peerUp: a node can be reached, over a new connection.
	peerUp struct{ member replica.Member }
	// peerDown: a node cannot be reached.
	peerDown struct{ id messages.BrokerID }
	// isolate: this node hears neither the metadata nor enough others, or does again.
	isolate struct{ on bool }
	// refused: the controller did not grant a change of the in-sync set.
	refused struct {
		change replica.ISRChange
		cause  error
	}
)

// surroundings is what is known of the other nodes. Every replica has to know
// it, from when it is opened, so it is kept where new ones find it. The zero
// value is that of a broker that is alone.
type surroundings struct {
	up       map[messages.BrokerID]messages.BrokerEpoch // heard of; not down since
	down     map[messages.BrokerID]bool
	isolated bool
}

func (s *surroundings) empty() bool { return len(s.up)+len(s.down) == 0 && !s.isolated }

func (s *surroundings) clone() surroundings {
	return surroundings{maps.Clone(s.up), maps.Clone(s.down), s.isolated}
}

// note takes a message about other nodes into account, and reports whether it was one.
func (s *surroundings) note(message any) bool {
	switch m := message.(type) {
	case peerUp:
		if s.up == nil {
			s.up = map[messages.BrokerID]messages.BrokerEpoch{}
		}
		s.up[m.member.ID] = m.member.Epoch
		delete(s.down, m.member.ID)
	case peerDown:
		if s.down == nil {
			s.down = map[messages.BrokerID]bool{}
		}
		delete(s.up, m.id)
		s.down[m.id] = true
	case isolate:
		s.isolated = m.on
	case surroundings:
		*s = m
	default:
		return false
	}
	return true
}

// tell gives a machine all that is known, in the same order every time: which of two
// nodes is missed first decides who is taken out of the in-sync set first.
func (s *surroundings) tell(m *Machine) {
	for _, id := range slices.Sorted(maps.Keys(s.up)) {
		m.core.PeerUp(replica.Member{ID: id, Epoch: s.up[id]})
	}
	for _, id := range slices.Sorted(maps.Keys(s.down)) {
		m.core.PeerDown(id)
	}
	m.core.Isolate(s.isolated)
}

// tellOne gives a machine one message about other nodes.
func tellOne(m *Machine, message any) {
	switch about := message.(type) {
	case peerUp:
		m.core.PeerUp(about.member)
	case peerDown:
		m.core.PeerDown(about.id)
	case isolate:
		m.core.Isolate(about.on)
	case surroundings:
		about.tell(m)
	}
}

// PeerUp tells all local replicas that another node can be reached, over a new
// connection; see replica.PeerUp.
func (r *Registry) PeerUp(m replica.Member) { r.broadcast(peerUp{m}) }

// PeerDown tells all local replicas that another node cannot be reached; see
// replica.PeerDown.
func (r *Registry) PeerDown(id messages.BrokerID) { r.broadcast(peerDown{id}) }

// Isolate tells all local replicas whether this node is cut off; see
// replica.Isolate.
func (r *Registry) Isolate(on bool) { r.broadcast(isolate{on}) }

// broadcast tells every replica that there is, and remembers for those to come.
func (r *Registry) broadcast(message any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.around.note(message)
	for _, h := range r.handles {
		h.mail.PostUserMessage(message)
	}
}

// Deliver hands a message from another node to the replica it is for, which
// releases it. One that has no replica here is dropped: the replica says hello
// when there is one.
func (r *Registry) Deliver(in *link.Incoming) {
	r.mu.RLock()
	h := r.byID[replicaKey{in.Topic, in.Partition}]
	r.mu.RUnlock()
	if h == nil {
		in.Release()
		return
	}
	h.mail.PostUserMessage(in)
}

// Refused tells a replica that the controller did not grant its wish for another
// in-sync set.
func (h *Handle) Refused(c replica.ISRChange, cause error) { h.mail.PostUserMessage(refused{c, cause}) }
