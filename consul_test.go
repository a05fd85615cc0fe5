package understudy_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy"
	"understudy/cluster/consul"
	"understudy/cluster/consul/fake"
	"understudy/internal/loopback"
	"understudy/internal/pulse"
	"understudy/persistence/vfs"
)

// awaitRendezvous waits until every node says so of the rendezvous.
func (c *cluster) awaitRendezvous(word string) {
	c.t.Helper()
	for i, b := range c.brokers {
		if b != nil {
			c.standing(i, "rendezvous "+word, func(s standing) bool { return strings.HasPrefix(s.Rendezvous, word) })
		}
	}
}

// unmoved checks that partitions have the leaders and epochs that they had.
func (c *cluster) unmoved(topic string, before kadm.PartitionDetails) {
	c.t.Helper()
	for p, now := range c.awaitInSync(topic, 3) {
		if now.Leader != before[p].Leader || now.LeaderEpoch != before[p].LeaderEpoch {
			c.t.Errorf("partition %d: before led by %d in epoch %d, now by %d in %d", p, before[p].Leader, before[p].LeaderEpoch, now.Leader, now.LeaderEpoch)
		}
	}
}

// create asks a node for a topic, with little patience.
func (c *cluster) create(i int, topic string) error {
	c.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.addrs[i]), unhurried)
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	ask := kmsg.NewPtrCreateTopicsRequest()
	ask.TimeoutMillis = 500
	one := kmsg.NewCreateTopicsRequestTopic()
	one.Topic, one.NumPartitions, one.ReplicationFactor = topic, 3, 3
	ask.Topics = append(ask.Topics, one)
	answer, err := client.Broker(i+1).Request(c.t.Context(), ask)
	if err != nil {
		c.t.Fatal(err)
	}
	created := answer.(*kmsg.CreateTopicsResponse).Topics[0]
	if err := kerr.ErrorForCode(created.ErrorCode); err != nil {
		why := ""
		if created.ErrorMessage != nil {
			why = *created.ErrorMessage
		}
		return errors.Join(err, errors.New(why))
	}
	return nil
}

// TestConsulIsAway has Consul answer nobody for a while: partitions go on as they
// are, what has to be decided waits no longer than its client, and all is well
// again by itself.
func TestConsulIsAway(t *testing.T) {
	server := fake.New()
	c := newClusterOn(t, server, nil)
	c.createTopic("orders", 6, nil)
	before := c.awaitInSync("orders", 3)
	l := c.load("orders", 6)
	l.await(100)
	server.SetFault(func(*http.Request) fake.Fault { return fake.Drop })
	server.Break()
	c.awaitRendezvous("away")
	l.await(100)
	for i := range c.brokers {
		if err := c.create(i, "late"); !errors.Is(err, kerr.RequestTimedOut) || !strings.Contains(err.Error(), "consul") {
			t.Errorf("node %d: with consul away creating a topic is answered with %v", i+1, err)
		}
	}
	server.SetFault(nil)
	c.awaitRendezvous("ok")
	c.createTopic("after", 3, nil)
	c.awaitInSync("after", 3)
	l.await(100)
	c.unmoved("orders", before)
	l.end()
	c.compare("orders", 6)
}

// TestAStopWithConsulAwayIsOneInOrder stops a node in the time that a service manager
// may give it while Consul answers nobody: what it leads cannot be handed over, and its
// logs are to be closed all the same.
func TestAStopWithConsulAwayIsOneInOrder(t *testing.T) {
	for name, fault := range map[string]fake.Fault{"refuses": fake.Drop, "hangs": fake.Hang} {
		t.Run(name, func(t *testing.T) {
			server := fake.New()
			c := newClusterOn(t, server, nil)
			c.createTopic("orders", 6, nil)
			c.awaitInSync("orders", 3)
			l := c.load("orders", 6)
			l.await(100)
			server.SetFault(func(*http.Request) fake.Fault { return fault })
			server.Break()
			c.awaitRendezvous("away")
			ctx, cancel := pulse.WithTimeout(t.Context(), 3*stopWithin)
			defer cancel()
			if err := c.brokers[1].Stop(late{ctx, time.Now().Add(stopWithin)}); err != nil {
				t.Errorf("the node did not stop in order: %v", err)
			}
			c.brokers[1] = nil
			server.SetFault(nil)
			server.Break()
			c.start(1)
			c.awaitInSync("orders", 3)
			l.await(100)
			l.end()
			c.compare("orders", 6)
		})
	}
}

// stopWithin is how long the server command has to stop.
const stopWithin = 1800 * time.Millisecond

// late is a context that ends some time after its deadline, which steps that wait for
// others go by, so that a slow machine has that time for the steps that close the logs:
// it counts what of it the machine does not stand still.
type late struct {
	context.Context
	until time.Time
}

