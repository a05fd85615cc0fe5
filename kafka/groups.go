package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/messages"
)

// FindCoordinator (key 10).
//
//	1  type of key, throttle time, error message
//	3  flexible
//	4  several keys at a time
//
// This broker coordinates neither groups nor transactions yet, and says so with
// COORDINATOR_NOT_AVAILABLE.
func findCoordinatorAPI() api {
	return api{
		key: 10, name: "FindCoordinator", max: 4, flexible: 3,
		shape:  `0-3:string 1+:int8 4+:[string]`,
		answer: answers((*Broker).findCoordinator),
	}
}

func (b *Broker) findCoordinator(_ context.Context, req *kmsg.FindCoordinatorRequest) *kmsg.FindCoordinatorResponse {
	resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
	code := messages.CoordinatorNotAvailable.Code()
	text := "this broker does not coordinate consumer groups yet"
	if req.CoordinatorType == 1 {
		text = "this broker does not coordinate transactions yet"
	}
	if req.Version < 4 {
		resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Port = code, &text, messages.NoBroker, -1
		return resp
	}
	for _, key := range req.CoordinatorKeys {
		c := kmsg.NewFindCoordinatorResponseCoordinator()
		c.Key, c.ErrorCode, c.ErrorMessage, c.NodeID, c.Port = key, code, &text, messages.NoBroker, -1
		resp.Coordinators = append(resp.Coordinators, c)
	}
	return resp
}

// ListGroups (key 16).
//
//	1  throttle time
//	3  flexible
//	4  groups in certain states
//	5  groups of certain types
//
// There are none yet.
func listGroupsAPI() api {
	return api{
		key: 16, name: "ListGroups", max: 5, flexible: 3,
		shape:  `4+:[string] 5+:[string]`,
		answer: answers((*Broker).listGroups),
	}
}

func (b *Broker) listGroups(_ context.Context, req *kmsg.ListGroupsRequest) *kmsg.ListGroupsResponse {
	return req.ResponseKind().(*kmsg.ListGroupsResponse)
}
