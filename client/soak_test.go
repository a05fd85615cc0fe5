package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
	"understudy/client/clienttest"
)

// soakEnv says how many records TestMuchGoesWrong is to use; `make client-soak` uses a million.
const soakEnv = "CLIENT_SOAK_RECORDS"

// soak is what has been done with the records of TestMuchGoesWrong.
//
// Record n has key n mod keys, and its value is its number within the key. In any one
// life of a key's partition with a member, records come in order; what is delivered
// again begins no later than where the last life had come to.
type soak struct {
	*testing.T
	keys, each int
	mu         sync.Mutex
	next       []int          // by key: the first that was not done
	dead       map[string]int // key/number: how often it went to the dead letters
	left       int            // that are neither done nor dead
	done       chan struct{}
	acked      []map[int64]bool // by partition: offsets that were acknowledged
}

// meant says which records fail whenever they are tried.
func (s *soak) meant(key, number int) bool { return (key*31+number*17)%997 == 5 }

// handle is the actors' work. It fails and panics by chance, and always with what
// is meant to.
func (s *soak) handle(_ actor.Context, r *kgo.Record) error {
	key, number := s.parse(r)
	if s.meant(key, number) {
		return errors.New("meant to be dead")
	}
	switch rand.IntN(400) {
	case 0:
		panic("by chance")
	case 1:
		return errors.New("by chance")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pass(key, number)
	s.acked[r.Partition][r.Offset] = true // before it is acknowledged
	return nil
}

func (s *soak) parse(r *kgo.Record) (key, number int) {
	key, err := strconv.Atoi(string(r.Key))
	if err == nil {
		number, err = strconv.Atoi(string(r.Value))
	}
	if err != nil {
		s.Error(err)
	}
	return key, number
}

// pass takes note that a record is done or dead. The lock is held.
func (s *soak) pass(key, number int) {
	switch next := s.next[key]; {
	case number > next:
		s.Errorf("key %d: %d came when %d was due", key, number, next)
	case number == next:
		s.next[key]++
		if s.left--; s.left == 0 {
			close(s.done)
		}
	}
}

// bury hears of dead letters.
func (s *soak) bury(event any) {
	e, ok := event.(client.DeadLettered)
	if !ok {
		return
	}
	key, number := s.parse(e.Record)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.meant(key, number) {
		s.Errorf("key %d: %d is dead (attempt %d): %v", key, number, e.Attempt, e.Cause)
	}
	s.dead[fmt.Sprintf("%d/%d", key, number)]++
	s.pass(key, number)
	s.acked[e.Record.Partition][e.Record.Offset] = true
}

// check compares what the group has committed with what was acknowledged.
func (s *soak) check(ctx context.Context, admin *kadm.Client) {
	offsets, err := admin.FetchOffsets(ctx, "soak")
	if err != nil {
		return // the coordinator is on its way to another broker
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	offsets.Each(func(o kadm.OffsetResponse) {
		for offset := range o.At {
			if !s.acked[o.Partition][offset] {
				s.Errorf("%d is committed in partition %d, and %d was not acknowledged", o.At, o.Partition, offset)
				return
			}
		}
	})
}

// TestMuchGoesWrong has records over many keys pass through key actors that fail
// and panic, while workers come and go and brokers are killed: each record is
// processed at least once, those of each key in order, what is committed has been
// acknowledged, and the dead letters are those that were meant to be.
func TestMuchGoesWrong(t *testing.T) {
	n, keys, partitions := 20_000, 500, int32(6)
	if given := os.Getenv(soakEnv); given != "" {
		var err error
		if n, err = strconv.Atoi(given); err != nil {
			t.Fatal(err)
		}
		keys = 10_000
	}
	s := &soak{T: t, keys: keys, each: n / keys, next: make([]int, keys), dead: map[string]int{}, left: n / keys * keys, done: make(chan struct{})}
	for range partitions {
		s.acked = append(s.acked, map[int64]bool{})
	}
	cluster := clienttest.Start(t, 3)
	if err := cluster.CreateTopic(t.Context(), "orders", partitions, nil); err != nil {
		t.Fatal(err)
	}
	if err := cluster.CreateTopic(t.Context(), "orders.dead", partitions, nil); err != nil {
		t.Fatal(err)
	}
	system := quietSystem()
	watch := system.EventStream.Subscribe(s.bury)
	defer system.EventStream.Unsubscribe(watch)
	crew := &crew{T: t, o: client.SubscriptionOptions{
		Brokers: cluster.Addrs(), Topics: []string{"orders"}, Group: "soak", By: client.ByKey, CommitEvery: 20 * time.Millisecond,
		Retry:       client.Retry{Initial: time.Millisecond, Max: 20 * time.Millisecond, Attempts: 8}, // by chance eight times: once in 10¹⁸
		IdleAfter:   100 * time.Millisecond,
		DrainWithin: patience,
		Actor:       client.Handler(s.handle),
		Client:      []kgo.Opt{kgo.HeartbeatInterval(100 * time.Millisecond)},
	}, system: system}
	crew.hire()
	crew.hire()
	cl, err := kgo.NewClient(kgo.SeedBrokers(cluster.Addrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.write(cl)
	}()
	s.trouble(cluster, crew, kadm.NewClient(cl))
	<-written
	crew.dismissAll()
	s.check(t.Context(), kadm.NewClient(cl))
	s.checkDead()
	t.Logf("%d records, %d dead letters", n, len(s.dead))
}

// write produces all records.
func (s *soak) write(cl *kgo.Client) {
	var failed atomic.Int64
	for i := range s.keys * s.each {
		r := &kgo.Record{Topic: "orders", Key: strconv.AppendInt(nil, int64(i%s.keys), 10), Value: strconv.AppendInt(nil, int64(i/s.keys), 10)}
		cl.Produce(s.Context(), r, func(_ *kgo.Record, err error) {
			if err != nil && failed.Add(1) == 1 {
				s.Errorf("producing: %v", err)
			}
		})
	}
	if err := cl.Flush(s.Context()); err != nil {
		s.Error(err)
	}
}

// trouble kills and revives brokers, and has workers come and go, until all is done.
func (s *soak) trouble(cluster *clienttest.Cluster, crew *crew, admin *kadm.Client) {
	limit := time.After(30 * time.Minute)
	step := time.NewTicker(150 * time.Millisecond) // the pace of trouble; nothing waits for it
	defer step.Stop()
	for turn := 0; ; turn++ {
		select {
		case <-s.done:
			return
		case <-limit:
			s.mu.Lock()
			defer s.mu.Unlock()
			s.Fatalf("%d records are never done", s.left)
		case <-step.C:
		}
		switch broker := turn / 6 % 3; turn % 6 {
		case 0:
			if err := cluster.Kill(broker); err != nil {
				s.Error(err)
			}
		case 1:
			crew.hire()
		case 3:
			if err := cluster.Revive(s.Context(), broker); err != nil {
				s.Error(err)
			}
		case 4:
			crew.dismissFirst()
		case 5:
			s.check(s.Context(), admin)
		}
	}
}

// checkDead checks that exactly those are dead that were meant to be.
func (s *soak) checkDead() {
	meant := 0
	for key := range s.keys {
		for number := range s.each {
			if s.meant(key, number) {
				meant++
				if s.dead[fmt.Sprintf("%d/%d", key, number)] == 0 {
					s.Errorf("key %d: %d is not among the dead letters", key, number)
				}
			}
		}
	}
	if meant == 0 || len(s.dead) != meant {
		s.Errorf("%d are dead, of %d that were meant to be", len(s.dead), meant)
	}
}

// crew is the members of a group.
type crew struct {
	*testing.T
	o       client.SubscriptionOptions
	system  *actor.ActorSystem
	workers []*client.Subscription
}

func (c *crew) hire() {
	c.Helper()
	s, err := client.Subscribe(c.system, c.o)
	if err != nil {
		c.Fatal(err)
	}
	c.workers = append(c.workers, s)
}

// dismissFirst ends a worker, unless it is the only one.
func (c *crew) dismissFirst() {
	c.Helper()
	if len(c.workers) > 1 {
		c.dismiss(c.workers[0])
		c.workers = c.workers[1:]
	}
}

func (c *crew) dismissAll() {
	for _, w := range c.workers {
		c.dismiss(w)
	}
	c.workers = nil
}

// dismiss stops a worker. Its last commit, or its leaving, may meet a broker that has
// just been killed: then some of its work is done once more.
func (c *crew) dismiss(w *client.Subscription) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.Stop(ctx); err != nil {
		c.Logf("a worker stopped: %v", err)
	}
}
