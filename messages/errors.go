package messages

import (
	"errors"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Kind says what class of thing went wrong. The protocol code that a client
// sees follows from the kind alone: see kinds.
type Kind uint8

// The kinds of error. Names follow Kafka's error codes.
const (
	Unknown Kind = iota // not classified: a bug or an I/O error
	OffsetOutOfRange
	CorruptMessage
	UnknownTopicOrPartition
	UnknownTopicID
	InconsistentTopicID
	InvalidFetchSize
	LeaderNotAvailable
	NotLeader
	RequestTimedOut
	ReplicaNotAvailable
	MessageTooLarge
	CoordinatorNotAvailable
	InvalidTopic
	RecordListTooLarge
	NotEnoughReplicas
	NotEnoughReplicasAfterAppend
	InvalidRequiredAcks
	InvalidTimestamp
	UnsupportedVersion
	UnsupportedForMessageFormat
	UnsupportedCompression
	TopicExists
	InvalidPartitions
	InvalidReplicationFactor
	InvalidReplicaAssignment
	InvalidConfig
	NotController
	InvalidRequest
	PolicyViolation
	OutOfOrderSequence
	DuplicateSequence
	InvalidProducerEpoch
	UnknownProducerID
	ProducerFenced
	InvalidRecord
	StorageError
	FencedLeaderEpoch
	UnknownLeaderEpoch
	OffsetNotAvailable
	FetchSessionNotFound
	InvalidFetchSessionEpoch
	TopicDeletionDisabled
	PositionOutOfRange
	TransactionalIDNotFound
	GroupIDNotFound
	BrokerNotAvailable
	InvalidTxnState
	NotCoordinator
	CoordinatorLoadInProgress
	IllegalGeneration
	InconsistentGroupProtocol
	InvalidGroupID
	UnknownMemberID
	InvalidSessionTimeout
	RebalanceInProgress
	InvalidCommitOffsetSize
	OffsetMetadataTooLarge
	NonEmptyGroup
	GroupMaxSizeReached
	FencedInstanceID
	MemberIDRequired
	GroupSubscribedToTopic
	UnstableOffsetCommit
	NoReassignment
	ElectionNotNeeded
	PreferredLeaderNotAvailable
	EligibleLeadersNotAvailable
	FencedReplica // a replication message of an older epoch; clients see NotLeader
	ShuttingDown  // this broker is stopping; clients see NotLeader and look elsewhere
	kindCount
)

// kinds is the one table from kind to words and to the protocol's error.
var kinds = [kindCount]struct {
	words string
	wire  *kerr.Error
}{
	Unknown:                      {"unexpected error", kerr.UnknownServerError},
	OffsetOutOfRange:             {"offset out of range", kerr.OffsetOutOfRange},
	CorruptMessage:               {"corrupt message", kerr.CorruptMessage},
	UnknownTopicOrPartition:      {"unknown topic or partition", kerr.UnknownTopicOrPartition},
	UnknownTopicID:               {"unknown topic id", kerr.UnknownTopicID},
	InconsistentTopicID:          {"inconsistent topic id", kerr.InconsistentTopicID},
	InvalidFetchSize:             {"invalid fetch size", kerr.InvalidFetchSize},
	LeaderNotAvailable:           {"leader not available", kerr.LeaderNotAvailable},
	NotLeader:                    {"not leader", kerr.NotLeaderForPartition},
	RequestTimedOut:              {"request timed out", kerr.RequestTimedOut},
	ReplicaNotAvailable:          {"replica not available", kerr.ReplicaNotAvailable},
	MessageTooLarge:              {"message too large", kerr.MessageTooLarge},
	CoordinatorNotAvailable:      {"coordinator not available", kerr.CoordinatorNotAvailable},
	InvalidTopic:                 {"invalid topic", kerr.InvalidTopicException},
	RecordListTooLarge:           {"batch larger than a segment", kerr.RecordListTooLarge},
	NotEnoughReplicas:            {"not enough in-sync replicas", kerr.NotEnoughReplicas},
	NotEnoughReplicasAfterAppend: {"not enough in-sync replicas after append", kerr.NotEnoughReplicasAfterAppend},
	InvalidRequiredAcks:          {"invalid required acks", kerr.InvalidRequiredAcks},
	InvalidTimestamp:             {"invalid timestamp", kerr.InvalidTimestamp},
	UnsupportedVersion:           {"unsupported version", kerr.UnsupportedVersion},
	UnsupportedForMessageFormat:  {"unsupported for message format", kerr.UnsupportedForMessageFormat},
	UnsupportedCompression:       {"unsupported compression type", kerr.UnsupportedCompressionType},
	TopicExists:                  {"topic already exists", kerr.TopicAlreadyExists},
	InvalidPartitions:            {"invalid number of partitions", kerr.InvalidPartitions},
	InvalidReplicationFactor:     {"invalid replication factor", kerr.InvalidReplicationFactor},
	InvalidReplicaAssignment:     {"invalid replica assignment", kerr.InvalidReplicaAssignment},
	InvalidConfig:                {"invalid config", kerr.InvalidConfig},
	NotController:                {"not controller", kerr.NotController},
	InvalidRequest:               {"invalid request", kerr.InvalidRequest},
	PolicyViolation:              {"refused by policy", kerr.PolicyViolation},
	OutOfOrderSequence:           {"out of order sequence number", kerr.OutOfOrderSequenceNumber},
	DuplicateSequence:            {"duplicate sequence number", kerr.DuplicateSequenceNumber},
	InvalidProducerEpoch:         {"invalid producer epoch", kerr.InvalidProducerEpoch},
	UnknownProducerID:            {"unknown producer id", kerr.UnknownProducerID},
	ProducerFenced:               {"producer fenced", kerr.ProducerFenced},
	InvalidRecord:                {"invalid record", kerr.InvalidRecord},
	StorageError:                 {"storage error", kerr.KafkaStorageError},
	FencedLeaderEpoch:            {"fenced leader epoch", kerr.FencedLeaderEpoch},
	UnknownLeaderEpoch:           {"unknown leader epoch", kerr.UnknownLeaderEpoch},
	OffsetNotAvailable:           {"offset not available", kerr.OffsetNotAvailable},
	FetchSessionNotFound:         {"fetch session not found", kerr.FetchSessionIDNotFound},
	InvalidFetchSessionEpoch:     {"invalid fetch session epoch", kerr.InvalidFetchSessionEpoch},
	TopicDeletionDisabled:        {"topic deletion disabled", kerr.TopicDeletionDisabled},
	PositionOutOfRange:           {"position out of range", kerr.PositionOutOfRange},
	TransactionalIDNotFound:      {"transactional id not found", kerr.TransactionalIDNotFound},
	GroupIDNotFound:              {"group not found", kerr.GroupIDNotFound},
	BrokerNotAvailable:           {"broker not available", kerr.BrokerNotAvailable},
	InvalidTxnState:              {"invalid transaction state", kerr.InvalidTxnState},
	NotCoordinator:               {"not coordinator", kerr.NotCoordinator},
	CoordinatorLoadInProgress:    {"coordinator is loading", kerr.CoordinatorLoadInProgress},
	IllegalGeneration:            {"illegal generation", kerr.IllegalGeneration},
	InconsistentGroupProtocol:    {"inconsistent group protocol", kerr.InconsistentGroupProtocol},
	InvalidGroupID:               {"invalid group id", kerr.InvalidGroupID},
	UnknownMemberID:              {"unknown member id", kerr.UnknownMemberID},
	InvalidSessionTimeout:        {"invalid session timeout", kerr.InvalidSessionTimeout},
	RebalanceInProgress:          {"rebalance in progress", kerr.RebalanceInProgress},
	InvalidCommitOffsetSize:      {"invalid size of a commit", kerr.InvalidCommitOffsetSize},
	OffsetMetadataTooLarge:       {"offset metadata too large", kerr.OffsetMetadataTooLarge},
	NonEmptyGroup:                {"group is not empty", kerr.NonEmptyGroup},
	GroupMaxSizeReached:          {"group is full", kerr.GroupMaxSizeReached},
	FencedInstanceID:             {"fenced instance id", kerr.FencedInstanceID},
	MemberIDRequired:             {"member id required", kerr.MemberIDRequired},
	GroupSubscribedToTopic:       {"group is subscribed to the topic", kerr.GroupSubscribedToTopic},
	UnstableOffsetCommit:         {"offset commit is not stable", kerr.UnstableOffsetCommit},
	NoReassignment:               {"no reassignment in progress", kerr.NoReassignmentInProgress},
	ElectionNotNeeded:            {"election not needed", kerr.ElectionNotNeeded},
	PreferredLeaderNotAvailable:  {"preferred leader not available", kerr.PreferredLeaderNotAvailable},
	EligibleLeadersNotAvailable:  {"eligible leaders not available", kerr.EligibleLeadersNotAvailable},
	FencedReplica:                {"fenced replica", kerr.NotLeaderForPartition},
	ShuttingDown:                 {"shutting down", kerr.NotLeaderForPartition},
}

// String is the kind in words: "not leader".
func (k Kind) String() string {
	if k >= kindCount {
		k = Unknown
	}
	return kinds[k].words
}

// Code is the error code that the Kafka protocol has for the kind.
func (k Kind) Code() int16 {
	if k >= kindCount {
		k = Unknown
	}
	return kinds[k].wire.Code
}

// Retriable reports whether a client may expect the same request to succeed later.
func (k Kind) Retriable() bool {
	if k >= kindCount {
		k = Unknown
	}
	return kinds[k].wire.Retriable
}

// Error is the project's error: the operation that failed, what kind of failure
// it was, what it was about, and what lay beneath. It reads
// "produce: not leader: orders-3: leader is 2".
type Error struct {
	Op      string // what was being done: "produce", "open log"
	Kind    Kind
	Subject string // what it was done to: "orders-3", a file and position
	Err     error  // the cause, or nil
}

// E makes an Error.
func E(op string, kind Kind, subject string, cause error) *Error {
	return &Error{Op: op, Kind: kind, Subject: subject, Err: cause}
}

// Error puts operation, kind, subject and cause in that order, leaving out what is empty.
func (e *Error) Error() string {
	parts := make([]string, 0, 4)
	if e.Op != "" {
		parts = append(parts, e.Op)
	}
	if e.Kind != Unknown || e.Err == nil {
		parts = append(parts, e.Kind.String())
	}
	if e.Subject != "" {
		parts = append(parts, e.Subject)
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	return strings.Join(parts, ": ")
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf finds the kind of the outermost Error in the chain that has one.
func KindOf(err error) Kind {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return Unknown
		}
		if e.Kind != Unknown {
			return e.Kind
		}
		err = e.Err
	}
	return Unknown
}

// Code is the protocol's error code for err; 0 for nil.
func Code(err error) int16 {
	if err == nil {
		return 0
	}
	return KindOf(err).Code()
}
