package kafka

import (
	"bytes"
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/actors/group"
	"understudy/cluster/topicconfig"
	"understudy/messages"
)

// SyncGroup (key 14): the leader brings what it has assigned, and every member
// gets its part.
//
//	1  throttle time
//	3  static members (KIP-345)
//	4  flexible
//	5  the protocol must be named, and is checked (KIP-559)
//
// The answer comes when the leader has brought the assignments.
func syncGroupAPI() api {
	return api{
		key: 14, name: "SyncGroup", max: 5, flexible: 4, patient: true,
		shape:  `string int32 string 3+:string? 5+:string? 5+:string? [{string bytes}]`,
		answer: answersCall((*Broker).syncGroup),
	}
}

// errBeginAgain is for a member whose coordinator is still reading. What it has joined is
// lost, and it is to join once more, as with Kafka: that the coordinator is loading is
// nothing that the clients expect here, and Java's throw it at who polls.
var errBeginAgain = messages.E("sync group", messages.RebalanceInProgress, "", nil)

var errNoProtocol = messages.E("sync group", messages.InconsistentGroupProtocol, "", errors.New("the protocol and its type must be named"))

func (b *Broker) syncGroup(ctx context.Context, c *call, req *kmsg.SyncGroupRequest) *kmsg.SyncGroupResponse {
	resp := req.ResponseKind().(*kmsg.SyncGroupResponse)
	var synced group.Synced
	switch {
	case len(req.GroupAssignment) > topicconfig.MaxGroupSize:
		synced.Err = errManyMembers
	case req.Version >= 5 && (orEmpty(req.ProtocolType) == "" || orEmpty(req.Protocol) == ""):
		synced.Err = errNoProtocol
	default:
		sync := syncOf(req)
		c.r.FreeBody() // it may wait for long
		synced = b.deps.Groups.Sync(ctx, sync)
	}
	if messages.KindOf(synced.Err) == messages.CoordinatorLoadInProgress {
		synced.Err = errBeginAgain
	}
	if resp.ErrorCode = messages.Code(toldToMembers(synced.Err)); synced.Err != nil {
		return resp
	}
	resp.ProtocolType, resp.Protocol, resp.MemberAssignment = &synced.ProtocolType, &synced.Protocol, synced.Assignment
	return resp
}

// syncOf copies a request: the group keeps the assignments.
func syncOf(req *kmsg.SyncGroupRequest) group.Sync {
	s := group.Sync{
		Member:       memberOf(req.Group, req.MemberID, req.InstanceID, req.Generation),
		ProtocolType: orEmpty(req.ProtocolType), Protocol: orEmpty(req.Protocol),
		Assignments: make(map[string][]byte, len(req.GroupAssignment)),
	}
	for _, a := range req.GroupAssignment {
		s.Assignments[a.MemberID] = bytes.Clone(a.MemberAssignment)
	}
	return s
}

func memberOf(name, id string, instance *string, generation int32) group.Member {
	return group.Member{Group: name, MemberID: id, InstanceID: orEmpty(instance), Generation: generation}
}
