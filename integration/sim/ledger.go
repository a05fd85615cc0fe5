package sim

import (
	"fmt"
	"strconv"
	"strings"

	"understudy/actors/group"
	"understudy/integration/history"
	"understudy/messages"
)

// ledger is what is known of one consumer group, by what its clients have asked for
// and were told.
type ledger struct {
	s       *Sim
	name    string
	entries map[messages.TopicPartition]*commits
	owners  map[claim]groupOwner
	settled int32           // the latest generation that a member was told its part of
	fenced  map[string]bool // members whose places others have taken

	auditing, audited bool // it is being read once more, in the end, or was
}

// commits are a group's commits of one partition.
type commits struct {
	asked []messages.Offset // in order
	acked int               // number of the latest that was acknowledged, or read back, from 1; 0: none
}

// claim is a partition in a generation.
type claim struct {
	generation int32
	tp         messages.TopicPartition
}

// groupOwner is a member that was told that a partition is its own.
type groupOwner struct{ member, instance string }

// entry is a commit of one partition's offset.
type entry struct {
	tp      messages.TopicPartition
	number  int // of that partition's, from 1
	call    uint32
	who     group.Member
	settled int32 // the latest generation that was settled when it was asked for
	fenced  bool  // so was the member
}

func newLedger(s *Sim, name string) *ledger {
	return &ledger{s: s, name: name, entries: map[messages.TopicPartition]*commits{}, owners: map[claim]groupOwner{}, fenced: map[string]bool{}}
}

func (l *ledger) of(tp messages.TopicPartition) *commits {
	c := l.entries[tp]
	if c == nil {
		c = &commits{}
		l.entries[tp] = c
	}
	return c
}

// asks takes a commit that is about to be asked for.
func (l *ledger) asks(who group.Member, tp messages.TopicPartition, offset messages.Offset) entry {
	c := l.of(tp)
	c.asked = append(c.asked, offset)
	call := l.s.notes.commits(l.name, tp, offset)
	return entry{tp: tp, number: len(c.asked), call: call, who: who, settled: l.settled, fenced: l.fenced[who.MemberID]}
}

// acknowledged takes its success. Who was out when it was asked for must not have any.
func (l *ledger) acknowledged(e entry) {
	l.s.count("group: commit acknowledged")
	if e.who.MemberID != "" && (e.who.Generation < e.settled || e.fenced) {
		l.s.wrong("zombie-commit", "group %s: %s commits %v in generation %d, after generation %d was settled (its place was another's: %v)",
			l.name, e.who.MemberID, e.tp, e.who.Generation, e.settled, e.fenced)
	}
	c := l.of(e.tp)
	c.acked = max(c.acked, e.number)
	l.s.notes.committed(e.call)
}

// reading is a question for a committed offset that has no answer yet.
type reading struct {
	tp    messages.TopicPartition
	floor int // number of what was acknowledged by then
	call  uint32
}

func (l *ledger) reads(tp messages.TopicPartition) reading {
	return reading{tp, l.of(tp).acked, l.s.notes.fetching(l.name, tp)}
}

// read takes the answer; NoOffset: nothing is committed. It must be what was
// acknowledged last, or what was asked for later.
func (l *ledger) read(r reading, offset messages.Offset) {
	l.s.notes.fetched(r.call, offset)
	c := l.of(r.tp)
	if r.floor == 0 && offset == messages.NoOffset {
		return
	}
	for i := max(r.floor-1, 0); i < len(c.asked); i++ {
		if c.asked[i] == offset {
			c.acked = max(c.acked, i+1)
			return
		}
	}
	l.s.wrong(string(history.CommitRegression), "group %s: the offset of %v is %d, after the commit number %d of %v was acknowledged", l.name, r.tp, offset, r.floor, c.asked)
}

// settles takes the part of a generation that a member was told. lowest is the
// latest generation that was settled when it asked to join.
func (l *ledger) settles(who group.Member, lowest int32, assigned []messages.TopicPartition) {
	if who.Generation < lowest {
		l.s.wrong("generation-falls", "group %s: %s is in generation %d, and joined after generation %d was settled", l.name, who.MemberID, who.Generation, lowest)
	}
	l.settled = max(l.settled, who.Generation)
	for _, tp := range assigned {
		key, now := claim{who.Generation, tp}, groupOwner{who.MemberID, who.InstanceID}
		before, known := l.owners[key]
		if known && before != now && (now.instance == "" || before.instance != now.instance) {
			l.s.wrong("overlapping-claims", "group %s: in generation %d %v is %s's and %s's", l.name, who.Generation, tp, before.member, who.MemberID)
		}
		if known && before.member != now.member {
			earlier, later := inOrder(before, now) // the answers may come the other way round
			l.fenced[earlier.member] = true
			now = later
		}
		l.owners[key] = now
	}
}

// inOrder gives two starts of a static member, the one first that came first: names are
// given in that order.
func inOrder(a, b groupOwner) (earlier, later groupOwner) {
	if given(a.member) < given(b.member) {
		return a, b
	}
	return b, a
}

// given is the number at the end of a member's id, which counts all that were given.
func given(id string) int {
	n, err := strconv.Atoi(id[strings.LastIndexByte(id, '-')+1:])
	if err != nil {
		panic(fmt.Sprintf("member id %q: %v", id, err))
	}
	return n
}

// behind reports whether less is known to be committed than a partition holds.
func (l *ledger) behind(tp messages.TopicPartition, end messages.Offset) bool {
	c, at := l.of(tp), messages.Offset(0)
	if c.acked > 0 {
		at = c.asked[c.acked-1]
	}
	return at < end && !l.s.model.books[tp].mayBeGone(at, end)
}
