package group

import (
	"context"

	"understudy/actors/group/core"
	"understudy/messages"
)

// Service is what the Kafka protocol asks of consumer groups. Every method may
// wait, until ctx ends at the latest; errors carry a messages.Kind.
//
// A group is served by its coordinator alone: any other node answers
// NotCoordinator, one that is still reading the group's past
// CoordinatorLoadInProgress, one that knows of no leader CoordinatorNotAvailable.
type Service interface {
	// Coordinator finds the broker that coordinates a group. It creates the
	// offsets topic when there is none.
	Coordinator(ctx context.Context, group string) (messages.BrokerID, error)
	// AwaitServing returns when all groups of some that this broker coordinates can be
	// asked, or a moment later: clients that are not answered until then need not ask
	// again.
	AwaitServing(ctx context.Context, groups []string)

	Join(ctx context.Context, j Join) Joined
	Sync(ctx context.Context, s Sync) Synced
	Heartbeat(ctx context.Context, m Member) error
	// Leave takes members out; the answer has one error for each, nil included.
	Leave(ctx context.Context, group string, leaving []Leaving) ([]error, error)

	// Commit stores offsets; the answer has an error for each partition that failed.
	Commit(ctx context.Context, c Commit) (map[messages.TopicPartition]error, error)
	// Offsets gives what a group has committed; a nil tps asks for everything.
	// A partition without a committed offset is missing in the answer.
	Offsets(ctx context.Context, m Member, tps []messages.TopicPartition) (map[messages.TopicPartition]Committed, error)
	// DeleteOffsets forgets offsets of topics that no member subscribes to.
	DeleteOffsets(ctx context.Context, group string, tps []messages.TopicPartition) (map[messages.TopicPartition]error, error)

	// Describe shows a group; one that is not there is Dead and has no members.
	Describe(ctx context.Context, group string) (Description, error)
	// List gives the groups that this node coordinates.
	List(ctx context.Context) ([]Listing, error)
	// Delete deletes a group that has no members.
	Delete(ctx context.Context, group string) error
}

// The vocabulary of requests and answers. Byte slices and maps that are given are
// not changed by the service, and may be used again when the call has returned;
// those that are answered must not be changed.
type (
	Client            = core.Client            // who sent a request
	Member            = core.Member            // which member of which generation speaks
	Protocol          = core.Protocol          // an assignment strategy that a member knows
	Join              = core.Join              // asks to become, or to stay, a member
	Joined            = core.Joined            // the answer to Join
	JoinedMember      = core.JoinedMember      // a member as the group's leader sees it
	Sync              = core.Sync              // brings assignments and asks for one's own
	Synced            = core.Synced            // the answer to Sync
	Leaving           = core.Leaving           // one member that leaves
	Commit            = core.Commit            // stores a group's offsets
	Committed         = core.Committed         // a committed offset
	Description       = core.Description       // what DescribeGroups shows of a group
	MemberDescription = core.MemberDescription // what it shows of a member
	Listing           = core.Listing           // a group in a list
	State             = core.State             // by the names that Kafka's tools show
)

// The states of a group.
const (
	Empty               = core.Empty
	PreparingRebalance  = core.PreparingRebalance
	CompletingRebalance = core.CompletingRebalance
	Stable              = core.Stable
	Dead                = core.Dead
)
