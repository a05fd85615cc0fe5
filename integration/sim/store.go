package sim

import (
	"bytes"
	"context"
	"errors"
	"maps"

	"understudy/cluster/metadata"
	"understudy/messages"
)

// store is where the cluster's metadata is, and its lock: what Consul does, with
// the times that were measured on it. A session lives as long as its node is heard
// of; the lock goes with the session, without a delay. A transaction is carried out
// as a whole, if the lock is the writer's and its checks hold.
type store struct {
	s        *Sim
	revision int64
	entries  map[string]metadata.Entry
	holder   *session
	sessions []*session // of each broker the last
	image    *metadata.Image
}

// session is one process's standing with the store.
type session struct {
	p     *process
	valid bool
	seen  int64 // when its node was heard of last
	holds bool  // the lock, as far as the node knows
	grace int64 // how much longer than usual it lingers
}

// sessionTTL is how long a node need not be heard of.
const sessionTTL = 2300 * millisecond

func newStore(s *Sim) *store {
	st := &store{s: s, entries: map[string]metadata.Entry{}, sessions: make([]*session, len(s.machines)+1), image: metadata.Empty()}
	st.sweep()
	return st
}

// sweep ends the sessions of nodes that are not heard of.
func (st *store) sweep() {
	for _, se := range st.sessions {
		if se != nil && se.valid && st.s.now-se.seen > sessionTTL+se.grace {
			st.s.count("session ran out")
			st.end(se)
		}
	}
	st.s.after(100*millisecond, st.sweep)
}

// end ends a session, and frees the lock that it had. The node learns of it when
// it comes by.
func (st *store) end(se *session) {
	se.valid = false
	if st.holder == se {
		st.s.say("the lock of node %d is free", se.p.m.id)
		st.holder = nil
	}
}

// open reports whether the store can be reached from a node, and the other way round.
func (st *store) open(p *process) bool {
	return st.s.links.passes(int(p.m.id), 0) && st.s.links.passes(0, int(p.m.id))
}

// visit is a node's heartbeat.
func (st *store) visit(p *process) {
	if !st.open(p) {
		return
	}
	p.contact = st.s.now
	se := p.session
	if !se.valid {
		if se.holds {
			st.s.count("session was lost")
		}
		se.holds = false
		se = &session{p: p, valid: true}
		p.session = se
		st.sessions[p.m.id] = se
	}
	se.seen = st.s.now
	p.heardOf(st.revision)
}

// enterStore opens a node's session.
func (p *process) enterStore(r *routine) bool {
	st := p.s.store
	for !st.open(p) {
		if !r.sleep(50 * millisecond) {
			return false
		}
	}
	if old := st.sessions[p.m.id]; old != nil && old.valid {
		st.end(old)
	}
	p.session = &session{p: p, valid: true, seen: p.s.now}
	st.sessions[p.m.id] = p.session
	p.contact = p.s.now
	return true
}

// leave ends a node's session in order.
func (st *store) leave(p *process) {
	if st.open(p) {
		st.end(p.session)
	}
}

// alive reports whether a broker is heard of.
func (st *store) alive(id messages.BrokerID) bool {
	se := st.sessions[id]
	return se != nil && se.valid
}

// acquire gives a node the lock, if it is free, or its own: it may have let it go
// without the store hearing of that.
func (st *store) acquire(p *process) bool {
	if !st.open(p) || st.holder != nil && st.holder != p.session || !p.session.valid {
		return false
	}
	st.holder, p.session.holds = p.session, true
	st.s.say("node %d has the lock", p.m.id)
	return true
}

// release lets the lock go.
func (st *store) release(p *process) {
	p.session.holds = false
	if st.open(p) && st.holder == p.session {
		st.holder = nil
	}
}

// depose frees the lock of a node whose process is known to be gone.
func (st *store) depose(p *process, id messages.BrokerID) {
	if h := st.holder; st.open(p) && h != nil && h.p.m.id == id && h.p.dead {
		st.s.count("lock taken from who was gone")
		st.end(h)
	}
}

