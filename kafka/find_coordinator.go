package kafka

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/cluster/metadata"
	"understudy/messages"
)

// FindCoordinator (key 10).
//
//	1  type of key, throttle time, error message
//	3  flexible
//	4  several keys at a time
//
// Transactions are not coordinated yet, which the answer says with
// COORDINATOR_NOT_AVAILABLE.
func findCoordinatorAPI() api {
	return api{
		key: 10, name: "FindCoordinator", max: 4, flexible: 3,
		shape:  `0-3:string 1+:int8 4+:[string]`,
		answer: answers((*Broker).findCoordinator),
	}
}

// Types of key.
const (
	groupKey       = 0
	transactionKey = 1
)

var (
	errNoTransactions = messages.E("", messages.CoordinatorNotAvailable, "", errors.New("this broker does not coordinate transactions yet"))
	errKeyType        = messages.E("find coordinator", messages.InvalidRequest, "", errors.New("keys are of groups (0) or transactions (1)"))
	errNoAddress      = messages.E("find coordinator", messages.CoordinatorNotAvailable, "", errors.New("the coordinator's broker is not up"))
)

func (b *Broker) findCoordinator(ctx context.Context, req *kmsg.FindCoordinatorRequest) *kmsg.FindCoordinatorResponse {
	ctx, cancel := within(ctx, 30_000) // the offsets topic may have to be made
	defer cancel()
	resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
	if req.Version < 4 {
		c := b.coordinator(ctx, req.CoordinatorType, req.CoordinatorKey)
		resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Host, resp.Port = c.ErrorCode, c.ErrorMessage, c.NodeID, c.Host, c.Port
		return resp
	}
	for _, key := range once(req.CoordinatorKeys) {
		resp.Coordinators = append(resp.Coordinators, b.coordinator(ctx, req.CoordinatorType, key))
	}
	return resp
}

func (b *Broker) coordinator(ctx context.Context, keyType int8, key string) kmsg.FindCoordinatorResponseCoordinator {
	c := kmsg.NewFindCoordinatorResponseCoordinator()
	c.Key, c.NodeID, c.Port = key, messages.NoBroker, -1
	node, err := b.findNode(ctx, keyType, key)
	if err != nil {
		c.ErrorCode, c.ErrorMessage = errorOf(err)
		return c
	}
	c.NodeID, c.Host, c.Port = node.ID, node.Host, node.Port
	return c
}

func (b *Broker) findNode(ctx context.Context, keyType int8, key string) (*metadata.Broker, error) {
	switch keyType {
	case groupKey:
	case transactionKey:
		return nil, errNoTransactions
	default:
		return nil, errKeyType
	}
	id, err := b.deps.Groups.Coordinator(ctx, key)
	if err != nil {
		return nil, err
	}
	if node := b.deps.Image().Broker(id); node != nil {
		return node, nil
	}
	return nil, errNoAddress
}
