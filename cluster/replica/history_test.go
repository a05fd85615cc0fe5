package replica_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/batch"
)

var (
	seedFlag      = flag.Uint64("seed", 0, "run the one random history of this seed, and print it")
	historiesFlag = flag.Int("histories", 3000, "number of random histories")
)

// TestHistories runs thousands of short random histories: producers, a network
// that loses, doubles and overtakes, crashes, power cuts, elections good and
// superfluous, late metadata. Invariants are checked after every step; at the
// end everything heals, and must come to rest complete and identical.
func TestHistories(t *testing.T) {
	total := runHistories(t, *historiesFlag, false)
	for _, what := range []string{
		"acked", "compacted", "BecameLeader", "SteppedDown", "Truncated", "ISRProposed", "ISRChanged", "ISRRefused", "Resigned", "deleted", "confirmed",
		"answer: not leader", "answer: not enough in-sync replicas", "answer: not enough in-sync replicas after append", "answer: request timed out",
	} {
		t.Logf("%8d  %s", total[what], what)
		if total[what] == 0 && *seedFlag == 0 {
			t.Errorf("no history came to: %s", what)
		}
	}
}

// TestLossyHistories is the same with write caching, unclean elections or both:
// committed records may be lost, but the replicas must go on and become the same.
func TestLossyHistories(t *testing.T) {
	total := runHistories(t, *historiesFlag/3, true)
	for _, what := range []string{"lost", "Recovered"} {
		t.Logf("%8d  %s", total[what], what)
		if total[what] == 0 && *seedFlag == 0 {
			t.Errorf("no history came to: %s", what)
		}
	}
}

// runHistories runs as many histories, or the one asked for, and adds up how
// often they came to what.
func runHistories(t *testing.T, n int, lossy bool) map[string]int {
	if *seedFlag != 0 {
		return runHistory(t, *seedFlag, lossy, true)
	}
	if testing.Short() {
		n /= 10
	}
	total := map[string]int{}
	for seed := uint64(1); seed <= uint64(n) && !t.Failed(); seed++ {
		for what, times := range runHistory(t, seed, lossy, false) {
			total[what] += times
		}
	}
	return total
}

// history is a world in which chance decides.
type history struct {
	*world
	rnd     *rand.Rand
	faults  int // of 1000 steps
	compact int // likewise: logs are compacted so often
	seq     int64
	assigns []late
	downs   []late
}

// late is metadata, or news of a node, on its way to one node.
type late struct {
	to   messages.BrokerID
	meta replica.Assignment
	peer replica.Member
	down bool
}

// runHistory runs one, and says how often it came to what.
func runHistory(t *testing.T, seed uint64, lossy, verbose bool) map[string]int {
	rnd := rand.New(rand.NewPCG(seed, 1))
	s := replica.Settings{MinInSync: 1 + rnd.IntN(2), LagTimeMax: 2000, Window: int64(100 << rnd.IntN(6))}
	if lossy {
		what := 1 + rnd.IntN(3)
		s.WriteCaching, s.UncleanElection = what&1 != 0, what&2 != 0
	}
	h := &history{rnd: rnd, faults: max(0, rnd.IntN(80)-20), compact: max(0, rnd.IntN(120)-40)}
	step := 0
	h.world = newWorldWith(2+rnd.IntN(3), s, func(w *world) {
		w.wrong = func(format string, args ...any) {
			t.Helper()
			t.Errorf("seed %d, step %d: %s\nreplay: go test ./cluster/replica -run '%s$' -seed %d -v", seed, step, fmt.Sprintf(format, args...), t.Name(), seed)
			panic(errStopped)
		}
		w.lossy, w.keys = lossy, 4
		if verbose {
			w.trace = func(format string, args ...any) { t.Logf("%4d  %s", step, fmt.Sprintf(format, args...)) }
		}
	})
	defer func() {
		if p := recover(); p != nil && p != errStopped {
			t.Errorf("seed %d, step %d: panic, replay with -seed %d", seed, step, seed)
			panic(p)
		}
	}()
	h.ctl.elect(1)
	h.tellAll()
	for steps := 200 + rnd.IntN(800); step < steps; step++ {
		h.step()
	}
	h.heal(&step)
	return h.seen
}