// callStore runs a call of a node's controller when it has reached the store.
func (p *process) callStore(call func()) {
	delay := 200 + p.s.rnd.store.Int64N(p.s.cfg.storeDelay)
	p.s.after(delay, func() {
		if p.dead && p.s.rnd.store.IntN(2) == 0 {
			return
		}
		if !p.s.store.open(p) {
			if !p.dead {
				p.callStore(call)
			}
			return
		}
		call()
	})
}

// read reads the metadata, as often as it takes; nil if the node is no more.
func (p *process) read(r *routine) *metadata.Image {
	st := p.s.store
	for r.sleep(100 + p.s.rnd.store.Int64N(p.s.cfg.storeDelay)) {
		if !st.open(p) {
			r.sleep(50 * millisecond)
			continue
		}
		state := st.snapshot()
		if !r.sleep(100 + p.s.rnd.store.Int64N(p.s.cfg.storeDelay)) {
			break
		}
		if !st.open(p) {
			continue
		}
		image, err := metadata.Build(state)
		if err != nil {
			p.s.wrong("metadata-unreadable", "%v", err)
			return nil
		}
		return image
	}
	return nil
}

func (st *store) snapshot() metadata.State {
	return metadata.State{Revision: st.revision, Entries: maps.Clone(st.entries)}
}

// seat is the store as one node's controller has it.
type seat struct{ p *process }

var _ metadata.Store = seat{}

// Load implements metadata.Store.
func (w seat) Load(context.Context) (metadata.State, error) {
	st := w.p.s.store
	if st.s.cfg.answersLost && st.s.rnd.store.IntN(20) == 0 {
		st.s.count("read that the store refused")
		return metadata.State{}, errStoreRefuses
	}
	return st.snapshot(), nil
}

// Watch implements metadata.Store; nobody uses it here.
func (w seat) Watch(context.Context, int64) (int64, error) {
	return 0, errors.New("not in a simulation")
}

var errStoreRefuses = errors.New("the store refuses to be read")

var errAnswerLost error = messages.E("commit metadata", messages.RequestTimedOut, "", errors.New("whether it was done is unknown"))

// Commit implements metadata.Store. Who has not the lock writes nothing.
func (w seat) Commit(_ context.Context, txn metadata.Txn) (int64, error) {
	st := w.p.s.store
	if st.holder == nil || st.holder != w.p.session || !st.holder.valid {
		st.s.count("commit without the lock")
		return 0, metadata.ErrConflict
	}
	for _, c := range txn.Checks {
		if st.entries[c.Key].Revision != c.Revision {
			st.s.count("commit met a conflict")
			return 0, metadata.ErrConflict
		}
	}
	revision, err := st.write(txn)
	if err == nil && st.s.cfg.answersLost && st.s.rnd.store.IntN(40) == 0 {
		st.s.count("commit whose answer was lost")
		err = errAnswerLost
	}
	return revision, err
}

func (st *store) write(txn metadata.Txn) (int64, error) {
	st.revision++
	for _, p := range txn.Puts {
		st.entries[p.Key] = metadata.Entry{Value: bytes.Clone(p.Value), Revision: st.revision}
	}
	for _, key := range txn.Deletes {
		delete(st.entries, key)
	}
	image, ch, err := st.image.Apply(txn, st.revision)
	if err != nil {
		st.s.wrong("metadata-unreadable", "%v", err)
		return st.revision, nil
	}
	st.image = image
	st.s.model.decided(ch)
	for _, m := range st.s.machines {
		revision := st.revision
		if p := m.proc; p != nil {
			p.later(millisecond+st.s.rnd.store.Int64N(50*millisecond), func() {
				if st.open(p) {
					p.contact = st.s.now
					p.heardOf(revision)
				}
			})
		}
	}
	return st.revision, nil
}
