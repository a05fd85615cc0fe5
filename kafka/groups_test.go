package kafka

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/actors/group"
	"understudy/cluster/metadata"
	"understudy/cluster/topicconfig"
	"understudy/kafka/server"
	"understudy/kafka/wire"
	"understudy/messages"
)

// inVersion is the example of an API in one of its versions.
func inVersion[Q kmsg.Request](h *harness, version int16, change func(Q)) Q {
	req := example(h, (*new(Q)).Key(), version).(Q)
	if change != nil {
		change(req)
	}
	return req
}

func wantCode(t *testing.T, what string, have int16, want *kerr.Error) {
	t.Helper()
	if (want == nil && have != 0) || (want != nil && have != want.Code) {
		t.Errorf("%s: have error %v, want %v", what, kerr.ErrorForCode(have), want)
	}
}

func TestJoinGroupCarriesAll(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	resp := ask[*kmsg.JoinGroupResponse](c, inVersion[*kmsg.JoinGroupRequest](h, 9, nil))
	if resp.Generation != 4 || *resp.ProtocolType != "consumer" || *resp.Protocol != "range" || resp.LeaderID != "m-1" || resp.MemberID != "m-1" ||
		len(resp.Members) != 1 || *resp.Members[0].InstanceID != "one" || string(resp.Members[0].ProtocolMetadata) != "topics" {
		t.Errorf("have %+v", resp)
	}
	j := h.groups.joins[0]
	if j.Group != "group" || j.InstanceID != "one" || j.SessionTimeout != 10_000 || j.RebalanceTimeout != 60_000 || j.ProtocolType != "consumer" ||
		j.Reason != "new here" || !j.RequireMemberID || j.Client != (group.Client{ID: "test", Host: "/127.0.0.1"}) ||
		len(j.Protocols) != 2 || j.Protocols[1].Name != "sticky" || string(j.Protocols[1].Metadata) != "more" {
		t.Errorf("have %+v", j)
	}
	ask[*kmsg.JoinGroupResponse](c, inVersion[*kmsg.JoinGroupRequest](h, 0, nil))
	if j := h.groups.joins[1]; j.RebalanceTimeout != -1 || j.RequireMemberID || j.InstanceID != "" {
		t.Errorf("version 0: have %+v", j)
	}
	for version, requires := range map[int16]bool{3: false, 4: true} {
		ask[*kmsg.JoinGroupResponse](c, inVersion[*kmsg.JoinGroupRequest](h, version, nil))
		if have := h.groups.joins[len(h.groups.joins)-1].RequireMemberID; have != requires {
			t.Errorf("version %d: member ids can be required: %v", version, have)
		}
	}
}

func TestJoinGroupTellsTheIDThatIsRequired(t *testing.T) {
	h := newOrders(t)
	h.groups.joined = group.Joined{Err: messages.E("join", messages.MemberIDRequired, "group", nil), MemberID: "yours"}
	resp := ask[*kmsg.JoinGroupResponse](h.dial(t), inVersion[*kmsg.JoinGroupRequest](h, 4, nil))
	if wantCode(t, "join", resp.ErrorCode, kerr.MemberIDRequired); resp.MemberID != "yours" || resp.Generation != -1 {
		t.Errorf("have %+v", resp)
	}
}

func TestJoinGroupSkipsTheAssignment(t *testing.T) {
	h := newOrders(t)
	h.groups.joined.SkipAssignment = true
	c := h.dial(t)
	if resp := ask[*kmsg.JoinGroupResponse](c, inVersion[*kmsg.JoinGroupRequest](h, 9, nil)); !resp.SkipAssignment || resp.LeaderID != "m-1" || len(resp.Members) != 1 {
		t.Errorf("version 9: have %+v", resp)
	}
	ask[*kmsg.JoinGroupResponse](c, inVersion[*kmsg.JoinGroupRequest](h, 8, nil))
	if joins := h.groups.joins; !joins[0].CanSkipAssignment || joins[1].CanSkipAssignment {
		t.Errorf("versions 9 and 8: have %+v", joins)
	}
}

