//go:build cluster

package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/integration/checker"
)

// The size of the group, and of what it consumes.
const (
	crewSize       = 12
	crewPartitions = 24
	crewRate       = 20 // records a second, for each partition
)

// turmoil is a group whose members come and go while brokers fall.
type turmoil struct {
	*crew
	rand    *rand.Rand
	due     time.Time // when the group can have noticed the last change
	changes map[string]int
	settles []time.Duration
	brokers sync.WaitGroup // that are being started again
	falls   chan struct{}  // has room for the one broker that may be down
}

// TestAGroupInTurmoil has members of two clients killed, frozen past their session,
// dismissed and added, static ones among them, and brokers killed, for some minutes.
// Every record must be processed, no partition be two members' at once where Kafka
// prevents it, and what was committed never go back.
func TestAGroupInTurmoil(t *testing.T) {
	c := startCluster(t, options{consuls: 1, brokers: 3})
	c.createTopic(topic, crewPartitions, 3, nil)
	tr := &turmoil{
		crew: c.newCrew("crew", topic, crewPartitions), rand: rand.New(rand.NewPCG(*seed, 24)),
		changes: map[string]int{}, falls: make(chan struct{}, 1),
	}
	ctx, cancel := context.WithTimeout(t.Context(), *duration)
	defer cancel()
	produced := tr.produce(ctx)
	watching, stopWatching := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	watch.Go(func() { tr.observe(watching) })

	for i := range crewSize {
		must(t, tr.add(i < crewSize/3)) // a third of them static
	}
	must(t, tr.settle(t.Context()))
	for ctx.Err() == nil && !t.Failed() {
		for range 1 + tr.rand.IntN(4) {
			must(t, tr.change(ctx))
			sleep(ctx, chance(tr.rand, 0, 2*time.Second))
		}
		must(t, tr.refill())
		must(t, tr.settle(t.Context()))
	}
	tr.brokers.Wait()
	tr.say("all brokers are in sync")
	ends := <-produced
	tr.say("all is acknowledged")
	must(t, tr.finish(ends))
	tr.say("all is committed")
	stopWatching()
	watch.Wait()
	tr.judge(ends)
}

