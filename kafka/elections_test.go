package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/cluster/metadata"
	"understudy/kafka/server"
	"understudy/messages"
)

// fakeElections is what a node sees of others.
type fakeElections struct {
	cluster *fakeCluster

	mu        sync.Mutex
	pending   map[messages.BrokerID]bool
	leaving   map[messages.BrokerID]bool
	confirmed []messages.BrokerID
	confirm   func(messages.BrokerID) // may be nil
	next      chan struct{}
}

func (e *fakeElections) Confirm(_ context.Context, ids []messages.BrokerID) {
	e.mu.Lock()
	e.confirmed = append(e.confirmed, ids...)
	confirm := e.confirm
	e.mu.Unlock()
	for _, id := range ids {
		if confirm != nil {
			confirm(id)
		}
	}
}

// lose has a broker be one that this node has just lost sight of.
func (e *fakeElections) lose(id messages.BrokerID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pending[id] = true
}

func (e *fakeElections) Pending(id messages.BrokerID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.pending[id]
}

func (e *fakeElections) Leaving(id messages.BrokerID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leaving[id]
}

func (e *fakeElections) Next() (*metadata.Image, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.next == nil {
		e.next = make(chan struct{})
	}
	return e.cluster.image.Load(), e.next
}

// publish changes the metadata and tells who waits.
func (e *fakeElections) publish(change func(*metadata.Edit)) {
	e.cluster.edit(change)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.next != nil {
		close(e.next)
		e.next = nil
	}
}

// threeBrokers has partition 0 of orders led by broker 2, and partition 1 by this one.
func threeBrokers(t testing.TB) (*fakeCluster, *fakeElections) {
	f := newFakeCluster(t)
	f.create("orders", 2, nil)
	f.create("quiet", 1, nil)
	f.edit(func(e *metadata.Edit) {
		e.SetBroker(metadata.Broker{ID: 2, Epoch: 1, Host: "two", Port: 9092})
		e.SetBroker(metadata.Broker{ID: 3, Epoch: 1, Host: "three", Port: 9092})
		e.SetPartition(messages.TopicPartition{Topic: "orders"}, metadata.Partition{Replicas: []int32{2, 3}, ISR: []int32{2, 3}, Leader: 2, LeaderEpoch: 4})
	})
	return f, &fakeElections{cluster: f, pending: map[messages.BrokerID]bool{}, leaving: map[messages.BrokerID]bool{}}
}

// electing runs a test with a clock of its own, of a broker that waits for elections:
// synctest.Wait returns when its requests do.
func electing(t *testing.T, f *fakeCluster, elections *fakeElections, test func(*testing.T, *pipe)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := servePipeWith(t, f, func(d *Deps) { d.Elections = elections })
		defer h.close()
		test(t, h)
	})
}

// deposed runs a test of a broker, one of three, that knows by its replica of partition 1,
// and not by its metadata, that it does not lead it.
func deposed(t *testing.T, test func(*testing.T, *fakeCluster, *fakeElections, *client)) {
	t.Helper()
	f, elections := threeBrokers(t)
	f.at("orders", 1).change(func(p *fakePartition) { p.err = messages.E("", messages.NotLeader, "", nil) })
	electing(t, f, elections, func(t *testing.T, h *pipe) { test(t, f, elections, h.client) })
}

func metadataReq(topics ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	for _, name := range topics {
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: kmsg.StringPtr(name)})
	}
	return req
}

// elect makes broker 3 the leader in place of 2.
func elect(e *metadata.Edit) {
	e.SetBroker(metadata.Broker{ID: 2, Epoch: 1, Host: "two", Port: 9092, Down: "process gone"})
	e.SetPartition(messages.TopicPartition{Topic: "orders"}, metadata.Partition{Replicas: []int32{2, 3}, ISR: []int32{3}, Leader: 3, LeaderEpoch: 5})
}

// succeed makes broker 3 the leader of partition 1, in place of this one.
func succeed(e *metadata.Edit) {
	e.SetPartition(messages.TopicPartition{Topic: "orders", Partition: 1}, metadata.Partition{Replicas: []int32{self, 3}, ISR: []int32{self, 3}, Leader: 3, LeaderEpoch: 7})
}