// What a group keeps of a request does not lie in memory that is used again.
func TestGroupsKeepCopies(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	for _, fill := range []byte("ab") {
		content := bytes.Repeat([]byte{fill}, 4<<10)
		ask[*kmsg.JoinGroupResponse](c, inVersion(h, 9, func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Metadata = content }))
		ask[*kmsg.SyncGroupResponse](c, inVersion(h, 5, func(r *kmsg.SyncGroupRequest) { r.GroupAssignment[0].MemberAssignment = content }))
		if !bytes.Equal(h.groups.sync.Assignments["m-1"], content) {
			t.Error("an assignment has changed")
		}
	}
	for range 20 { // requests of the same size go through the same memory
		ask[*kmsg.JoinGroupResponse](c, inVersion(h, 9, func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Metadata = make([]byte, 4<<10) }))
	}
	for i, fill := range []byte("ab") {
		if !bytes.Equal(h.groups.joins[i].Protocols[0].Metadata, bytes.Repeat([]byte{fill}, 4<<10)) {
			t.Errorf("what member %d said of itself has changed", i)
		}
	}
	if !bytes.Equal(h.groups.sync.Assignments["m-1"], bytes.Repeat([]byte("b"), 4<<10)) {
		t.Error("an assignment has changed")
	}
}

func TestGroupsOfImpossibleSizeAreRefused(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	join := ask[*kmsg.JoinGroupResponse](c, inVersion(h, 9, func(r *kmsg.JoinGroupRequest) {
		r.Protocols = make([]kmsg.JoinGroupRequestProtocol, maxProtocols+1)
	}))
	wantCode(t, "join", join.ErrorCode, kerr.InvalidRequest)
	sync := ask[*kmsg.SyncGroupResponse](c, inVersion(h, 5, func(r *kmsg.SyncGroupRequest) {
		r.GroupAssignment = make([]kmsg.SyncGroupRequestGroupAssignment, topicconfig.MaxGroupSize+1)
	}))
	wantCode(t, "sync", sync.ErrorCode, kerr.InvalidRequest)
	if len(h.groups.joins) > 0 || h.groups.sync.Group != "" {
		t.Error("the group was asked")
	}
}

// Whatever group.max.size says, the leader can assign to all members that there are then.
func TestTheLargestGroupCanBeAssigned(t *testing.T) {
	size, err := topicconfig.Broker.Lookup(topicconfig.GroupMaxSize)
	if err != nil {
		t.Fatal(err)
	}
	h := newOrders(t)
	c := h.dial(t)
	for _, members := range []int{topicconfig.MaxGroupSize, topicconfig.MaxGroupSize + 1} {
		sync := ask[*kmsg.SyncGroupResponse](c, inVersion(h, 5, func(r *kmsg.SyncGroupRequest) {
			r.GroupAssignment = make([]kmsg.SyncGroupRequestGroupAssignment, members)
		}))
		if may := size.Check(strconv.Itoa(members)) == nil; may != (sync.ErrorCode == 0) {
			t.Errorf("a group may have %d members: %v; a leader that assigns to them is told %v", members, may, kerr.ErrorForCode(sync.ErrorCode))
		}
	}
}

// Members that wait with large subscriptions take no memory that others need.
func TestWaitingMembersDisturbNobody(t *testing.T) {
	f := newFakeCluster(t)
	f.groups.entered, f.groups.hold = make(chan struct{}), make(chan struct{})
	h := serve(t, f, func(d *Deps, o *server.Options) { // memory to decode one large request at a time
		d.Pool = wire.NewPool(wire.NewBudget(64 << 20))
		o.Pool = d.Pool
	})
	large := inVersion(h, 9, func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Metadata = make([]byte, 1_000_000) })
	type sent struct {
		c  *client
		id int32
	}
	var waiting []sent
	for range 70 { // more than there is memory for
		c := h.dial(t)
		waiting = append(waiting, sent{c, c.send(large)})
		select {
		case <-f.groups.entered:
		case <-time.After(time.Minute):
			t.Fatal("a member cannot join")
		}
	}
	meta := kmsg.NewPtrMetadataRequest()
	meta.Version = 12
	for range 10_000 {
		meta.Topics = append(meta.Topics, kmsg.MetadataRequestTopic{Topic: kmsg.StringPtr("none")})
	}
	if resp := ask[*kmsg.MetadataResponse](h.dial(t), meta); len(resp.Topics) != 1 {
		t.Errorf("have %+v", resp)
	}
	close(f.groups.hold)
	for _, w := range waiting {
		wantCode(t, "join", w.c.receive(large, w.id).(*kmsg.JoinGroupResponse).ErrorCode, nil)
	}
}

