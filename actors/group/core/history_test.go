package core

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"understudy/messages"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run one random history: the one of this seed")
	seedsFlag = flag.Int("seeds", 100, "how many random histories to run")
)

// TestHistories has clients come, go, fall silent, be cut off and be started again,
// writes fail or be lost sight of, and the group move, all at random. After every step:
//
//   - what the group keeps twice agrees (check);
//   - of one generation each member is told one assignment, whenever it asks, and
//     no partition is two members';
//   - the generation that is written never falls;
//   - an offset that was committed is shown, and is there after a move, unless a
//     newer one is.
//
// In the end, when nothing fails any more, the group settles: whoever is there
// shares all partitions, and every request has been answered.
func TestHistories(t *testing.T) {
	first, n := uint64(1), *seedsFlag
	if *seedFlag != 0 {
		first, n = *seedFlag, 1
	}
	for seed := first; seed < first+uint64(n); seed++ {
		h := newHistory(t, seed)
		for range 400 {
			h.step()
		}
		h.settleDown()
		if t.Failed() {
			t.Fatalf("go test ./actors/group/core -run TestHistories -seed %d\n%s", seed, strings.Join(h.trace, "\n"))
		}
	}
}

// someone is a client that behaves as clients do.
type someone struct {
	name, instance string
	id             string
	generation     int32
	phase          phase
	gone           bool // will not do anything any more
	owned          string
	leads          []JoinedMember
}

type phase int

const (
	out phase = iota
	waitsToJoin
	joinedIn
	waitsToSync
	in
)

// question is a request that was asked.
type question struct {
	who      *someone
	answered bool
	commit   map[messages.TopicPartition]Committed
}

type history struct {
	t        *testing.T
	coins    *rand.Rand
	settings Settings
	g        *Group
	now      Time
	disk     disk
	flight   []Write
	open     []*question
	clients  []*someone
	told     map[string]string // generation and member: assignment
	owner    map[string]string // generation and partition: member
	acked    map[messages.TopicPartition]int64
	stored   int32
	fresh    int
	next     int64
	trace    []string
}

const shared = 6 // partitions of the topic

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{
		t: t, coins: rand.New(rand.NewPCG(seed, 1)), settings: DefaultSettings(), now: Time{1, 1_000_000},
		told: map[string]string{}, owner: map[string]string{}, acked: map[messages.TopicPartition]int64{},
	}
	h.g = New("g", &h.settings)
	return h
}

func (h *history) note(format string, args ...any) {
	h.trace = append(h.trace, fmt.Sprintf("%6d ", h.now.Clock)+fmt.Sprintf(format, args...))
}

func (h *history) wrong(format string, args ...any) {
	h.note("WRONG: "+format, args...)
	h.t.Errorf(format, args...)
}

func (h *history) step() {
	switch p := h.coins.IntN(100); {
	case p < 8 && len(h.clients) < 8:
		c := &someone{name: string(rune('a' + h.coins.IntN(26)))}
		if h.coins.IntN(3) == 0 {
			c.instance = fmt.Sprint("static", h.coins.IntN(3))
		}
		h.clients = append(h.clients, c)
	case p < 10 && len(h.open) > 0:
		h.hangUp(h.open[h.coins.IntN(len(h.open))])
	case p < 11:
		if c := h.someone(); c != nil {
			c.gone = true
			h.note("%s falls silent", c.name)
		}
	case p < 60:
		if c := h.someone(); c != nil {
			h.act(c)
		}
	case p < 75 && len(h.flight) > 0:
		h.finish(h.coins.IntN(10))
	case p < 77:
		h.move()
	case p < 79:
		h.note("expire")
		h.g.Expire(h.now, func(string) bool { return false })
	case p < 80 && h.coins.IntN(2) == 0:
		h.note("the topic grows")
		h.g.Grew(h.now, "orders")
	case p < 80:
		h.g.Heartbeat(h.now, Member{MemberID: "made-up", Generation: h.g.generation})
		h.g.Leave(h.now, []Leaving{{MemberID: "made-up"}, {InstanceID: "nobody"}})
	default:
		h.pass(h.coins.Int64N(2500))
	}
	h.settle()
}

// someone is a client that still does something.
func (h *history) someone() *someone {
	h.clients = slices.DeleteFunc(h.clients, func(c *someone) bool { return c.gone && c.phase != waitsToJoin && c.phase != waitsToSync })
	if len(h.clients) == 0 {
		return nil
	}
	if c := h.clients[h.coins.IntN(len(h.clients))]; !c.gone {
		return c
	}
	return nil
}

