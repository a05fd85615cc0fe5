//go:build cluster

package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"understudy/integration/history"
)

// fault is something that happens to a cluster while clients are at work.
type fault struct {
	name    string
	consuls int // servers of Consul; 0: one
	victim  choice
	happen  func(context.Context, *round) error
	heal    func(context.Context, *round) error
	hold    time.Duration                       // how long it lasts, if not *hold
	lasts   bool                                // it is healed after a time; otherwise when all goes on in spite of it
	check   func(r *round) error                // of what came of it; may be nil
	elected func(context.Context, *round) error // checks who leads in spite of it; may be nil
}

// choice says which node is the victim. All of them lead some partition, if one does.
type choice uint8

const (
	leading    choice = iota // whichever
	leadOnly                 // not the controller
	leadAndRun               // the controller
	following                // a node that leads as few partitions as possible, and is not the controller
	someone                  // see numbered
)

// numbered is the choice of a node by its place among the nodes.
func numbered(i int) choice { return someone + choice(i) }

// round is one fault's happening.
type round struct {
	*cluster
	loads         *loads
	rand          *rand.Rand
	number        int
	before, after view
	victim        *node
	starts        map[int32]start // of all nodes
	killed        time.Time       // or whatever happened
}

var faults = []fault{
	{name: "nothing", happen: func(context.Context, *round) error { return nil }, lasts: true, check: sameLeaders},
	{name: "kill-leader", victim: leadOnly, happen: kill, heal: restart, elected: notTheRecent},
	{name: "kill-leader-controller", victim: leadAndRun, happen: kill, heal: restart, elected: notTheRecent},
	{name: "kill-follower", victim: following, happen: kill, heal: restart},
	{name: "freeze-leader", victim: leading, happen: freeze, heal: thaw, lasts: true},
	{name: "freeze-follower", victim: following, happen: freeze, heal: thaw, lasts: true},
	{name: "term", victim: leading, happen: terminate, heal: restart},
	{name: "cut-all", consuls: 3, victim: leading, lasts: true, heal: mend, happen: func(_ context.Context, r *round) error {
		return r.net.cut(append(between(r.victim.place, r.peersOf(r.victim)...), between(r.victim.place, r.consulPlaces()...)...)...)
	}},
	{name: "cut-all-and-clients", consuls: 3, victim: leading, lasts: true, heal: mend, happen: func(_ context.Context, r *round) error {
		others := append(append(r.peersOf(r.victim), r.consulPlaces()...), r.clients)
		return r.net.cut(between(r.victim.place, others...)...)
	}},
	{name: "cut-consul", consuls: 3, victim: leading, lasts: true, heal: mend, check: sameLeaders, happen: func(_ context.Context, r *round) error {
		return r.net.cut(between(r.victim.place, r.consulPlaces()...)...)
	}},
	{name: "cut-consul-agent", consuls: 3, victim: leading, lasts: true, heal: mend, check: sameLeaders, happen: func(_ context.Context, r *round) error {
		own, others := r.consulOf(r.victim).place, []*place(nil)
		for _, p := range r.consulPlaces() {
			if p != own {
				others = append(others, p)
			}
		}
		return r.net.cut(between(own, others...)...)
	}},
	{name: "cut-machine", consuls: 3, victim: leading, lasts: true, heal: mend, happen: func(_ context.Context, r *round) error {
		own := r.consulOf(r.victim).place
		var others []*place
		for _, p := range r.consulPlaces() {
			if p != own {
				others = append(others, p)
			}
		}
		others = append(others, r.peersOf(r.victim)...)
		return r.net.cut(append(between(r.victim.place, others...), between(own, others...)...)...)
	}},
	{name: "cut-peers", consuls: 3, victim: leading, lasts: true, heal: mend, happen: func(_ context.Context, r *round) error {
		return r.net.cut(between(r.victim.place, r.peersOf(r.victim)...)...)
	}},
	{name: "cut-one-peer", consuls: 3, victim: leading, lasts: true, heal: mend, happen: func(_ context.Context, r *round) error {
		peers := r.peersOf(r.victim)
		return r.net.cut(between(r.victim.place, peers[r.rand.IntN(len(peers))])...)
	}},
	{name: "cut-from-leader", consuls: 3, victim: leading, lasts: true, heal: mend, happen: func(_ context.Context, r *round) error {
		return r.net.cut(oneWay(r.victim.place, append(r.peersOf(r.victim), r.consulPlaces()...)...)...)
	}},
	{name: "cut-to-leader", consuls: 3, victim: leading, lasts: true, heal: mend, happen: func(_ context.Context, r *round) error {
		return r.net.cut(toward(r.victim.place, append(r.peersOf(r.victim), r.consulPlaces()...)...)...)
	}},
	{name: "kill-consul-leader", consuls: 3, check: sameLeaders, lasts: true, happen: killConsulLeader, heal: startConsuls},
	{name: "kill-all", happen: killAll, heal: awaitAll},
}