// A member whose connection ends while it waits is not waited for any more.
func TestAGroupIsToldThatAMemberHasGone(t *testing.T) {
	f := newFakeCluster(t)
	f.groups.entered, f.groups.hold = make(chan struct{}), make(chan struct{})
	h := serve(t, f, nil)
	c := h.dial(t)
	c.send(inVersion[*kmsg.JoinGroupRequest](h, 9, nil))
	<-f.groups.entered
	if err := c.conn.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-f.groups.left:
	case <-time.After(time.Minute):
		t.Fatal("the member is still waited for")
	}
}

func TestSyncGroupAndHeartbeat(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	resp := ask[*kmsg.SyncGroupResponse](c, inVersion[*kmsg.SyncGroupRequest](h, 5, nil))
	if string(resp.MemberAssignment) != "all" || *resp.Protocol != "range" || *resp.ProtocolType != "consumer" {
		t.Errorf("have %+v", resp)
	}
	member := group.Member{Group: "group", MemberID: "m-1", InstanceID: "one", Generation: 4}
	if s := h.groups.sync; s.Member != member || s.Protocol != "range" || s.ProtocolType != "consumer" {
		t.Errorf("have %+v", s)
	}
	h.groups.with(func() { h.groups.sync = group.Sync{} })
	for what, forget := range map[string]func(*kmsg.SyncGroupRequest){
		"no type":      func(r *kmsg.SyncGroupRequest) { r.ProtocolType = nil },
		"an empty one": func(r *kmsg.SyncGroupRequest) { r.ProtocolType = new(string) },
		"no protocol":  func(r *kmsg.SyncGroupRequest) { r.Protocol = nil },
		"neither":      func(r *kmsg.SyncGroupRequest) { r.ProtocolType, r.Protocol = nil, nil },
	} {
		wantCode(t, what, ask[*kmsg.SyncGroupResponse](c, inVersion(h, 5, forget)).ErrorCode, kerr.InconsistentGroupProtocol)
		if h.groups.sync.Group != "" {
			t.Errorf("%s: the group was asked", what)
		}
		wantCode(t, what+", in version 4", ask[*kmsg.SyncGroupResponse](c, inVersion(h, 4, forget)).ErrorCode, nil)
		h.groups.with(func() { h.groups.sync = group.Sync{} })
	}
	ask[*kmsg.HeartbeatResponse](c, inVersion[*kmsg.HeartbeatRequest](h, 4, nil))
	if h.groups.member != member {
		t.Errorf("have %+v", h.groups.member)
	}
	h.groups.with(func() { h.groups.err = messages.E("", messages.RebalanceInProgress, "group", nil) })
	wantCode(t, "heartbeat", ask[*kmsg.HeartbeatResponse](c, inVersion[*kmsg.HeartbeatRequest](h, 0, nil)).ErrorCode, kerr.RebalanceInProgress)
	wantCode(t, "sync", ask[*kmsg.SyncGroupResponse](c, inVersion[*kmsg.SyncGroupRequest](h, 5, nil)).ErrorCode, kerr.RebalanceInProgress)
	h.groups.with(func() { h.groups.err = messages.E("", messages.CoordinatorLoadInProgress, "group", nil) })
	for version := int16(0); version <= 5; version++ {
		wantCode(t, "sync while the coordinator loads", ask[*kmsg.SyncGroupResponse](c, inVersion[*kmsg.SyncGroupRequest](h, version, nil)).ErrorCode, kerr.RebalanceInProgress)
	}
}

