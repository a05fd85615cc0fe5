package kafka

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/actors/controller"
	"understudy/cluster/metadata"
	"understudy/kafka/server"
	"understudy/messages"
)

// example fills in a request of each API so that it can be answered well.
func example(h *harness, key, version int16) kmsg.Request {
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	topic := h.image.Load().Topic("orders")
	if topic == nil { // deleted by another example
		topic = &metadata.Topic{Name: "orders"}
	}
	switch r := req.(type) {
	case *kmsg.ProduceRequest:
		req = produceReq(version, -1, "orders", 1, makeBatch(3, 10))
	case *kmsg.FetchRequest:
		req = h.fetchReq(version, "orders", 0, 0, 1)
	case *kmsg.ListOffsetsRequest:
		r.ReplicaID = -1
		r.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "orders", Partitions: []kmsg.ListOffsetsRequestTopicPartition{
			{Partition: 0, Timestamp: -1, CurrentLeaderEpoch: -1, MaxNumOffsets: 1},
			{Partition: 1, Timestamp: startTime, CurrentLeaderEpoch: 3, MaxNumOffsets: 1},
		}}}
	case *kmsg.MetadataRequest:
		r.Topics = []kmsg.MetadataRequestTopic{{Topic: &topic.Name}}
		r.AllowAutoTopicCreation = true
	case *kmsg.FindCoordinatorRequest:
		r.CoordinatorKey, r.CoordinatorKeys = "group", []string{"group", "other"}
	case *kmsg.JoinGroupRequest:
		r.Group, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis, r.ProtocolType = "group", 10_000, 60_000, "consumer"
		r.InstanceID, r.Reason = kmsg.StringPtr("one"), kmsg.StringPtr("new here")
		r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("topics")}, {Name: "sticky", Metadata: []byte("more")}}
	case *kmsg.SyncGroupRequest:
		r.Group, r.MemberID, r.Generation, r.InstanceID = "group", "m-1", 4, kmsg.StringPtr("one")
		r.ProtocolType, r.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
		r.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: "m-1", MemberAssignment: []byte("all")}}
	case *kmsg.HeartbeatRequest:
		r.Group, r.MemberID, r.Generation, r.InstanceID = "group", "m-1", 4, kmsg.StringPtr("one")
	case *kmsg.LeaveGroupRequest:
		r.Group, r.MemberID = "group", "m-1"
		r.Members = []kmsg.LeaveGroupRequestMember{{MemberID: "m-1"}, {InstanceID: kmsg.StringPtr("two"), Reason: kmsg.StringPtr("tired")}}
	case *kmsg.OffsetCommitRequest:
		r.Group, r.MemberID, r.Generation = "group", "m-1", 4
		r.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "orders", Partitions: []kmsg.OffsetCommitRequestTopicPartition{
			{Partition: 0, Offset: 7, LeaderEpoch: 3, Metadata: kmsg.StringPtr("note")}, {Partition: 1, Offset: 8, LeaderEpoch: -1},
		}}}
	case *kmsg.OffsetFetchRequest:
		r.Group, r.Topics = "group", []kmsg.OffsetFetchRequestTopic{{Topic: "orders", Partitions: []int32{1}}}
		r.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "group", MemberEpoch: -1, Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "orders", Partitions: []int32{0, 1}}}}}
	case *kmsg.OffsetDeleteRequest:
		r.Group = "group"
		r.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: "orders", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 1}}}}
	case *kmsg.DescribeGroupsRequest:
		r.Groups = []string{"group", "other"}
	case *kmsg.DeleteGroupsRequest:
		r.Groups = []string{"group", "other"}
	case *kmsg.ListGroupsRequest:
		r.StatesFilter, r.TypesFilter = []string{"Stable"}, []string{"classic"}
	case *kmsg.ApiVersionsRequest:
		r.ClientSoftwareName, r.ClientSoftwareVersion = "test", "1.0"
	case *kmsg.CreateTopicsRequest:
		r.TimeoutMillis = 1000
		r.Topics = []kmsg.CreateTopicsRequestTopic{
			{Topic: "new", NumPartitions: 2, ReplicationFactor: 1, Configs: []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms", Value: kmsg.StringPtr("1000")}}},
			{Topic: "by-hand", NumPartitions: -1, ReplicationFactor: -1, ReplicaAssignment: []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 0, Replicas: []int32{self}}}},
		}
	case *kmsg.DeleteTopicsRequest:
		r.TopicNames = []string{"old"}
		r.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: kmsg.StringPtr("old")}, {TopicID: topic.ID}}
	case *kmsg.DeleteRecordsRequest:
		r.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "orders", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 1, Offset: 2}}}}
	case *kmsg.InitProducerIDRequest:
		r.ProducerID, r.ProducerEpoch = -1, -1
	case *kmsg.OffsetForLeaderEpochRequest:
		r.ReplicaID = -1
		r.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "orders", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{Partition: 0, CurrentLeaderEpoch: 3, LeaderEpoch: 1}}}}
	case *kmsg.DescribeConfigsRequest:
		r.IncludeSynonyms, r.IncludeDocumentation = true, true
		r.Resources = []kmsg.DescribeConfigsRequestResource{
			{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "orders"},
			{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "1", ConfigNames: []string{"log.retention.ms"}},
		}
	case *kmsg.AlterConfigsRequest:
		r.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "orders", Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: kmsg.StringPtr("5")}}}}
	case *kmsg.DescribeLogDirsRequest:
		r.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: "orders", Partitions: []int32{0, 1}}}
	case *kmsg.CreatePartitionsRequest:
		r.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "orders", Count: 3, Assignment: []kmsg.CreatePartitionsRequestTopicAssignment{{Replicas: []int32{self}}}}}
	case *kmsg.IncrementalAlterConfigsRequest:
		r.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "orders", Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "retention.ms", Op: kmsg.IncrementalAlterConfigOpSet, Value: kmsg.StringPtr("6")}}}}
	case *kmsg.ElectLeadersRequest:
		r.ElectionType, r.TimeoutMillis = int8(controller.UncleanElection), 1000
		if version == 0 {
			r.ElectionType = 0
		}
		r.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: "orders", Partitions: []int32{0, 1}}}
	case *kmsg.AlterPartitionAssignmentsRequest:
		r.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: "orders", Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: 1, Replicas: []int32{self}}}}}
	case *kmsg.ListPartitionReassignmentsRequest:
		r.Topics = []kmsg.ListPartitionReassignmentsRequestTopic{{Topic: "orders", Partitions: []int32{0, 1}}}
	case *kmsg.DescribeClusterRequest:
		r.EndpointType = 1
	case *kmsg.DescribeProducersRequest:
		r.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "orders", Partitions: []int32{0}}}
	case *kmsg.DescribeTopicPartitionsRequest:
		r.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "orders"}}
		r.ResponsePartitionLimit = 1
		r.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "orders", Partition: 0}
	}
	req.SetVersion(version)
	return req
}

