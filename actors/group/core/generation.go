package core

import (
	"math"
	"slices"

	"understudy/messages"
)

// rebalance has all members join again, unless that has begun already.
func (g *Group) rebalance(cause string) {
	switch g.state {
	case Empty:
		g.initial = true
		g.newcomers = false
		delay := g.settings.InitialDelay
		g.delayLeft = max(0, min(g.rebalanceTimeout(), maxInitialDelays*delay)-delay)
		g.joinBy = g.now.Clock + delay
	case CompletingRebalance, Stable:
		for _, m := range g.members {
			g.synced(m, Synced{Err: g.fail(syncing, messages.RebalanceInProgress)})
		}
		g.joinBy = g.now.Clock + g.rebalanceTimeout()
	default:
		return
	}
	g.storing, g.syncBy = false, 0
	g.event(RebalanceBegan{g.name, g.generation, cause})
	g.become(PreparingRebalance)
	g.wake(g.joinBy)
	g.joinedByAll()
}

// Grew has members share a topic anew that has got more partitions. Clients look
// for these by themselves, but every few minutes alone; and most, such as librdkafka,
// Sarama and KafkaJS, look at the topics once more when they lead and are to assign.
// The others, Java and franz-go, come to know of it as with any broker.
func (g *Group) Grew(t Time, topic string) {
	g.now = t
	if len(g.members) > 0 && g.knowsSubscribed && g.subscribed[topic] {
		g.rebalance("topic " + topic + " has more partitions")
	}
}

// joinedByAll ends PreparingRebalance when nobody has to be waited for.
func (g *Group) joinedByAll() {
	if g.state != PreparingRebalance || g.initial || g.awaiting < len(g.members) {
		return
	}
	if !g.expectsOthers() {
		g.nextGeneration()
	}
}

// expectsOthers reports whether someone is about to come back with the id it was
// told.
func (g *Group) expectsOthers() bool {
	for _, p := range g.pending {
		if g.now.Clock < p.blocks {
			g.wake(p.blocks)
			return true
		}
	}
	return false
}

// joinTimeUp ends PreparingRebalance without those who have not joined. The first
// members of a group wait for more while more keep coming.
func (g *Group) joinTimeUp() {
	if g.initial && g.newcomers && g.delayLeft > 0 {
		delay := min(g.settings.InitialDelay, g.delayLeft)
		g.newcomers = false
		g.delayLeft -= delay
		g.joinBy = g.now.Clock + max(delay, 1)
		return
	}
	if g.initial && g.expectsOthers() {
		g.initial = false
		g.joinBy = g.now.Clock + pendingPatience
		return
	}
	g.initial = false
	for _, m := range slices.Clone(g.members) {
		if m.join == nil && m.instance == "" {
			g.remove(m, "did not join in time")
		}
	}
	if g.awaiting == 0 && len(g.members) > 0 {
		// Only static members are left, and none has joined: their sessions decide.
		g.joinBy = g.now.Clock + max(g.rebalanceTimeout(), 1)
		return
	}
	g.nextGeneration()
}

// nextGeneration makes those who have joined, and the static members who still
// have time to, the next generation.
func (g *Group) nextGeneration() {
	if g.generation++; g.generation == math.MaxInt32 {
		g.generation = 1
	}
	if len(g.members) == 0 {
		g.empty()
		return
	}
	if leads := g.byID[g.leader]; leads == nil || leads.join == nil {
		i := slices.IndexFunc(g.members, func(m *member) bool { return m.join != nil })
		g.leader = g.members[i].id
	}
	g.protocol = g.choose()
	g.noteSubscriptions()
	g.become(CompletingRebalance)
	g.event(GenerationBegan{g.name, g.generation, g.protocol, g.leader, len(g.members)})
	g.syncBy = g.now.Clock + g.rebalanceTimeout()
	g.wake(g.syncBy)
	for _, m := range g.members {
		m.mustSync = m.join != nil
		g.joined(m, g.joinedNow(m))
	}
}

// empty makes a generation without members.
func (g *Group) empty() {
	g.protocol, g.leader = "", ""
	g.noteSubscriptions()
	g.become(Empty)
	g.event(GenerationBegan{Group: g.name, Generation: g.generation})
	g.stored = true
	// If it cannot be written the members are found out to be gone once more after
	// the next failover.
	g.write(Write{Metadata: g.snapshot(nil)}, func(error) {})
}