// Who waits when this broker ends is told to look for its coordinator. Java's consumers
// throw at who polls what else there might be.
func TestMembersOfABrokerThatEndsLookForAnother(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	h.groups.with(func() {
		h.groups.err = messages.E("", messages.RequestTimedOut, "group", nil)
		h.groups.joined = group.Joined{Err: h.groups.err}
	})
	wantCode(t, "join", ask[*kmsg.JoinGroupResponse](c, inVersion[*kmsg.JoinGroupRequest](h, 9, nil)).ErrorCode, kerr.NotCoordinator)
	wantCode(t, "sync", ask[*kmsg.SyncGroupResponse](c, inVersion[*kmsg.SyncGroupRequest](h, 5, nil)).ErrorCode, kerr.NotCoordinator)
	wantCode(t, "heartbeat", ask[*kmsg.HeartbeatResponse](c, inVersion[*kmsg.HeartbeatRequest](h, 4, nil)).ErrorCode, kerr.NotCoordinator)
}

func TestLeaveGroup(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	leave := func(version int16) *kmsg.LeaveGroupResponse {
		return ask[*kmsg.LeaveGroupResponse](c, inVersion[*kmsg.LeaveGroupRequest](h, version, nil))
	}
	leave(5)
	if want := []group.Leaving{{MemberID: "m-1"}, {InstanceID: "two", Reason: "tired"}}; !slices.Equal(h.groups.leaving, want) {
		t.Errorf("have %+v", h.groups.leaving)
	}
	leave(2)
	if want := []group.Leaving{{MemberID: "m-1"}}; !slices.Equal(h.groups.leaving, want) {
		t.Errorf("have %+v", h.groups.leaving)
	}
	h.groups.with(func() { h.groups.each = messages.E("", messages.UnknownMemberID, "", nil) })
	wantCode(t, "version 2", leave(2).ErrorCode, kerr.UnknownMemberID)
	resp := leave(3)
	wantCode(t, "version 3", resp.ErrorCode, nil)
	if len(resp.Members) != 2 || *resp.Members[1].InstanceID != "two" {
		t.Fatalf("have %+v", resp.Members)
	}
	wantCode(t, "a member", resp.Members[1].ErrorCode, kerr.UnknownMemberID)
	h.groups.with(func() { h.groups.err = messages.E("", messages.NotCoordinator, "", nil) })
	wantCode(t, "elsewhere", leave(5).ErrorCode, kerr.NotCoordinator)
}

func TestOffsetCommit(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	known, other := messages.TopicPartition{Topic: "orders", Partition: 0}, messages.TopicPartition{Topic: "orders", Partition: 1}
	commit := func(version int16, topic string, partition int32) []kmsg.OffsetCommitResponseTopic {
		return ask[*kmsg.OffsetCommitResponse](c, inVersion(h, version, func(r *kmsg.OffsetCommitRequest) {
			r.RetentionTimeMillis = 1
			t := kmsg.NewOffsetCommitRequestTopic()
			t.Topic, t.Partitions = topic, []kmsg.OffsetCommitRequestTopicPartition{{Partition: partition, Offset: 1}}
			r.Topics = append(r.Topics, t)
		})).Topics
	}
	for version := int16(0); version <= 9; version++ {
		topics := commit(version, "none", 0)
		wantCode(t, "a known topic", topics[0].Partitions[0].ErrorCode, nil)
		wantCode(t, "an unknown topic", topics[1].Partitions[0].ErrorCode, kerr.UnknownTopicOrPartition)
		have := h.groups.commit
		want := map[messages.TopicPartition]group.Committed{known: {Offset: 7, LeaderEpoch: -1, Metadata: "note"}, other: {Offset: 8, LeaderEpoch: -1}}
		if version >= 6 {
			want[known] = group.Committed{Offset: 7, LeaderEpoch: 3, Metadata: "note"}
		}
		for tp, o := range want {
			if len(have.Offsets) != len(want) || have.Offsets[tp] != o {
				t.Errorf("version %d: have %+v, want %+v", version, have.Offsets, want)
			}
		}
		member := group.Member{Group: "group", Generation: 4, MemberID: "m-1"}
		if version == 0 {
			member = group.Member{Group: "group", Generation: -1}
		}
		if have.Member != member {
			t.Errorf("version %d: have %+v", version, have)
		}
		retention := int64(0)
		if version >= 2 && version <= 4 {
			retention = 1
		}
		if have.Retention != retention {
			t.Errorf("version %d: kept for %d ms", version, have.Retention)
		}
	}
	wantCode(t, "an unknown partition", commit(9, "orders", 2)[1].Partitions[0].ErrorCode, kerr.UnknownTopicOrPartition)
}