func listed(resp *kmsg.MetadataResponse) (ids []int32) {
	for _, b := range resp.Brokers {
		ids = append(ids, b.NodeID)
	}
	return ids
}

// TestMetadataWaitsForAnElection asks about a partition whose leader is found to be
// gone only when this broker makes sure of it.
func TestMetadataWaitsForAnElection(t *testing.T) {
	for _, topics := range [][]string{{"orders"}, nil} {
		f, elections := threeBrokers(t)
		elections.confirm = elections.lose
		electing(t, f, elections, func(t *testing.T, h *pipe) {
			req := metadataReq(topics...)
			corr := h.client.send(req)
			synctest.Wait()
			elections.publish(func(e *metadata.Edit) { e.SetController(3) }) // which is no answer
			synctest.Wait()
			elections.publish(elect)
			resp := h.client.receive(req, corr).(*kmsg.MetadataResponse)
			for _, topic := range resp.Topics {
				if p := topic.Partitions[0]; *topic.Topic == "orders" && (p.Leader != 3 || p.LeaderEpoch != 5 || p.ErrorCode != 0 || !slices.Equal(p.OfflineReplicas, []int32{2})) {
					t.Errorf("topics %v: %+v", topics, p)
				}
			}
			if ids := listed(resp); !slices.Equal(ids, []int32{self, 3}) {
				t.Errorf("topics %v: brokers %v", topics, ids)
			}
			if !slices.Equal(elections.confirmed, []messages.BrokerID{2}) {
				t.Errorf("%v were asked whether they are there", elections.confirmed)
			}
		})
	}
}

// TestTheCoordinatorIsTheNewOne looks for the coordinator of a group a moment after its
// broker has gone.
func TestTheCoordinatorIsTheNewOne(t *testing.T) {
	f, elections := threeBrokers(t)
	elections.confirm = elections.lose
	f.groups.elsewhere["group"] = 2
	electing(t, f, elections, func(t *testing.T, h *pipe) {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.Version, req.CoordinatorType, req.CoordinatorKeys = 4, groupKey, []string{"group"}
		corr := h.client.send(req)
		synctest.Wait()
		elections.publish(func(e *metadata.Edit) { e.SetController(3) }) // which is no answer
		synctest.Wait()
		f.groups.with(func() { f.groups.elsewhere["group"] = 3 })
		elections.publish(elect)
		resp := h.client.receive(req, corr).(*kmsg.FindCoordinatorResponse)
		if found := resp.Coordinators; len(found) != 1 || found[0].NodeID != 3 || found[0].Host != "three" || found[0].ErrorCode != 0 {
			t.Errorf("%+v", found)
		}
		if !slices.Equal(elections.confirmed, []messages.BrokerID{2}) {
			t.Errorf("%v were asked whether they are there", elections.confirmed)
		}
	})
}

// TestMetadataDoesNotWaitForOthersElections asks about partitions that are led,
// or that nobody leads.
func TestMetadataDoesNotWaitForOthersElections(t *testing.T) {
	f, elections := threeBrokers(t)
	f.create("offline", 1, nil)
	f.edit(func(e *metadata.Edit) {
		e.SetPartition(messages.TopicPartition{Topic: "offline"}, metadata.Partition{Replicas: []int32{2}, ISR: []int32{2}, Leader: messages.NoBroker, LeaderEpoch: 9})
	})
	elections.pending[2] = true
	electing(t, f, elections, func(t *testing.T, h *pipe) {
		began := time.Now()
		resp := ask[*kmsg.MetadataResponse](h.client, metadataReq("quiet", "offline", "missing"))
		if waited := time.Since(began); waited != 0 || len(resp.Topics) != 3 {
			t.Errorf("%d topics after %v", len(resp.Topics), waited)
		}
		if p := resp.Topics[1].Partitions[0]; p.Leader != -1 || p.ErrorCode != messages.LeaderNotAvailable.Code() {
			t.Errorf("offline: %+v", p)
		}
	})
}

