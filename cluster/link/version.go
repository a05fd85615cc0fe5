package link

import (
	"fmt"

	"understudy/cluster/replica"
	"understudy/messages"
)

// The versions of the protocol. Two nodes speak the newest that both know, so that
// those of a cluster can be upgraded one after the other (docs/operations.md).
//
//	1  without a secret, nothing is proved. No node speaks it any more
//	2  proofs without a secret too: they show that the notes came as they were sent
//	3  a replica whose log has failed tells its leader (replica.TypeFailed), which
//	   otherwise waits for it until replica.lag.time.max.ms have passed
//
// What a version adds, nobody may depend on: to a node that does not know it, it is
// not sent. The oldest version may go when no release that an upgrade may begin from
// needs it.
const (
	minVersion = 2
	maxVersion = 3
)

// Versions are those from the oldest to the newest that a node speaks.
type Versions struct{ Oldest, Newest uint8 }

// Known are all versions that this program knows.
var Known = Versions{minVersion, maxVersion}

// String is the range in words.
func (v Versions) String() string { return fmt.Sprintf("%d to %d", v.Oldest, v.Newest) }

// Common is the version that two nodes speak, the newest that both know. There may be
// none.
func (v Versions) Common(other Versions) (version uint8, some bool) {
	version = min(v.Newest, other.Newest)
	return version, version >= max(v.Oldest, other.Oldest)
}

// UpTo is the versions without those that are newer than newest; 0: all of them.
func (v Versions) UpTo(newest uint8) Versions {
	if newest != 0 {
		v.Newest = min(v.Newest, newest)
	}
	return v
}

// newestType is the last type of message that a version has.
func newestType(version uint8) replica.MessageType {
	if version < 3 {
		return replica.TypeFence
	}
	return replica.TypeFailed
}

// Carry is what arrives of a message, but for its batches, over a connection of a
// version that no network is needed for, as in a simulator.
func Carry(version uint8, topic messages.TopicID, partition int32, m *replica.Message) (replica.Message, error) {
	var b [messagePrefix]byte
	if m.Type > newestType(version) {
		return replica.Message{}, ErrTooNew
	}
	putMessage(&b, topic, partition, m, 0)
	var arrived replica.Message
	_, _, err := parseMessage(version, b[prefixSize:], &arrived)
	return arrived, err
}