// everyVersion calls f with each API and each of its versions that is accepted.
func everyVersion(t *testing.T, f func(t *testing.T, a api, version int16)) {
	for _, a := range apis() {
		t.Run(a.name, func(t *testing.T) {
			for v := min(a.min, a.accepts); v <= a.max; v++ {
				f(t, a, v)
			}
		})
	}
}

func newOrders(t testing.TB) *harness {
	f := newFakeCluster(t)
	f.create("orders", 2, nil)
	f.create("old", 1, nil)
	f.at("orders", 0).add(stamped(makeBatch(20, 100), 0))
	f.at("orders", 1).add(stamped(makeBatch(5, 100), 0))
	return serve(t, f, nil)
}

func stamped(b []byte, base int64) []byte {
	batchOf(b).Stamp(base, 3)
	return b
}

func TestEveryVersionOfEveryAPIIsAnswered(t *testing.T) {
	everyVersion(t, func(t *testing.T, a api, version int16) {
		h := newOrders(t)
		c := h.dial(t)
		req := example(h, a.key, version)
		if req.IsFlexible() != (a.flexible >= 0 && version >= a.flexible) {
			t.Errorf("version %d: kmsg and the table disagree about flexible versions", version)
		}
		resp := c.receive(req, c.send(req))
		for _, code := range errorCodes(resp) {
			if code != 0 && !expectedError(a.key, version, code) {
				t.Errorf("version %d: %v", version, kerr.ErrorForCode(code))
			}
		}
	})
}

// expectedError are the errors that the examples get.
func expectedError(key, version, code int16) bool {
	switch key {
	case 0:
		return version < 3 && code == kerr.UnsupportedForMessageFormat.Code
	case 1:
		return version < 2 && code == kerr.UnsupportedVersion.Code
	}
	return false
}

