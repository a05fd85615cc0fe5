package understudy_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy"
	"understudy/config"
	"understudy/messages/batch"
	"understudy/persistence/vfs"
)

// prober asks nodes about one partition, each request once and of one node.
type prober struct {
	t      *testing.T
	client *kgo.Client
	topic  string
	id     [16]byte
	epoch  int32 // the leader epoch that is claimed; -1: none
}

// prober waits until all nodes know the topic, and by the same id.
func (c *cluster) prober(topic string) *prober {
	c.t.Helper()
	p := &prober{t: c.t, client: c.client(), topic: topic, epoch: -1}
	for began := time.Now(); ; {
		ids := map[[16]byte]bool{}
		for node := range c.brokers {
			ids[p.metadata(int32(node + 1)).Topics[0].TopicID] = true
		}
		if len(ids) == 1 && !ids[[16]byte{}] {
			for p.id = range ids {
				return p
			}
		}
		if time.Since(began) > probeTime {
			c.t.Fatalf("%s: the nodes know it as %x", topic, slices.Collect(maps.Keys(ids)))
		}
	}
}

// at is the prober with another leader epoch.
func (p *prober) at(epoch int32) *prober {
	other := *p
	other.epoch = epoch
	return &other
}

func (p *prober) metadata(node int32) *kmsg.MetadataResponse {
	p.t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: &p.topic}}
	return ask[*kmsg.MetadataResponse](p, node, req)
}

// probeTime is for what must come true; nothing passes by waiting for it.
const probeTime = time.Minute

// ask sends a request to one node, again only if the connection was one to an
// earlier process of it.
func ask[A kmsg.Response](p *prober, node int32, req kmsg.Request) A {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), probeTime)
	defer cancel()
	for {
		resp, err := p.client.Broker(int(node)).Request(ctx, req)
		if err == nil {
			return resp.(A)
		}
		if ctx.Err() != nil {
			p.t.Fatalf("%T at node %d: %v", req, node, err)
		}
	}
}

// verdict is an error's name, and whom the answer names as the leader:
// "NOT_LEADER_FOR_PARTITION, 2 at 127.0.0.1:9092".
func verdict(code int16, leader int32, brokers ...string) string {
	if code == 0 {
		return "ok"
	}
	words := []string{kerr.TypedErrorForCode(code).Message}
	if leader >= 0 {
		words = append(words, fmt.Sprint(leader))
		for _, b := range brokers {
			words = append(words, "at "+b)
		}
	}
	return strings.Join(words, " ")
}

func (p *prober) produce(node, partition int32) string {
	p.t.Helper()
	bu := batch.NewBuilder(batch.NoProducer)
	bu.Add(time.Now().UnixMilli(), nil, []byte("x"))
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 60_000
	part := kmsg.NewProduceRequestTopicPartition()
	part.Partition, part.Records = partition, bu.Build(nil)
	req.Topics = []kmsg.ProduceRequestTopic{{Topic: p.topic, Partitions: []kmsg.ProduceRequestTopicPartition{part}}}
	resp := ask[*kmsg.ProduceResponse](p, node, req)
	var brokers []string
	for _, b := range resp.Brokers {
		brokers = append(brokers, fmt.Sprintf("%s:%d", b.Host, b.Port))
	}
	got := resp.Topics[0].Partitions[0]
	return verdict(got.ErrorCode, got.CurrentLeader.LeaderID, brokers...)
}

func (p *prober) fetch(node, partition int32) string {
	p.t.Helper()
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MaxBytes = 0, 1<<20
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.CurrentLeaderEpoch, part.PartitionMaxBytes = partition, p.epoch, 1<<20
	req.Topics = []kmsg.FetchRequestTopic{{Topic: p.topic, TopicID: p.id, Partitions: []kmsg.FetchRequestTopicPartition{part}}}
	resp := ask[*kmsg.FetchResponse](p, node, req)
	var brokers []string
	for _, b := range resp.Brokers {
		brokers = append(brokers, fmt.Sprintf("%s:%d", b.Host, b.Port))
	}
	if len(resp.Topics) == 0 {
		return verdict(resp.ErrorCode, -1)
	}
	got := resp.Topics[0].Partitions[0]
	return verdict(got.ErrorCode, got.CurrentLeader.LeaderID, brokers...)
}

