package kafka

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/cluster/metadata"
	"understudy/messages"
)

// move asks for moves of partitions of a topic; a target of nil cancels.
func move(version int16, fixed bool, topic string, targets ...[]int32) *kmsg.AlterPartitionAssignmentsRequest {
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.Version, req.TimeoutMillis, req.AllowReplicationFactorChange = version, 1000, !fixed
	t := kmsg.AlterPartitionAssignmentsRequestTopic{Topic: topic}
	for n, target := range targets {
		t.Partitions = append(t.Partitions, kmsg.AlterPartitionAssignmentsRequestTopicPartition{Partition: int32(n), Replicas: target})
	}
	req.Topics = append(req.Topics, t)
	return req
}

func TestAlterReassignments(t *testing.T) {
	c := newOrders(t).dial(t)
	for _, tc := range []struct {
		req  *kmsg.AlterPartitionAssignmentsRequest
		want []*kerr.Error
	}{
		{move(0, false, "orders", []int32{self}, nil), []*kerr.Error{nil, kerr.NoReassignmentInProgress}},
		{move(0, true, "orders", []int32{self, 2}), []*kerr.Error{nil}}, // version 0 does not know that field
		{move(1, true, "orders", []int32{self}, []int32{self, 2}), []*kerr.Error{nil, kerr.InvalidReplicationFactor}},
		{move(1, false, "none", []int32{self}), []*kerr.Error{kerr.UnknownTopicOrPartition}},
		{kmsg.NewPtrAlterPartitionAssignmentsRequest(), nil},
	} {
		resp := ask[*kmsg.AlterPartitionAssignmentsResponse](c, tc.req)
		var have []string
		for _, topic := range resp.Topics {
			for _, p := range topic.Partitions {
				have = append(have, fmt.Sprint(p.Partition, kerr.ErrorForCode(p.ErrorCode)))
			}
		}
		var want []string
		for n, e := range tc.want {
			if e == nil {
				want = append(want, fmt.Sprint(n, nil))
			} else {
				want = append(want, fmt.Sprint(n, e))
			}
		}
		if fmt.Sprint(have) != fmt.Sprint(want) || resp.ErrorCode != 0 {
			t.Errorf("%+v: have %v, want %v", tc.req.Topics, have, want)
		}
	}
}

func TestListReassignments(t *testing.T) {
	h := newOrders(t)
	h.edit(func(e *metadata.Edit) {
		e.SetPartition(messages.TopicPartition{Topic: "orders", Partition: 1}, metadata.Partition{
			Replicas: []int32{self, 2, 3}, ISR: []int32{self}, Leader: self, Adding: []int32{3}, Target: []int32{3, 2},
		})
	})
	c := h.dial(t)
	const moves = "[{orders [{1 [1 2 3] [3] [1] "
	for _, tc := range []struct {
		topics []kmsg.ListPartitionReassignmentsRequestTopic
		want   string
	}{
		{nil, moves},
		{[]kmsg.ListPartitionReassignmentsRequestTopic{}, "[]"},
		{[]kmsg.ListPartitionReassignmentsRequestTopic{{Topic: "orders", Partitions: []int32{0, 1, 1, 7}}, {Topic: "orders", Partitions: []int32{1}}}, moves},
		{[]kmsg.ListPartitionReassignmentsRequestTopic{{Topic: "orders", Partitions: []int32{0}}, {Topic: "none", Partitions: []int32{0}}}, "[]"},
	} {
		req := kmsg.NewPtrListPartitionReassignmentsRequest()
		req.Topics = tc.topics
		resp := ask[*kmsg.ListPartitionReassignmentsResponse](c, req)
		if have := fmt.Sprint(resp.Topics); len(have) < len(tc.want) || have[:len(tc.want)] != tc.want || len(resp.Topics) > 1 {
			t.Errorf("%v: have %s, want %s", tc.topics, have, tc.want)
		}
	}
}