func TestOffsetCommitErrors(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	code := func(version int16) int16 {
		return ask[*kmsg.OffsetCommitResponse](c, inVersion[*kmsg.OffsetCommitRequest](h, version, nil)).Topics[0].Partitions[1].ErrorCode
	}
	h.groups.with(func() { h.groups.each = messages.E("", messages.OffsetMetadataTooLarge, "", nil) })
	wantCode(t, "of one", code(9), kerr.OffsetMetadataTooLarge)
	h.groups.with(func() { h.groups.err = messages.E("", messages.IllegalGeneration, "", nil) })
	wantCode(t, "of all", code(9), kerr.IllegalGeneration)
	h.groups.with(func() { h.groups.err = messages.E("", messages.GroupIDNotFound, "", nil) })
	wantCode(t, "no group, in version 8", code(8), kerr.IllegalGeneration)
	wantCode(t, "no group, in version 9", code(9), kerr.GroupIDNotFound)
	h.groups.with(func() { h.groups.commit = group.Commit{} })
	resp := ask[*kmsg.OffsetCommitResponse](c, inVersion(h, 9, func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Topic = "none" }))
	wantCode(t, "nothing that is there", resp.Topics[0].Partitions[0].ErrorCode, kerr.UnknownTopicOrPartition)
	if h.groups.commit.Group != "" {
		t.Error("the group was asked about topics that are not there")
	}
}

func TestOffsetFetchOfOneGroup(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	for version := int16(0); version <= 7; version++ {
		fetch := func(topics []kmsg.OffsetFetchRequestTopic) *kmsg.OffsetFetchResponse {
			return ask[*kmsg.OffsetFetchResponse](c, inVersion(h, version, func(r *kmsg.OffsetFetchRequest) { r.Topics, r.RequireStable = topics, true }))
		}
		some := []kmsg.OffsetFetchRequestTopic{{Topic: "orders", Partitions: []int32{1, 0}}, {Topic: "none", Partitions: []int32{3}}}
		resp := fetch(some)
		there, missing := resp.Topics[0].Partitions[0], resp.Topics[1].Partitions[0]
		if there.Offset != 5 || *there.Metadata != "note" || version >= 5 && there.LeaderEpoch != 3 || there.ErrorCode != 0 || missing.Offset != -1 || *missing.Metadata != "" {
			t.Errorf("version %d: have %+v", version, resp)
		}
		var want *kerr.Error
		if version == 0 {
			want = kerr.UnknownTopicOrPartition
		}
		wantCode(t, "without an offset", missing.ErrorCode, want)
		if version >= 2 {
			if all := fetch(nil); len(all.Topics) != 1 || all.Topics[0].Topic != "orders" || len(all.Topics[0].Partitions) != 1 || h.groups.asked != nil {
				t.Errorf("version %d: all are %+v", version, all.Topics)
			}
		}
		if none := fetch([]kmsg.OffsetFetchRequestTopic{}); len(none.Topics) != 0 || h.groups.asked == nil {
			t.Errorf("version %d: none are %+v", version, none.Topics)
		}
		for kind, want := range map[messages.Kind]*kerr.Error{
			messages.CoordinatorLoadInProgress: kerr.CoordinatorLoadInProgress, messages.NotCoordinator: kerr.NotCoordinator,
			messages.CoordinatorNotAvailable: kerr.NotCoordinator, messages.RequestTimedOut: kerr.NotCoordinator,
		} {
			h.groups.with(func() { h.groups.err = messages.E("", kind, "", nil) })
			failed := fetch(some)
			if version < 2 {
				wantCode(t, "the partition's", failed.Topics[0].Partitions[1].ErrorCode, want)
			} else if wantCode(t, "the group's", failed.ErrorCode, want); len(failed.Topics) > 0 {
				t.Errorf("version %d: have %+v", version, failed.Topics)
			}
		}
		h.groups.with(func() { h.groups.err = nil })
	}
}