// act has a client do what it would do next.
func (h *history) act(c *someone) {
	switch p := h.coins.IntN(20); {
	case c.phase == out:
		h.join(c)
	case c.phase == joinedIn:
		h.sync(c)
	case c.phase != in:
	case p < 8:
		h.heartbeat(c)
	case p < 16:
		h.commit(c)
	case p < 17:
		h.note("%s leaves as %s", c.name, c.id)
		h.g.Leave(h.now, []Leaving{{MemberID: c.id, InstanceID: c.instance}})
		c.gone = true
	case p < 18 && c.instance != "":
		h.note("%s is started again", c.name)
		c.gone = true
		h.clients = append(h.clients, &someone{name: c.name, instance: c.instance})
	case p < 19:
		c.phase = out // it joins again
	}
}

// hangUp has the connection end on which somebody waits for an answer. It asks again
// on another, or does nothing any more. Nobody is told of commits.
func (h *history) hangUp(q *question) {
	c := q.who
	if q.commit != nil {
		return
	}
	c.gone = h.coins.IntN(2) == 0
	h.note("%s is cut off, for good: %v", c.name, c.gone)
	if c.phase == waitsToJoin || c.phase == waitsToSync {
		c.phase, c.owned = out, ""
	}
	q.answered = true
	h.g.Withdraw(h.now, q)
}

func (h *history) ask(c *someone) *question {
	q := &question{who: c}
	h.open = append(h.open, q)
	return q
}

func (h *history) join(c *someone) {
	h.note("%s joins as %q", c.name, c.id)
	c.phase = waitsToJoin
	h.fresh++
	h.g.Join(h.now, Join{
		MemberID: c.id, InstanceID: c.instance, Client: Client{ID: c.name}, SessionTimeout: 6000, RebalanceTimeout: 10_000,
		ProtocolType: "consumer", Protocols: []Protocol{{"range", subscription("t")}}, RequireMemberID: h.coins.IntN(2) == 0, CanSkipAssignment: true,
	}, fmt.Sprint(h.fresh), h.ask(c))
}

func (h *history) sync(c *someone) {
	h.note("%s asks for its assignment in generation %d", c.name, c.generation)
	c.phase = waitsToSync
	assignments := map[string][]byte{}
	for p := range shared {
		if n := len(c.leads); n > 0 {
			id := c.leads[p%n].MemberID
			assignments[id] = append(assignments[id], byte('0'+p))
		}
	}
	h.g.Sync(h.now, Sync{Member: c.member(), Assignments: assignments}, h.ask(c))
}

func (c *someone) member() Member {
	return Member{MemberID: c.id, InstanceID: c.instance, Generation: c.generation}
}

func (h *history) heartbeat(c *someone) {
	if err := h.g.Heartbeat(h.now, c.member()); err != nil {
		h.refused(c, err)
	}
}

func (h *history) commit(c *someone) {
	q := h.ask(c)
	q.commit = map[messages.TopicPartition]Committed{}
	for _, p := range c.owned {
		h.next++
		q.commit[messages.TopicPartition{Topic: "t", Partition: p - '0'}] = Committed{Offset: h.next}
	}
	h.g.Commit(h.now, Commit{Member: c.member(), Offsets: q.commit}, q)
}

// refused has a client do what clients do.
func (h *history) refused(c *someone, err error) {
	h.note("%s is refused: %v", c.name, err)
	c.phase, c.owned = out, ""
	switch messages.KindOf(err) {
	case messages.UnknownMemberID, messages.IllegalGeneration:
		c.id = ""
	case messages.FencedInstanceID:
		c.gone = true
	}
}

// finish tells how the oldest write has ended: well, not at all, or well without
// that anybody knows.
func (h *history) finish(luck int) {
	w := h.flight[0]
	h.flight = h.flight[1:]
	var err error
	if luck > 7 {
		err = errDisk
	}
	if luck != 9 {
		h.write(w)
	}
	h.note("written: %v", err)
	h.g.Written(h.now, err)
}

func (h *history) write(w Write) {
	h.disk.apply(w)
	if w.Forget { // what comes now is another group of the name
		h.stored = 0
		clear(h.told)
		clear(h.owner)
	}
	if w.Metadata != nil {
		if w.Metadata.Generation < h.stored {
			h.wrong("generation %d is written after %d", w.Metadata.Generation, h.stored)
		}
		h.stored = w.Metadata.Generation
	}
}

