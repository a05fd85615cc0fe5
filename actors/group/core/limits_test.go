package core

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"understudy/messages"
)

// TestTooMuchIsRefused has members say more than a group keeps. The one that is
// there does not notice.
func TestTooMuchIsRefused(t *testing.T) {
	s := DefaultSettings()
	g := New("g", &s)
	now := Time{Clock: 1000, Wall: 1_700_000_000_000}
	answers := func() (all []Answer) {
		for e := (Effects{}); g.Take(&e); {
			all = append(all, e.Answers...)
		}
		return all
	}
	fine := Join{SessionTimeout: 10_000, RebalanceTimeout: 10_000, ProtocolType: "consumer", Protocols: []Protocol{{Name: "range"}}}
	g.Join(now, fine, "1", "fine")
	if a := answers(); len(a) != 0 {
		t.Fatalf("have %+v", a)
	}
	many := make([]Protocol, maxProtocols+1)
	for i := range many {
		many[i].Name = fmt.Sprint("p", i)
	}
	for what, c := range map[string]struct {
		change func(*Join)
		want   messages.Kind
	}{
		"a million bytes":      {func(j *Join) { j.Protocols = []Protocol{{"range", make([]byte, 1_000_000)}} }, messages.MessageTooLarge},
		"too many protocols":   {func(j *Join) { j.Protocols = many }, messages.InconsistentGroupProtocol},
		"one protocol twice":   {func(j *Join) { j.Protocols = []Protocol{{Name: "range"}, {Name: "range"}} }, messages.InconsistentGroupProtocol},
		"a long protocol name": {func(j *Join) { j.Protocols = []Protocol{{Name: strings.Repeat("x", 2000)}} }, messages.InconsistentGroupProtocol},
		"a long instance":      {func(j *Join) { j.InstanceID = strings.Repeat("x", 2000) }, messages.InvalidRequest},
		"a long member id":     {func(j *Join) { j.MemberID = strings.Repeat("x", 2000) }, messages.UnknownMemberID},
		"a long protocol type": {func(j *Join) { j.ProtocolType = strings.Repeat("x", 2000) }, messages.InvalidRequest},
	} {
		j := fine
		c.change(&j)
		g.Join(now, j, "2", what)
		if a := answers(); len(a) != 1 || messages.KindOf(a[0].Value.(Joined).Err) != c.want {
			t.Errorf("%s: have %+v, want %v", what, a, c.want)
		}
	}
	if d := g.Describe(); len(d.Members) != 1 || d.State != PreparingRebalance {
		t.Errorf("have %+v", d)
	}
	check(t, g)
}

// TestAGroupKeepsOnlySoMuch has ever more members say a lot: there is an end, and
// what is kept of a client's name is short.
func TestAGroupKeepsOnlySoMuch(t *testing.T) {
	s := DefaultSettings()
	g := New("g", &s)
	now := Time{Clock: 1000}
	large := Join{
		Client: Client{ID: strings.Repeat("c", 30_000)}, SessionTimeout: 10_000, ProtocolType: "consumer",
		Protocols: []Protocol{{"range", make([]byte, maxSubscription-10)}},
	}
	for i := range 2 * maxGroup / maxSubscription {
		g.Join(now, large, fmt.Sprint(i), i)
	}
	var e Effects
	g.Take(&e)
	for _, a := range e.Answers {
		if messages.KindOf(a.Value.(Joined).Err) != messages.GroupMaxSizeReached {
			t.Errorf("have %+v", a)
		}
	}
	if len(e.Answers) == 0 || g.bytes > maxGroup || len(g.members[0].id) > 2*maxClient {
		t.Errorf("%d are refused, %d bytes are kept, and an id of %d", len(e.Answers), g.bytes, len(g.members[0].id))
	}
	check(t, g)
}

// TestAMemberIsKnownByTheIDThatItWasGiven has clients with names of every length that are
// taken, in letters of one byte and of several: what they are called then is text, which a
// client gives back as it got it, and by that name they can join again.
func TestAMemberIsKnownByTheIDThatItWasGiven(t *testing.T) {
	s := DefaultSettings()
	now := Time{Clock: 1000}
	for _, letter := range []string{"x", "ж", "中", "🙂"} {
		for n := 1; n*len(letter) <= maxID; n++ {
			name := strings.Repeat(letter, n)
			for what, j := range map[string]Join{
				"client":      {Client: Client{ID: name}, RequireMemberID: true},
				"an instance": {InstanceID: name},
			} {
				g := New("g", &s)
				j.SessionTimeout, j.ProtocolType, j.Protocols = 10_000, "consumer", []Protocol{{Name: "range"}}
				g.Join(now, j, randomPart, "first")
				for id := range g.pending {
					j.MemberID = id
				}
				for id := range g.byID {
					j.MemberID = id
				}
				var e Effects
				g.Take(&e)
				g.Join(now, j, "", "again")
				g.Take(&e)
				for _, a := range e.Answers {
					if a.To == "again" {
						t.Fatalf("%s of %d %s: have %v", what, n, letter, a.Value.(Joined).Err)
					}
				}
				if !utf8.ValidString(j.MemberID) || g.byID[j.MemberID] == nil {
					t.Fatalf("%s of %d %s: its id is %q", what, n, letter, j.MemberID)
				}
			}
		}
	}
}

