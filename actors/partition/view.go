package partition

import (
	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/persistence/log"
)

// View is what readers know of a replica: an immutable picture that its actor
// publishes after each turn that changed it. Reads need nothing else.
type View struct {
	Leader messages.BrokerID    // NoBroker when the partition has none
	Epoch  messages.LeaderEpoch // epoch of that leadership
	Err    error                // why this replica cannot serve; nil when it leads and is open

	// Settling: the leader has not found out yet all that was committed before it,
	// so that the high watermark may be below what consumers have seen (KIP-207).
	Settling bool

	// Isolated: the leader may have been replaced without knowing. What is here can
	// be read; whoever waits for more had better look for another leader.
	Isolated bool

	Led    messages.LeaderEpoch // the last in which this replica led, of those since it was opened; NoEpoch: none
	Heard  messages.Offset      // up to where records are known here to be committed; more than the log may hold
	Log    *log.View            // nil when the log is not open
	Epochs []replica.EpochStart // the log's epochs, oldest first
}
