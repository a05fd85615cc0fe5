package understudy

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"testing"

	"understudy/actors/controller"
	"understudy/actors/partition"
	"understudy/cluster/link"
	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/messages"
)

// pair is node 1, which has nothing, and its link to node 2, whose requests are
// answered by a function. Node 2 is the controller.
func pair(t *testing.T, im *metadata.Image, answer func(kind byte, body []byte) (any, error)) *node {
	t.Helper()
	var links []*link.Link
	peers := map[messages.BrokerID]link.Peer{}
	met := make(chan struct{}, 2)
	for id := messages.BrokerID(1); id <= 2; id++ {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		peers[id] = link.Peer{Addr: listener.Addr().String(), Epoch: 1}
		l, err := link.New(link.Options{
			Self: replica.Member{ID: id, Epoch: 1}, ClusterID: "test", Listener: listener, OnMessage: func(in *link.Incoming) { in.Release() },
			OnEvent: func(e link.Event) {
				if e.Kind == link.Up {
					met <- struct{}{}
				}
			},
			OnRequest: func(_ context.Context, _ replica.Member, kind byte, body []byte) ([]byte, error) {
				value, err := answer(kind, body)
				if err != nil {
					return nil, err
				}
				return json.Marshal(reply[any]{Value: value})
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Close)
		links = append(links, l)
	}
	for _, l := range links {
		l.SetPeers(peers)
	}
	<-met
	<-met
	n := lonely(im)
	n.self, n.link, n.b.replicas = metadata.Broker{ID: 1, Epoch: 1}, links[0], partition.NewRegistry()
	n.ctx = t.Context()
	return n
}

// many is a cluster of two with a topic of so many partitions, none of which has a leader.
func many(t *testing.T, partitions int) (*metadata.Image, []messages.TopicPartition) {
	t.Helper()
	e := metadata.NewEdit(metadata.Empty())
	e.SetController(2)
	for id := messages.BrokerID(1); id <= 2; id++ {
		e.SetBroker(metadata.Broker{ID: id, Epoch: 1, Host: "a"})
	}
	topic := &metadata.Topic{Name: "a-name-as-topics-have-it-in-a-company", ID: messages.TopicID{1}}
	var all []messages.TopicPartition
	for n := range partitions {
		topic.Partitions = append(topic.Partitions, metadata.Partition{
			Replicas: []messages.BrokerID{3, 2}, ISR: []messages.BrokerID{3}, Leader: messages.NoBroker, LeaderEpoch: 1,
		})
		all = append(all, messages.TopicPartition{Topic: topic.Name, Partition: int32(n)})
	}
	e.CreateTopic(topic)
	im, _, err := e.Seal(1)
	if err != nil {
		t.Fatal(err)
	}
	return im, all
}

// TestWhatManyReplicasHoldIsKnown asks another node before an unclean election of as
// many partitions as a cluster may have.
func TestWhatManyReplicasHoldIsKnown(t *testing.T) {
	im, all := many(t, 10_000)
	n := pair(t, im, func(_ byte, body []byte) (any, error) {
		var q holdingQuestion
		if err := json.Unmarshal(body, &q); err != nil {
			return nil, err
		}
		var known []controller.Holding
		for _, tp := range q.Partitions {
			known = append(known, controller.Holding{Topic: tp.Topic, Partition: tp.Partition, Broker: 2, Epoch: 12, End: 1_234_567, Committed: 1_234_567})
		}
		return known, nil
	})
	if known := n.allHoldings(t.Context(), all); len(known) != len(all) {
		t.Errorf("of %d partitions, what is held of %d is known", len(all), len(known))
	}
}

// TestManyLeadersAreElectedElsewhere has the controller on another node elect leaders
// of all partitions, some of which need none.
func TestManyLeadersAreElectedElsewhere(t *testing.T) {
	im, all := many(t, 10_000)
	n := pair(t, im, func(_ byte, body []byte) (any, error) {
		var q electionQuestion
		if err := json.Unmarshal(body, &q); err != nil {
			return nil, err
		}
		asked := q.Partitions
		if asked == nil {
			asked = all
		}
		results := []controller.ElectionResult{}
		for _, tp := range asked {
			r := controller.ElectionResult{Topic: tp.Topic, Partition: tp.Partition, Losses: strings.Repeat("x", 100)}
			if tp.Partition%10 == 0 {
				r.Losses, r.Err = "", messages.E("elect leaders", messages.ElectionNotNeeded, tp.String(), nil)
			}
			results = append(results, r)
		}
		return wired(results, packElection)
	})
	results, err := n.ElectLeaders(t.Context(), controller.UncleanElection, nil)
	if err != nil || len(results) != 9_000 {
		t.Errorf("%d results, %v", len(results), err)
	}
	if results, err = n.ElectLeaders(t.Context(), controller.UncleanElection, all); err != nil || len(results) != 10_000 {
		t.Errorf("%d results for those that were named, %v", len(results), err)
	}
}
