package core

import (
	"fmt"
	"slices"

	"understudy/messages"
)

// Join lets someone become a member, or stay one. The answer may have to wait for
// the others. fresh is a name that nobody else has been given, for a member that
// has none yet.
func (g *Group) Join(t Time, j Join, fresh string, to any) {
	g.now = t
	switch err := g.admit(&j); {
	case err != nil:
		g.refuseJoin(to, j.MemberID, err)
	case j.MemberID == "":
		g.joinNew(&j, fresh, to)
	default:
		g.joinKnown(&j, to)
	}
	g.joinedByAll()
}

const joining = "join group"

func (g *Group) refuseJoin(to any, id string, err error) {
	g.answer(to, Joined{Err: err, MemberID: id, Generation: -1})
}

// admit checks what does not depend on who joins.
func (g *Group) admit(j *Join) error {
	if j.RebalanceTimeout < 0 {
		j.RebalanceTimeout = j.SessionTimeout
	}
	j.Client.ID, j.Client.Host = clip(j.Client.ID), clip(j.Client.Host)
	if g.state == Dead {
		return g.fail(joining, messages.CoordinatorNotAvailable)
	}
	if j.SessionTimeout < g.settings.MinSession || j.SessionTimeout > g.settings.MaxSession {
		return g.failBecause(joining, messages.InvalidSessionTimeout,
			fmt.Sprintf("%d ms, want %d to %d", j.SessionTimeout, g.settings.MinSession, g.settings.MaxSession))
	}
	if max(len(j.InstanceID), len(j.ProtocolType)) > maxID {
		return g.failBecause(joining, messages.InvalidRequest, "an instance or a protocol type is too long")
	}
	if err := g.admitProtocols(j.Protocols); err != nil {
		return err
	}
	if !g.hasRoom(j) {
		if m := g.byID[j.MemberID]; m != nil {
			g.lose(m, "the group has become too large")
		}
		delete(g.pending, j.MemberID) // it does not come again
		return g.fail(joining, messages.GroupMaxSizeReached)
	}
	return nil
}

func (g *Group) admitProtocols(protocols []Protocol) error {
	if len(protocols) > maxProtocols {
		return g.failBecause(joining, messages.InconsistentGroupProtocol, "too many protocols")
	}
	for i, p := range protocols {
		same := func(other Protocol) bool { return other.Name == p.Name }
		if len(p.Name) > maxID || slices.ContainsFunc(protocols[:i], same) {
			return g.failBecause(joining, messages.InconsistentGroupProtocol, "a protocol's name is too long, or comes twice")
		}
	}
	if n := size(protocols); n > maxSubscription {
		return g.failBecause(joining, messages.MessageTooLarge, fmt.Sprintf("a subscription of %d bytes, at most %d are taken", n, maxSubscription))
	}
	return nil
}

// hasRoom reports whether the group may take whoever joins. When all have to join
// again anyway, the first to come are the ones. An id that was handed out keeps no
// place: the answer may have been lost, and its client, which asks for another, must not
// find the group full of itself.
func (g *Group) hasRoom(j *Join) bool {
	m := g.byID[j.MemberID]
	if m == nil && j.InstanceID != "" && j.MemberID == "" {
		m = g.static[j.InstanceID] // it takes its predecessor's place
	}
	before, after := 0, size(j.Protocols)
	if m != nil {
		before = size(m.protocols) + 1
	}
	if g.bytes-before+after > maxGroup || !g.hasRoomFor(before, after) {
		return false
	}
	_, expected := g.pending[j.MemberID]
	switch {
	case m != nil && g.state == PreparingRebalance:
		return m.join != nil || g.awaiting < g.settings.MaxSize
	case m != nil:
		return true
	}
	return len(g.members) < g.settings.MaxSize && (expected || len(g.pending) < maxPending)
}

// agree reports whether someone can be a member beside all others but one, which
// may be nil.
func (g *Group) agree(j *Join, but *member) bool {
	others := len(g.members)
	if but != nil {
		others--
	}
	if others == 0 {
		return j.ProtocolType != "" && len(j.Protocols) > 0
	}
	return j.ProtocolType == g.protocolType && slices.ContainsFunc(j.Protocols, func(p Protocol) bool {
		n := g.support[p.Name]
		if but != nil && but.knows(p.Name) {
			n--
		}
		return n == others
	})
}

// joinNew takes someone who has no member id yet.
func (g *Group) joinNew(j *Join, fresh string, to any) {
	old := g.static[j.InstanceID] // nil without an instance
	if !g.agree(j, old) {
		g.refuseJoin(to, "", g.fail(joining, messages.InconsistentGroupProtocol))
		return
	}
	id := j.Client.ID + "-" + fresh
	if j.InstanceID != "" {
		id = j.InstanceID + "-" + fresh
	}
	switch {
	case old != nil:
		g.replace(old, j, id, to)
	case j.RequireMemberID && j.InstanceID == "":
		expires := g.now.Clock + j.SessionTimeout
		if g.pending == nil {
			g.pending = map[string]isPending{}
		}
		g.pending[id] = isPending{expires: expires, blocks: min(expires, g.now.Clock+pendingPatience)}
		g.wake(g.pending[id].blocks)
		g.refuseJoin(to, id, g.fail(joining, messages.MemberIDRequired))
	default:
		g.add(j, id, to)
	}
}

