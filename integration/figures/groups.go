//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/integration/process"
)

const (
	manyGroups    = 500
	groupMembers  = 4
	bigGroup      = 100
	groupsTopic   = "grouped"
	bigHeartbeat  = 100 * time.Millisecond // of its members: they hear of a rebalance by heartbeats
	joinPatience  = 2 * time.Minute
	firstRecordIn = 20 // joins of one consumer whose first record is waited for
)

// groups measures what members of consumer groups wait for, and what the broker
// takes for groups that have nothing to do.
func (b *bench) groups(ctx context.Context) error {
	broker, err := process.Start(ctx, process.Options{DataDir: filepath.Join(b.dir, "groups")})
	if err != nil {
		return err
	}
	defer end(broker)
	for _, part := range []func(context.Context, *process.Broker) error{b.firstRecord, b.lastJoin, b.manyJoins} {
		if err := part(ctx, broker); err != nil {
			return err
		}
	}
	return nil
}

// crew is consumers that are members of groups over one topic, each with clients
// of its own as in life.
type crew struct {
	addr, topic string
	members     []*kgo.Client

	mu      sync.Mutex
	held    map[*kgo.Client]int // partitions
	changed chan struct{}       // closed and made anew by every change
}

func newCrew(addr, topic string) *crew {
	return &crew{addr: addr, topic: topic, held: map[*kgo.Client]int{}, changed: make(chan struct{})}
}

func (c *crew) join(group string, more ...kgo.Opt) error {
	var cl *kgo.Client
	note := func(sign int) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, from *kgo.Client, moved map[string][]int32) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.held[from] += sign * len(moved[c.topic])
			close(c.changed)
			c.changed = make(chan struct{})
		}
	}
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.addr), kgo.ConsumerGroup(group), kgo.ConsumeTopics(c.topic),
		kgo.OnPartitionsAssigned(note(1)), kgo.OnPartitionsRevoked(note(-1)), kgo.OnPartitionsLost(note(-1))}, more...)...)
	if err != nil {
		return err
	}
	c.members = append(c.members, cl)
	return nil
}

// settled waits until each member holds one partition, as many as there are for it.
func (c *crew) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	for {
		c.mu.Lock()
		ones, changed := 0, c.changed
		for _, n := range c.held {
			if n == 1 {
				ones++
			}
		}
		c.mu.Unlock()
		if ones == len(c.members) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d members hold their partition: %w", ones, len(c.members), ctx.Err())
		}
	}
}

func (c *crew) leave() {
	var leaving sync.WaitGroup
	for _, cl := range c.members {
		leaving.Go(cl.Close)
	}
	leaving.Wait()
}

// lastJoin measures how long a big group takes to settle after its last member came.
func (b *bench) lastJoin(ctx context.Context, broker *process.Broker) error {
	topic := fmt.Sprint(groupsTopic, "-", bigGroup)
	if err := createTopic(ctx, broker.Addr(), topic, bigGroup, nil); err != nil {
		return err
	}
	var values []float64
	for i := range b.runs {
		c := newCrew(broker.Addr(), topic)
		group := fmt.Sprint("big-", i)
		err := c.fill(ctx, group)
		if err == nil {
			began := time.Now()
			err = errors.Join(c.join(group, kgo.HeartbeatInterval(bigHeartbeat)), c.settled(ctx))
			values = append(values, ms(time.Since(began)))
		}
		c.leave()
		if err != nil {
			return err
		}
	}
	b.report(fmt.Sprintf("a group of %d, heartbeats every %v, settles after its last member's join", bigGroup, bigHeartbeat), "ms", values, "≤ 1000", atMost(1000))
	return nil
}

// fill has all members but one join, and waits until they share all partitions.
func (c *crew) fill(ctx context.Context, group string) error {
	for range bigGroup - 1 {
		if err := c.join(group, kgo.HeartbeatInterval(bigHeartbeat)); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	for {
		c.mu.Lock()
		all, idle, changed := 0, 0, c.changed
		for _, n := range c.held {
			all += n
			if n == 0 {
				idle++
			}
		}
		busy := len(c.held) - idle
		c.mu.Unlock()
		if all == bigGroup && busy == bigGroup-1 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d members hold %d partitions: %w", busy, all, ctx.Err())
		}
	}
}

// manyJoins measures how long many groups take to settle whose members come all at
// once, and what they take then.
func (b *bench) manyJoins(ctx context.Context, broker *process.Broker) error {
	topic := fmt.Sprint(groupsTopic, "-", groupMembers)
	if err := createTopic(ctx, broker.Addr(), topic, groupMembers, nil); err != nil {
		return err
	}
	c := newCrew(broker.Addr(), topic)
	defer c.leave()
	began := time.Now()
	for i := range manyGroups * groupMembers {
		if err := c.join(fmt.Sprint("many-", i%manyGroups)); err != nil {
			return err
		}
	}
	if err := c.settled(ctx); err != nil {
		return err
	}
	took := time.Since(began).Seconds()
	what := fmt.Sprintf("%d groups of %d", manyGroups, groupMembers)
	b.report(what+" settle", "s", []float64{took}, "≤ 10", atMost(10))
	_, busy, err := watch(ctx, broker)
	if err != nil {
		return err
	}
	b.report("CPU, "+what+" at rest", "% of a core", busy, "≤ 10", atMost(10))
	return nil
}

// firstRecord measures how long one consumer waits for its first record in a group
// that is empty.
func (b *bench) firstRecord(ctx context.Context, broker *process.Broker) error {
	topic := groupsTopic + "-1"
	if err := createTopic(ctx, broker.Addr(), topic, partitions, nil); err != nil {
		return err
	}
	producer, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.DefaultProduceTopic(topic))
	if err != nil {
		return err
	}
	defer producer.Close()
	if err := producer.ProduceSync(ctx, kgo.StringRecord("hello")).FirstErr(); err != nil {
		return err
	}
	var values []float64
	for i := range firstRecordIn {
		began := time.Now()
		cl, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.ConsumerGroup(fmt.Sprint("first-", i)), kgo.ConsumeTopics(topic),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			return err
		}
		err = cl.PollFetches(ctx).Err()
		values = append(values, ms(time.Since(began)))
		cl.Close()
		if err != nil {
			return err
		}
	}
	b.report("one consumer joins an empty group, until its first record", "ms", values, "≤ 300", atMost(300))
	return nil
}