// errorCodes finds the error codes in the answers of which there is something to
// check; the others are checked by tests of their own.
func errorCodes(resp kmsg.Response) (codes []int16) {
	switch r := resp.(type) {
	case *kmsg.ProduceResponse:
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				codes = append(codes, p.ErrorCode)
			}
		}
	case *kmsg.FetchResponse:
		codes = append(codes, r.ErrorCode)
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				codes = append(codes, p.ErrorCode)
			}
		}
	case *kmsg.ListOffsetsResponse:
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				codes = append(codes, p.ErrorCode)
			}
		}
	case *kmsg.MetadataResponse:
		for _, t := range r.Topics {
			codes = append(codes, t.ErrorCode)
		}
	case *kmsg.CreateTopicsResponse:
		for _, t := range r.Topics {
			codes = append(codes, t.ErrorCode)
		}
	case *kmsg.DeleteTopicsResponse:
		for _, t := range r.Topics {
			codes = append(codes, t.ErrorCode)
		}
	case *kmsg.DescribeConfigsResponse:
		for _, t := range r.Resources {
			codes = append(codes, t.ErrorCode)
		}
	case *kmsg.AlterConfigsResponse:
		for _, t := range r.Resources {
			codes = append(codes, t.ErrorCode)
		}
	case *kmsg.IncrementalAlterConfigsResponse:
		for _, t := range r.Resources {
			codes = append(codes, t.ErrorCode)
		}
	case *kmsg.InitProducerIDResponse:
		codes = append(codes, r.ErrorCode)
	case *kmsg.AlterPartitionAssignmentsResponse:
		codes = append(codes, r.ErrorCode)
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				codes = append(codes, p.ErrorCode)
			}
		}
	case *kmsg.ListPartitionReassignmentsResponse:
		codes = append(codes, r.ErrorCode)
	default:
		codes = groupErrorCodes(resp)
	}
	return codes
}

// groupErrorCodes finds the error codes in answers about groups.
func groupErrorCodes(resp kmsg.Response) (codes []int16) {
	switch r := resp.(type) {
	case *kmsg.FindCoordinatorResponse:
		codes = append(codes, r.ErrorCode)
		for _, c := range r.Coordinators {
			codes = append(codes, c.ErrorCode)
		}
	case *kmsg.JoinGroupResponse:
		codes = append(codes, r.ErrorCode)
	case *kmsg.SyncGroupResponse:
		codes = append(codes, r.ErrorCode)
	case *kmsg.HeartbeatResponse:
		codes = append(codes, r.ErrorCode)
	case *kmsg.LeaveGroupResponse:
		codes = append(codes, r.ErrorCode)
		for _, m := range r.Members {
			codes = append(codes, m.ErrorCode)
		}
	case *kmsg.OffsetCommitResponse:
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				codes = append(codes, p.ErrorCode)
			}
		}
	case *kmsg.OffsetFetchResponse:
		codes = append(codes, r.ErrorCode)
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				codes = append(codes, p.ErrorCode)
			}
		}
		for _, g := range r.Groups {
			codes = append(codes, g.ErrorCode)
		}
	case *kmsg.OffsetDeleteResponse:
		codes = append(codes, r.ErrorCode)
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				codes = append(codes, p.ErrorCode)
			}
		}
	case *kmsg.DescribeGroupsResponse:
		for _, g := range r.Groups {
			codes = append(codes, g.ErrorCode)
		}
	case *kmsg.ListGroupsResponse:
		codes = append(codes, r.ErrorCode)
	case *kmsg.DeleteGroupsResponse:
		for _, g := range r.Groups {
			codes = append(codes, g.ErrorCode)
		}
	}
	return codes
}