func TestOffsetFetchOfManyGroups(t *testing.T) {
	h := newOrders(t)
	h.groups.offsets = map[messages.TopicPartition]group.Committed{}
	for _, topic := range []string{"b", "a"} {
		for n := range int32(3) {
			h.groups.offsets[messages.TopicPartition{Topic: topic, Partition: n}] = group.Committed{Offset: int64(n)}
		}
	}
	c := h.dial(t)
	fetch := func() *kmsg.OffsetFetchResponse {
		return ask[*kmsg.OffsetFetchResponse](c, inVersion(h, 9, func(r *kmsg.OffsetFetchRequest) {
			r.Groups = append(r.Groups, kmsg.OffsetFetchRequestGroup{Group: "all", MemberID: kmsg.StringPtr("m-1"), MemberEpoch: 4}, r.Groups[0])
		}))
	}
	resp := fetch()
	if len(resp.Groups) != 2 || resp.Groups[0].Group != "group" || len(resp.Groups[0].Topics[0].Partitions) != 2 {
		t.Fatalf("have %+v", resp.Groups)
	}
	all := resp.Groups[1]
	if len(all.Topics) != 2 || all.Topics[0].Topic != "a" || len(all.Topics[1].Partitions) != 3 || all.Topics[1].Partitions[2].Offset != 2 {
		t.Errorf("have %+v", all)
	}
	if h.groups.member != (group.Member{Group: "all", MemberID: "m-1", Generation: 4}) {
		t.Errorf("have %+v", h.groups.member)
	}
	h.groups.with(func() { h.groups.err = messages.E("", messages.NotCoordinator, "", nil) })
	for _, g := range fetch().Groups {
		if wantCode(t, g.Group, g.ErrorCode, kerr.NotCoordinator); len(g.Topics) > 0 {
			t.Errorf("have %+v", g)
		}
	}
}

func TestOffsetDelete(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	remove := func() *kmsg.OffsetDeleteResponse {
		return ask[*kmsg.OffsetDeleteResponse](c, inVersion(h, 0, func(r *kmsg.OffsetDeleteRequest) {
			r.Topics = append(r.Topics, kmsg.OffsetDeleteRequestTopic{Topic: "none", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}})
		}))
	}
	resp := remove()
	wantCode(t, "a known topic", resp.Topics[0].Partitions[0].ErrorCode, nil)
	wantCode(t, "an unknown topic", resp.Topics[1].Partitions[0].ErrorCode, kerr.UnknownTopicOrPartition)
	if want := []messages.TopicPartition{{Topic: "orders", Partition: 1}}; !slices.Equal(h.groups.asked, want) {
		t.Errorf("have %v", h.groups.asked)
	}
	h.groups.with(func() { h.groups.each = messages.E("", messages.GroupSubscribedToTopic, "", nil) })
	wantCode(t, "of one", remove().Topics[0].Partitions[0].ErrorCode, kerr.GroupSubscribedToTopic)
	h.groups.with(func() { h.groups.err = messages.E("", messages.GroupIDNotFound, "", nil) })
	if resp := remove(); len(resp.Topics) > 0 {
		t.Errorf("have %+v", resp)
	} else {
		wantCode(t, "of all", resp.ErrorCode, kerr.GroupIDNotFound)
	}
}