func (l late) Deadline() (time.Time, bool) { return l.until, true }

// TestWhatWaitsLeavesTimeToClose has the steps of a stop that wait take all of their time.
func TestWhatWaitsLeavesTimeToClose(t *testing.T) {
	for _, w := range []struct{ within, left time.Duration }{
		{time.Minute, time.Minute - 1500*time.Millisecond}, // of the first step a second, of the second half
		{stopWithin, 450 * time.Millisecond},
		{time.Second, 250 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), w.within)
			defer cancel()
			for _, most := range []time.Duration{time.Second, time.Second / 2} {
				step, cancel := understudy.LeavingTime(ctx, most, 0)
				<-step.Done()
				cancel()
			}
			until, _ := ctx.Deadline()
			if left := time.Until(until); left != w.left {
				t.Errorf("of %v, %v are left, want %v", w.within, left, w.left)
			}
		})
	}
}

// TestConsulForgetsWhoIsRegistered has the agent forget its services.
func TestConsulForgetsWhoIsRegistered(t *testing.T) {
	server := fake.New()
	c := newClusterOn(t, server, nil)
	c.createTopic("orders", 6, nil)
	before := c.awaitInSync("orders", 3)
	server.RestartAgent()
	c.happened("registration-renewed")
	c.createTopic("after", 3, nil)
	c.unmoved("orders", before)
}

// happened waits until each node has an event of a kind.
func (c *cluster) happened(kind string) {
	c.t.Helper()
	for i := range c.brokers {
		c.until(kind, func() bool {
			events, _ := c.brokers[i].Events(c.t.Context(), 0)
			for _, e := range events {
				if e.Kind == kind {
					return true
				}
			}
			return false
		}, func() string { return "not" })
	}
}

// TestConsulLosesItsData wipes Consul under load. The nodes go on with their own
// copies, and one of them is written back.
func TestConsulLosesItsData(t *testing.T) {
	server := fake.New()
	c := newClusterOn(t, server, nil)
	c.createTopic("orders", 6, nil)
	before := c.awaitInSync("orders", 3)
	clusterID := c.standing(0, "all is well", func(s standing) bool { return s.UnderReplicated == 0 }).ClusterID
	l := c.load("orders", 6)
	l.await(100)
	server.LoseData()
	server.RestartAgent()
	c.awaitRendezvous("metadata lost")
	l.await(100)
	if err := c.create(1, "late"); !errors.Is(err, kerr.RequestTimedOut) {
		t.Errorf("with the metadata lost creating a topic is answered with %v", err)
	}
	c.unmoved("orders", before)

	var done struct {
		Node               int32
		Topics, Partitions int
	}
	var refusal error
	c.until("written back", func() bool { // a node that stands still cannot be asked for its version
		refusal = c.try(2, "POST", "/cluster/restore", 2, &done)
		return refusal == nil
	}, func() string { return refusal.Error() })
	if done.Topics != 1 || done.Partitions != 6 {
		t.Errorf("written back: %+v", done)
	}
	c.awaitRendezvous("ok")
	if why := c.refused(2, "POST", "/cluster/restore"); !strings.Contains(why, "no metadata is lost") {
		t.Errorf("once more: %s", why)
	}
	c.createTopic("after", 3, nil)
	c.awaitInSync("after", 3)
	l.await(100)
	c.unmoved("orders", before)
	l.end()
	c.compare("orders", 6)
	for i := range c.brokers {
		s := c.standing(i, "all is well", func(s standing) bool { return s.UnderReplicated == 0 && s.Controller > 0 })
		if s.ClusterID != clusterID || len(s.Brokers) != 3 {
			t.Errorf("node %d says %+v", i+1, s)
		}
	}
	c.stop(0) // a node that starts now finds itself
	c.start(0)
	c.awaitInSync("orders", 3)
}

// TestANodeThatCannotBeAskedMayHaveANewerCopy cuts one off before the metadata is
// to be written back.
func TestANodeThatCannotBeAskedMayHaveANewerCopy(t *testing.T) {
	server := fake.New()
	c := newClusterOn(t, server, nil)
	c.createTopic("orders", 3, nil)
	c.awaitInSync("orders", 3)
	server.LoseData()
	server.RestartAgent()
	c.awaitRendezvous("metadata lost")
	c.wires[2].Mute(true)
	if why := c.refused(0, "POST", "/cluster/restore"); !strings.Contains(why, "node 3 cannot be asked") {
		t.Errorf("refused: %s", why)
	}
	var done struct{ Topics int }
	c.ask(0, "POST", "/cluster/restore?force=true", 2, &done)
	if done.Topics != 1 {
		t.Errorf("written back: %+v", done)
	}
	c.wires[2].Mute(false)
	c.awaitRendezvous("ok")
	c.awaitInSync("orders", 3)
}