func TestApiVersionsOffersTheTable(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version = 4
	req.ClientSoftwareName, req.ClientSoftwareVersion = "test", "1"
	offered := make(map[int16][2]int16)
	for _, k := range ask[*kmsg.ApiVersionsResponse](c, req).ApiKeys {
		offered[k.ApiKey] = [2]int16{k.MinVersion, k.MaxVersion}
	}
	for key, want := range map[int16][2]int16{
		0: {0, 11}, 1: {4, 17}, 2: {0, 8}, 3: {0, 12}, 8: {0, 9}, 9: {0, 9}, 10: {0, 4}, 11: {0, 9}, 12: {0, 4}, 13: {0, 5}, 14: {0, 5},
		15: {0, 6}, 16: {0, 5}, 42: {0, 2}, 47: {0, 0}, 18: {0, 4}, 19: {0, 7}, 20: {0, 6}, 21: {0, 2},
		22: {0, 5}, 23: {2, 4}, 32: {0, 4}, 33: {0, 2}, 35: {0, 4}, 37: {0, 3}, 43: {0, 2}, 44: {0, 1}, 45: {0, 1}, 46: {0, 0}, 60: {0, 2}, 61: {0, 0}, 75: {0, 0},
	} {
		if offered[key] != want {
			t.Errorf("API %d: offered %v, want %v", key, offered[key], want)
		}
		delete(offered, key)
	}
	if len(offered) > 0 {
		t.Errorf("also offered: %v", offered)
	}
}

func TestAnUnknownVersionOfApiVersionsIsAnsweredInVersion0(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version = 9
	corr := c.send(req)
	body, err := c.readFrame()
	if err != nil {
		t.Fatal(err)
	}
	want := []byte{0, 0, 0, byte(corr), 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4}
	if !bytes.Equal(body, want) {
		t.Fatalf("have %x, want %x", body, want)
	}
	req.Version = 0
	if resp := ask[*kmsg.ApiVersionsResponse](c, req); resp.ErrorCode != 0 || len(resp.ApiKeys) != len(apis()) {
		t.Fatalf("the second try: %v", resp)
	}
}

func TestWhatCannotBeAnsweredEndsTheConnection(t *testing.T) {
	h := newOrders(t)
	for name, frame := range map[string][]byte{
		"unknown key":     {0, 0, 0, 10, 0, 99, 0, 0, 0, 0, 0, 1, 255, 255},
		"negative key":    {0, 0, 0, 10, 255, 255, 0, 0, 0, 0, 0, 1, 255, 255},
		"version too new": {0, 0, 0, 10, 0, 3, 0, 99, 0, 0, 0, 1, 255, 255},
		"cut-off header":  {0, 0, 0, 9, 0, 3, 0, 1, 0, 0, 0, 1, 0},
		"cut-off body":    {0, 0, 0, 11, 0, 3, 0, 1, 0, 0, 0, 1, 255, 255, 0},
	} {
		c := h.dial(t)
		if _, err := c.conn.Write(frame); err != nil {
			t.Fatal(name, err)
		}
		c.closed()
	}
}

// TestWhyAConnectionEndsIsLogged: once, of connections that end one after the other.
func TestWhyAConnectionEndsIsLogged(t *testing.T) {
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		h := servePipeWith(t, newFakeCluster(t), func(d *Deps) { d.Log = zerolog.New(&log) })
		defer h.close()
		sasl := kmsg.NewPtrSASLHandshakeRequest()
		for range 3 {
			c := h.dial()
			c.send(sasl)
			c.closed()
		}
	})
	if n := strings.Count(log.String(), "connection closed: a request that is not served"); n != 1 || !strings.Contains(log.String(), `"api":"SASLHandshake"`) {
		t.Errorf("the log says: %s", &log)
	}
}

func TestMetadata(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	if resp := ask[*kmsg.MetadataResponse](c, req); len(resp.Topics) != 2 || len(resp.Brokers) != 1 || *resp.ClusterID != "testcluster" || resp.ControllerID != self {
		t.Fatalf("all topics: %+v", resp)
	}
	req.Topics = []kmsg.MetadataRequestTopic{}
	if resp := ask[*kmsg.MetadataResponse](c, req); len(resp.Topics) != 0 {
		t.Fatalf("no topics: %+v", resp.Topics)
	}
	id := h.image.Load().Topic("orders").ID
	req.Topics = []kmsg.MetadataRequestTopic{
		{Topic: kmsg.StringPtr("made-now")}, {TopicID: id}, {TopicID: messages.TopicID{9}}, {Topic: kmsg.StringPtr("bad name")},
		{Topic: kmsg.StringPtr("made-now")},
	}
	req.AllowAutoTopicCreation = true
	resp := ask[*kmsg.MetadataResponse](c, req)
	if len(resp.Topics) != 4 {
		t.Fatalf("%+v", resp.Topics)
	}
	if made := resp.Topics[0]; made.ErrorCode != 0 || len(made.Partitions) != 1 || made.Partitions[0].Leader != self || made.TopicID == [16]byte{} {
		t.Errorf("auto-created: %+v", made)
	}
	if byID := resp.Topics[1]; byID.ErrorCode != 0 || *byID.Topic != "orders" || len(byID.Partitions) != 2 {
		t.Errorf("by id: %+v", byID)
	}
	if code := resp.Topics[2].ErrorCode; code != kerr.UnknownTopicID.Code {
		t.Errorf("unknown id: %d", code)
	}
	if code := resp.Topics[3].ErrorCode; code != kerr.InvalidTopicException.Code {
		t.Errorf("bad name: %d", code)
	}
}