func TestDescribeGroups(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	describe := func(version int16) kmsg.DescribeGroupsResponseGroup {
		resp := ask[*kmsg.DescribeGroupsResponse](c, inVersion(h, version, func(r *kmsg.DescribeGroupsRequest) { r.Groups = append(r.Groups, "group") }))
		if len(resp.Groups) != 2 || resp.Groups[1].Group != "other" {
			t.Fatalf("have %+v", resp.Groups)
		}
		return resp.Groups[0]
	}
	g := describe(6)
	if g.State != "Stable" || g.ProtocolType != "consumer" || g.Protocol != "range" || g.AuthorizedOperations != noOperations || len(g.Members) != 1 {
		t.Errorf("have %+v", g)
	}
	if m := g.Members[0]; m.MemberID != "m-1" || *m.InstanceID != "one" || m.ClientID != "c" || m.ClientHost != "/127.0.0.1" || string(m.ProtocolMetadata) != "topics" || string(m.MemberAssignment) != "partitions" {
		t.Errorf("have %+v", m)
	}
	for _, gone := range []func(){
		func() { h.groups.state = group.Dead },
		func() { h.groups.err = messages.E("describe", messages.GroupIDNotFound, "group", nil) },
	} {
		h.groups.with(gone)
		if g := describe(5); g.State != "Dead" || g.ErrorCode != 0 || len(g.Members) > 0 {
			t.Errorf("have %+v", g)
		}
		g := describe(6)
		if wantCode(t, "version 6", g.ErrorCode, kerr.GroupIDNotFound); g.State != "Dead" || g.ErrorMessage == nil {
			t.Errorf("have %+v", g)
		}
	}
	h.groups.with(func() { h.groups.err = messages.E("", messages.NotCoordinator, "", nil) })
	wantCode(t, "elsewhere", describe(0).ErrorCode, kerr.NotCoordinator)
}

func TestListGroups(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	for _, test := range []struct {
		version       int16
		states, types []string
		want          []string
	}{
		{0, nil, nil, []string{"a", "b"}}, {4, nil, nil, []string{"a", "b"}}, {4, []string{"Stable"}, nil, []string{"a"}},
		{5, []string{"empty", "Dead"}, nil, []string{"b"}}, {5, nil, []string{"Classic"}, []string{"a", "b"}}, {5, nil, []string{"consumer"}, nil},
	} {
		req := kmsg.NewPtrListGroupsRequest()
		req.Version, req.StatesFilter, req.TypesFilter = test.version, test.states, test.types
		var have []string
		for _, g := range ask[*kmsg.ListGroupsResponse](c, req).Groups {
			have = append(have, g.Group)
			if test.version >= 5 && g.GroupType != "classic" {
				t.Errorf("have %+v", g)
			}
		}
		if !slices.Equal(have, test.want) {
			t.Errorf("%+v: have %v", test, have)
		}
	}
	h.groups.with(func() { h.groups.err = messages.E("", messages.CoordinatorLoadInProgress, "", nil) })
	if resp := ask[*kmsg.ListGroupsResponse](c, kmsg.NewPtrListGroupsRequest()); len(resp.Groups) != 2 {
		t.Errorf("have %+v", resp)
	} else {
		wantCode(t, "some are not known yet", resp.ErrorCode, kerr.CoordinatorLoadInProgress)
	}
}

func TestDeleteGroups(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	h.groups.err = messages.E("", messages.NonEmptyGroup, "", nil)
	resp := ask[*kmsg.DeleteGroupsResponse](c, inVersion(h, 2, func(r *kmsg.DeleteGroupsRequest) { r.Groups = append(r.Groups, "group") }))
	if len(resp.Groups) != 2 || !slices.Equal(h.groups.names, []string{"group", "other"}) {
		t.Fatalf("have %+v", resp)
	}
	wantCode(t, "members", resp.Groups[1].ErrorCode, kerr.NonEmptyGroup)
}