// choose gives the protocol that most members prefer among those that all know.
// Among equals the first that the eldest member names wins.
func (g *Group) choose() string {
	common := func(p Protocol) bool { return g.support[p.Name] == len(g.members) }
	votes := map[string]int{}
	for _, m := range g.members {
		if i := slices.IndexFunc(m.protocols, common); i >= 0 {
			votes[m.protocols[i].Name]++
		}
	}
	best := ""
	for _, p := range g.members[0].protocols {
		if votes[p.Name] > votes[best] {
			best = p.Name
		}
	}
	return best
}

const syncing = "sync group"

// Sync asks for a member's assignment, and brings everybody's from the leader.
func (g *Group) Sync(t Time, s Sync, to any) {
	g.now = t
	m, err := g.maySync(s)
	if err != nil {
		g.answer(to, Synced{Err: err})
		return
	}
	m.mustSync = false
	g.touch(m)
	if g.state == Stable {
		g.answer(to, g.syncedNow(m))
		return
	}
	g.synced(m, Synced{Err: g.fail(syncing, messages.RebalanceInProgress)}) // nobody waits for that one any more
	m.sync = to
	if m.id == g.leader && !g.storing {
		g.store(s.Assignments)
	}
}

func (g *Group) maySync(s Sync) (*member, error) {
	if g.state == Dead {
		return nil, g.fail(syncing, messages.CoordinatorNotAvailable)
	}
	m, err := g.find(syncing, s.MemberID, s.InstanceID)
	switch {
	case err != nil:
		return nil, err
	case s.Generation != g.generation:
		return nil, g.fail(syncing, messages.IllegalGeneration)
	case s.ProtocolType != "" && s.ProtocolType != g.protocolType, s.Protocol != "" && s.Protocol != g.protocol:
		return nil, g.fail(syncing, messages.InconsistentGroupProtocol)
	case g.state == PreparingRebalance:
		return nil, g.fail(syncing, messages.RebalanceInProgress)
	}
	return m, nil
}

func (g *Group) syncedNow(m *member) Synced {
	return Synced{ProtocolType: g.protocolType, Protocol: g.protocol, Assignment: m.assignment}
}

// store has the generation written down before any member acts on it: whoever
// coordinates the group next goes on from there.
func (g *Group) store(assignments map[string][]byte) {
	g.storing = true
	total := 0
	for _, m := range g.members {
		total += len(assignments[m.id]) // the leader may leave members out: they have nothing to do
	}
	switch {
	case total > maxGroup:
		g.unsettled(g.failBecause(syncing, messages.MessageTooLarge, "the assignments are too large to be kept"))
		return
	case !g.hasRoomFor(max(g.assigned, 1), total): // 1: whoever is a member has been let in
		g.unsettled(g.failBecause(syncing, messages.PolicyViolation, noMemory))
		return
	}
	for _, m := range g.members { // nobody is shown it before it is written
		g.assign(m, assignments[m.id])
	}
	generation := g.generation
	md := g.snapshot(func(m *member) []byte { return m.assignment })
	g.stored = true
	g.write(Write{Metadata: md}, func(err error) {
		switch {
		case g.state != CompletingRebalance || g.generation != generation:
			return // members are joining again already
		case err != nil:
			g.unsettled(err)
			return
		}
		g.storing = false
		g.become(Stable)
		g.event(Settled{g.name, g.generation, len(g.members)})
		for _, m := range g.members {
			g.synced(m, g.syncedNow(m))
		}
	})
}

// unsettled tells members that this generation's assignments cannot be had.
func (g *Group) unsettled(err error) {
	for _, m := range g.members {
		g.synced(m, Synced{Err: err})
	}
	g.rebalance("the assignments could not be written")
}

// syncTimeUp takes out the members that have joined but not asked for what they
// were assigned.
func (g *Group) syncTimeUp() {
	g.syncBy = 0
	for _, m := range slices.Clone(g.members) {
		if m.mustSync {
			g.lose(m, "did not ask for its assignment in time")
		}
	}
}
