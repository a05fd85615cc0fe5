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
// Transactions are not coordinated yet. The answer says so with INVALID_REQUEST, which
// ends a Java producer's initTransactions with the words of the answer; of a coordinator
// that is not available, it would ask until its time is up.
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
	errNoTransactions = messages.E("find coordinator", messages.InvalidRequest, "", errors.New("transactions are not supported yet"))
	errKeyType        = messages.E("find coordinator", messages.InvalidRequest, "", errors.New("keys are of groups (0) or transactions (1)"))
	errNoAddress      = messages.E("find coordinator", messages.CoordinatorNotAvailable, "", errors.New("the coordinator's broker is not up"))
)

func (b *Broker) findCoordinator(ctx context.Context, req *kmsg.FindCoordinatorRequest) *kmsg.FindCoordinatorResponse {
	ctx, cancel := within(ctx, 30_000) // the offsets topic may have to be made
	defer cancel()
	elections, cancel := context.WithTimeout(ctx, electionPatience) // for all keys together
	defer cancel()
	keys := []string{req.CoordinatorKey}
	if req.Version >= 4 {
		keys = once(req.CoordinatorKeys)
	}
	var found []kmsg.FindCoordinatorResponseCoordinator
	var here []string
	for _, key := range keys {
		c := b.coordinator(ctx, elections, req.CoordinatorType, key)
		if found = append(found, c); c.NodeID == b.deps.Self {
			here = append(here, key)
		}
	}
	b.deps.Groups.AwaitServing(ctx, here) // all together as well
	resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
	if req.Version >= 4 {
		resp.Coordinators = found
		return resp
	}
	c := found[0]
	resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Host, resp.Port = c.ErrorCode, c.ErrorMessage, c.NodeID, c.Host, c.Port
	return resp
}

// coordinator finds a group's coordinator. elections bounds how long it waits for one
// that is about to be replaced.
func (b *Broker) coordinator(ctx, elections context.Context, keyType int8, key string) kmsg.FindCoordinatorResponseCoordinator {
	c := kmsg.NewFindCoordinatorResponseCoordinator()
	c.Key, c.NodeID, c.Port = key, messages.NoBroker, -1
	node, err := b.findNode(ctx, elections, keyType, key)
	if err != nil {
		c.ErrorCode, c.ErrorMessage = errorOf(err)
		return c
	}
	c.NodeID, c.Host, c.Port = node.ID, node.Host, node.Port
	return c
}

func (b *Broker) findNode(ctx, elections context.Context, keyType int8, key string) (*metadata.Broker, error) {
	switch keyType {
	case groupKey:
	case transactionKey:
		return nil, errNoTransactions
	default:
		return nil, errKeyType
	}
	id, err := b.deps.Groups.Coordinator(ctx, key)
	if err == nil && id != b.deps.Self {
		id, err = b.successor(elections, id, key)
	}
	if err != nil {
		return nil, err
	}
	if node := b.deps.Image().Broker(id); node != nil {
		return node, nil
	}
	return nil, errNoAddress
}

// successor is the coordinator of a group that was another broker's: that one, or who
// takes its place if it has just gone. A client looks for the coordinator when its
// connection to it has ended, and one that is told the dead one's name again comes
// back later and later: franz-go had the new one after four seconds.
func (b *Broker) successor(ctx context.Context, id messages.BrokerID, group string) (_ messages.BrokerID, err error) {
	b.deps.Elections.Confirm(ctx, []messages.BrokerID{id})
	b.awaitImage(ctx, func(*metadata.Image) bool {
		id, err = b.deps.Groups.Coordinator(ctx, group)
		return err == nil && id != b.deps.Self && b.deps.Elections.Pending(id)
	})
	return id, err
}
