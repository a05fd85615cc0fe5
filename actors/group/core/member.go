package core

import (
	"bytes"
	"slices"
	"unicode/utf8"

	"understudy/messages"
)

// member is one member.
type member struct {
	id, instance string
	client       Client
	session      int64 // ms
	rebalance    int64 // ms
	protocols    []Protocol
	assignment   []byte // of the last generation that was assigned
	expires      int64  // when it is out unless it is heard of before
	fresh        bool   // does not know its id yet, or not that it is a member
	mustSync     bool   // has not asked for its assignment in this generation
	join, sync   any    // the request that it waits with; nil: none
}

// mayExpire reports whether it would be out at the time that expires says. One
// that waits for an answer is there.
func (m *member) mayExpire() bool { return m.fresh || m.join == nil && m.sync == nil }

// metadata is what the member says under a protocol.
func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

func (m *member) knows(protocol string) bool {
	return slices.ContainsFunc(m.protocols, func(p Protocol) bool { return p.Name == protocol })
}

// says reports whether the member has said just that before.
func (m *member) says(protocols []Protocol) bool {
	return slices.EqualFunc(m.protocols, protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}

func size(protocols []Protocol) int {
	n := 0
	for _, p := range protocols {
		n += len(p.Name) + len(p.Metadata)
	}
	return n
}

// enter makes a member one.
func (g *Group) enter(m *member) {
	if g.byID == nil { // many groups never have members
		g.byID, g.static, g.support = map[string]*member{}, map[string]*member{}, map[string]int{}
	}
	g.members = append(g.members, m)
	g.byID[m.id] = m
	if m.instance != "" {
		g.static[m.instance] = m
	}
	g.count(m, 1)
}

// count counts, or with -1 does not count any more, what a member says.
func (g *Group) count(m *member, by int) {
	g.bytes += by * size(m.protocols)
	for _, p := range m.protocols {
		if g.support[p.Name] += by; g.support[p.Name] == 0 {
			delete(g.support, p.Name)
		}
	}
}

// assign notes what a member was assigned.
func (g *Group) assign(m *member, assignment []byte) {
	g.assigned += len(assignment) - len(m.assignment)
	m.assignment = assignment
}

// update takes over what a member says when it joins again.
func (g *Group) update(m *member, j *Join) {
	g.count(m, -1)
	m.client, m.session, m.rebalance, m.protocols = j.Client, j.SessionTimeout, j.RebalanceTimeout, j.Protocols
	g.count(m, 1)
}

// remove takes a member out. Requests that it waits with are refused.
func (g *Group) remove(m *member, cause string) {
	g.joined(m, Joined{Err: g.fail("join group", messages.UnknownMemberID), MemberID: m.id, Generation: -1})
	g.synced(m, Synced{Err: g.fail("sync group", messages.UnknownMemberID)})
	g.members = without(g.members, m)
	delete(g.byID, m.id)
	if m.instance != "" {
		delete(g.static, m.instance)
	}
	g.count(m, -1)
	g.assign(m, nil)
	if g.leader == m.id {
		g.leader = ""
		if len(g.members) > 0 {
			g.leader = g.members[0].id
		}
	}
	g.event(MemberRemoved{g.name, m.id, cause})
}

// lose takes a member out, and has the others share what it had.
func (g *Group) lose(m *member, cause string) {
	g.remove(m, cause)
	g.rebalance("member " + m.id + " is out: " + cause)
}

// find finds the member that speaks. Of a static one only the latest start counts.
func (g *Group) find(op, id, instance string) (*member, error) {
	if instance != "" {
		switch m := g.static[instance]; {
		case m == nil:
			return nil, g.fail(op, messages.UnknownMemberID)
		case m.id != id:
			return nil, g.fail(op, messages.FencedInstanceID)
		}
	}
	if m := g.byID[id]; m != nil {
		return m, nil
	}
	return nil, g.fail(op, messages.UnknownMemberID)
}

// touch notes that a member was heard of.
func (g *Group) touch(m *member) {
	m.expires = g.now.Clock + m.session
	g.wake(m.expires)
}

// await has a member wait with a Join. If it waits with one already, nobody waits
// for the answer to that any more.
func (g *Group) await(m *member, to any) {
	g.joined(m, Joined{Err: g.fail("join group", messages.RebalanceInProgress), MemberID: m.id, Generation: -1})
	m.join = to
	g.awaiting++
}

// joined answers a member that waits with a Join. Its session begins anew.
func (g *Group) joined(m *member, j Joined) {
	if m.join == nil {
		return
	}
	g.answer(m.join, j)
	m.join, m.fresh = nil, false
	g.awaiting--
	g.touch(m)
}

// synced answers a member that waits with a Sync. Its session begins anew.
func (g *Group) synced(m *member, s Synced) {
	if m.sync == nil {
		return
	}
	g.answer(m.sync, s)
	m.sync = nil
	g.touch(m)
}

// Withdraw tells that nobody is there any more to take the answer to a Join or a Sync:
// the connection that it came on has ended. That is how a client that is killed while it
// waits is told from one that waits patiently. Its session begins then, and it may come
// back on another connection; but one that was never answered has nothing to come back to.
func (g *Group) Withdraw(t Time, to any) {
	g.now = t
	i := slices.IndexFunc(g.members, func(m *member) bool { return m.join == to || m.sync == to })
	if i < 0 {
		return
	}
	m := g.members[i]
	if m.join == to {
		m.join = nil
		g.awaiting--
	}
	if m.sync == to {
		m.sync = nil
	}
	if m.fresh {
		g.lose(m, "its connection ended before it was answered")
		g.joinedByAll()
		return
	}
	g.touch(m)
}

// expireMembers takes out whoever has not been heard of for too long.
func (g *Group) expireMembers() {
	for id, p := range g.pending {
		if g.now.Clock >= p.expires {
			delete(g.pending, id)
		}
	}
	for _, m := range slices.Clone(g.members) {
		if m.mayExpire() && g.now.Clock >= m.expires {
			g.lose(m, "was not heard of for its session timeout")
		}
	}
}

// Heartbeat tells that a member is there.
func (g *Group) Heartbeat(t Time, who Member) error {
	g.now = t
	const op = "heartbeat"
	if g.state == Dead {
		return g.fail(op, messages.CoordinatorNotAvailable)
	}
	m, err := g.find(op, who.MemberID, who.InstanceID)
	if err != nil {
		return err
	}
	if who.Generation != g.generation {
		return g.fail(op, messages.IllegalGeneration)
	}
	g.touch(m)
	if g.state == PreparingRebalance {
		return g.fail(op, messages.RebalanceInProgress)
	}
	return nil
}

// Leave takes members out; there is an error or nil for each.
func (g *Group) Leave(t Time, leaving []Leaving) ([]error, error) {
	g.now = t
	const op = "leave group"
	if g.state == Dead {
		return nil, g.fail(op, messages.CoordinatorNotAvailable)
	}
	errs := make([]error, len(leaving))
	for i, l := range leaving {
		errs[i] = g.leave(op, l)
	}
	g.joinedByAll()
	return errs, nil
}

func (g *Group) leave(op string, l Leaving) error {
	if _, pending := g.pending[l.MemberID]; pending && l.InstanceID == "" {
		delete(g.pending, l.MemberID)
		return nil
	}
	if l.MemberID == "" { // an operator takes a static member out
		m := g.static[l.InstanceID]
		if m == nil || l.InstanceID == "" {
			return g.fail(op, messages.UnknownMemberID)
		}
		l.MemberID = m.id
	}
	m, err := g.find(op, l.MemberID, l.InstanceID)
	if err != nil {
		return err
	}
	cause := "left"
	if l.Reason != "" {
		cause += ": " + clip(l.Reason)
	}
	g.lose(m, cause)
	return nil
}

// clip shortens what clients say, by whole characters.
func clip(s string) string {
	if len(s) <= maxClient {
		return s
	}
	n := maxClient
	for n > maxClient-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
