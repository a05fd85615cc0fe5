package understudy_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"understudy"
	"understudy/cluster/link"
	"understudy/cluster/local"
	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/config"
	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/vfs"
)

// victim is the index of a broker that leads a partition, and is the controller,
// or is not.
func (c *cluster) victim(controller bool) int {
	i := c.controller()
	if !controller {
		i = (i + 1) % len(c.brokers)
	}
	return i
}

// TestANodeDiesUnderLoad kills a node again and again: once it is the one with
// the controller, once it is not; once the process dies, once the power goes.
// Each time the others go on, and it comes back.
func TestANodeDiesUnderLoad(t *testing.T) {
	c := newCluster(t)
	c.createTopic("orders", 6, nil)
	c.awaitInSync("orders", 3)
	l := c.load("orders", 6)
	l.await(100)
	for _, round := range []struct {
		what       string
		controller bool
		loss       vfs.Loss
	}{
		{"a leader is killed", false, vfs.LoseNone},
		{"leader and controller are killed", true, vfs.LoseNone},
		{"a leader loses power", false, vfs.LoseMixed},
		{"leader and controller lose power", true, vfs.LoseAll},
	} {
		i := c.victim(round.controller)
		l.takeGap()
		c.kill(i, round.loss)
		l.await(100)
		t.Logf("%s: longest gap %v", round.what, l.takeGap().Round(time.Millisecond))
		c.awaitInSync("orders", 2)
		c.start(i)
		c.awaitInSync("orders", 3)
		l.await(100)
		t.Logf("it comes back: longest gap %v", l.takeGap().Round(time.Millisecond))
	}
	l.end()
	c.compare("orders", 6)
}

// TestANodeIsStoppedInOrderUnderLoad restarts every node, one after the other.
func TestANodeIsStoppedInOrderUnderLoad(t *testing.T) {
	c := newCluster(t)
	c.createTopic("orders", 6, nil)
	c.awaitInSync("orders", 3)
	l := c.load("orders", 6)
	l.await(100)
	for i := range c.brokers {
		l.takeGap()
		c.stop(i)
		l.await(100)
		c.start(i)
		c.awaitInSync("orders", 3)
		l.await(100)
		t.Logf("node %d is restarted: longest gap %v", i+1, l.takeGap().Round(time.Millisecond))
	}
	for i, b := range c.brokers {
		events, _ := b.Events(t.Context(), 0)
		for _, e := range events {
			if strings.Contains(e.Text, "up after all") {
				t.Errorf("node %d says: %s", i+1, e.Text)
			}
		}
	}
	l.end()
	c.compare("orders", 6)
}

// TestWhoStopsIsAboutToBeReplaced: clients that a stopping node sends to the next leader
// may be there before it hears that it leads, and are to wait for that.
func TestWhoStopsIsAboutToBeReplaced(t *testing.T) {
	c := newCluster(t)
	c.createTopic("orders", 6, nil)
	c.awaitInSync("orders", 3)
	pending := func(want bool) (wrong error) {
		for i, b := range c.brokers {
			if b != nil && i != 1 && b.Pending(2) != want {
				wrong = errors.Join(wrong, fmt.Errorf("node %d expects that another leads in place of node 2: %v", i+1, !want))
			}
		}
		return wrong
	}
	if wrong := pending(false); wrong != nil {
		t.Error(wrong)
	}
	for began := time.Now(); ; began = time.Now() {
		c.brokers[1].Depart(t.Context())
		wrong := pending(true)
		if wrong == nil {
			break
		}
		if time.Since(began) < understudy.SettleTime { // for so long it is expected, and not longer
			t.Fatal(wrong)
		}
	}
	c.stop(1)
	c.start(1)
	c.awaitInSync("orders", 3) // as both others see, which lead
	if wrong := pending(false); wrong != nil {
		t.Error(wrong)
	}
}