// The request in which librdkafka 2.16 asks for all topics, byte for byte: its list
// of topics is null, and three bytes are too many.
func TestMetadataOfLibrdkafka(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	frame := []byte("\x00\x00\x00\x19\x00\x03\x00\x0c\x00\x00\x00\x03\x00\x07rdkafka\x00" + "\x00\x00\x00\x00\x01\x00\x00")
	if _, err := c.conn.Write(frame); err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	if resp := c.receive(req, 3).(*kmsg.MetadataResponse); len(resp.Topics) != 2 {
		t.Errorf("have %+v", resp.Topics)
	}
}

func TestMetadataCreatesOnlyWhereAllowed(t *testing.T) {
	f := newFakeCluster(t)
	h := serve(t, f, nil)
	c := h.dial(t)
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("missing")}}
	check := func(why string) {
		t.Helper()
		resp := ask[*kmsg.MetadataResponse](c, req)
		if resp.Topics[0].ErrorCode != kerr.UnknownTopicOrPartition.Code || h.image.Load().TopicCount() != 0 {
			t.Errorf("%s: %+v", why, resp.Topics[0])
		}
	}
	check("the client does not allow it")
	req.AllowAutoTopicCreation = true
	f.static["auto.create.topics.enable"] = "false"
	check("the broker does not allow it")
}

func TestListOffsets(t *testing.T) {
	h := newOrders(t)
	h.at("orders", 0).change(func(p *fakePartition) { p.start = 4 })
	c := h.dial(t)
	for _, w := range []struct {
		timestamp, offset int64
		epoch             int32
		code              int16
	}{
		{-1, 20, -1, 0}, {-2, 4, -1, 0}, {-3, 19, -1, 0}, {-4, 4, -1, 0}, {-5, -1, -1, 0}, {-6, -1, -1, 35},
		{startTime, 0, -1, 0}, {startTime + 1000, -1, -1, 0},
		{-1, -1, 2, kerr.FencedLeaderEpoch.Code}, {-1, -1, 4, kerr.UnknownLeaderEpoch.Code}, {-1, 20, 3, 0},
	} {
		req := kmsg.NewPtrListOffsetsRequest()
		req.Version = 8
		req.ReplicaID = -1
		req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "orders", Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Partition: 0, Timestamp: w.timestamp, CurrentLeaderEpoch: w.epoch}}}}
		p := ask[*kmsg.ListOffsetsResponse](c, req).Topics[0].Partitions[0]
		if p.Offset != w.offset || p.ErrorCode != w.code {
			t.Errorf("timestamp %d, epoch %d: offset %d, error %d; want %d, %d", w.timestamp, w.epoch, p.Offset, p.ErrorCode, w.offset, w.code)
		}
	}
}

func TestInitProducerIDGivesEachItsOwn(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	seen := make(map[int64]bool)
	for range 2*producerIDBlock + 1 {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.Version = 4
		resp := ask[*kmsg.InitProducerIDResponse](c, req)
		if resp.ErrorCode != 0 || resp.ProducerEpoch != 0 || seen[resp.ProducerID] {
			t.Fatalf("%+v", resp)
		}
		seen[resp.ProducerID] = true
	}
	req := kmsg.NewPtrInitProducerIDRequest()
	req.Version, req.TransactionalID = 4, kmsg.StringPtr("txn")
	if resp := ask[*kmsg.InitProducerIDResponse](c, req); resp.ErrorCode == 0 || resp.ProducerID != -1 {
		t.Fatalf("%+v", resp)
	}
}

// silentAdmin never answers.
type silentAdmin struct{ Admin }

