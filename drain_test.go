package understudy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy"
	"understudy/config"
	"understudy/persistence/vfs"
)

// holds waits until a broker is said to be in a state.
func (c *cluster) holds(id int32, state string) {
	c.t.Helper()
	c.standing(c.controller(), fmt.Sprintf("node %d %s", id, state), func(s standing) bool {
		for _, b := range s.Brokers {
			if b.ID == id {
				return b.State == state
			}
		}
		return state == "gone"
	})
}

// TestANodeIsDrainedUnderLoad takes a node out for good, with another one in its
// place, and none of the clients notices.
func TestANodeIsDrainedUnderLoad(t *testing.T) {
	c := newCluster(t)
	c.createTopic("orders", 6, nil)
	c.createTopicOf("single", 6, 1)
	c.awaitInSync("orders", 3)
	l, single := c.load("orders", 6), c.load("single", 6)
	l.await(100)
	if why := c.refused(0, "POST", "/cluster/brokers/3/drain"); !strings.Contains(why, "orders-0 has 3 replicas") {
		t.Errorf("there is nowhere to go, but: %s", why)
	}
	fourth := c.add()
	var done any
	c.ask(0, "POST", "/cluster/brokers/3/drain", 2, &done)
	c.await("orders", "led by others", func(ps kadm.PartitionDetails) bool {
		return len(ps) == 6 && !slices.ContainsFunc(ps.Sorted(), func(p kadm.PartitionDetail) bool { return p.Leader == 3 })
	})
	c.holds(3, "drained")
	c.createTopic("later", 6, nil)
	for _, p := range c.awaitInSync("later", 3) {
		if slices.Contains(p.Replicas, 3) {
			t.Errorf("a new topic has replicas on a drained node: %v", p.Replicas)
		}
	}
	l.await(100)
	single.await(100)
	c.stop(2)
	c.holds(3, "down")
	c.ask(fourth, "DELETE", "/cluster/brokers/3", 2, &done)
	c.holds(3, "gone")
	l.await(100)
	single.await(100)
	l.end()
	single.end()
	c.settled("orders")
	c.settled("single")
}

// TestANodeReturnsFromADrain drains a node and takes that back.
func TestANodeReturnsFromADrain(t *testing.T) {
	c := newCluster(t)
	c.createTopicOf("pairs", 6, 2)
	c.awaitInSync("pairs", 2)
	l := c.load("pairs", 6)
	l.await(100)
	var done any
	c.ask(1, "POST", "/cluster/brokers/2/drain", 2, &done)
	c.holds(2, "drained")
	c.ask(2, "POST", "/cluster/brokers/2/undrain", 2, &done)
	c.holds(2, "up")
	c.createTopic("later", 3, nil)
	c.awaitInSync("later", 3)
	l.await(100)
	l.end()
	c.settled("pairs")
}

// TestAReplacedDiskIsRefilledUnderLoad gives every node in turn an empty disk.
func TestAReplacedDiskIsRefilledUnderLoad(t *testing.T) {
	c := newCluster(t)
	c.createTopic("orders", 6, nil)
	c.awaitInSync("orders", 3)
	l := c.load("orders", 6)
	l.await(200)
	for i := range 3 {
		c.kill(i, vfs.LoseNone)
		c.disks[i] = vfs.NewMem(vfs.MemOptions{PowerCuts: true})
		c.start(i)
		c.awaitInSync("orders", 3)
		l.await(100)
	}
	l.end()
	c.settled("orders")
}

// TestLeadersReturnToNodesThatAreBackForAWhile kills each node once.
func TestLeadersReturnToNodesThatAreBackForAWhile(t *testing.T) {
	c := newCluster(t)
	c.createTopic("orders", 6, nil)
	c.setting("leader.imbalance.check.interval.seconds", "1")
	c.awaitInSync("orders", 3)
	l := c.load("orders", 6)
	for i := range 3 {
		l.await(50)
		c.kill(i, vfs.LoseNone)
		l.await(50)
		c.start(i)
		c.await("orders", "led as preferred", func(ps kadm.PartitionDetails) bool {
			return len(ps) == 6 && !slices.ContainsFunc(ps.Sorted(), func(p kadm.PartitionDetail) bool { return p.Leader != p.Replicas[0] })
		})
	}
	l.await(50)
	l.end()
	c.settled("orders")
}

// TestTheLastInSyncIsStoppedInOrder stops the only node that has everything: the
// partition is offline meanwhile, says with whom it comes back, and loses nothing.
func TestTheLastInSyncIsStoppedInOrder(t *testing.T) {
	disks := make([]*vfs.Faulty, 3)
	c := newClusterWith(t, func(i int, cfg *config.Config) []understudy.Option {
		if disks[i] == nil {
			disks[i] = vfs.NewFaulty(vfs.NewMem(vfs.MemOptions{}), nil)
		}
		return []understudy.Option{understudy.WithFS(disks[i])}
	})
	c.createTopic("orders", 1, nil)
	leader := int(c.awaitInSync("orders", 3)[0].Leader) - 1
	gate := make(chan struct{})
	for i, disk := range disks { // the others cannot keep up
		if i != leader {
			disk.Add(vfs.Rule{Ops: vfs.OpSync, Path: "orders-0/*", Gate: gate})
			c.stop(i)
		}
	}
	c.awaitInSync("orders", 1)
	client := c.client(kgo.DefaultProduceTopic("orders"))
	if err := client.ProduceSync(t.Context(), &kgo.Record{Value: []byte("only here")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	c.startAll()
	c.stop(leader)
	other := (leader + 1) % 3
	s := c.standing(other, "offline", func(s standing) bool { return len(s.Offline) == 1 })
	if o := s.Offline[0]; o.Topic != "orders" || !slices.Equal(o.BackWith, []int32{int32(leader + 1)}) || !strings.Contains(o.Why, fmt.Sprintf("node %d:", leader+1)) {
		t.Errorf("offline: %+v", o)
	}
	close(gate)
	c.start(leader)
	c.awaitInSync("orders", 3)
	consumer := c.client(kgo.ConsumeTopics("orders"))
	if got := consumer.PollRecords(t.Context(), 1).Records(); len(got) != 1 || string(got[0].Value) != "only here" {
		t.Errorf("read %v", got)
	}
}