// TestANodeThatHasJustComeBackIsNotElected kills the leaders of partitions when, as
// the controller sees it, one of the two other nodes came back a moment ago.
func TestANodeThatHasJustComeBackIsNotElected(t *testing.T) {
	var back atomic.Int32
	c := newClusterWith(t, func(int, *config.Config) []understudy.Option {
		return []understudy.Option{understudy.WithReturned(func(id messages.BrokerID) bool { return id == back.Load() })}
	})
	c.createTopic("orders", 12, nil)
	c.awaitInSync("orders", 3)
	victim := c.victim(false)
	other := 6 - c.brokers[c.controller()].Image().Controller - int32(victim+1)
	back.Store(other)
	c.kill(victim, vfs.LoseNone)
	c.await("orders", "led by others", func(ps kadm.PartitionDetails) bool {
		return len(ps) == 12 && !slices.ContainsFunc(ps.Sorted(), func(p kadm.PartitionDetail) bool { return p.Leader == int32(victim+1) })
	})
	for _, p := range c.brokers[c.controller()].Image().Topic("orders").Partitions {
		if p.Leader == other && p.Replicas[0] != other {
			t.Errorf("node %d came back a moment ago, and was elected: %+v", other, p)
		}
	}
}

// TestWhoCameBackAMomentAgo looks at nodes with the eyes of another.
func TestWhoCameBackAMomentAgo(t *testing.T) {
	for _, w := range []struct {
		since, age time.Duration
		want       bool
	}{
		{time.Second, time.Hour, true},
		{9 * time.Second, time.Hour, true},
		{11 * time.Second, time.Hour, false},
		{4 * time.Second, 4500 * time.Millisecond, false}, // it was there before the other
		{2 * time.Second, 5 * time.Second, true},
	} {
		if got := understudy.CameBack(w.since, w.age); got != w.want {
			t.Errorf("connected for %v, to one that started %v ago: %v", w.since, w.age, got)
		}
	}
}

// TestAllNodesDieAndComeBack kills all three at once.
func TestAllNodesDieAndComeBack(t *testing.T) {
	c := newCluster(t)
	c.createTopic("orders", 6, nil)
	c.awaitInSync("orders", 3)
	l := c.load("orders", 6)
	l.await(100)
	for i := range c.brokers {
		c.kill(i, vfs.LoseMixed)
	}
	c.startAll()
	l.await(100)
	t.Logf("longest gap %v", l.takeGap().Round(time.Millisecond))
	c.awaitInSync("orders", 3)
	l.end()
	c.compare("orders", 6)
}

// TestTheFirstToReturnServesAlone kills all three processes at once, and starts one
// of them again: whichever it is, it holds all that was acknowledged.
func TestTheFirstToReturnServesAlone(t *testing.T) {
	c := newCluster(t)
	c.createTopic("orders", 3, nil)
	c.awaitInSync("orders", 3)
	l := c.load("orders", 3)
	for i := range c.brokers {
		l.await(100)
		c.awaitInSync("orders", 3)
		c.killAll(vfs.LoseNone)
		c.start(i)
		c.awaitInSync("orders", 1)
		l.await(100)
		c.startAll()
	}
	c.awaitInSync("orders", 3)
	l.end()
	c.compare("orders", 3)
}

