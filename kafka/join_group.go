package kafka

import (
	"bytes"
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/actors/group"
	"understudy/messages"
)

// JoinGroup (key 11): asks to become, or to stay, a member of a group.
//
//	1  a timeout for rebalances of its own; before, it is the session's
//	2  throttle time
//	4  a new member is told its id with MEMBER_ID_REQUIRED and joins again (KIP-394)
//	5  static members (KIP-345)
//	6  flexible
//	7  the protocol's type in the answer, the protocol's name may be null
//	8  why it joins (KIP-800)
//	9  the leader may be told that it need not assign (KIP-814)
//
// The answer comes when all members have joined or had their time to.
func joinGroupAPI() api {
	return api{
		key: 11, name: "JoinGroup", max: 9, flexible: 6, patient: true,
		shape:  `string int32 1+:int32 string 5+:string? string [{string bytes}] 8+:string?`,
		answer: answersCall((*Broker).joinGroup),
	}
}

// maxProtocols bounds the assignment strategies that one member may offer; real
// ones offer up to four.
const maxProtocols = 100

func (b *Broker) joinGroup(ctx context.Context, c *call, req *kmsg.JoinGroupRequest) *kmsg.JoinGroupResponse {
	resp := req.ResponseKind().(*kmsg.JoinGroupResponse)
	joined := group.Joined{Err: errManyMembers, MemberID: req.MemberID, Generation: -1}
	if len(req.Protocols) <= maxProtocols {
		join := joinOf(c, req)
		c.r.FreeBody() // it may wait for long
		joined = b.deps.Groups.Join(ctx, join)
	}
	if resp.MemberID = joined.MemberID; joined.Err != nil {
		resp.ErrorCode = messages.Code(toldToMembers(joined.Err))
		resp.Generation = -1
		return resp
	}
	resp.Generation, resp.ProtocolType, resp.Protocol = joined.Generation, &joined.ProtocolType, &joined.Protocol
	resp.LeaderID, resp.SkipAssignment = joined.Leader, joined.SkipAssignment
	for _, m := range joined.Members {
		member := kmsg.NewJoinGroupResponseMember()
		member.MemberID, member.InstanceID, member.ProtocolMetadata = m.MemberID, nullable(m.InstanceID), m.Metadata
		resp.Members = append(resp.Members, member)
	}
	return resp
}

// joinOf copies a request: the group keeps what a member says of itself.
func joinOf(c *call, req *kmsg.JoinGroupRequest) group.Join {
	j := group.Join{
		Group: req.Group, MemberID: req.MemberID, InstanceID: orEmpty(req.InstanceID), Client: c.client(),
		SessionTimeout: int64(req.SessionTimeoutMillis), RebalanceTimeout: int64(req.RebalanceTimeoutMillis),
		ProtocolType: req.ProtocolType, Reason: orEmpty(req.Reason), RequireMemberID: req.Version >= 4,
		CanSkipAssignment: req.Version >= 9,
	}
	for _, p := range req.Protocols {
		j.Protocols = append(j.Protocols, group.Protocol{Name: p.Name, Metadata: bytes.Clone(p.Metadata)})
	}
	return j
}
