package group

import (
	"context"

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

	Describe(ctx context.Context, group string) (Description, error)
	// List gives the groups that this node coordinates.
	List(ctx context.Context) ([]Listing, error)
	// Delete deletes a group that has no members.
	Delete(ctx context.Context, group string) error
}

// Client is who sent a request, as DescribeGroups shows it.
type Client struct {
	ID   string // client id
	Host string // "/127.0.0.1", as Kafka writes it
}

// Member is which member of which generation speaks. Commits of consumers that
// assign partitions themselves, and reads of offsets by tools, have an empty
// MemberID and generation -1.
type Member struct {
	Group      string
	MemberID   string
	InstanceID string // of a static member (KIP-345); empty: dynamic
	Generation int32
}

// Protocol is an assignment strategy that a member knows, with its subscription.
type Protocol struct {
	Name     string
	Metadata []byte
}

// Join asks to become, or to stay, a member.
type Join struct {
	Group            string
	MemberID         string // empty: new here
	InstanceID       string
	Client           Client
	SessionTimeout   int64 // ms
	RebalanceTimeout int64 // ms; -1: as SessionTimeout
	ProtocolType     string
	Protocols        []Protocol // by preference
	Reason           string     // KIP-800
	RequireMemberID  bool       // the client can take MemberIDRequired (KIP-394)
}

// Joined is the answer to Join. On error only Err, MemberID and, where known, Generation count.
type Joined struct {
	Err            error
	Generation     int32
	ProtocolType   string
	Protocol       string // the one chosen
	Leader         string // member id of the member that assigns
	MemberID       string
	SkipAssignment bool           // the leader need not assign anew (KIP-814)
	Members        []JoinedMember // for the leader alone
}

// JoinedMember is a member as the group's leader sees it.
type JoinedMember struct {
	MemberID, InstanceID string
	Metadata             []byte
}

// Sync brings the leader's assignments and asks for one's own.
type Sync struct {
	Member
	ProtocolType, Protocol string            // empty: not said
	Assignments            map[string][]byte // by member id, from the leader
}

// Synced is the answer to Sync.
type Synced struct {
	Err                    error
	ProtocolType, Protocol string
	Assignment             []byte
}

// Leaving is one member that leaves, by its id or, when static, by its instance.
type Leaving struct {
	MemberID, InstanceID string
	Reason               string
}

// Committed is a committed offset.
type Committed struct {
	Offset      messages.Offset // of the record to read next
	LeaderEpoch messages.LeaderEpoch
	Metadata    string
}

// Commit stores a group's offsets.
type Commit struct {
	Member
	Client  Client
	Offsets map[messages.TopicPartition]Committed
}

// Description is what DescribeGroups shows of a group.
type Description struct {
	Group        string
	State        State
	ProtocolType string
	Protocol     string
	Members      []MemberDescription
}

// MemberDescription is what DescribeGroups shows of a member.
type MemberDescription struct {
	MemberID, InstanceID string
	Client               Client
	Metadata             []byte // the subscription, of the chosen protocol
	Assignment           []byte
}

// Listing is a group in a list.
type Listing struct {
	Group        string
	ProtocolType string
	State        State
}

// State is the state of a group, by the names that Kafka's tools show.
type State string

// The states of a group.
const (
	Empty               State = "Empty"
	PreparingRebalance  State = "PreparingRebalance"
	CompletingRebalance State = "CompletingRebalance"
	Stable              State = "Stable"
	Dead                State = "Dead"
)