func (silentAdmin) AllocateProducerIDs(ctx context.Context, _ int64) (messages.ProducerID, error) {
	<-ctx.Done()
	return messages.NoProducerID, messages.E("fake", messages.RequestTimedOut, "", ctx.Err())
}

// TestProducersWaitTogether has several producers want ids that nobody gives: none
// waits for as long as those before it, and then for as long again.
func TestProducersWaitTogether(t *testing.T) {
	f := newFakeCluster(t)
	synctest.Test(t, func(t *testing.T) {
		h := servePipeWith(t, f, func(d *Deps) { d.Admin = silentAdmin{f} })
		defer h.close()
		began := time.Now()
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				resp := h.broker.initProducerID(t.Context(), kmsg.NewPtrInitProducerIDRequest())
				if waited := time.Since(began); waited != 30*time.Second || resp.ErrorCode != messages.RequestTimedOut.Code() {
					t.Errorf("error %d after %v", resp.ErrorCode, waited)
				}
			})
		}
		all.Wait()
	})
}

func TestOffsetForLeaderEpoch(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	for asked, want := range map[int32][2]int64{0: {0, 0}, 1: {1, 10}, 2: {1, 10}, 3: {3, 20}, 9: {-1, -1}} {
		req := kmsg.NewPtrOffsetForLeaderEpochRequest()
		req.Version, req.ReplicaID = 4, -1
		req.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "orders", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{Partition: 0, CurrentLeaderEpoch: -1, LeaderEpoch: asked}}}}
		p := ask[*kmsg.OffsetForLeaderEpochResponse](c, req).Topics[0].Partitions[0]
		if got := [2]int64{int64(p.LeaderEpoch), p.EndOffset}; got != want || p.ErrorCode != 0 {
			t.Errorf("epoch %d: %v, error %d; want %v", asked, got, p.ErrorCode, want)
		}
	}
}

func TestDescribeTopicPartitionsInPages(t *testing.T) {
	f := newFakeCluster(t)
	for name, n := range map[string]int{"a": 3, "b": 1, "c": 4} {
		f.create(name, n, nil)
	}
	h := serve(t, f, nil)
	c := h.dial(t)
	var got []string
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = 2
	for range 10 {
		resp := ask[*kmsg.DescribeTopicPartitionsResponse](c, req)
		n := 0
		for _, topic := range resp.Topics {
			for _, p := range topic.Partitions {
				got = append(got, messages.TopicPartition{Topic: *topic.Topic, Partition: p.Partition}.String())
				n++
				if p.EligibleLeaderReplicas == nil || p.LastKnownELR == nil {
					t.Error("lists that Java's tools read without a look are null")
				}
			}
		}
		if n > 2 {
			t.Fatalf("a page of %d", n)
		}
		if resp.NextCursor == nil {
			break
		}
		req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: resp.NextCursor.Topic, Partition: resp.NextCursor.Partition}
	}
	want := "a-0 a-1 a-2 b-0 c-0 c-1 c-2 c-3"
	if text := join(got); text != want {
		t.Errorf("have %s, want %s", text, want)
	}
}

func TestDescribeConfigs(t *testing.T) {
	f := newFakeCluster(t)
	f.create("orders", 1, map[string]string{"retention.ms": "1000"})
	h := serve(t, f, nil)
	c := h.dial(t)
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version, req.IncludeSynonyms, req.IncludeDocumentation = 4, true, true
	req.Resources = []kmsg.DescribeConfigsRequestResource{
		{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "orders", ConfigNames: []string{"retention.ms", "segment.bytes"}},
		{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "missing"},
		{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "1"},
		{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "17"},
		{ResourceType: kmsg.ConfigResourceTypeBrokerLogger, ResourceName: "1"},
		{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "orders"},
	}
	resp := ask[*kmsg.DescribeConfigsResponse](c, req)
	if len(resp.Resources) != 5 {
		t.Fatalf("%d resources", len(resp.Resources))
	}
	topic := resp.Resources[0]
	if len(topic.Configs) != 2 || topic.ErrorCode != 0 {
		t.Fatalf("%+v", topic)
	}
	retention, segment := topic.Configs[0], topic.Configs[1]
	if *retention.Value != "1000" || retention.Source != kmsg.ConfigSourceDynamicTopicConfig || len(retention.ConfigSynonyms) < 2 || *retention.Documentation == "" {
		t.Errorf("%+v", retention)
	}
	if *segment.Value != "1073741824" || segment.Source != kmsg.ConfigSourceDefaultConfig {
		t.Errorf("%+v", segment)
	}
	for i, want := range []int16{0, kerr.UnknownTopicOrPartition.Code, 0, kerr.BrokerNotAvailable.Code, kerr.InvalidRequest.Code} {
		if code := resp.Resources[i].ErrorCode; code != want {
			t.Errorf("resource %d: error %d, want %d", i, code, want)
		}
	}
	if n := len(resp.Resources[2].Configs); n < 20 {
		t.Errorf("the broker has %d settings", n)
	}
}

