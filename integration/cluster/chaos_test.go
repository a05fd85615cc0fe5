//go:build cluster

package cluster

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/integration/history"
)

var (
	minutes    = flag.Float64("minutes", 0, "how long TestChaos hurts a cluster; 0: it is left out")
	brokerFlag = flag.Int("brokers", 0, "of TestChaos, 3 to 5; 0: as the seed has it")
	power      = flag.Bool("power", false, "TestChaos's brokers have disks in memory that forget what was not synced")
	chaosOnly  = flag.String("faults", "", "names of the faults that TestChaos may choose, NAME,NAME...; empty: all")
	chaosOut   = flag.String("chaos-report", "", "the HTML file that TestChaos writes")
	chaosKeeps = flag.String("chaos-history", "", "the history that TestChaos writes; empty: none is kept")
)

// chaos is a cluster that is hurt at random for a while, with clients of many kinds
// at work, and then must have kept every promise.
//
//	start ──▶ hurt: fault, heal, fault, heal, quiet, ... ──time, Ctrl-C──▶ heal ──▶ read all ──▶ judge
type chaos struct {
	*trial
	plain  *loads // of a producer without idempotence
	groups []*groupMember
	tables *tables
	time   *timeline
	admin  adminLoad
	able   []ill // what this machine can do
	unable []string
}

// TestChaos is run by `make chaos MINUTES=`.
func TestChaos(t *testing.T) {
	if *minutes <= 0 {
		return
	}
	stop, end := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	defer end()
	c := startChaos(t)
	defer c.report()
	hurt, cancel := context.WithTimeout(stop, time.Duration(*minutes*float64(time.Minute)))
	defer cancel()
	c.hurt(hurt)
	if t.Context().Err() == nil {
		c.conclude()
	}
}