// randomPart is as long as what makes an id another than all others.
var randomPart = strings.Repeat("r", 36)

// TestNobodyWaitsForWhoIsRefused has a group of three that may only have two members any
// more: the last to join again is out, and the others go on without it at once.
func TestNobodyWaitsForWhoIsRefused(t *testing.T) {
	s := DefaultSettings()
	g := New("g", &s)
	now := Time{Clock: 1000}
	var e Effects
	join := func(id, fresh string) {
		g.Join(now, Join{MemberID: id, SessionTimeout: 10_000, RebalanceTimeout: 60_000, ProtocolType: "consumer", Protocols: []Protocol{{Name: "range"}}}, fresh, fresh)
	}
	for _, fresh := range []string{"1", "2", "3"} {
		join("", fresh)
	}
	for g.state == PreparingRebalance {
		now.Clock = g.Deadline()
		g.Tick(now)
	}
	s.MaxSize = 2
	g.rebalance("as a test wants it")
	g.Take(&e)
	for _, id := range []string{"-1", "-2", "-3"} {
		join(id, id)
	}
	g.Take(&e)
	refused := e.Answers[0]
	if refused.To != "-3" || messages.KindOf(refused.Value.(Joined).Err) != messages.GroupMaxSizeReached || len(e.Answers) != 3 || g.state != CompletingRebalance {
		t.Errorf("have %+v in %s", e.Answers, g.state)
	}
	check(t, g)
}

// TestWithoutRoomOnlyNewcomersAreRefused has a group that is told that there is no
// memory left: whoever is there goes on, with a little more as well, until there is
// really none.
func TestWithoutRoomOnlyNewcomersAreRefused(t *testing.T) {
	s := DefaultSettings()
	g := New("g", &s)
	now := Time{Clock: 1000, Wall: 1_700_000_000_000}
	last := func() (value any) {
		for e := (Effects{}); g.Take(&e); {
			for _, a := range e.Answers {
				value = a.Value
			}
			for range e.Writes {
				g.Written(now, nil)
			}
		}
		check(t, g)
		return value
	}
	join := Join{SessionTimeout: 10_000, RebalanceTimeout: -1, ProtocolType: "consumer", Protocols: []Protocol{{Name: "range"}}}
	again := join
	again.MemberID = "-1"
	orders, more := messages.TopicPartition{Topic: "orders"}, messages.TopicPartition{Topic: "orders", Partition: 1}
	commit := func(metadata string) error {
		g.Commit(now, Commit{Member: Member{Generation: -1}, Offsets: map[messages.TopicPartition]Committed{orders: {Offset: 1, Metadata: metadata}}}, "commit")
		d := last().(Done)
		return errors.Join(d.Err, d.Each[orders])
	}
	if err := commit(""); err != nil {
		t.Fatal(err)
	}
	g.Room(0, 100)
	g.Commit(now, Commit{Member: Member{Generation: -1}, Offsets: map[messages.TopicPartition]Committed{orders: {Offset: 2}, more: {Offset: 2}}}, "commit")
	if d := last().(Done); messages.KindOf(d.Each[more]) != messages.PolicyViolation || d.Each[orders] != nil || d.Err != nil || len(g.offsets) != 1 || g.offsets[orders].Offset != 2 {
		t.Errorf("have %+v, %v kept", d, g.offsets)
	}
	if err := commit("note"); err != nil {
		t.Error(err)
	}
	g.Room(-100, 100)
	if err := commit("a longer note"); messages.KindOf(err) != messages.PolicyViolation {
		t.Errorf("a longer note: %v", err)
	}
	if err := commit("n"); err != nil {
		t.Error(err)
	}

	g.Join(now, join, "1", "join")
	if j := last().(Joined); messages.KindOf(j.Err) != messages.GroupMaxSizeReached {
		t.Errorf("a new member: have %+v", j)
	}
	g.Room(1, 100)
	g.Join(now, join, "1", "join")
	now.Clock += s.InitialDelay
	g.Tick(now)
	if j := last().(Joined); j.Err != nil || j.MemberID != "-1" {
		t.Fatalf("have %+v", j)
	}
	g.Room(0, 100)
	again.Protocols = []Protocol{{"range", make([]byte, 100)}}
	g.Join(now, again, "", "join again")
	if j := last().(Joined); j.Err != nil || j.Generation != 2 {
		t.Errorf("who says more: have %+v", j)
	}
	g.Join(now, join, "2", "join")
	if j := last().(Joined); messages.KindOf(j.Err) != messages.GroupMaxSizeReached {
		t.Errorf("a second member: have %+v", j)
	}
	before := g.Bytes()
	g.Leave(now, []Leaving{{MemberID: "-1"}})
	if last(); before-g.Bytes() != memberBytes+105 {
		t.Errorf("%d bytes before the member left, and %d then", before, g.Bytes())
	}
}