// TestTooFewInSyncReplicas has two of three nodes down where two must be in sync.
func TestTooFewInSyncReplicas(t *testing.T) {
	c := newCluster(t)
	two := "2"
	c.createTopic("orders", 1, map[string]*string{"min.insync.replicas": &two})
	leader := int(c.awaitInSync("orders", 3)[0].Leader) - 1
	client := c.client(kgo.DefaultProduceTopic("orders"))
	if err := client.ProduceSync(t.Context(), &kgo.Record{Value: []byte("0")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for i := range c.brokers {
		if i != leader {
			c.kill(i, vfs.LoseNone)
		}
	}
	c.awaitInSync("orders", 1)
	err := c.produceOnce(leader, "orders", []byte("1"))
	for errors.Is(err, kerr.NotEnoughReplicasAfterAppend) { // the replica has not heard of it yet
		err = c.produceOnce(leader, "orders", []byte("1"))
	}
	if !errors.Is(err, kerr.NotEnoughReplicas) {
		t.Errorf("producing is answered with %v, want NOT_ENOUGH_REPLICAS", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if got := c.client(kgo.ConsumeTopics("orders")).PollRecords(ctx, 1).Records(); len(got) != 1 || string(got[0].Value) != "0" {
		t.Errorf("fetching gives %v", got)
	}
	c.startAll()
	c.awaitInSync("orders", 3)
	if err := client.ProduceSync(t.Context(), &kgo.Record{Value: []byte("2")}).FirstErr(); err != nil {
		t.Errorf("with all nodes back: %v", err)
	}
}

// produceOnce has a broker append one record to partition 0 of a topic, with
// acks=all, and does not try again.
func (c *cluster) produceOnce(i int, topic string, value []byte) error {
	c.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.addrs[i]), kgo.MaxVersions(kversion.V2_5_0()), unhurried) // topics by name
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	bu := batch.NewBuilder(batch.NoProducer)
	bu.Add(time.Now().UnixMilli(), nil, value)
	ask := kmsg.NewPtrProduceRequest()
	ask.Acks, ask.TimeoutMillis = -1, 60_000
	t, p := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	t.Topic, p.Records = topic, bu.Build(nil)
	t.Partitions = append(t.Partitions, p)
	ask.Topics = append(ask.Topics, t)
	answer, err := client.Broker(i+1).Request(c.t.Context(), ask)
	if err != nil {
		c.t.Fatal(err)
	}
	return kerr.ErrorForCode(answer.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode)
}

// TestAPartitionWithoutItsNodesIsOffline kills the only node of a partition: it
// is offline, says so at once, and comes back by itself.
func TestAPartitionWithoutItsNodesIsOffline(t *testing.T) {
	c := newCluster(t)
	if _, err := c.admin().CreateTopic(t.Context(), 3, 1, nil, "single"); err != nil {
		t.Fatal(err)
	}
	victim := c.victim(false)
	var partition int32
	for _, p := range c.await("single", "led", func(ps kadm.PartitionDetails) bool { return len(ps) == 3 }) {
		if int(p.Leader) == victim+1 {
			partition = p.Partition
		}
	}
	produced := c.client(kgo.DefaultProduceTopic("single"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := produced.ProduceSync(t.Context(), &kgo.Record{Partition: partition, Value: []byte("0")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	c.kill(victim, vfs.LoseAll)
	c.await("single", "offline", func(ps kadm.PartitionDetails) bool {
		return len(ps) == 3 && ps[partition].Leader == -1 && errors.Is(ps[partition].Err, kerr.LeaderNotAvailable)
	})
	c.start(victim)
	if err := produced.ProduceSync(t.Context(), &kgo.Record{Partition: partition, Value: []byte("1")}).FirstErr(); err != nil {
		t.Errorf("the partition did not come back: %v", err)
	}
}

// TestANodeIsCutOffUnderLoad lets nothing pass between one node and the others,
// and the hub if the round says so: the controller first, then one that is not.
// The node's clients can still reach it, and it must not mislead them.
func TestANodeIsCutOffUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for silence to count, several times")
	}
	c := newCluster(t)
	c.createTopic("orders", 6, nil)
	c.awaitInSync("orders", 3)
	l := c.load("orders", 6)
	l.await(100)
	for _, round := range []struct {
		what            string
		controller, hub bool
	}{
		{"the controller is cut off from peers and hub", true, true},
		{"the controller is cut off from peers", true, false},
		{"another is cut off from peers and hub", false, true},
		{"another is cut off from peers", false, false},
	} {
		i := c.victim(round.controller)
		l.takeGap()
		c.wires[i].Mute(true)
		if round.hub {
			c.brokers[i].Seat().Cut(true)
		}
		l.await(100)
		t.Logf("%s: longest gap %v", round.what, l.takeGap().Round(time.Millisecond))
		c.wires[i].Mute(false)
		c.brokers[i].Seat().Cut(false)
		c.awaitHealed("orders")
		l.await(100)
		t.Logf("it is back: longest gap %v", l.takeGap().Round(time.Millisecond))
	}
	l.end()
	c.compare("orders", 6)
}

// awaitHealed waits until all brokers have the same metadata, and all replicas of a
// topic are in sync: one that was cut off would answer from before.
func (c *cluster) awaitHealed(topic string) {
	c.t.Helper()
	c.await(topic, "the same to all, and in sync", func(kadm.PartitionDetails) bool {
		im := c.brokers[0].Image()
		for _, b := range c.brokers[1:] {
			if b.Image().Revision != im.Revision {
				return false
			}
		}
		for _, p := range im.Topic(topic).Partitions {
			if len(p.ISR) != len(c.brokers) || p.Leader < 0 {
				return false
			}
		}
		return true
	})
}

// TestTheControllerIsCutOffWithItsLock is about a machine that is cut off together
// with its agent, so that nobody frees the lock: the others have to.
func TestTheControllerIsCutOffWithItsLock(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for silence to count")
	}
	c := newCluster(t)
	c.createTopic("orders", 6, nil)
	c.awaitInSync("orders", 3)
	l := c.load("orders", 6)
	l.await(100)
	i := c.victim(true)
	l.takeGap()
	c.wires[i].Mute(true)
	c.brokers[i].Seat().Strand()
	l.await(100)
	t.Logf("longest gap %v", l.takeGap().Round(time.Millisecond))
	c.wires[i].Mute(false)
	c.brokers[i].Seat().Cut(false)
	c.awaitInSync("orders", 3)
	l.await(100)
	l.end()
	c.compare("orders", 6)
}

// TestALeaderIsPartedFromTheController lets nothing pass between the two, though
// both hear everybody else. The leader cannot ask the controller for an in-sync
// set without it but through another node, and must not wait until it can.
func TestALeaderIsPartedFromTheController(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for silence to count")
	}
	c := newCluster(t)
	c.createTopic("orders", 6, nil)
	c.awaitInSync("orders", 3)
	l := c.load("orders", 6)
	l.await(100)
	controller, leader := c.victim(true), c.victim(false)
	l.takeGap()
	understudy.Part(c.wires[controller], c.wires[leader])
	l.await(100)
	t.Logf("longest gap %v", l.takeGap().Round(time.Millisecond))
	c.wires[controller].Join()
	c.wires[leader].Join()
	c.awaitInSync("orders", 3)
	l.await(100)
	l.end()
	c.compare("orders", 6)
}

// TestBeingCutOffFromTheHubCostsNobodyALeadership cuts a leader off from the
// hub, and from nothing else.
func TestBeingCutOffFromTheHubCostsNobodyALeadership(t *testing.T) {
	c := newCluster(t)
	c.createTopic("orders", 6, nil)
	before := c.awaitInSync("orders", 3)
	l := c.load("orders", 6)
	l.await(50)
	c.brokers[c.victim(false)].Seat().Cut(true)
	l.await(500)
	for p, now := range c.awaitInSync("orders", 3) {
		if now.Leader != before[p].Leader || now.LeaderEpoch != before[p].LeaderEpoch {
			t.Errorf("partition %d: before led by %d in epoch %d, now by %d in %d", p, before[p].Leader, before[p].LeaderEpoch, now.Leader, now.LeaderEpoch)
		}
	}
	l.end()
}

// TestAnyNodeAnswersAdminRequests has each node create topics, and fail to.
func TestAnyNodeAnswersAdminRequests(t *testing.T) {
	c := newCluster(t)
	for i := range c.brokers {
		client, err := kgo.NewClient(kgo.SeedBrokers(c.addrs[i]), unhurried)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		topics := kmsg.NewPtrCreateTopicsRequest()
		topics.TimeoutMillis = 60_000
		for _, name := range []string{string(rune('a' + i)), "a", "not/valid"} {
			topic := kmsg.NewCreateTopicsRequestTopic()
			topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 3, 3
			if len(topics.Topics) == 0 || topics.Topics[0].Topic != name {
				topics.Topics = append(topics.Topics, topic)
			}
		}
		resp, err := client.Broker(i+1).Request(t.Context(), topics)
		if err != nil {
			t.Fatal(err)
		}
		for _, created := range resp.(*kmsg.CreateTopicsResponse).Topics {
			var want error
			switch {
			case created.Topic == "not/valid":
				want = kerr.InvalidTopicException
			case created.Topic == "a" && i > 0:
				want = kerr.TopicAlreadyExists
			}
			if got := kerr.ErrorForCode(created.ErrorCode); !errors.Is(got, want) {
				t.Errorf("node %d: topic %s is answered with %v, want %v", i+1, created.Topic, got, want)
			}
		}
	}
}

// TestAnEmptyDirectoryIsNotTakenForTheOldOne starts a node whose disk was
// replaced: what only it had would be lost in silence.
func TestAnEmptyDirectoryIsNotTakenForTheOldOne(t *testing.T) {
	c := newCluster(t)
	c.createTopic("orders", 3, nil)
	c.awaitInSync("orders", 3)
	c.kill(2, vfs.LoseNone)
	c.kill(1, vfs.LoseNone)
	c.awaitInSync("orders", 1) // from now on node 1 has what only it has
	c.kill(0, vfs.LoseNone)
	kept := c.disks[0]
	c.disks[0] = vfs.NewMem(vfs.MemOptions{PowerCuts: true})
	if b, err := c.boot(0); err == nil {
		stop(t, b)
		t.Error("an empty directory was taken for the node's")
	} else if messages.KindOf(err) != messages.InvalidConfig {
		t.Errorf("refused with %v", err)
	}
	c.disks[0] = kept
	c.startAll()
	c.awaitInSync("orders", 3)
}

// TestASlowFollowerLeavesTheInSyncSet holds up the disk of a follower: for as long
// as it counts producers wait for it, and then they do not.
func TestASlowFollowerLeavesTheInSyncSet(t *testing.T) {
	disks := make([]*vfs.Faulty, 3)
	c := newClusterWith(t, func(i int, cfg *config.Config) []understudy.Option {
		cfg.Storage.ReplicaLagTimeMax = 300 * time.Millisecond
		disks[i] = vfs.NewFaulty(vfs.NewMem(vfs.MemOptions{}), nil)
		return []understudy.Option{understudy.WithFS(disks[i])}
	})
	c.createTopic("orders", 1, nil)
	p := c.awaitInSync("orders", 3)[0]
	l := c.load("orders", 1)
	l.await(100)
	gate := make(chan struct{})
	disks[p.Leader%3].Add(vfs.Rule{Ops: vfs.OpSync, Path: "orders-0/*", Gate: gate}) // the next node: a follower
	c.awaitInSync("orders", 2)
	l.takeGap()
	l.await(100)
	t.Logf("without it: longest gap %v", l.takeGap().Round(time.Millisecond))
	close(gate)
	c.awaitInSync("orders", 3)
	l.await(100)
	l.end()
}

// TestALeaderWhoseDiskHangsIsReplaced: a sync neither fails nor comes back. Another
// leads after a while, and the replica is in sync again when its disk answers.
func TestALeaderWhoseDiskHangsIsReplaced(t *testing.T) {
	disks := make([]*vfs.Faulty, 3)
	c := newClusterWith(t, func(i int, cfg *config.Config) []understudy.Option {
		cfg.Storage.DiskTimeout = time.Second
		disks[i] = vfs.NewFaulty(vfs.NewMem(vfs.MemOptions{}), nil)
		return []understudy.Option{understudy.WithFS(disks[i])}
	})
	c.createTopic("orders", 2, nil)
	before := c.awaitInSync("orders", 3)
	l := c.load("orders", 2)
	l.await(100)
	gate := make(chan struct{})
	hung := before[0].Leader
	disks[hung-1].Add(vfs.Rule{Ops: vfs.OpSync, Path: "orders-0/*", Gate: gate})
	c.await("orders", "led by another", func(ps kadm.PartitionDetails) bool {
		return len(ps) == 2 && ps[0].Leader >= 0 && ps[0].Leader != hung
	})
	l.await(100)
	close(gate)
	disks[hung-1].Clear()
	c.awaitInSync("orders", 3)
	l.await(100)
	l.end()
}

// TestANodeThatCannotTalkToAnotherDoesNotStart: the other one has a secret.
func TestANodeThatCannotTalkToAnotherDoesNotStart(t *testing.T) {
	hub := local.NewHub()
	seat, err := hub.Join(2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := seat.Acquire(t.Context()); err != nil { // it would be the controller
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other, err := link.New(link.Options{
		Self: replica.Member{ID: 2, Epoch: 1}, ClusterID: "understudy", Secret: []byte("secret"), Listener: listener,
		OnMessage: func(in *link.Incoming) { in.Release() },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := seat.Announce(metadata.Broker{ID: 2, Epoch: 1}, link.Peer{Addr: other.Addr().String(), Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	b, err := understudy.Start(t.Context(), testConfig("mem"), understudy.WithHub(hub), understudy.WithFS(vfs.NewMem(vfs.MemOptions{})))
	if err == nil {
		stop(t, b)
		t.Fatal("it has started")
	}
	if !strings.Contains(err.Error(), "node 2") || !strings.Contains(err.Error(), "only one of the nodes has a secret") {
		t.Errorf("refused with %v", err)
	}
}