func TestFindCoordinator(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	find := func(version int16, kind int8, keys ...string) *kmsg.FindCoordinatorResponse {
		return ask[*kmsg.FindCoordinatorResponse](c, inVersion(h, version, func(r *kmsg.FindCoordinatorRequest) {
			r.CoordinatorType, r.CoordinatorKey, r.CoordinatorKeys = kind, keys[0], keys
		}))
	}
	h.groups.elsewhere["elsewhere"] = 77 // a broker that is not registered
	host, port := h.image.Load().Broker(self).Host, h.image.Load().Broker(self).Port
	if resp := find(0, 0, "group"); resp.NodeID != self || resp.Host != host || resp.Port != port {
		t.Errorf("have %+v", resp)
	}
	found := find(4, 0, "group", "elsewhere", "group").Coordinators
	if len(found) != 2 || found[0].Key != "group" || found[0].NodeID != self || found[0].Port != port || found[1].NodeID != -1 {
		t.Fatalf("have %+v", found)
	}
	wantCode(t, "a broker that is away", found[1].ErrorCode, kerr.CoordinatorNotAvailable)
	transaction := find(3, transactionKey, "txn")
	if wantCode(t, "a transaction", transaction.ErrorCode, kerr.InvalidRequest); transaction.ErrorMessage == nil {
		t.Error("it does not say why")
	}
	wantCode(t, "a key of no known type", find(4, 9, "share").Coordinators[0].ErrorCode, kerr.InvalidRequest)
	h.groups.with(func() { h.groups.err = messages.E("", messages.CoordinatorNotAvailable, "", errors.New("no leader")) })
	wantCode(t, "no leader", find(2, 0, "group").ErrorCode, kerr.CoordinatorNotAvailable)
}

// TestGroupsThatOpenAreWaitedForTogether looks for groups of which this broker has not
// read anything yet.
func TestGroupsThatOpenAreWaitedForTogether(t *testing.T) {
	f := newFakeCluster(t)
	f.create("__consumer_offsets", 3, nil)
	cell := metadata.NewCell()
	cell.Publish(metadata.Change{New: f.image.Load()})
	synctest.Test(t, func(t *testing.T) {
		settings := func(*metadata.Image) group.Settings { return group.DefaultSettings() }
		h := servePipeWith(t, f, func(d *Deps) {
			d.Groups = group.New(group.Options{Self: self, Cell: cell, Settings: settings})
		})
		defer h.close()
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.Version = 4
		for i := range 20 {
			req.CoordinatorKeys = append(req.CoordinatorKeys, fmt.Sprint("g", i))
		}
		began := time.Now()
		found := ask[*kmsg.FindCoordinatorResponse](h.client, req).Coordinators
		if waited := time.Since(began); waited != time.Second || len(found) != 20 {
			t.Errorf("found %d coordinators after %v", len(found), waited)
		}
		for _, c := range found {
			if c.NodeID != self || c.ErrorCode != 0 {
				t.Errorf("found %+v", c)
			}
		}
	})
}

// Kafka's own topics are told to be that; no client makes them by asking for
// them, and none but an administrator writes to them.
func TestInternalTopics(t *testing.T) {
	f := newFakeCluster(t)
	h := serve(t, f, nil)
	c := h.dial(t)
	const offsets = "__consumer_offsets"
	req := kmsg.NewPtrMetadataRequest()
	req.Version, req.AllowAutoTopicCreation = 12, true
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr(offsets)}, {Topic: kmsg.StringPtr("made-now")}}
	resp := ask[*kmsg.MetadataResponse](c, req)
	wantCode(t, offsets, resp.Topics[0].ErrorCode, kerr.UnknownTopicOrPartition)
	wantCode(t, "made-now", resp.Topics[1].ErrorCode, nil)
	f.create(offsets, 1, nil)
	if resp := ask[*kmsg.MetadataResponse](c, req); !resp.Topics[0].IsInternal || resp.Topics[1].IsInternal {
		t.Errorf("have %+v", resp.Topics)
	}
	produce := produceReq(9, -1, offsets, 0, makeBatch(1, 10))
	wantCode(t, "a client writes", producePart(c, produce).ErrorCode, kerr.InvalidTopicException)
	admin := kmsg.NewRequestFormatter(kmsg.FormatterClientID(adminClient))
	if _, err := c.conn.Write(admin.AppendRequest(nil, produce, 99)); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "an administrator writes", c.receive(produce, 99).(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode, nil)
	gone := kmsg.NewPtrDeleteRecordsRequest()
	gone.Version, gone.TimeoutMillis = 2, 10_000
	gone.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: offsets, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: -1}}}}
	part := ask[*kmsg.DeleteRecordsResponse](c, gone).Topics[0].Partitions[0]
	if wantCode(t, "records are deleted", part.ErrorCode, kerr.InvalidTopicException); part.LowWatermark != -1 {
		t.Errorf("have %+v", part)
	}
}