func startChaos(t *testing.T) *chaos {
	t.Helper()
	h := fnv.New64a()
	h.Write([]byte("chaos"))
	rnd := rand.New(rand.NewPCG(*seed, h.Sum64()))
	brokers := *brokerFlag
	if brokers == 0 {
		brokers = 3 + rnd.IntN(3)
	}
	c := &chaos{trial: &trial{cluster: startCluster(t, options{consuls: 3, brokers: brokers, power: *power}), rand: rnd}}
	c.checks = history.NewChecker()
	recorder := history.NewRecorder(c.sinks(t))
	c.createTopic(topic, partitions, 3, map[string]string{"min.insync.replicas": "2"})
	c.createTopic(plainTopic, partitions, 3, map[string]string{"min.insync.replicas": "2"})
	c.loads = &loads{topic: topic, partitions: partitions, size: *size, history: recorder}
	c.plain = &loads{topic: plainTopic, partitions: partitions, size: *size, history: recorder}
	for _, kind := range clientKinds {
		cl, err := newClient(kind, topic, partitions, c.seeds())
		must(t, err)
		_, err = c.loads.add(t.Context(), kind, cl, *rate, c.healedAt)
		must(t, err)
	}
	repeating, err := newFranz(plainTopic, c.seeds(), kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	must(t, err)
	c.plain.repeats = true
	_, err = c.plain.add(t.Context(), franzGo, repeating, *rate, c.healedAt)
	must(t, err)
	c.startGroups(t, recorder)
	c.tables = startTables(t, c.cluster, recorder)
	c.time = startTimeline(t, c)
	c.admin.start(t, c.cluster, rand.New(rand.NewPCG(*seed, 7)))
	c.tryOut(t.Context())
	return c
}

const plainTopic = "plain"

// sinks are who takes the history: the checker, and a file if one is wanted.
func (c *chaos) sinks(t *testing.T) history.Sink {
	if *chaosKeeps == "" {
		return c.checks
	}
	f, err := os.Create(*chaosKeeps)
	must(t, err)
	w := history.NewWriter(f)
	t.Cleanup(func() {
		if err := errors.Join(w.Flush(), f.Close()); err != nil {
			t.Error(err)
		}
	})
	return history.Tee{c.checks, w}
}

// hurt has faults happen until the time is over.
func (c *chaos) hurt(ctx context.Context) {
	for number := 0; ctx.Err() == nil; number++ {
		if c.rand.IntN(4) == 0 {
			c.time.begin("quiet", "")
			sleep(ctx, chance(c.rand, 3*time.Second, 12*time.Second))
			c.time.over(0)
			continue
		}
		if err := c.once(ctx, c.able[c.rand.IntN(len(c.able))], number); err != nil {
			c.t.Errorf("fault %d: %v", number, err)
			return
		}
	}
}

// once has one fault happen and waits until all goes on.
func (c *chaos) once(ctx context.Context, what ill, number int) error {
	always := c.t.Context() // what was begun is ended, even if it is time to stop
	var before view
	err := await(always, "a node to say who leads", func(ctx context.Context) (err error) {
		before, err = c.view(ctx, nil, topic)
		return err
	})
	if err != nil {
		return err
	}
	r := &round{cluster: c.cluster, loads: c.loads, rand: c.rand, number: number, before: before}
	r.victim = c.choose(what.victim, before)
	c.t.Logf("%s fault %d: %s, node %d; controller %d, leaders %v", time.Now().Format("15:04:05.000"), number, what.name, r.victim.id, before.controller, leaders(before))
	c.time.begin(what.name, fmt.Sprint("node ", r.victim.id))
	if err := what.happen(always, r); err != nil {
		return fmt.Errorf("%s: %w", what.name, err)
	}
	hold := chance(c.rand, time.Second, 6*time.Second)
	if what.hold > 0 {
		hold = what.hold
	}
	if what.lasts || what.heal != nil && c.rand.IntN(2) == 0 {
		sleep(ctx, hold)
	}
	if what.heal != nil {
		if err := what.heal(always, r); err != nil {
			return fmt.Errorf("%s is to be healed: %w", what.name, err)
		}
	}
	now := time.Now()
	c.healed.Store(&now)
	if err := errors.Join(c.loads.progressOf(always, probe), c.problems()); err != nil {
		return fmt.Errorf("after %s: %w", what.name, err)
	}
	c.time.over(time.Since(now))
	if c.rand.IntN(4) > 0 { // now and then the next fault meets a cluster that is not whole yet
		if err := c.whole(always); err != nil {
			return fmt.Errorf("after %s: %w", what.name, err)
		}
	}
	return nil
}

// whole waits until all replicas are in sync.
func (c *chaos) whole(ctx context.Context) error {
	return errors.Join(c.awaitInSync(ctx, topic), c.awaitInSync(ctx, plainTopic))
}

func (c *chaos) problems() error {
	return errors.Join(c.loads.problems(), c.plain.problems())
}

// conclude heals everything, lets the clients come to their end, has all read
// again, and judges.
func (c *chaos) conclude() {
	ctx := c.t.Context()
	c.time.begin("the end", "")
	if err := errors.Join(c.net.heal(), startConsuls(ctx, &round{cluster: c.cluster})); err != nil {
		c.t.Error(err)
	}
	c.admin.stop()
	c.endGroups()
	for _, ls := range []*loads{c.loads, c.plain} {
		if err := errors.Join(ls.end(ctx), c.awaitInSync(ctx, ls.topic)); err != nil {
			c.t.Errorf("%s: the end: %v", ls.topic, err)
		}
		ends, err := c.ends(ctx, ls.topic)
		if err != nil {
			c.t.Error(err)
			continue
		}
		c.tables.ends[ls.topic] = ends
		if err := errors.Join(c.readAgain(ctx, ls, ends), ls.problems()); err != nil {
			c.t.Error(err)
		}
	}
	c.time.stop()
	c.tables.verdict = c.checks.Verdict()
	for _, f := range c.tables.verdict.Findings[:min(len(c.tables.verdict.Findings), 20)] {
		c.t.Error(f)
	}
	if err := every(c.nodes, (*node).end); err != nil {
		c.t.Error(err)
	}
	for name, ends := range c.tables.ends {
		c.compare(name, ends)
	}
}

// report writes the page, whatever has come of it. What the processes wrote is kept when
// a healing took too long, since it may say why.
func (c *chaos) report() {
	if len(c.figures().late) > 0 {
		*keep = true
	}
	name := *chaosOut
	if name == "" {
		name = filepath.Join(os.TempDir(), "chaos.html")
	}
	text := c.page()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		c.t.Error(err)
		return
	}
	c.t.Logf("%s\nthe report is in %s", c.summary(), name)
}