func (p *prober) listOffsets(node, partition int32) string {
	p.t.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	part := kmsg.NewListOffsetsRequestTopicPartition()
	part.Partition, part.CurrentLeaderEpoch, part.Timestamp = partition, p.epoch, -2
	req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: p.topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{part}}}
	return verdict(ask[*kmsg.ListOffsetsResponse](p, node, req).Topics[0].Partitions[0].ErrorCode, -1)
}

func (p *prober) epochEnd(node, partition int32) string {
	p.t.Helper()
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.ReplicaID = -1
	part := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	part.Partition, part.CurrentLeaderEpoch = partition, p.epoch
	req.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: p.topic, Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{part}}}
	return verdict(ask[*kmsg.OffsetForLeaderEpochResponse](p, node, req).Topics[0].Partitions[0].ErrorCode, -1)
}

// answers are what a node says to each API.
type answers struct{ produce, fetch, listOffsets, epochEnd string }

// all is the same answer to each; where leads is whom those name that can.
func all(answer, leads string) answers {
	return answers{answer + leads, answer + leads, answer, answer}
}

// expect asks a node everything until it says what it should: what one node knows
// another may learn a moment later.
func (p *prober) expect(state string, node, partition int32, want answers) {
	p.t.Helper()
	for began := time.Now(); ; {
		got := answers{p.produce(node, partition), p.fetch(node, partition), p.listOffsets(node, partition), p.epochEnd(node, partition)}
		if got == want {
			return
		}
		if time.Since(began) > probeTime {
			p.t.Fatalf("%s, at node %d:\nhave %+v\nwant %+v", state, node, got, want)
		}
	}
}

// leading is how answers name a leader.
func (c *cluster) leading(node int32) string { return fmt.Sprintf(" %d at %s", node, c.addrs[node-1]) }

// otherThan is a node that is none of those.
func otherThan(nodes ...int32) int32 {
	for n := int32(1); ; n++ {
		if !slices.Contains(nodes, n) {
			return n
		}
	}
}

const (
	notLeader    = "NOT_LEADER_FOR_PARTITION"
	unknownTopic = "UNKNOWN_TOPIC_OR_PARTITION"
	unknownID    = "UNKNOWN_TOPIC_ID"
)

// TestWhatClientsAreToldInEveryState asks every API about partitions that are led,
// elsewhere, unknown, and known by another epoch or id.
func TestWhatClientsAreToldInEveryState(t *testing.T) {
	c := newCluster(t)
	c.createTopic("orders", 1, nil)
	c.createTopicOf("single", 1, 1)
	led := c.awaitInSync("orders", 3)[0]
	p := c.prober("orders")
	follower := otherThan(led.Leader)
	p.expect("led", led.Leader, 0, all("ok", ""))
	p.at(led.LeaderEpoch).expect("led, epoch given", led.Leader, 0, all("ok", ""))
	p.expect("led elsewhere", follower, 0, all(notLeader, c.leading(led.Leader)))
	p.at(led.LeaderEpoch).expect("led elsewhere, epoch given", follower, 0, all(notLeader, c.leading(led.Leader)))

	single := c.awaitInSync("single", 1)[0].Leader
	s := c.prober("single")
	s.expect("without a replica", otherThan(single), 0, all(notLeader, c.leading(single)))

	newer := answers{"ok", "UNKNOWN_LEADER_EPOCH", "UNKNOWN_LEADER_EPOCH", "UNKNOWN_LEADER_EPOCH"} // Produce gives no epoch
	p.at(led.LeaderEpoch+1).expect("a newer epoch", led.Leader, 0, newer)
	newer.produce = notLeader + c.leading(led.Leader)
	p.at(led.LeaderEpoch+1).expect("a newer epoch, elsewhere", follower, 0, newer)

	p.expect("no such partition", led.Leader, 7, all(unknownTopic, ""))
	missing := *p
	missing.topic, missing.id = "missing", [16]byte{1}
	missing.expect("no such topic", led.Leader, 0, answers{unknownTopic, unknownID, unknownTopic, unknownTopic})

	if _, err := kadm.NewClient(c.client()).DeleteTopic(t.Context(), "orders"); err != nil {
		t.Fatal(err)
	}
	c.createTopic("orders", 1, nil)
	if anew := c.prober("orders"); anew.id == p.id {
		t.Errorf("the new topic has the id of the old one, %x", p.id)
	}
	again := c.awaitInSync("orders", 3)[0].Leader
	p.expect("made anew under its name", again, 0, answers{"ok", unknownID, "ok", "ok"})
}