// move has another node take over. Of what was being written a part is there.
func (h *history) move() {
	n := h.coins.IntN(len(h.flight) + 1)
	h.note("the group moves; %d of %d writes are there", n, len(h.flight))
	for _, w := range h.flight[:n] {
		h.write(w)
	}
	h.flight = nil
	for _, q := range h.open {
		if c := q.who; c.phase == waitsToJoin || c.phase == waitsToSync {
			c.phase, c.owned = out, ""
		}
	}
	h.open = nil
	h.g = h.disk.load(h.now, &h.settings)
}

func (h *history) pass(ms int64) {
	end := h.now.Clock + ms
	for h.g.Deadline() > 0 && h.g.Deadline() <= end {
		ms := max(0, h.g.Deadline()-h.now.Clock)
		h.now.Clock, h.now.Wall = h.now.Clock+ms, h.now.Wall+ms
		h.g.Tick(h.now)
		h.settle()
	}
	h.now = Time{end, h.now.Wall + end - h.now.Clock}
}

func (h *history) settle() {
	var e Effects
	for h.g.Take(&e) {
		h.flight = append(h.flight, e.Writes...)
		for _, event := range e.Events {
			h.note("* %v", event)
		}
		for _, a := range e.Answers {
			h.answered(a.To.(*question), a.Value)
		}
	}
	h.open = slices.DeleteFunc(h.open, func(q *question) bool { return q.answered })
	check(h.t, h.g)
	for tp, offset := range h.acked {
		if now := h.g.Offsets([]messages.TopicPartition{tp})[tp].Offset; now < offset {
			h.wrong("%v was committed at %d and is at %d", tp, offset, now)
		}
	}
	if h.g.Gone() {
		h.g = h.disk.load(h.now, &h.settings)
	}
}

func (h *history) answered(q *question, value any) {
	if q.answered {
		h.wrong("answered twice: %s", describe(value))
	}
	q.answered = true
	c := q.who
	switch v := value.(type) {
	case Joined:
		h.note("%s: %s", c.name, describe(v))
		if messages.KindOf(v.Err) == messages.MemberIDRequired {
			c.id, c.phase = v.MemberID, out
		} else if v.Err != nil {
			h.refused(c, v.Err)
		} else {
			c.id, c.generation, c.leads, c.phase = v.MemberID, v.Generation, v.Members, joinedIn
		}
	case Synced:
		h.note("%s: %s", c.name, describe(v))
		if v.Err != nil {
			h.refused(c, v.Err)
			return
		}
		c.phase, c.owned = in, string(v.Assignment)
		h.assigned(c)
	case Done:
		if v.Err != nil {
			h.refused(c, v.Err)
			return
		}
		for tp, o := range q.commit {
			h.acked[tp] = max(h.acked[tp], o.Offset)
		}
	}
}

// assigned checks what a member is told to be its own.
func (h *history) assigned(c *someone) {
	// A static member keeps its assignment under another id.
	who := c.id
	if c.instance != "" {
		who = c.instance
	}
	key := fmt.Sprint(c.generation, who)
	if before, known := h.told[key]; known && before != c.owned {
		h.wrong("%s was told %q in generation %d and is told %q", who, before, c.generation, c.owned)
	}
	h.told[key] = c.owned
	for _, p := range c.owned {
		key := fmt.Sprint(c.generation, p)
		if other, taken := h.owner[key]; taken && other != who {
			h.wrong("partition %c is %s's and %s's in generation %d", p, other, who, c.generation)
		}
		h.owner[key] = who
	}
}

// settleDown lets everybody who is there do what is to be done, and nothing fail.
func (h *history) settleDown() {
	h.note("nothing fails any more")
	for range 100 {
		for _, c := range h.clients {
			if c.gone {
				continue
			}
			switch c.phase {
			case out:
				h.join(c)
			case joinedIn:
				h.sync(c)
			case in:
				h.heartbeat(c)
			}
			h.settle()
		}
		for len(h.flight) > 0 {
			h.finish(0)
			h.settle()
		}
		h.pass(1000)
	}
	alive, owned := 0, ""
	for _, c := range h.clients {
		if !c.gone {
			alive++
			owned += c.owned
		}
	}
	d := h.g.Describe()
	if alive > 0 && (d.State != Stable || len(d.Members) != alive || len(owned) != shared) {
		h.wrong("with %d there the group is %s with %d members, who have %q", alive, d.State, len(d.Members), owned)
	}
	if alive == 0 && d.State != Empty {
		h.wrong("nobody is there and the group is %s", d.State)
	}
	if len(h.open) > 0 {
		h.wrong("%d requests were never answered", len(h.open))
	}
}