// TestMetadataWaitsNoLongerThanAnElectionMayTake has nobody elected; and, the
// second time, the leader come back.
func TestMetadataWaitsNoLongerThanAnElectionMayTake(t *testing.T) {
	for _, back := range []time.Duration{0, 30 * time.Millisecond} {
		f, elections := threeBrokers(t)
		elections.pending[2] = true
		electing(t, f, elections, func(t *testing.T, h *pipe) {
			want := electionPatience
			if back > 0 {
				want = 2 * electionLook
				time.AfterFunc(back, func() {
					elections.mu.Lock()
					defer elections.mu.Unlock()
					delete(elections.pending, 2)
				})
			}
			began := time.Now()
			p := ask[*kmsg.MetadataResponse](h.client, metadataReq("orders")).Topics[0].Partitions[0]
			if waited := time.Since(began); waited != want || p.Leader != 2 {
				t.Errorf("leader %d after %v, want %v", p.Leader, waited, want)
			}
		})
	}
}

// TestAnswersWaitForTheLeadersOwnNews asks this broker, which has been elected in
// place of 2, before it has heard of that; first it hears of the end of 2, if it
// must to wait, then the metadata comes, and then its replica leads.
func TestAnswersWaitForTheLeadersOwnNews(t *testing.T) {
	orders := messages.TopicPartition{Topic: "orders"}
	for _, w := range []struct {
		name    string
		pending bool
		ask     func(*fakeCluster) kmsg.Request
		code    func(kmsg.Response) (int16, int32) // and the leader that is named
		want    error
	}{
		{"ListOffsets", false, func(*fakeCluster) kmsg.Request {
			req := kmsg.NewPtrListOffsetsRequest()
			req.Version, req.ReplicaID = 8, -1
			req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "orders", Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Timestamp: -2, CurrentLeaderEpoch: 5}}}}
			return req
		}, func(r kmsg.Response) (int16, int32) {
			return r.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].ErrorCode, -1
		}, nil},
		{"OffsetForLeaderEpoch", false, func(*fakeCluster) kmsg.Request {
			req := kmsg.NewPtrOffsetForLeaderEpochRequest()
			req.Version, req.ReplicaID = 4, -1
			req.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "orders", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{CurrentLeaderEpoch: 5, LeaderEpoch: 4}}}}
			return req
		}, func(r kmsg.Response) (int16, int32) {
			return r.(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions[0].ErrorCode, -1
		}, nil},
		{"Fetch in the new epoch", false, func(f *fakeCluster) kmsg.Request {
			req := f.fetchReq(17, "orders", 0, 0)
			req.Topics[0].Partitions[0].CurrentLeaderEpoch = 5
			return req
		}, fetchCode, nil},
		{"Fetch in any epoch", true, func(f *fakeCluster) kmsg.Request { return f.fetchReq(17, "orders", 0, 0) }, fetchCode, nil},
		{"Produce", true, func(*fakeCluster) kmsg.Request { return produceReq(11, -1, "orders", 0, makeBatch(1, 10)) }, func(r kmsg.Response) (int16, int32) {
			p := r.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
			return p.ErrorCode, p.CurrentLeader.LeaderID
		}, nil},
	} {
		t.Run(w.name, func(t *testing.T) {
			f, elections := threeBrokers(t)
			elections.pending[2] = w.pending
			replica := f.at("orders", 0)
			replica.change(func(p *fakePartition) {
				p.leader, p.epoch, p.err = 2, 4, messages.E("", messages.NotLeader, "", nil)
			})
			electing(t, f, elections, func(t *testing.T, h *pipe) {
				req := w.ask(f)
				corr := h.client.send(req)
				synctest.Wait()
				elections.publish(func(e *metadata.Edit) {
					e.SetPartition(orders, metadata.Partition{Replicas: []int32{2, self}, ISR: []int32{self}, Leader: self, LeaderEpoch: 5})
				})
				synctest.Wait()
				replica.change(func(p *fakePartition) { p.leader, p.epoch, p.err = self, 5, nil })
				code, leader := w.code(h.client.receive(req, corr))
				if got := kerr.ErrorForCode(code); got != w.want || got != nil && leader != self {
					t.Errorf("error %v, leader %d", got, leader)
				}
			})
		})
	}
}