// step does one thing. Faults come in every history at another rate, and in
// none of it a quarter of the time.
func (h *history) step() {
	n := h.nodes[h.rnd.IntN(len(h.nodes))]
	if h.rnd.IntN(1000) < h.faults {
		switch h.rnd.IntN(3) {
		case 0:
			h.fault(n)
		case 1:
			if !n.up {
				h.restart(n)
			}
		case 2:
			h.link(n)
		}
		return
	}
	if n.up && h.rnd.IntN(1000) < h.compact {
		h.world.compact(n)
	}
	switch p := h.rnd.IntN(100); {
	case p < 15:
		h.produce(n)
	case p < 55:
		h.network()
	case p < 75:
		h.flushed(n)
	case p < 83:
		h.news()
	case p < 88:
		h.now += int64(h.rnd.IntN(300))
		if n.up {
			h.tick(n)
		}
	case p < 93:
		if n.up && len(n.reads) > 0 {
			h.load(n)
		}
	case p < 97:
		h.control()
	case p < 99:
		h.makeSure(n)
	default:
		h.deleteRecords(n)
	}
}

func (h *history) produce(n *node) {
	leads := func(n *node) bool { return n.up && n.r.Status().Role == replica.Leader }
	if i := slices.IndexFunc(h.nodes, leads); i >= 0 && h.rnd.IntN(4) > 0 {
		n = h.nodes[i]
	}
	if !n.up {
		return
	}
	h.seq++
	req := &request{name: fmt.Sprint("p", h.seq), id: h.seq, records: 1 + h.rnd.IntN(3), acks: messages.AcksAll}
	if h.rnd.IntN(4) == 0 {
		req.acks = messages.AcksLeader
	}
	deadline := int64(0)
	if h.rnd.IntN(10) == 0 {
		deadline = h.now + 1000
	}
	h.propose(n, req, 70+h.rnd.IntN(100), deadline)
}

// network delivers a message: mostly the oldest, sometimes any, now and then
// twice or not at all.
func (h *history) network() {
	if len(h.net) == 0 {
		return
	}
	i := 0
	if h.rnd.IntN(4) == 0 {
		i = h.rnd.IntN(len(h.net))
	}
	switch h.rnd.IntN(40) {
	case 0:
		h.trace("loses %v", &h.net[i].m)
		h.net = slices.Delete(h.net, i, i+1)
	case 1:
		p := h.net[i]
		h.receive(p) // and again later
	default:
		h.deliver(i)
	}
}

// news delivers metadata, or news of a node, in any order.
func (h *history) news() {
	if i := len(h.assigns); i > 0 {
		i = h.rnd.IntN(i)
		a := h.assigns[i]
		h.assigns = slices.Delete(h.assigns, i, i+1)
		if n := h.node(a.to); n.up {
			n.r.Assign(a.meta)
			h.perform(n)
		}
	}
	if len(h.downs) > 0 {
		d := h.downs[0]
		h.downs = h.downs[1:]
		h.peer(d)
	}
}

func (h *history) peer(d late) {
	n := h.node(d.to)
	if !n.up {
		return
	}
	if d.down {
		n.r.PeerDown(d.peer.ID)
	} else {
		n.r.PeerUp(d.peer)
	}
	h.perform(n)
}

// control lets the controller decide something: what it is asked for, the
// election of another leader in place of one that is down, or for no reason.
func (h *history) control() {
	c := &h.ctl
	revision := c.meta.Revision
	switch {
	case len(c.changes) > 0 && h.rnd.IntN(3) > 0:
		if h.rnd.IntN(10) == 0 {
			c.changes = c.changes[1:] // lost; it is asked again
			return
		}
		if h.rnd.IntN(6) == 0 {
			c.changes = append(c.changes, c.changes[0]) // and it comes again
		}
		c.grant()
	case len(c.resigned) > 0:
		c.resign()
	case c.meta.Leader == messages.NoBroker || c.down[c.meta.Leader]:
		if h.settings.UncleanElection && h.rnd.IntN(3) == 0 {
			h.electUnclean()
			break
		}
		if h.rnd.IntN(3) == 0 {
			h.dropDown()
		}
		c.electAny()
	case h.rnd.IntN(1000) < 2*h.faults:
		up := slices.DeleteFunc(slices.Clone(c.meta.ISR), func(id messages.BrokerID) bool { return c.down[id] })
		if len(up) > 0 {
			c.elect(up[h.rnd.IntN(len(up))])
		}
	}
	if c.meta.Revision != revision {
		h.tellAll()
	}
}

