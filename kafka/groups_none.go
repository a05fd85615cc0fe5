package kafka

import (
	"context"
	"errors"

	"understudy/actors/group"
	"understudy/messages"
)

// NoGroups is the Groups of a broker that coordinates none.
type NoGroups struct{}

var errNoGroups = messages.E("", messages.CoordinatorNotAvailable, "", errors.New("this broker does not coordinate consumer groups"))

// Coordinator implements Groups, as do all its methods.
func (NoGroups) Coordinator(context.Context, string) (messages.BrokerID, error) {
	return messages.NoBroker, errNoGroups
}

func (NoGroups) Join(_ context.Context, j group.Join) group.Joined {
	return group.Joined{Err: errNoGroups, MemberID: j.MemberID}
}

func (NoGroups) Sync(context.Context, group.Sync) group.Synced { return group.Synced{Err: errNoGroups} }

func (NoGroups) Heartbeat(context.Context, group.Member) error { return errNoGroups }

func (NoGroups) Leave(context.Context, string, []group.Leaving) ([]error, error) {
	return nil, errNoGroups
}

func (NoGroups) Commit(context.Context, group.Commit) (map[messages.TopicPartition]error, error) {
	return nil, errNoGroups
}

func (NoGroups) Offsets(context.Context, group.Member, []messages.TopicPartition) (map[messages.TopicPartition]group.Committed, error) {
	return nil, errNoGroups
}

func (NoGroups) DeleteOffsets(context.Context, string, []messages.TopicPartition) (map[messages.TopicPartition]error, error) {
	return nil, errNoGroups
}

func (NoGroups) Describe(context.Context, string) (group.Description, error) {
	return group.Description{}, errNoGroups
}

func (NoGroups) List(context.Context) ([]group.Listing, error) { return nil, nil }

func (NoGroups) Delete(context.Context, string) error { return errNoGroups }