// add makes someone a member.
func (g *Group) add(j *Join, id string, to any) {
	delete(g.pending, id)
	if len(g.members) == 0 {
		g.protocolType, g.leader = j.ProtocolType, id
	}
	m := &member{
		id: id, instance: j.InstanceID, client: j.Client, session: j.SessionTimeout, rebalance: j.RebalanceTimeout,
		protocols: j.Protocols, fresh: true, expires: g.now.Clock + newMemberTimeout,
	}
	g.wake(m.expires)
	g.enter(m)
	g.await(m, to)
	g.newcomers = true
	g.rebalance(because("member "+id+" has joined", j.Reason))
}

// joinKnown takes someone who has a member id.
func (g *Group) joinKnown(j *Join, to any) {
	_, expected := g.pending[j.MemberID]
	switch m, err := g.find(joining, j.MemberID, j.InstanceID); {
	case expected && j.InstanceID == "":
		if !g.agree(j, nil) {
			g.refuseJoin(to, j.MemberID, g.fail(joining, messages.InconsistentGroupProtocol))
			return
		}
		g.add(j, j.MemberID, to)
	case err != nil:
		g.refuseJoin(to, j.MemberID, err)
	case !g.agree(j, m):
		g.refuseJoin(to, j.MemberID, g.fail(joining, messages.InconsistentGroupProtocol))
	default:
		g.rejoin(m, j, to)
	}
}

// rejoin takes a member that joins again.
func (g *Group) rejoin(m *member, j *Join, to any) {
	same := m.says(j.Protocols)
	if len(g.members) == 1 {
		g.protocolType = j.ProtocolType
	}
	switch {
	case g.state == CompletingRebalance && same, // it has not got its answer
		g.state == Stable && same && m.id != g.leader:
		g.touch(m)
		g.answer(to, g.joinedNow(m))
		return
	}
	g.update(m, j)
	m.fresh = false
	g.await(m, to)
	cause := "member " + m.id + " has joined again"
	switch {
	case !same:
		cause += " with another subscription"
	case m.id == g.leader:
		cause += ", which leads"
	}
	g.rebalance(because(cause, j.Reason))
}

// because adds the reason that a client gives to a cause.
func because(cause, reason string) string {
	if reason == "" {
		return cause
	}
	return cause + ": " + clip(reason)
}

// joinedNow is the answer to a member of the present generation.
func (g *Group) joinedNow(m *member) Joined {
	j := Joined{
		Generation: g.generation, ProtocolType: g.protocolType, Protocol: g.protocol,
		Leader: g.leader, MemberID: m.id,
	}
	if m.id == g.leader {
		for _, other := range g.members {
			j.Members = append(j.Members, JoinedMember{other.id, other.instance, other.metadata(g.protocol)})
		}
	}
	return j
}

// replace lets a static member that was started again take its own place (KIP-345).
// While the group is Stable the others need not notice, unless it wants other
// topics now.
func (g *Group) replace(m *member, j *Join, id string, to any) {
	leader, old := g.leader, m.id
	g.joined(m, Joined{Err: g.fail(joining, messages.FencedInstanceID), MemberID: old, Generation: -1})
	g.synced(m, Synced{Err: g.fail(syncing, messages.FencedInstanceID)})
	delete(g.byID, old)
	m.id = id
	g.byID[id] = m
	if g.leader == old {
		g.leader = id
	}
	if len(g.members) == 1 {
		g.protocolType = j.ProtocolType
	}
	before := m.metadata(g.protocol)
	g.update(m, j)
	m.fresh = false
	g.await(m, to)
	g.event(MemberReplaced{g.name, m.instance, old, id})
	if g.state == Stable && g.choose() == g.protocol && sameTopics(before, m.metadata(g.protocol)) {
		g.keepPlace(m, leader, j.CanSkipAssignment)
		return
	}
	g.rebalance(because("static member "+m.instance+" was started again", j.Reason))
}

// keepPlace writes down who the static member is now, and answers it then. A
// client that leads and cannot be told to keep the assignments (KIP-814) is told
// that its predecessor leads.
func (g *Group) keepPlace(m *member, leader string, canSkip bool) {
	to := m.join
	md := g.snapshot(func(m *member) []byte { return m.assignment })
	g.write(Write{Metadata: md}, func(err error) {
		if m.join != to || g.state != Stable {
			return // it was replaced again, is out, or joins a rebalance
		}
		if err != nil {
			g.joined(m, Joined{Err: err, MemberID: m.id, Generation: -1})
			return
		}
		g.stored = true
		answer := g.joinedNow(m)
		if canSkip {
			answer.SkipAssignment = m.id == g.leader
		} else {
			answer.Leader, answer.Members = leader, nil
		}
		g.joined(m, answer)
	})
}