// TestWhoMayHaveBeenReplacedNamesNobody: who asks such a broker for a topic by name is
// sent to another by the end of the connection. Like any, the end of one on which
// nothing was told is a reset.
func TestWhoMayHaveBeenReplacedNamesNobody(t *testing.T) {
	f, elections := threeBrokers(t)
	h := serve(t, f, func(d *Deps, _ *server.Options) { d.Elections = elections })
	h.at("orders", 1).change(func(p *fakePartition) { p.alone = true })
	c := h.dial(t)
	if topics := ask[*kmsg.MetadataResponse](c, metadataReq("quiet")).Topics; topics[0].Partitions[0].Leader != self {
		t.Errorf("quiet: %+v", topics)
	}
	c.send(metadataReq("orders"))
	c.closed()
	fresh := h.dial(t)
	fresh.send(metadataReq("orders"))
	if _, err := fresh.conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a new connection ends with %v", err)
	}
}

// TestWhoIsReplacedWhileOthersAreNamesNobody: that of a broker that waits for an election.
func TestWhoIsReplacedWhileOthersAreNamesNobody(t *testing.T) {
	f, elections := threeBrokers(t)
	elections.pending[2] = true // leads partition 0
	electing(t, f, elections, func(t *testing.T, h *pipe) {
		h.client.send(metadataReq("orders"))
		synctest.Wait()
		began := time.Now()
		f.at("orders", 1).change(func(p *fakePartition) { p.alone = true })
		h.client.closed()
		if waited := time.Since(began); waited > electionLook {
			t.Errorf("that took %v", waited)
		}
	})
}

// TestRecordsWaitForTheNewsOfAnElection sends records to a broker that is in sync and
// has not heard yet that it leads, though who led before is there and has sent the
// client; that waits for 100 ms, and not at all where this broker itself led before.
func TestRecordsWaitForTheNewsOfAnElection(t *testing.T) {
	orders := messages.TopicPartition{Topic: "orders"}
	for _, w := range []struct {
		name    string
		isr     []messages.BrokerID
		led     messages.LeaderEpoch
		elected time.Duration // after the request; 0: never
		waits   time.Duration
		leader  messages.BrokerID // that is named; -1: the records are taken
	}{
		{"elected", []int32{2, self}, messages.NoEpoch, 30 * time.Millisecond, 30 * time.Millisecond, -1},
		{"elected long after it led", []int32{2, self}, 1, 30 * time.Millisecond, 30 * time.Millisecond, -1},
		{"not elected", []int32{2, self}, messages.NoEpoch, 0, newsPatience, 2},
		{"led until now", []int32{2, self}, 3, 0, 0, 2},
		{"not in sync", []int32{2, 3}, messages.NoEpoch, 0, 0, 2},
	} {
		t.Run(w.name, func(t *testing.T) {
			f, elections := threeBrokers(t)
			f.edit(func(e *metadata.Edit) {
				e.SetPartition(orders, metadata.Partition{Replicas: []int32{2, self, 3}, ISR: w.isr, Leader: 2, LeaderEpoch: 4})
			})
			electing(t, f, elections, func(t *testing.T, h *pipe) {
				replica := f.at("orders", 0)
				replica.change(func(p *fakePartition) {
					p.leader, p.epoch, p.led, p.err = 2, 4, w.led, messages.E("", messages.NotLeader, "", nil)
				})
				if w.elected > 0 {
					time.AfterFunc(w.elected, func() {
						replica.change(func(p *fakePartition) { p.leader, p.epoch, p.err = self, 5, nil })
						elections.publish(func(e *metadata.Edit) {
							e.SetPartition(orders, metadata.Partition{Replicas: []int32{2, self, 3}, ISR: w.isr, Leader: self, LeaderEpoch: 5})
						})
					})
				}
				began := time.Now()
				p := ask[*kmsg.ProduceResponse](h.client, produceReq(11, -1, "orders", 0, makeBatch(1, 10))).Topics[0].Partitions[0]
				if waited := time.Since(began); waited != w.waits || p.CurrentLeader.LeaderID != w.leader || (p.ErrorCode == 0) != (w.leader < 0) {
					t.Errorf("%+v after %v", p, waited)
				}
			})
		})
	}
}