// TestAssignmentsThatAreTooLargeAreNotKept has the leader say too much: everybody
// is told, and joins again.
func TestAssignmentsThatAreTooLargeAreNotKept(t *testing.T) {
	s := DefaultSettings()
	g := New("g", &s)
	now := Time{Clock: 1000}
	g.Join(now, Join{SessionTimeout: 10_000, RebalanceTimeout: -1, ProtocolType: "consumer", Protocols: []Protocol{{Name: "range"}}}, "1", "join")
	now.Clock += s.InitialDelay
	g.Tick(now)
	g.Sync(now, Sync{Member: Member{MemberID: "-1", Generation: 1}, Assignments: map[string][]byte{"-1": make([]byte, maxGroup+1)}}, "sync")
	var e Effects
	g.Take(&e)
	last := e.Answers[len(e.Answers)-1]
	if v, ok := last.Value.(Synced); !ok || messages.KindOf(v.Err) != messages.MessageTooLarge || len(e.Writes) != 0 || g.state != PreparingRebalance {
		t.Errorf("have %+v in %s", last, g.state)
	}
	check(t, g)
}

// TestAssignmentsNeedRoom has a leader assign when there is no memory left. A little more
// than before is taken, and nothing when there is really none; and it counts from the
// moment that it is taken.
func TestAssignmentsNeedRoom(t *testing.T) {
	s := DefaultSettings()
	g := New("g", &s)
	now := Time{Clock: 1000}
	join := Join{SessionTimeout: 10_000, RebalanceTimeout: -1, ProtocolType: "consumer", Protocols: []Protocol{{Name: "range"}}}
	g.Join(now, join, "1", "join")
	now.Clock += s.InitialDelay
	g.Tick(now)
	join.MemberID = "-1"
	sync := func(left int64, size int) (kind messages.Kind, counted int64) {
		g.Room(left, 100)
		before := g.Bytes()
		g.Sync(now, Sync{Member: Member{MemberID: "-1", Generation: g.generation}, Assignments: map[string][]byte{"-1": make([]byte, size)}}, "sync")
		counted = g.Bytes() - before
		for e := (Effects{}); g.Take(&e); {
			for range e.Writes {
				g.Written(now, nil)
			}
			for _, a := range e.Answers {
				if v, ok := a.Value.(Synced); ok {
					kind = messages.KindOf(v.Err)
				}
			}
		}
		g.Join(now, join, "", "join again")
		check(t, g)
		return kind, counted
	}
	for _, c := range []struct {
		left    int64
		size    int
		want    messages.Kind
		counted int64
	}{
		{left: -99, size: 1000, counted: 1000},
		{left: -100, size: 1001, want: messages.PolicyViolation},
		{left: -100, size: 900, counted: -100},
		{left: 1, size: 2000, counted: 1100},
	} {
		if kind, counted := sync(c.left, c.size); kind != c.want || counted != c.counted {
			t.Errorf("%d bytes with room for %d: have %v and %d counted, want %v and %d", c.size, c.left, kind, counted, c.want, c.counted)
		}
	}
}

// TestLongNamesAreCounted: a group may have a name that is longer than all else of it.
func TestLongNamesAreCounted(t *testing.T) {
	s := DefaultSettings()
	if have := New(strings.Repeat("x", maxName), &s).Bytes(); have < maxName {
		t.Errorf("%d bytes are counted", have)
	}
}

func TestNamesOfGroups(t *testing.T) {
	for name, want := range map[string]messages.Kind{
		"": messages.InvalidGroupID, "odd \x00 \xff \u2603": messages.Unknown, strings.Repeat("x", 32767): messages.Unknown,
		strings.Repeat("x", 32768): messages.InvalidGroupID,
	} {
		if have := messages.KindOf(CheckName("join", name, false)); have != want {
			t.Errorf("a name of %d bytes: have %v, want %v", len(name), have, want)
		}
	}
	if err := CheckName("commit", "", true); err != nil {
		t.Error(err)
	}
}
