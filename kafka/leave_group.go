package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/actors/group"
	"understudy/messages"
)

// LeaveGroup (key 13).
//
//	1  throttle time
//	3  several members at a time, named by their ids or instances (KIP-345)
//	4  flexible
//	5  why they leave (KIP-800)
func leaveGroupAPI() api {
	return api{
		key: 13, name: "LeaveGroup", max: 5, flexible: 4,
		shape:  `string 0-2:string 3+:[{string string? 5+:string?}]`,
		answer: answers((*Broker).leaveGroup),
	}
}

func (b *Broker) leaveGroup(ctx context.Context, req *kmsg.LeaveGroupRequest) *kmsg.LeaveGroupResponse {
	resp := req.ResponseKind().(*kmsg.LeaveGroupResponse)
	leaving := make([]group.Leaving, 0, max(len(req.Members), 1))
	for _, m := range req.Members {
		leaving = append(leaving, group.Leaving{MemberID: m.MemberID, InstanceID: orEmpty(m.InstanceID), Reason: orEmpty(m.Reason)})
	}
	if req.Version < 3 {
		leaving = append(leaving, group.Leaving{MemberID: req.MemberID})
	}
	each, err := b.deps.Groups.Leave(ctx, req.Group, leaving)
	if err != nil {
		resp.ErrorCode = messages.Code(err)
		return resp
	}
	if req.Version < 3 {
		resp.ErrorCode = messages.Code(each[0])
		return resp
	}
	for i, m := range req.Members {
		left := kmsg.NewLeaveGroupResponseMember()
		left.MemberID, left.InstanceID, left.ErrorCode = m.MemberID, m.InstanceID, messages.Code(each[i])
		resp.Members = append(resp.Members, left)
	}
	return resp
}