// produce writes to all partitions until the context ends, and then gives how many
// records each has.
func (tr *turmoil) produce(ctx context.Context) <-chan map[checker.Partition]int64 {
	cl, err := kgo.NewClient(append(quickly, kgo.SeedBrokers(tr.seeds()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic(topic))...)
	must(tr.t, err)
	tr.t.Cleanup(cl.Close)
	produced := make(chan map[checker.Partition]int64, 1)
	go func() {
		ends := map[checker.Partition]int64{}
		for n := 0; sleep(ctx, time.Second/crewRate); n++ {
			for p := range int32(crewPartitions) {
				ends[checker.Partition{Topic: topic, Number: p}]++
				cl.Produce(context.Background(), &kgo.Record{Partition: p, Value: fmt.Append(nil, p, "-", n)}, func(_ *kgo.Record, err error) {
					if err != nil {
						tr.fault("produce: %w", err)
					}
				})
			}
		}
		if err := cl.Flush(context.Background()); err != nil {
			tr.fault("produce: %w", err)
		}
		produced <- ends
	}()
	return produced
}

// add has a member come.
func (tr *turmoil) add(static bool) error {
	client, instance := []string{franzGo, librdkafka}[tr.rand.IntN(2)], ""
	if static {
		instance = fmt.Sprint("static-", tr.started)
	}
	tr.noticed(0)
	_, err := tr.hire(client, instance)
	return err
}

// noticed notes that the group will have noticed a change after some time.
func (tr *turmoil) noticed(after time.Duration) {
	if at := time.Now().Add(after); at.After(tr.due) {
		tr.due = at
	}
}

// change makes one change.
func (tr *turmoil) change(ctx context.Context) error {
	members := tr.there()
	m := members[tr.rand.IntN(len(members))]
	kind := []string{"add", "kill", "dismiss", "freeze", "restart", "kill broker", "stop broker"}[tr.rand.IntN(7)]
	if len(members) >= crewSize+4 && kind == "add" || len(members) <= crewSize/2 && (kind == "kill" || kind == "dismiss") {
		return nil
	}
	tr.changes[kind]++
	tr.say("%s: %s", kind, m.name)
	switch kind {
	case "add":
		return tr.add(tr.rand.IntN(3) == 0)
	case "kill":
		tr.kill(m)
		tr.noticed(memberSession)
	case "dismiss": // a static member stays a member until its session ends
		tr.dismiss(m)
		if tr.noticed(0); m.Instance != "" {
			tr.noticed(memberSession)
		}
	case "freeze":
		tr.freeze(m)
		sleep(ctx, memberSession+chance(tr.rand, 500*time.Millisecond, 4*time.Second))
		tr.noticed(0)
		tr.thaw(m)
	case "restart":
		tr.kill(m)
		if tr.noticed(0); m.Instance == "" {
			tr.noticed(memberSession)
		}
		_, err := tr.hire(m.Client, m.Instance)
		return err
	case "kill broker", "stop broker":
		tr.fell(kind == "kill broker")
	}
	return nil
}

// fell has a broker fall and come back, unless one has fallen that is not back yet.
func (tr *turmoil) fell(kill bool) {
	select {
	case tr.falls <- struct{}{}:
	default:
		return
	}
	n := tr.nodes[tr.rand.IntN(len(tr.nodes))]
	tr.say("node %d falls", n.id)
	away := chance(tr.rand, 0, 5*time.Second)
	if time.Now().Before(tr.due) { // a new coordinator begins the session of whoever is missed anew
		tr.noticed(memberSession)
	}
	tr.noticed(0)
	if kill {
		n.Kill()
	}
	tr.brokers.Go(func() {
		defer func() { <-tr.falls }()
		if !kill {
			if err := n.end(); err != nil {
				tr.fault("node %d: %w", n.id, err)
			}
		}
		ctx := context.Background()
		sleep(ctx, away)
		if err := errors.Join(n.Restart(ctx), tr.awaitInSync(ctx, topic), tr.awaitInSync(ctx, "__consumer_offsets")); err != nil {
			tr.fault("node %d: %w", n.id, err)
		}
	})
}

// refill brings the group back to its size.
func (tr *turmoil) refill() error {
	for n := len(tr.there()); n < crewSize; n++ {
		if err := tr.add(tr.rand.IntN(3) == 0); err != nil {
			return err
		}
	}
	for members := tr.there(); len(members) > crewSize; members = tr.there() {
		tr.dismiss(members[0])
		if tr.noticed(0); members[0].Instance != "" {
			tr.noticed(memberSession)
		}
	}
	return nil
}

// settle waits until the group has settled, and notes how long that took from the
// time on at which the last change could be noticed.
func (tr *turmoil) settle(ctx context.Context) error {
	var before error
	began := time.Now()
	err := await(ctx, "the group to settle", func(ctx context.Context) error {
		asked := time.Now()
		err := tr.settled(ctx)
		if err != nil {
			before = fmt.Errorf("%w (asked after %.2f s, known after %.2f)", err, asked.Sub(began).Seconds(), time.Since(began).Seconds())
		}
		return err
	})
	took := max(0, time.Since(tr.due))
	tr.settles = append(tr.settles, took)
	tr.say("settled after %.2f s; before: %v", took.Seconds(), before)
	return err
}

func (tr *turmoil) say(format string, args ...any) {
	tr.t.Helper()
	tr.t.Logf(time.Now().Format("15:04:05.000 ")+format, args...)
}

// finish waits until all that was produced is committed.
func (tr *turmoil) finish(ends map[checker.Partition]int64) error {
	return await(tr.t.Context(), "all records to be committed", func(ctx context.Context) error {
		offsets, err := tr.admin.FetchOffsets(ctx, tr.order.Group)
		if err := errors.Join(err, offsets.Error()); err != nil {
			return err
		}
		for p, end := range ends {
			if o, _ := offsets.Lookup(p.Topic, p.Number); o.At != end {
				return fmt.Errorf("%s is committed at %d of %d", p, o.At, end)
			}
		}
		return nil
	})
}

// judge says what was wrong, and reports what was measured.
func (tr *turmoil) judge(ends map[checker.Partition]int64) {
	for _, m := range tr.there() {
		tr.dismiss(m)
	}
	for _, err := range tr.wrong {
		tr.t.Error(err)
	}
	found := checker.CheckGroup(tr.events, ends)
	for _, f := range found[:min(len(found), 20)] {
		tr.t.Error(f)
	}
	processed, lost := int64(0), 0
	for _, e := range tr.events {
		switch e.Kind {
		case checker.Processed:
			processed += e.To - e.From
		case checker.Lost:
			lost++
		}
	}
	records := int64(0)
	for _, end := range ends {
		records += end
	}
	slices.Sort(tr.settles)
	noteFigure("a group of %d in turmoil for %v: %v; %d records were processed %d times; partitions were lost, not revoked, %d times",
		crewSize, *duration, tr.changes, records, processed, lost)
	median, worst := medianAndWorst(tr.settles)
	noteFigure("it settled %d times: %.2f s after the last change could be noticed, %.2f s at worst", len(tr.settles), median.Seconds(), worst.Seconds())
}
