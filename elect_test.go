package understudy

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"understudy/actors/controller"
	"understudy/actors/partition"
	"understudy/cluster/link"
	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/messages"
)

// socket is a listener within this process, so that a test has a clock of its own.
type socket struct {
	name   string
	calls  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (s *socket) dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case s.calls <- far:
		return near, nil
	case <-s.closed:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (s *socket) Accept() (net.Conn, error) {
	select {
	case c := <-s.calls:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (s *socket) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// Addr implements net.Listener.
func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: s.name, Net: "unix"} }

// pair is node 1, which has nothing, and its link to node 2, whose requests are
// answered by a function. Node 2 is the controller. It is for synctest's bubbles: how
// long a node waits for another is not for the machine to say.
func pair(t *testing.T, im *metadata.Image, answer func(kind byte, body []byte) (any, error)) *node {
	t.Helper()
	var links []*link.Link
	peers := map[messages.BrokerID]link.Peer{}
	met := make(chan struct{}, 2)
	network := map[string]*socket{}
	for id := messages.BrokerID(1); id <= 2; id++ {
		name := nodeName(id)
		network[name] = &socket{name: name, calls: make(chan net.Conn), closed: make(chan struct{})}
		peers[id] = link.Peer{Addr: name, Epoch: 1}
	}
	dial := func(ctx context.Context, addr string) (net.Conn, error) { return network[addr].dial(ctx) }
	for id := messages.BrokerID(1); id <= 2; id++ {
		l, err := link.New(link.Options{
			Self: replica.Member{ID: id, Epoch: 1}, ClusterID: "test", Listener: network[nodeName(id)], Dial: dial, OnMessage: func(in *link.Incoming) { in.Release() },
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
	synctest.Test(t, func(t *testing.T) {
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
	})
}

// TestManyLeadersAreElectedElsewhere has the controller on another node elect leaders
// of all partitions, some of which need none.
func TestManyLeadersAreElectedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
	})
}