// TestWhatClientsAreToldAroundAnElection kills a leader while nobody can elect
// another, and then lets them.
func TestWhatClientsAreToldAroundAnElection(t *testing.T) {
	c := newCluster(t)
	c.createTopic("orders", 1, nil)
	led := c.awaitInSync("orders", 3)[0]
	p := c.prober("orders")
	before := c.leading(led.Leader)
	for _, b := range c.brokers {
		b.Seat().Cut(true)
	}
	seats := slices.Clone(c.brokers)
	c.kill(int(led.Leader-1), vfs.LoseNone)
	for node := range int32(3) {
		if node+1 == led.Leader {
			continue
		}
		p.at(led.LeaderEpoch).expect("electing", node+1, 0, all(notLeader, before))
	}
	for i, b := range seats {
		if int32(i+1) != led.Leader {
			b.Seat().Cut(false)
		}
	}
	now := c.awaitInSync("orders", 2)[0]
	next := otherThan(led.Leader, now.Leader)
	fenced := answers{"ok", "FENCED_LEADER_EPOCH" + c.leading(now.Leader), "FENCED_LEADER_EPOCH", "FENCED_LEADER_EPOCH"}
	p.at(led.LeaderEpoch).expect("an earlier epoch", now.Leader, 0, fenced)
	p.at(led.LeaderEpoch).expect("an earlier epoch, elsewhere", next, 0, all(notLeader, c.leading(now.Leader)))
	if brokers := p.metadata(now.Leader).Brokers; len(brokers) < 2 {
		t.Errorf("brokers %+v", brokers)
	}
}

// TestWhatClientsAreToldOfAPartitionThatIsOffline kills the last that was in sync,
// and asks one that is not.
func TestWhatClientsAreToldOfAPartitionThatIsOffline(t *testing.T) {
	c := newCluster(t)
	c.createTopicOf("pair", 1, 2)
	led := c.awaitInSync("pair", 2)[0]
	p := c.prober("pair")
	second := led.Replicas[slices.IndexFunc(led.Replicas, func(id int32) bool { return id != led.Leader })]
	c.kill(int(second-1), vfs.LoseNone)
	c.awaitInSync("pair", 1)
	p.expect("without the other", led.Leader, 0, all("ok", ""))
	c.kill(int(led.Leader-1), vfs.LoseNone)
	offline := func(ps kadm.PartitionDetails) bool {
		return len(ps) == 1 && ps[0].Leader == -1 && errors.Is(ps[0].Err, kerr.LeaderNotAvailable)
	}
	c.await("pair", "offline", offline)
	c.start(int(second - 1))
	c.await("pair", "offline", offline)
	third := otherThan(led.Leader, second)
	for _, node := range []int32{second, third} {
		p.expect("offline", node, 0, all(notLeader, ""))
	}
	c.start(int(led.Leader - 1))
	c.awaitInSync("pair", 2)
	p.expect("back again", led.Leader, 0, all("ok", ""))
}

// TestWhatProducersAreToldOfTooFewReplicas asks for more copies than there are, at
// first and, the second time, once the record is appended.
func TestWhatProducersAreToldOfTooFewReplicas(t *testing.T) {
	disks := make([]*vfs.Faulty, 3)
	c := newClusterWith(t, func(i int, cfg *config.Config) []understudy.Option {
		cfg.Storage.ReplicaLagTimeMax = 300 * time.Millisecond
		disks[i] = vfs.NewFaulty(vfs.NewMem(vfs.MemOptions{}), nil)
		return []understudy.Option{understudy.WithFS(disks[i])}
	})
	three := "3"
	c.createTopic("orders", 1, map[string]*string{"min.insync.replicas": &three})
	leader := c.awaitInSync("orders", 3)[0].Leader
	p := c.prober("orders")
	p.expect("before", leader, 0, all("ok", ""))
	gate := make(chan struct{})
	disks[otherThan(leader)-1].Add(vfs.Rule{Ops: vfs.OpSync, Path: "orders-0/*", Gate: gate})
	if got, want := p.produce(leader, 0), "NOT_ENOUGH_REPLICAS_AFTER_APPEND"; got != want {
		t.Errorf("a follower that does not get on: have %s, want %s", got, want)
	}
	if got, want := p.produce(leader, 0), "NOT_ENOUGH_REPLICAS"; got != want {
		t.Errorf("without it: have %s, want %s", got, want)
	}
	if got := p.fetch(leader, 0); got != "ok" {
		t.Errorf("reading: %s", got)
	}
	close(gate)
	c.awaitInSync("orders", 3)
	p.expect("with all replicas", leader, 0, all("ok", ""))
}