// electUnclean elects somebody who is up, whatever it has.
func (h *history) electUnclean() {
	c := &h.ctl
	n := h.nodes[h.rnd.IntN(len(h.nodes))]
	if c.down[n.id] {
		return
	}
	c.meta.ISR = []messages.BrokerID{n.id}
	c.meta.UncleanEpoch = c.meta.Epoch + 1
	c.elect(n.id)
}

// dropDown takes those that are down out of the in-sync set, but not the last.
func (h *history) dropDown() {
	c := &h.ctl
	isr := slices.DeleteFunc(slices.Clone(c.meta.ISR), func(id messages.BrokerID) bool { return c.down[id] })
	if len(isr) > 0 {
		c.meta.ISR = isr
	}
}

// tellAll sends the metadata as it is now to everybody.
func (h *history) tellAll() {
	for _, n := range h.nodes {
		h.assigns = append(h.assigns, late{to: n.id, meta: h.ctl.meta})
	}
}

func (h *history) deleteRecords(n *node) {
	if !n.up {
		return
	}
	h.seq++
	req := &request{name: fmt.Sprint("d", h.seq), id: h.seq, deletes: true}
	n.open[req] = true
	s := n.r.Status()
	n.r.DeleteBefore(s.LogStart+h.rnd.Int64N(s.HighWatermark-s.LogStart+1), req)
	h.perform(n)
}

func (h *history) makeSure(n *node) {
	if !n.up {
		return
	}
	h.seq++
	deadline := int64(0)
	if h.rnd.IntN(4) == 0 {
		deadline = h.now + 1000
	}
	h.confirm(n, &request{name: fmt.Sprint("c", h.seq), id: h.seq}, deadline)
}

func (h *history) fault(n *node) {
	if !n.up {
		return
	}
	switch h.rnd.IntN(7) {
	case 4:
		h.wipe(n)
	case 5, 6:
		h.reopen(n)
		return
	case 0, 1:
		h.trace("%d crashes", n.id)
		h.stop(n)
	case 2:
		h.trace("%d loses power", n.id)
		h.cutPower(n, h.rnd.IntN(4))
	case 3:
		h.trace("%d loses power, and its last truncation", n.id)
		h.cutPowerOldTail(n)
	}
	if n.up {
		return
	}
	h.drain(n)
	if h.rnd.IntN(3) > 0 {
		h.ctl.down[n.id] = true
		h.spread(late{peer: replica.Member{ID: n.id}, down: true})
	} else if h.rnd.IntN(2) == 0 {
		h.restart(n) // so fast that nobody noticed
	}
}

// reopen is what a supervisor does to a replica that has failed: the broker goes
// on, and messages of before are still on their way.
func (h *history) reopen(n *node) {
	h.trace("%d fails", n.id)
	led := n.r.Status().Epoch
	h.fail(n)
	if len(n.open) > 0 {
		h.wrong("%d: %d requests were not answered when it stopped", n.id, len(n.open))
	}
	h.cutPower(n, h.rnd.IntN(4))
	h.trace("%d is opened again with log [%d,%d)", n.id, n.disk.start, n.disk.end)
	h.open(n, led)
	h.ctl.tell(n)
}

// wipe replaces a node by one with an empty disk, which is safe after the
// controller has taken it out of the in-sync set.
func (h *history) wipe(n *node) {
	isr := &h.ctl.meta.ISR
	if in := slices.Contains(*isr, n.id); in && (len(*isr) == 1 || h.ctl.meta.Leader == n.id) {
		return
	} else if in {
		*isr = slices.DeleteFunc(slices.Clone(*isr), func(id messages.BrokerID) bool { return id == n.id })
		h.ctl.meta.Revision++
		h.tellAll()
	}
	h.trace("%d loses its disk", n.id)
	h.stop(n)
	n.disk = disk{}
	n.epoch++ // its old start is fenced: whatever it acknowledged counts no more
	h.wiped = true
}