// TestABrokerThatRanAloneBecomesTheFirstNode takes everything along: ids, settings,
// records, and what is known of producers. A second node joins it.
func TestABrokerThatRanAloneBecomesTheFirstNode(t *testing.T) {
	disk, server := vfs.NewMem(vfs.MemOptions{}), fake.New()
	cfg := testConfig("mem")
	cfg.NodeID, cfg.Listen = 4, loopback.Host()+":0" // where it can be started again
	alone, err := understudy.Start(t.Context(), cfg, understudy.WithFS(disk))
	if err != nil {
		t.Fatal(err)
	}
	client := connect(t, alone, kgo.DefaultProduceTopic("orders"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	week := "604800000"
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 3, 1, map[string]*string{"retention.ms": &week}, "orders"); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Partition: int32(i % 3), Value: fmt.Appendf(nil, "%d", i)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	producer, _, err := client.ProducerID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := describe(t, client, "orders")
	stop(t, alone)

	cfg.Cluster, cfg.Listen = "test", alone.Addr().String()
	options := []understudy.Option{understudy.WithFS(disk), understudy.WithConsul(consul.Config{Address: "fake", HTTP: server.Client()})}
	if b, err := understudy.Start(t.Context(), cfg, options...); err == nil {
		stop(t, b)
		t.Fatal("it joined without being told to")
	} else if !strings.Contains(err.Error(), "--adopt") {
		t.Errorf("refused with %v", err)
	}
	node := start(t, cfg, append(options, understudy.WithAdoption())...)
	if after := describe(t, client, "orders"); after.id != before.id || after.cluster != before.cluster || after.node != 4 || after.epoch <= before.epoch {
		t.Errorf("it was %+v, and is %+v", before, after)
	}
	if err := client.ProduceSync(t.Context(), &kgo.Record{Value: []byte("30")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	fresh := connect(t, node, kgo.ConsumeTopics("orders"))
	if other, _, err := fresh.ProducerID(t.Context()); err != nil || other <= producer {
		t.Errorf("a new producer has id %d (%v), an old one %d", other, err, producer)
	}
	for n := 0; n < 31; {
		fetches := fresh.PollFetches(t.Context())
		if err := fetches.Err0(); err != nil {
			t.Fatal(err)
		}
		n += fetches.NumRecords()
	}
	settings, err := kadm.NewClient(fresh).DescribeTopicConfigs(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range settings[0].Configs {
		if s.Key == "retention.ms" && (s.Value == nil || *s.Value != week) {
			t.Errorf("retention.ms is %v", s.Value)
		}
	}

	second := testConfig("mem")
	second.Cluster = "test"
	start(t, second, understudy.WithFS(vfs.NewMem(vfs.MemOptions{})), options[1])
	brokers, err := kadm.NewClient(fresh).ListBrokers(t.Context())
	if err != nil || len(brokers) != 2 {
		t.Errorf("the brokers are %v (%v)", brokers, err)
	}
	if b, err := understudy.Start(t.Context(), testConfig("mem"), understudy.WithFS(disk)); err == nil {
		stop(t, b)
		t.Error("it runs alone while it is a node")
	}
}

// described is what a client is told of a topic and its cluster.
type described struct {
	id      kadm.TopicID
	cluster string
	node    int32
	epoch   int32
}

func describe(t *testing.T, client *kgo.Client, topic string) described {
	t.Helper()
	m, err := kadm.NewClient(client).Metadata(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	p := m.Topics[topic].Partitions[0]
	return described{m.Topics[topic].ID, m.Cluster, p.Leader, p.LeaderEpoch}
}

// TestSettingsThatConsulDoesNotTakeAreRefused asks for settings that are larger than a
// transaction can be: the one who asks is told, and nobody else notices.
func TestSettingsThatConsulDoesNotTakeAreRefused(t *testing.T) {
	c := newClusterOn(t, fake.New(), nil)
	c.createTopic("orders", 1, nil)
	admin := kadm.NewClient(c.client())
	alter := func(size int) error {
		list := strings.Repeat("0:1,", size/4)
		results, err := admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "leader.replication.throttled.replicas", Value: &list}}, "orders")
		if err != nil {
			t.Fatal(err)
		}
		return results[0].Err
	}
	for range 3 {
		if err := alter(600 << 10); !errors.Is(err, kerr.InvalidConfig) {
			t.Errorf("settings of 600 KiB: %v", err)
		}
	}
	if err := alter(200 << 10); err != nil {
		t.Errorf("settings that fit: %v", err)
	}
	c.createTopic("after", 1, nil)
}
