package understudy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy"
	"understudy/config"
	"understudy/persistence/vfs"
)

// add starts one more node with an empty disk.
func (c *cluster) add() int {
	c.t.Helper()
	i := len(c.brokers)
	c.brokers, c.disks = append(c.brokers, nil), append(c.disks, vfs.NewMem(vfs.MemOptions{PowerCuts: true}))
	c.wires, c.addrs = append(c.wires, nil), append(c.addrs, "")
	c.start(i)
	c.addrs[i] = c.brokers[i].Addr().String()
	return i
}

// move asks for moves of a topic's partitions; a target of nil cancels.
func (c *cluster) move(topic string, targets map[int32][]int32) {
	c.t.Helper()
	var req kadm.AlterPartitionAssignmentsReq
	for n, target := range targets {
		if target == nil {
			req.CancelAssign(topic, n)
		} else {
			req.Assign(topic, n, target)
		}
	}
	results, err := c.admin().AlterPartitionAssignments(c.t.Context(), req)
	if err == nil {
		err = results.Error()
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// moves lists the moves that are under way.
func (c *cluster) moves() (all []kmsg.ListPartitionReassignmentsResponseTopicPartition) {
	c.t.Helper()
	moves, err := kmsg.NewPtrListPartitionReassignmentsRequest().RequestWith(c.t.Context(), c.client())
	if err != nil {
		c.t.Fatal(err)
	}
	for _, t := range moves.Topics {
		all = append(all, t.Partitions...)
	}
	return all
}

// awaitMoved waits until a topic's replicas are where they shall be, all in sync.
func (c *cluster) awaitMoved(topic string, targets map[int32][]int32) {
	c.t.Helper()
	c.await(topic, "moved", func(ps kadm.PartitionDetails) bool {
		for n, target := range targets {
			if p := ps[n]; !slices.Equal(p.Replicas, target) || len(p.ISR) != len(target) {
				return false
			}
		}
		return len(ps) > 0
	})
}

// settled checks that all replicas of a topic are the same bytes, and that nobody
// keeps what is not theirs.
func (c *cluster) settled(topic string) {
	c.t.Helper()
	details := c.await(topic, "in sync", func(ps kadm.PartitionDetails) bool {
		for _, p := range ps {
			if len(p.ISR) != len(p.Replicas) {
				return false
			}
		}
		return len(ps) > 0
	})
	for _, p := range details {
		dir := fmt.Sprintf("%s-%d", topic, p.Partition)
		var want []byte
		for i, disk := range c.disks {
			if !slices.Contains(p.Replicas, int32(i+1)) {
				c.until(fmt.Sprintf("without %s on node %d", dir, i+1), func() bool {
					_, err := disk.ReadDir(dir)
					return errors.Is(err, fs.ErrNotExist)
				}, func() string { return "it is there" })
				continue
			}
			got := logBytes(c.t, disk, dir)
			if want == nil {
				want = got
			}
			if len(got) == 0 || !bytes.Equal(got, want) {
				c.t.Errorf("%s: node %d has %d bytes that differ from the others' %d", dir, i+1, len(got), len(want))
			}
		}
	}
}

// elsewhere is where partitions go if one broker takes the place of another.
func elsewhere(ps kadm.PartitionDetails, from, to int32) map[int32][]int32 {
	targets := map[int32][]int32{}
	for n, p := range ps {
		if i := slices.Index(p.Replicas, from); i >= 0 && !slices.Contains(p.Replicas, to) {
			targets[n] = slices.Clone(p.Replicas)
			targets[n][i] = to
		}
	}
	return targets
}

// TestReplicasMoveToANewNodeUnderLoad has a node join and take the place of each
// of the others in turn.
func TestReplicasMoveToANewNodeUnderLoad(t *testing.T) {
	c := newCluster(t)
	c.createTopic("orders", 6, nil)
	c.awaitInSync("orders", 3)
	l := c.load("orders", 6)
	l.await(100)
	free := int32(c.add() + 1)
	for from := int32(1); from <= 3; from++ {
		targets := elsewhere(c.awaitInSync("orders", 3), from, free)
		if len(targets) != 6 {
			t.Fatalf("moves %v", targets)
		}
		c.move("orders", targets)
		c.awaitMoved("orders", targets)
		l.await(100)
		free = from
	}
	if moves := c.moves(); len(moves) != 0 {
		t.Errorf("still moving: %v", moves)
	}
	l.end()
	c.settled("orders")
}

// setting changes settings of all brokers; "" puts one back to its default.
func (c *cluster) setting(name, value string) {
	c.t.Helper()
	change := kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value}
	if value == "" {
		change = kadm.AlterConfig{Op: kadm.DeleteConfig, Name: name}
	}
	results, err := kadm.NewClient(c.client()).AlterBrokerConfigs(c.t.Context(), []kadm.AlterConfig{change})
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// TestAThrottledMoveIsCancelledAndReplaced holds a move up by Kafka's settings, so
// that it can be looked at, cancelled, replaced, and survive a controller.
func TestAThrottledMoveIsCancelledAndReplaced(t *testing.T) {
	c := newCluster(t)
	every := "*"
	c.createTopic("orders", 3, map[string]*string{"follower.replication.throttled.replicas": &every})
	before := c.awaitInSync("orders", 3)
	l := c.load("orders", 3)
	l.await(200)
	fourth := int32(c.add() + 1)
	c.setting("follower.replication.throttled.rate", "0")
	c.move("orders", elsewhere(before, 1, fourth))
	l.await(200)
	stuck := func(removing int32) {
		t.Helper()
		moves := c.moves()
		if len(moves) != 3 {
			t.Fatalf("moves: %v", moves)
		}
		for _, m := range moves {
			if len(m.Replicas) != 4 || !slices.Equal(m.AddingReplicas, []int32{fourth}) || !slices.Equal(m.RemovingReplicas, []int32{removing}) {
				t.Errorf("%+v", m)
			}
		}
	}
	stuck(1)
	c.move("orders", map[int32][]int32{0: nil, 1: nil, 2: nil})
	if moves := c.moves(); len(moves) != 0 {
		t.Errorf("cancelled, but %v", moves)
	}
	c.settledAt(before)
	c.move("orders", elsewhere(before, 1, fourth))
	targets := elsewhere(before, 2, fourth)
	c.move("orders", targets)
	stuck(2)
	c.kill(c.controller(), vfs.LoseNone)
	l.await(200)
	c.startAll()
	c.setting("follower.replication.throttled.rate", "")
	c.awaitMoved("orders", targets)
	l.await(200)
	l.end()
	c.settled("orders")
}

// settledAt waits until the topic's replicas are those of before.
func (c *cluster) settledAt(before kadm.PartitionDetails) {
	c.t.Helper()
	targets := map[int32][]int32{}
	topic := ""
	for n, p := range before {
		targets[n], topic = p.Replicas, p.Topic
	}
	c.awaitMoved(topic, targets)
	c.until("only where they were", func() bool {
		for i, disk := range c.disks {
			for n, p := range before {
				if _, err := disk.ReadDir(fmt.Sprintf("%s-%d", topic, n)); err == nil && !slices.Contains(p.Replicas, int32(i+1)) {
					return false
				}
			}
		}
		return true
	}, func() string { return "files are left" })
}

// TestNodesDieWhileReplicasMove kills, again and again, who leads, who is filled
// and who decides.
func TestNodesDieWhileReplicasMove(t *testing.T) {
	c := newCluster(t)
	c.createTopic("orders", 6, nil)
	c.awaitInSync("orders", 3)
	l := c.load("orders", 6)
	l.await(200)
	free := int32(c.add() + 1)
	for round, victim := range []func(from, to int32) int{
		func(_, to int32) int { return int(to) - 1 },
		func(from, _ int32) int { return int(from) - 1 },
		func(int32, int32) int { return c.controller() },
	} {
		from := int32(round + 1)
		targets := elsewhere(c.awaitInSync("orders", 3), from, free)
		c.move("orders", targets)
		i := victim(from, free)
		c.kill(i, vfs.LoseMixed)
		l.await(100)
		c.start(i)
		c.awaitMoved("orders", targets)
		l.await(100)
		free = from
	}
	l.end()
	c.settled("orders")
}

// TestAnUncleanElectionSaysWhatItLoses has the only in-sync replica be gone for
// good, and an operator go on without it.
func TestAnUncleanElectionSaysWhatItLoses(t *testing.T) {
	c := newClusterWith(t, func(_ int, cfg *config.Config) []understudy.Option { return nil })
	c.createTopic("orders", 1, nil)
	leader := c.awaitInSync("orders", 3)[0].Leader
	other := leader%3 + 1
	third := other%3 + 1
	produce := func(n int) {
		t.Helper()
		client := c.client(kgo.DefaultProduceTopic("orders"), kgo.ProducerBatchCompression(kgo.NoCompression()))
		defer client.Close()
		for range n {
			if err := client.ProduceSync(t.Context(), &kgo.Record{Value: []byte("x")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	inSync := func(want ...int32) {
		t.Helper()
		c.await("orders", fmt.Sprint("in sync: ", want), func(ps kadm.PartitionDetails) bool {
			return len(ps) == 1 && len(ps[0].ISR) == len(want) && slices.Contains(ps[0].ISR, want[0])
		})
	}
	produce(5)
	c.kill(int(third)-1, vfs.LoseNone)
	inSync(leader, other)
	produce(5)
	c.kill(int(other)-1, vfs.LoseNone)
	inSync(leader)
	produce(5)
	c.kill(int(leader)-1, vfs.LoseNone)
	c.start(int(third) - 1)
	c.start(int(other) - 1)
	admin := kadm.NewClient(c.client())
	c.await("orders", "offline", func(ps kadm.PartitionDetails) bool { return len(ps) == 1 && ps[0].Leader == -1 })
	var set kadm.TopicsSet
	set.Add("orders", 0)
	if r, err := admin.ElectLeaders(t.Context(), kadm.ElectPreferredReplica, set); err != nil || !errors.Is(r["orders"][0].Err, kerr.PreferredLeaderNotAvailable) && !errors.Is(r["orders"][0].Err, kerr.ElectionNotNeeded) {
		t.Errorf("preferred: %+v, %v", r, err)
	}
	r, err := admin.ElectLeaders(t.Context(), kadm.ElectLiveReplica, set)
	if err != nil || r["orders"][0].Err != nil {
		t.Fatalf("unclean: %+v, %v", r, err)
	}
	if p := c.await("orders", "led", func(ps kadm.PartitionDetails) bool { return ps[0].Leader >= 0 })[0]; p.Leader != other {
		t.Errorf("node %d leads, but %d has more", p.Leader, other)
	}
	produce(3)
	if text := r["orders"][0].ErrMessage; !strings.Contains(text, fmt.Sprintf("node %d holds records below offset 10", other)) {
		t.Errorf("told: %q", text)
	}
	c.start(int(leader) - 1)
	c.awaitInSync("orders", 3)
	c.settled("orders")
}

// TestTopicsAreLedWhenTheyAreCreated writes to each partition once, and does not
// try again.
func TestTopicsAreLedWhenTheyAreCreated(t *testing.T) {
	c := newCluster(t)
	const partitions = 60
	for round := range 3 {
		topic := fmt.Sprint("orders", round)
		c.createTopic(topic, partitions, nil)
		client, err := kgo.NewClient(kgo.SeedBrokers(c.addrs[round]), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
			kgo.DisableIdempotentWrite(), kgo.RecordRetries(0))
		if err != nil {
			t.Fatal(err)
		}
		var records []*kgo.Record
		for p := range int32(partitions) {
			records = append(records, &kgo.Record{Partition: p, Value: []byte("first")})
		}
		for _, r := range client.ProduceSync(context.Background(), records...) {
			if r.Err != nil {
				t.Errorf("partition %d of %s: %v", r.Record.Partition, topic, r.Err)
			}
		}
		client.Close()
	}
}