// drain makes sure that a node's replica owes no answer to a request that will
// never come: a process that dies answers nothing.
func (h *history) drain(n *node) { clear(n.open) }

func (h *history) spread(news late) {
	for _, n := range h.nodes {
		if n.id != news.peer.ID {
			news.to = n.id
			h.downs = append(h.downs, news)
		}
	}
}

func (h *history) restart(n *node) {
	h.trace("%d restarts with log [%d,%d)", n.id, n.disk.start, n.disk.end)
	h.start(n)
	delete(h.ctl.down, n.id)
	delete(h.ctl.unfit, n.id)
	h.spread(late{peer: replica.Member{ID: n.id, Epoch: n.epoch}})
	if h.rnd.IntN(2) == 0 {
		h.assigns = append(h.assigns, late{to: n.id, meta: h.ctl.meta})
	} else {
		h.ctl.tell(n)
	}
}

// link cuts or heals a link in one direction.
func (h *history) link(n *node) {
	to := h.nodes[h.rnd.IntN(len(h.nodes))]
	k := [2]messages.BrokerID{n.id, to.id}
	h.cut[k] = !h.cut[k]
}

// heal ends all faults, and lets everything come to rest.
func (h *history) heal(step *int) {
	clear(h.cut)
	for _, n := range h.nodes {
		if !n.up {
			h.restart(n)
		}
	}
	for _, n := range h.nodes { // what was lost on the way is known to be, when links are new
		h.spread(late{peer: replica.Member{ID: n.id, Epoch: n.epoch}})
	}
	for len(h.net) > 0 {
		h.deliver(0)
	}
	for round := 0; ; round++ {
		*step++
		if round == 300 {
			h.wrong("does not come to rest:\n%v", h.world)
		}
		for len(h.net) > 0 {
			h.deliver(0)
		}
		for len(h.assigns)+len(h.downs) > 0 {
			h.news()
		}
		for _, n := range h.nodes {
			h.flushed(n)
			for len(n.reads) > 0 {
				h.load(n)
			}
		}
		revision := h.ctl.meta.Revision
		for len(h.ctl.changes) > 0 {
			h.ctl.grant()
		}
		for len(h.ctl.resigned) > 0 {
			h.ctl.resign()
		}
		if h.ctl.meta.Leader == messages.NoBroker {
			h.ctl.electAny()
		}
		if h.ctl.meta.Revision != revision {
			h.tellAll()
		}
		if h.atRest() {
			break
		}
		h.now += 100
		for _, n := range h.nodes {
			h.tick(n)
		}
	}
	h.final()
}

func (h *history) atRest() bool {
	busy := func(n *node) bool { return !n.r.Idle() || n.inSync || len(n.reads) > 0 }
	return len(h.net)+len(h.assigns)+len(h.downs)+len(h.ctl.changes)+len(h.ctl.resigned) == 0 &&
		len(h.ctl.meta.ISR) == len(h.nodes) && !slices.ContainsFunc(h.nodes, busy)
}

// final: one leads, all are in sync and identical, everybody is answered, and
// everything acknowledged is there.
func (h *history) final() {
	leader := h.node(h.ctl.meta.Leader)
	for _, n := range h.nodes {
		s := n.r.Status()
		if (n == leader) != (s.Role == replica.Leader) || s.Epoch != h.ctl.meta.Epoch || s.HighWatermark != leader.disk.end {
			h.wrong("has not healed:\n%v", h.world)
		}
		if len(n.open) > 0 {
			h.wrong("%d: %d requests were never answered", n.id, len(n.open))
		}
		for _, logs := range [][2][]batch.Batch{{n.disk.batches, leader.disk.batches}, {leader.disk.batches, n.disk.batches}} {
			if at, yes := differs(logs[0], logs[1]); yes {
				h.wrong("%d differs from the leader at %d", n.id, at)
			}
		}
	}
	for _, rec := range h.acked {
		if rec.next <= leader.disk.start {
			continue
		}
		h.checkAcked(rec)
	}
	h.checkComplete(leader)
}