// kill ends the victim at once.
func kill(_ context.Context, r *round) error {
	r.victim.Kill()
	return nil
}

func restart(ctx context.Context, r *round) error  { return r.victim.Restart(ctx) }
func freeze(_ context.Context, r *round) error     { return r.victim.freeze() }
func thaw(_ context.Context, r *round) error       { return r.victim.thaw() }
func terminate(_ context.Context, r *round) error  { return r.victim.end() }
func mend(_ context.Context, r *round) error       { return r.net.heal() }
func awaitAll(ctx context.Context, r *round) error { return nil }
func startConsuls(ctx context.Context, r *round) error {
	for _, a := range r.consuls {
		if a.cmd == nil {
			if err := a.start(); err != nil {
				return err
			}
		}
	}
	return nil
}

func killConsulLeader(ctx context.Context, r *round) error {
	return await(ctx, "a server of Consul's to lead", func(ctx context.Context) error {
		for _, a := range r.consuls {
			if a.cmd != nil && a.leads(ctx) {
				a.kill()
				return nil
			}
		}
		return errors.New("none leads")
	})
}

// killAll ends all nodes at about the same time, and starts them in any order.
func killAll(ctx context.Context, r *round) error {
	for _, i := range r.rand.Perm(len(r.nodes)) {
		r.nodes[i].Kill()
	}
	sleep(ctx, chance(r.rand, 0, 2*time.Second))
	starts := map[*node]time.Duration{}
	for _, n := range r.nodes {
		starts[n] = chance(r.rand, 0, 3*time.Second)
	}
	return every(r.nodes, func(n *node) error {
		sleep(ctx, starts[n])
		return n.Restart(ctx)
	})
}

// sameLeaders holds that nobody lost a leadership.
func sameLeaders(r *round) error {
	for i, b := range r.before.partitions {
		if a := r.after.partitions[i]; a.Leader != b.Leader || a.LeaderEpoch != b.LeaderEpoch {
			return fmt.Errorf("partition %d: leader %d in epoch %d, and %d in %d before", i, a.Leader, a.LeaderEpoch, b.Leader, b.LeaderEpoch)
		}
	}
	return nil
}

// findTime is for how long librdkafka may not look whether a node is back.
const findTime = 10 * time.Second

// start is when a node was last started, and when it was ready.
type start struct{ began, ready time.Time }

// notTheRecent holds that nobody was elected who came back a moment ago, so that
// clients may not have found it again, while the third node has been there for long.
func notTheRecent(ctx context.Context, r *round) error {
	now, err := r.view(ctx, nil, r.loads.topic)
	if err != nil {
		return err
	}
	var recent, steady []int32
	for _, n := range r.nodes {
		if s := r.starts[n.id]; n != r.victim && time.Since(s.began) < findTime {
			recent = append(recent, n.id)
		} else if n != r.victim && r.killed.Sub(s.ready) >= findTime {
			steady = append(steady, n.id)
		}
	}
	if len(recent) != 1 || len(steady) != 1 || now.controller == recent[0] { // which cannot know
		return nil
	}
	for i, p := range now.partitions {
		if r.before.partitions[i].Leader == r.victim.id && p.Leader == recent[0] {
			return fmt.Errorf("partition %d: node %d was elected, which came back a moment ago, and not node %d", i, p.Leader, steady[0])
		}
	}
	return nil
}

// trial is a cluster with clients at work.
type trial struct {
	*cluster
	starts map[int32]start // of all nodes
	loads  *loads
	checks *history.Checker
	rand   *rand.Rand
	healed atomic.Pointer[time.Time]
}

// clientKinds are who is at work.
var clientKinds = []string{franzGo, librdkafka, probe}

const (
	topic      = "orders"
	partitions = 6
)

func startTrial(t *testing.T, o options) *trial {
	t.Helper()
	h := fnv.New64a()
	h.Write([]byte(t.Name()))
	began := time.Now()
	tr := &trial{cluster: startCluster(t, o), starts: map[int32]start{}, rand: rand.New(rand.NewPCG(*seed, h.Sum64()))}
	for _, n := range tr.nodes {
		tr.starts[n.id] = start{began, time.Now()}
	}
	tr.createTopic(topic, partitions, min(3, o.brokers), nil)
	tr.checks = history.NewChecker()
	tr.loads = &loads{topic: topic, partitions: partitions, size: *size, history: history.NewRecorder(tr.checks)}
	for _, kind := range clientKinds {
		cl, err := newClient(kind, topic, partitions, tr.seeds())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tr.loads.add(t.Context(), kind, cl, *rate, tr.healedAt); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func (tr *trial) healedAt() time.Time {
	if at := tr.healed.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// TestFaults has each fault happen, again and again, to a cluster at work.
func TestFaults(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			tr := startTrial(t, options{consuls: max(f.consuls, 1), brokers: 3})
			for i := range *repeats {
				if err := tr.round(t.Context(), f, i); err != nil {
					t.Errorf("round %d: %v", i+1, err)
					break
				}
			}
			tr.judge(tr.loads, tr.checks)
		})
	}
}

