// Package messages holds the words of the domain: what a partition, an offset
// and an epoch are, and the kinds of error that every layer speaks of. It is
// pure (no I/O, no clock, no goroutines) and imports nothing of the project, so
// that every other package can use the same words.
package messages

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strconv"
)

// Offset numbers a record within its partition, from 0 and without reuse.
// Log end offset and high watermark are offsets too: each is the offset of the
// first record that is *not* yet there, or not yet committed.
type Offset = int64

// LeaderEpoch counts the leaderships of a partition (KIP-101). A replica that
// has heard of an epoch refuses every message of an older one.
type LeaderEpoch = int32

// BrokerID names a node of the cluster.
type BrokerID = int32

// BrokerEpoch counts the starts of a broker; nothing sent under an older one
// counts (KIP-903).
type BrokerEpoch = int64

// ProducerID and ProducerEpoch identify an idempotent producer (KIP-98).
type (
	ProducerID    = int64
	ProducerEpoch = int16
)

// Values that mean "none" on the wire and in memory.
const (
	NoBroker        BrokerID      = -1
	NoEpoch         LeaderEpoch   = -1
	NoOffset        Offset        = -1
	NoProducerID    ProducerID    = -1
	NoProducerEpoch ProducerEpoch = -1
	NoSequence      int32         = -1
	NoTimestamp     int64         = -1
)

// Acks is what a producer waits for before it is answered.
type Acks = int16

// The three values of Acks that the protocol knows.
const (
	AcksNone   Acks = 0  // no answer at all
	AcksLeader Acks = 1  // the leader has appended
	AcksAll    Acks = -1 // every in-sync replica has it on disk
)

// TopicPartition names one partition of one topic.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String is the partition's name in logs and errors and the name of its
// directory: "orders-3".
func (tp TopicPartition) String() string {
	return tp.Topic + "-" + strconv.Itoa(int(tp.Partition))
}

// InternalTopic reports whether a name is one of Kafka's own topics, which
// brokers make when they need them, and clients do not write to.
func InternalTopic(name string) bool {
	return name == "__consumer_offsets" || name == "__transaction_state" || name == "__share_group_state"
}

// TopicID identifies one creation of a topic (KIP-516): a topic that was
// deleted and made again has the same name and another id. The zero value means
// "not known".
type TopicID [16]byte

// String is the form that Kafka's tools print: URL-safe base64, unpadded.
func (id TopicID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// IsZero reports whether the id is not known.
func (id TopicID) IsZero() bool { return id == TopicID{} }

// MarshalText writes the id as its String form.
func (id TopicID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the String form, or 32 hexadecimal digits.
func (id *TopicID) UnmarshalText(text []byte) error {
	decode := func(b []byte) ([]byte, error) { return base64.RawURLEncoding.DecodeString(string(b)) }
	if len(text) == 32 {
		decode = func(b []byte) ([]byte, error) { return hex.DecodeString(string(b)) }
	}
	raw, err := decode(text)
	if err != nil {
		return err
	}
	if len(raw) != len(id) {
		return errors.New("topic id: want 16 bytes, have " + strconv.Itoa(len(raw)))
	}
	copy(id[:], raw)
	return nil
}

// MaxTopicName is Kafka's bound, in bytes; with the partition number and a suffix the
// directory name stays below the 255 bytes of common file systems.
const MaxTopicName = 249

// CheckTopicName says why a name cannot be a topic's, or nil. The rules are
// Kafka's: 1 to 249 of letters, digits, '.', '_' and '-', and neither "." nor "..".
func CheckTopicName(name string) error {
	switch {
	case name == "":
		return E("topic name", InvalidTopic, name, errors.New("is empty"))
	case name == "." || name == "..":
		return E("topic name", InvalidTopic, name, errors.New(`cannot be "." or ".."`))
	case len(name) > MaxTopicName:
		return E("topic name", InvalidTopic, name[:16]+"...", errors.New("is longer than "+strconv.Itoa(MaxTopicName)+" characters"))
	}
	for _, c := range []byte(name) {
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
		if !ok {
			return E("topic name", InvalidTopic, strconv.Quote(name), errors.New("holds a character other than letters, digits, '.', '_' and '-'"))
		}
	}
	return nil
}