func fetchCode(r kmsg.Response) (int16, int32) {
	p := r.(*kmsg.FetchResponse).Topics[0].Partitions[0]
	return p.ErrorCode, p.CurrentLeader.LeaderID
}

// TestAnEpochOfNobodysIsUnknown asks in an epoch of which nobody hears.
func TestAnEpochOfNobodysIsUnknown(t *testing.T) {
	f, elections := threeBrokers(t)
	electing(t, f, elections, func(t *testing.T, h *pipe) {
		req := kmsg.NewPtrListOffsetsRequest()
		req.Version, req.ReplicaID = 8, -1
		both := []kmsg.ListOffsetsRequestTopicPartition{{Partition: 0, Timestamp: -1, CurrentLeaderEpoch: 99}, {Partition: 1, Timestamp: -1, CurrentLeaderEpoch: 99}}
		req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "orders", Partitions: both}}
		began := time.Now()
		got := ask[*kmsg.ListOffsetsResponse](h.client, req).Topics[0].Partitions
		if waited := time.Since(began); waited != electionPatience || got[0].ErrorCode != kerr.UnknownLeaderEpoch.Code || got[1].ErrorCode != kerr.UnknownLeaderEpoch.Code {
			t.Errorf("%+v after %v", got, waited)
		}
	})
}

func TestBrokersThatAreDownAreNotListed(t *testing.T) {
	f, elections := threeBrokers(t)
	elections.publish(elect)
	f.edit(func(e *metadata.Edit) { e.SetController(2) })
	h := serve(t, f, func(d *Deps, _ *server.Options) { d.Elections = elections })
	c := h.dial(t)
	for _, leaving := range []bool{false, true} {
		elections.leaving[2] = leaving
		want := "[1 3]"
		if leaving {
			want = "[1 2 3]"
		}
		resp := ask[*kmsg.MetadataResponse](c, metadataReq("orders"))
		if got := fmt.Sprint(listed(resp)); got != want || resp.ControllerID != self {
			t.Errorf("leaving %v: brokers %s, controller %d", leaving, got, resp.ControllerID)
		}
		cluster := kmsg.NewPtrDescribeClusterRequest()
		cluster.Version = 2
		if n := len(ask[*kmsg.DescribeClusterResponse](c, cluster).Brokers); fmt.Sprint(n) != fmt.Sprint(len(resp.Brokers)) {
			t.Errorf("leaving %v: DescribeCluster gives %d brokers", leaving, n)
		}
		cluster.IncludeFencedBrokers = true
		if all := ask[*kmsg.DescribeClusterResponse](c, cluster).Brokers; len(all) != 3 || all[1].IsFenced == leaving || all[2].IsFenced {
			t.Errorf("leaving %v: with those that are down: %+v", leaving, all)
		}
	}
}

// TestAnswersDoNotWaitForARecordsLeader has records wait for a leader behind a request
// whose answer is ready meanwhile.
func TestAnswersDoNotWaitForARecordsLeader(t *testing.T) {
	deposed(t, func(t *testing.T, f *fakeCluster, _ *fakeElections, c *client) {
		f.at("quiet", 0).hold = true
		first, second := produceReq(11, -1, "quiet", 0, makeBatch(1, 10)), produceReq(11, -1, "orders", 1, makeBatch(1, 10))
		corr, corr2 := c.send(first), c.send(second)
		synctest.Wait()
		began := time.Now()
		f.at("quiet", 0).release(nil)
		c.receive(first, corr)
		if waited := time.Since(began); waited != 0 {
			t.Errorf("an answer that was ready has waited for %v", waited)
		}
		f.at("orders", 1).change(func(p *fakePartition) { p.err = nil })
		c.receive(second, corr2)
	})
}
