package core

import (
	"errors"
	"math"
	"slices"

	"understudy/messages"
)

// Group is one consumer group.
//
//	                     a member joins
//	       ┌───────┐ ───────────────────────▶ ┌────────────────────┐
//	New ──▶│ Empty │                          │ PreparingRebalance │◀──┐
//	       └───────┘ ◀─────────────────────── └────────────────────┘   │
//	        │     ▲    nobody has joined        │ all have joined, or  │ a member joins anew or
//	 Delete │     │ written,                    │ the time is up:      │ with another subscription,
//	        ▼     │ or not                      ▼ the next generation  │ leaves, falls silent, or
//	       ┌───────┐                          ┌─────────────────────┐  │ does not ask for its
//	       │ Dead  │                          │ CompletingRebalance │──┤ assignment in time
//	       └───────┘                          └─────────────────────┘  │
//	                                            │ the leader's Sync    │
//	                                            ▼ is written           │
//	                                          ┌────────┐               │
//	                                          │ Stable │───────────────┘
//	                                          └────────┘
//
// Members wait in PreparingRebalance with a Join, in CompletingRebalance with a
// Sync, and are heard of by heartbeats and commits in between. In an Empty group
// anyone may commit.
type Group struct {
	name     string
	settings *Settings
	now      Time

	state        State
	since        int64 // when it became that, ms since the epoch
	protocolType string
	generation   int32
	protocol     string // of the generation
	leader       string // member id
	stored       bool   // the log may hold metadata of the group

	members  []*member            // in the order in which they came
	byID     map[string]*member   // and by id
	static   map[string]*member   // and by instance
	awaiting int                  // members that wait with a Join
	support  map[string]int       // how many members know a protocol
	bytes    int                  // of all subscriptions
	assigned int                  // bytes of all assignments
	pending  map[string]isPending // ids handed out to those who are to come back with them

	subscribed      map[string]bool // topics of the generation
	knowsSubscribed bool            // false: the members do not say so in Kafka's format

	initial   bool  // this PreparingRebalance began with an Empty group: wait for more members
	newcomers bool  // and some have come since it was last looked at
	delayLeft int64 // how much longer more can be waited for
	joinBy    int64 // the end of PreparingRebalance
	syncBy    int64 // when those of the generation who have not sent a Sync are out; 0: none
	storing   bool  // the generation's assignments are being written
	alarm     int64 // Tick is not needed before; 0: at all. Never later than what is waited for
	offsets   map[messages.TopicPartition]kept
	keeps     int64 // bytes of those
	room      int64 // see Room
	spare     int64
	flight    []flying
	effects   Effects
}

// isPending is what is known of an id that was handed out.
type isPending struct {
	expires int64 // the id is not good for anything any more
	blocks  int64 // a rebalance does not wait for it any more
}

// New makes a group that does not exist yet.
func New(name string, s *Settings) *Group {
	return &Group{name: name, settings: s, state: Empty, since: -1, room: math.MaxInt64}
}

// Configure changes the settings, which the group keeps.
func (g *Group) Configure(s *Settings) { g.settings = s }

// Room tells how many bytes all groups together may still grow by. When there are
// none, new members and offsets of further partitions are refused; and when it is
// less than -spare, so is all that grows, however little. What is there goes on.
func (g *Group) Room(left, spare int64) { g.room, g.spare = left, spare }

// noMemory is why something is refused that there is no room for.
const noMemory = "the groups of this broker keep as much as its memory allows"

// hasRoomFor reports whether something may grow from so many bytes to so many; from
// 0: it is new.
func (g *Group) hasRoomFor(before, after int) bool {
	return after <= before || g.room > 0 || before > 0 && g.room+g.spare > 0
}

// Bytes is about how much memory is taken by what is known and kept of the group.
func (g *Group) Bytes() int64 {
	return g.keeps + int64(len(g.name)+g.bytes+g.assigned+len(g.members)*memberBytes+len(g.pending)*pendingBytes)
}

// Name is the group's name.
func (g *Group) Name() string { return g.name }

// Deadline is when Tick is to be called at the latest, on Time.Clock; 0: not at all.
func (g *Group) Deadline() int64 { return g.alarm }

// Gone reports that nothing is known or kept of the group, so that it can be
// forgotten.
func (g *Group) Gone() bool {
	if len(g.flight) > 0 || len(g.members) > 0 {
		return false
	}
	return g.state == Empty && !g.stored && len(g.pending) == 0 && len(g.offsets) == 0
}

// Tick tells the time.
func (g *Group) Tick(t Time) {
	g.now = t
	if g.alarm == 0 || t.Clock < g.alarm {
		return
	}
	g.expireMembers()
	if g.state == PreparingRebalance && t.Clock >= g.joinBy {
		g.joinTimeUp()
	}
	if g.syncBy > 0 && t.Clock >= g.syncBy {
		g.syncTimeUp()
	}
	g.joinedByAll()
	g.setAlarm()
}

