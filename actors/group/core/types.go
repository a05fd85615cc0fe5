package core

import "understudy/messages"

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
	Group             string
	MemberID          string // empty: new here
	InstanceID        string
	Client            Client
	SessionTimeout    int64 // ms
	RebalanceTimeout  int64 // ms; -1: as SessionTimeout
	ProtocolType      string
	Protocols         []Protocol // by preference
	Reason            string     // KIP-800
	RequireMemberID   bool       // the client can take MemberIDRequired (KIP-394)
	CanSkipAssignment bool       // the client understands Joined.SkipAssignment (KIP-814)
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
	Offsets   map[messages.TopicPartition]Committed
	Retention int64 // ms from now on for which to keep them; 0: as the broker's setting says
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