func TestElectLeaders(t *testing.T) {
	c := newOrders(t).dial(t)
	elect := func(version int16, kind int8, topics []kmsg.ElectLeadersRequestTopic) *kmsg.ElectLeadersResponse {
		req := kmsg.NewPtrElectLeadersRequest()
		req.Version, req.ElectionType, req.Topics, req.TimeoutMillis = version, kind, topics, 1000
		return ask[*kmsg.ElectLeadersResponse](c, req)
	}
	both := []kmsg.ElectLeadersRequestTopic{{Topic: "orders", Partitions: []int32{0, 1}}, {Topic: "old", Partitions: []int32{0}}}
	resp := elect(0, 1, both) // version 0 has no kinds: the preferred
	if len(resp.Topics) != 2 || len(resp.Topics[0].Partitions) != 2 || resp.Topics[1].Partitions[0].ErrorCode != kerr.ElectionNotNeeded.Code {
		t.Errorf("preferred: %+v", resp)
	}
	resp = elect(2, 1, both)
	if p := resp.Topics[0].Partitions[1]; p.ErrorCode != 0 || p.Partition != 1 || p.ErrorMessage == nil || *p.ErrorMessage != "everything" {
		t.Errorf("unclean: %+v", resp)
	}
	if resp = elect(1, 7, both); resp.ErrorCode != kerr.InvalidRequest.Code || len(resp.Topics) != 2 {
		t.Errorf("no such kind: %+v", resp)
	}
	for _, none := range [][]kmsg.ElectLeadersRequestTopic{nil, {}} {
		if resp = elect(2, 0, none); resp.ErrorCode != 0 || len(resp.Topics) != 0 {
			t.Errorf("nothing to do: %+v", resp)
		}
	}
}

// TestAnyReplicaTellsWhatItHolds asks as an operator does who wants to know what an
// unclean election would lose.
func TestAnyReplicaTellsWhatItHolds(t *testing.T) {
	h := newOrders(t)
	h.at("orders", 0).change(func(p *fakePartition) {
		p.leader, p.err = 2, messages.E("fake", messages.NotLeader, "orders-0", nil)
	})
	c := h.dial(t)
	list := func(replica int32, when int64) kmsg.ListOffsetsResponseTopicPartition {
		req := kmsg.NewPtrListOffsetsRequest()
		req.Version, req.ReplicaID = 5, replica
		req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "orders", Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Partition: 0, Timestamp: when, CurrentLeaderEpoch: -1}}}}
		return ask[*kmsg.ListOffsetsResponse](c, req).Topics[0].Partitions[0]
	}
	if p := list(-1, latestOffset); p.ErrorCode != kerr.NotLeaderForPartition.Code {
		t.Errorf("a consumer is answered with %+v", p)
	}
	if p := list(anyReplica, latestOffset); p.ErrorCode != 0 || p.Offset != 20 || p.LeaderEpoch != 3 {
		t.Errorf("the end: %+v", p)
	}
	if p := list(anyReplica, earliestOffset); p.ErrorCode != 0 || p.Offset != 0 || p.LeaderEpoch != 1 {
		t.Errorf("the start: %+v", p)
	}
	if p := list(anyReplica, startTime); p.ErrorCode != kerr.UnsupportedVersion.Code {
		t.Errorf("by time: %+v", p)
	}
}

// TestBrokersThatAreDownAreNotOffered has clients turn to those that are up.
func TestBrokersThatAreDownAreNotOffered(t *testing.T) {
	h := newOrders(t)
	h.edit(func(e *metadata.Edit) {
		e.SetBroker(metadata.Broker{ID: 2, Epoch: 1, Host: "b", Port: 1})
		e.SetBroker(metadata.Broker{ID: 3, Epoch: 1, Host: "c", Port: 1, Down: "process gone"})
		e.SetPartition(messages.TopicPartition{Topic: "orders", Partition: 0}, metadata.Partition{
			Replicas: []int32{3, self, 9}, ISR: []int32{3}, Leader: messages.NoBroker, LeaderEpoch: 4,
		})
	})
	c := h.dial(t)
	req := kmsg.NewPtrMetadataRequest()
	req.Version, req.Topics = 9, []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("orders")}}
	resp := ask[*kmsg.MetadataResponse](c, req)
	if len(resp.Brokers) != 2 || resp.Brokers[0].NodeID != self || resp.Brokers[1].NodeID != 2 {
		t.Errorf("brokers: %+v", resp.Brokers)
	}
	p := resp.Topics[0].Partitions[0]
	if p.Leader != -1 || p.ErrorCode != kerr.LeaderNotAvailable.Code || fmt.Sprint(p.OfflineReplicas) != "[3 9]" {
		t.Errorf("partition: %+v", p)
	}
	cluster := kmsg.NewPtrDescribeClusterRequest()
	if brokers := ask[*kmsg.DescribeClusterResponse](c, cluster).Brokers; len(brokers) != 2 {
		t.Errorf("brokers: %+v", brokers)
	}
}