// wake has Tick called at a time or before.
func (g *Group) wake(at int64) {
	if g.alarm == 0 || at < g.alarm {
		g.alarm = at
	}
}

// setAlarm looks at everything that is waited for.
func (g *Group) setAlarm() {
	g.alarm = 0
	for _, p := range g.pending {
		g.wake(p.expires)
		if g.state == PreparingRebalance && p.blocks > g.now.Clock {
			g.wake(p.blocks)
		}
	}
	for _, m := range g.members {
		if m.mayExpire() {
			g.wake(m.expires)
		}
	}
	if g.state == PreparingRebalance {
		g.wake(g.joinBy)
	}
	if g.syncBy > 0 {
		g.wake(g.syncBy)
	}
}

func (g *Group) become(s State) { g.state, g.since = s, g.now.Wall }

// fail makes an error about the group.
func (g *Group) fail(op string, kind messages.Kind) error { return messages.E(op, kind, g.name, nil) }

// failBecause makes an error about the group that says why.
func (g *Group) failBecause(op string, kind messages.Kind, why string) error {
	return messages.E(op, kind, g.name, errors.New(why))
}

// List is the group in a list. One that is Gone is shown as Dead.
func (g *Group) List() Listing {
	l := Listing{Group: g.name, ProtocolType: g.protocolType, State: g.state}
	if g.Gone() {
		l.State = Dead
	}
	return l
}

// Describe shows the group. What members said and were assigned is shown when the
// group is Stable, as in Kafka.
func (g *Group) Describe() Description {
	d := Description{Group: g.name, State: g.List().State, ProtocolType: g.protocolType}
	if g.state == Stable {
		d.Protocol = g.protocol
	}
	for _, m := range g.members {
		md := MemberDescription{MemberID: m.id, InstanceID: m.instance, Client: m.client}
		if g.state == Stable {
			md.Metadata, md.Assignment = m.metadata(g.protocol), m.assignment
		}
		d.Members = append(d.Members, md)
	}
	return d
}

// CheckName says why a name cannot be a group's, or nil. Offsets may be kept
// under the empty name, as old consumers do; members need another.
func CheckName(op, name string, mayBeEmpty bool) error {
	switch {
	case name == "" && !mayBeEmpty:
		return messages.E(op, messages.InvalidGroupID, `""`, errors.New("is empty"))
	case len(name) > maxName:
		return messages.E(op, messages.InvalidGroupID, name[:16]+"...", errors.New("is too long"))
	}
	return nil
}

// snapshot is the group as it is to be kept, with an assignment for each member.
func (g *Group) snapshot(assignment func(*member) []byte) *Metadata {
	md := &Metadata{
		ProtocolType: g.protocolType, Generation: g.generation, Protocol: g.protocol, Leader: g.leader, Since: g.now.Wall,
		Members: make([]MemberRecord, 0, len(g.members)),
	}
	for _, m := range g.members {
		md.Members = append(md.Members, MemberRecord{
			MemberID: m.id, InstanceID: m.instance, Client: m.client,
			RebalanceTimeout: m.rebalance, SessionTimeout: m.session,
			Subscription: m.metadata(g.protocol), Assignment: assignment(m),
		})
	}
	return md
}

// Restore takes over what was kept of the group. Its members go on as they were,
// and each has the time of a session to be heard of.
func (g *Group) Restore(t Time, md *Metadata) {
	g.now, g.stored = t, true
	g.protocolType, g.generation, g.protocol, g.leader = md.ProtocolType, md.Generation, md.Protocol, md.Leader
	g.state, g.since = Empty, md.Since
	for _, r := range md.Members {
		m := &member{
			id: r.MemberID, instance: r.InstanceID, client: r.Client, session: r.SessionTimeout, rebalance: r.RebalanceTimeout,
			protocols: []Protocol{{Name: md.Protocol, Metadata: r.Subscription}},
		}
		g.enter(m)
		g.assign(m, r.Assignment)
		g.touch(m)
		g.state = Stable
	}
	if g.state == Stable && g.byID[g.leader] == nil {
		g.leader = g.members[0].id
	}
	g.noteSubscriptions()
}

// rebalanceTimeout is how long members may take to join, ms: the slowest counts.
func (g *Group) rebalanceTimeout() int64 {
	var longest int64
	for _, m := range g.members {
		longest = max(longest, m.rebalance)
	}
	return longest
}

// without takes a member off a list of them.
func without(list []*member, m *member) []*member {
	if i := slices.Index(list, m); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}
