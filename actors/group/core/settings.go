package core

// Settings are what a broker sets for its groups. Times are in ms.
type Settings struct {
	MinSession   int64 // group.min.session.timeout.ms
	MaxSession   int64 // group.max.session.timeout.ms
	InitialDelay int64 // group.initial.rebalance.delay.ms
	MaxSize      int   // group.max.size, in members
	MaxMetadata  int   // offset.metadata.max.bytes, of one committed offset
	Retention    int64 // offsets.retention.minutes
}

// DefaultSettings are those of a broker that was not told otherwise.
func DefaultSettings() Settings {
	return Settings{
		MinSession: 6_000, MaxSession: 30 * 60_000, InitialDelay: 100,
		MaxSize: 10_000, MaxMetadata: 4096, Retention: 7 * 24 * 60 * 60_000,
	}
}

// Bounds on what one request, and one group, may make a coordinator keep.
const (
	// maxName is the most that the records' formats can hold of a string, in bytes.
	maxName = 1<<15 - 1
	// maxID bounds instances, protocol types and names, in bytes. A member's id is
	// somewhat longer than its instance.
	maxID = 1024
	// maxClient is how much is kept of a client's id and host, in bytes.
	maxClient = 255
	// maxProtocols bounds the strategies that a member may name.
	maxProtocols = 100
	// maxPending bounds the ids that are handed out and not used yet.
	maxPending = 10_000
	// maxSubscription bounds what a member says under all its strategies, in bytes:
	// twenty thousand topics with names of usual length.
	maxSubscription = 512 << 10
	// maxGroup bounds the same of all members together, and the assignments of a
	// generation: they become one record.
	maxGroup = 8 << 20
)

// About how many bytes are taken by what is not counted otherwise.
const (
	memberBytes  = 512 // of a member
	pendingBytes = 256 // of an id that was handed out
	offsetBytes  = 192 // of a committed offset
)

// Times that Kafka does not leave to settings, in ms.
const (
	// newMemberTimeout is how long a member that has not been told its id may wait:
	// it cannot send heartbeats, and whether its client is still there cannot be seen.
	newMemberTimeout = 5 * 60_000
	// pendingPatience is how long a rebalance waits at most for a member that was
	// told its id and is to come back with it, which takes a round trip. One that
	// comes later is welcome, and makes another rebalance.
	pendingPatience = 3_000
)

// maxInitialDelays bounds how often members that keep coming can put off the first
// generation: 3 s unless the delay is set otherwise. With Kafka they can for their
// rebalance timeout, which is the bound here where it is less.
const maxInitialDelays = 30
