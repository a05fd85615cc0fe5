package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/messages"
)

// Heartbeat (key 12): a member is alive, and learns whether the group rebalances.
//
//	1  throttle time
//	3  static members (KIP-345)
//	4  flexible
func heartbeatAPI() api {
	return api{
		key: 12, name: "Heartbeat", max: 4, flexible: 4,
		shape:  `string int32 string 3+:string?`,
		answer: answers((*Broker).heartbeat),
	}
}

func (b *Broker) heartbeat(ctx context.Context, req *kmsg.HeartbeatRequest) *kmsg.HeartbeatResponse {
	resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
	err := b.deps.Groups.Heartbeat(ctx, memberOf(req.Group, req.MemberID, req.InstanceID, req.Generation))
	resp.ErrorCode = messages.Code(toldToMembers(err))
	return resp
}