// round has one fault happen and waits until all is well again.
func (tr *trial) round(ctx context.Context, f fault, number int) error {
	if err := tr.steady(ctx); err != nil {
		return fmt.Errorf("before: %w", err)
	}
	r := &round{cluster: tr.cluster, loads: tr.loads, rand: tr.rand, number: number, starts: tr.starts}
	var err error
	if r.before, err = tr.view(ctx, nil, tr.loads.topic); err != nil {
		return err
	}
	r.victim = tr.choose(f.victim, r.before)
	tr.healed.Store(nil)
	tr.loads.beginWindow()
	tr.t.Logf("%s round %d: victim %d, controller %d, leaders %v", time.Now().Format("15:04:05.000"), number+1, r.victim.id, r.before.controller, leaders(r.before))
	r.killed = time.Now()
	if err := f.happen(ctx, r); err != nil {
		return err
	}
	if f.lasts || f.hold > 0 {
		sleep(ctx, cmp.Or(f.hold, *hold))
	} else if err := tr.loads.progress(ctx); err != nil {
		return fmt.Errorf("in spite of it: %w", err)
	}
	if f.elected != nil {
		if err := f.elected(ctx, r); err != nil {
			return err
		}
	}
	now := time.Now()
	tr.healed.Store(&now)
	if f.heal != nil {
		if err := f.heal(ctx, r); err != nil {
			return err
		}
		tr.starts[r.victim.id] = start{now, time.Now()}
	}
	if err := errors.Join(tr.loads.progress(ctx), tr.awaitInSync(ctx, tr.loads.topic), tr.loads.problems()); err != nil {
		return fmt.Errorf("afterwards: %w", err)
	}
	if r.after, err = tr.view(ctx, nil, tr.loads.topic); err != nil {
		return err
	}
	line := ""
	window := tr.loads.endWindow(func(p int) bool { return r.before.partitions[p].Leader == r.victim.id })
	for _, name := range clientKinds {
		g := window[name]
		noteGaps(f.name, name, g)
		line += fmt.Sprintf("  %s %.2f, %.2f, %.2f", name, g.led.Seconds(), g.followed.Seconds(), g.consume.Seconds())
	}
	tr.t.Logf("%s round %d over:%s", time.Now().Format("15:04:05.000"), number+1, line)
	if f.check != nil {
		return f.check(r)
	}
	return nil
}

func leaders(v view) (list []int32) {
	for _, p := range v.partitions {
		list = append(list, p.Leader)
	}
	return list
}

// steady waits until the cluster is whole, with its leaders where they belong, and
// clients have found all of it.
func (tr *trial) steady(ctx context.Context) error {
	if err := errors.Join(tr.consuls[0].awaitWhole(ctx, len(tr.consuls)), tr.awaitInSync(ctx, tr.loads.topic)); err != nil {
		return err
	}
	if _, err := kadm.NewClient(tr.admin).ElectLeaders(ctx, kadm.ElectPreferredReplica, nil); err != nil {
		return err
	}
	sleep(ctx, chance(tr.rand, *settle, *settle*3/2))
	return errors.Join(tr.loads.progress(ctx), tr.awaitInSync(ctx, tr.loads.topic))
}

// choose picks a victim.
func (tr *trial) choose(c choice, v view) *node {
	if c >= someone {
		return tr.nodes[c-someone]
	}
	leads := map[int32]int{}
	for _, p := range v.partitions {
		leads[p.Leader]++
	}
	var fit []*node
	for _, n := range tr.nodes {
		controls := n.id == v.controller
		switch c {
		case leading:
			if leads[n.id] > 0 {
				fit = append(fit, n)
			}
		case leadOnly:
			if leads[n.id] > 0 && !controls {
				fit = append(fit, n)
			}
		case leadAndRun:
			if controls {
				fit = append(fit, n)
			}
		case following:
			if !controls && (len(fit) == 0 || leads[n.id] <= leads[fit[0].id]) {
				fit = []*node{n}
			}
		}
	}
	if len(fit) == 0 {
		return tr.nodes[tr.rand.IntN(len(tr.nodes))]
	}
	return fit[tr.rand.IntN(len(fit))]
}