// TestNoNamesAreAllNames: an empty list of settings stands for all of them, as null does.
func TestNoNamesAreAllNames(t *testing.T) {
	h := newOrders(t)
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version = 4
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "orders", ConfigNames: []string{}}}
	if r := ask[*kmsg.DescribeConfigsResponse](h.dial(t), req).Resources[0]; len(r.Configs) < 20 {
		t.Errorf("%d settings", len(r.Configs))
	}
}

// awaited notes which topics are waited for.
type awaited struct {
	Admin
	names *[]string
}

func (a awaited) AwaitServing(_ context.Context, names []string) {
	*a.names = append(*a.names, names...)
}

func (a awaited) CreatePartitions(context.Context, []controller.NewPartitions, bool) []controller.PartitionsResult {
	return []controller.PartitionsResult{{Topic: "orders", Err: errNoTopic}}
}

// TestWhatWasNotCreatedIsNotWaitedFor: its leader may be away.
func TestWhatWasNotCreatedIsNotWaitedFor(t *testing.T) {
	f := newFakeCluster(t)
	f.create("orders", 1, nil)
	var names []string
	h := serve(t, f, func(d *Deps, _ *server.Options) { d.Admin = awaited{d.Admin, &names} })
	c := h.dial(t)
	topics := kmsg.NewPtrCreateTopicsRequest()
	topics.Version = 7
	topics.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: "orders", NumPartitions: 1, ReplicationFactor: 1}, {Topic: "new", NumPartitions: 1, ReplicationFactor: 1}}
	ask[*kmsg.CreateTopicsResponse](c, topics)
	parts := kmsg.NewPtrCreatePartitionsRequest()
	parts.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "orders", Count: 1}}
	ask[*kmsg.CreatePartitionsResponse](c, parts)
	if join(names) != "new" {
		t.Errorf("waited for %q", names)
	}
}

// TestRecordsOfACompactedTopicAreNotDeleted: what is there is the topic's state.
func TestRecordsOfACompactedTopicAreNotDeleted(t *testing.T) {
	f := newFakeCluster(t)
	f.create("compact", 1, map[string]string{"cleanup.policy": "compact"})
	f.create("both", 1, map[string]string{"cleanup.policy": "compact,delete"})
	h := serve(t, f, nil)
	req := kmsg.NewPtrDeleteRecordsRequest()
	for _, name := range []string{"compact", "both"} {
		req.Topics = append(req.Topics, kmsg.DeleteRecordsRequestTopic{Topic: name, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: -1}}})
	}
	resp := ask[*kmsg.DeleteRecordsResponse](h.dial(t), req)
	for i, want := range []int16{kerr.PolicyViolation.Code, 0} {
		if p := resp.Topics[i].Partitions[0]; p.ErrorCode != want || (want != 0) != (p.LowWatermark == -1) {
			t.Errorf("%s: %+v", resp.Topics[i].Topic, p)
		}
	}
}

// TestErrorsWithLongNamesCanBeRead: old versions have 15 bits for the length of a text.
func TestErrorsWithLongNamesCanBeRead(t *testing.T) {
	h := newOrders(t)
	req := kmsg.NewPtrAlterConfigsRequest()
	req.Version = 1
	req.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "orders",
		Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: strings.Repeat("x", 32767), Value: kmsg.StringPtr("1")}}}}
	if r := ask[*kmsg.AlterConfigsResponse](h.dial(t), req).Resources[0]; r.ErrorCode == 0 || len(*r.ErrorMessage) > 2000 {
		t.Errorf("%+v", r)
	}
	text := errText(messages.E("create topic", messages.InvalidRequest, strings.Repeat("x", 32767), nil))
	if len(*text) > 2000 {
		t.Errorf("a text of %d bytes", len(*text))
	}
}
