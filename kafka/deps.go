package kafka

import (
	"context"
	"sync/atomic"

	"github.com/rs/zerolog"

	"understudy/actors/group"
	"understudy/actors/partition"
	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/cluster/topicconfig"
	"understudy/kafka/server"
	"understudy/kafka/wire"
	"understudy/messages"
	"understudy/messages/producer"
)

// Deps is what a Broker needs of the rest of the broker. All fields must be set
// that do not say otherwise.
type Deps struct {
	Self       messages.BrokerID
	Image      func() *metadata.Image                     // the latest metadata
	Defaults   func(*metadata.Image) topicconfig.Defaults // of topic and broker settings
	Partitions Partitions                                 // the local replicas
	Admin      Admin                                      // makes changes
	Elections  Elections                                  // nil: leaders are never replaced
	Groups     Groups                                     // coordinates consumer groups
	Pool       *wire.Pool                                 // memory for frames and answers
	Now        func() int64                               // wall clock, ms since the epoch
	LogDir     string                                     // as tools are told; no path need be behind it
	Space      func() (total, usable int64)               // bytes of the disk behind LogDir; -1: unknown
	Log        zerolog.Logger
	Limits     Limits
}

// Limits bound single requests.
type Limits struct {
	ProduceBytes      int // the largest Produce request
	RequestBytes      int // the largest request of any other kind
	FetchBytes        int // the most that one Fetch is answered with, unless its first batch is larger
	Sessions          int // incremental fetch sessions
	SessionPartitions int // partitions of all sessions
}

// DefaultLimits are the limits of a broker that was not told otherwise.
func DefaultLimits() Limits {
	return Limits{
		ProduceBytes:      100 << 20,
		RequestBytes:      1 << 20,
		FetchBytes:        55 << 20,
		Sessions:          1000,
		SessionPartitions: 200_000,
	}
}

// Partitions finds local replicas.
type Partitions interface {
	// Lookup finds a local replica, or nil.
	Lookup(tp messages.TopicPartition) Partition
}

// Groups coordinates consumer groups.
type Groups interface{ group.Service }

// Partition is a local replica.
type Partition interface {
	// Append has batches appended, if the replica leads. It does not block.
	Append(a *partition.Append)
	// View is what the replica last published.
	View() View
	// Wait has w woken by the next publication; Cancel takes that back.
	Wait(w *Waiter)
	Cancel(w *Waiter)
	DeleteRecords(ctx context.Context, before messages.Offset) (low messages.Offset, err error)
	Producers(ctx context.Context) ([]producer.Info, error)
	Size() int64
	// ReadFailed tells of records that cannot be read: damage, or a disk that fails.
	ReadFailed(err error)
}

// View is what readers know of a local replica at one moment.
type View struct {
	TopicID       messages.TopicID
	Leader        messages.BrokerID
	Epoch         messages.LeaderEpoch
	Led           messages.LeaderEpoch // the last in which this replica led; NoEpoch: none that is known
	Err           error                // why the replica cannot serve; nil when it leads
	LogStart      messages.Offset
	HighWatermark messages.Offset
	Settling      bool // the high watermark may still be below what consumers have seen (KIP-207)
	Isolated      bool // the leader may have been replaced without knowing: nothing will be appended
	End           messages.Offset
	Log           Reader // nil when the log is not open
	Epochs        []replica.EpochStart
}

// Reader reads the part of a log that a View shows.
type Reader interface {
	// Read gives the bytes that begin with the batch that holds from and end, at
	// most, at the high watermark; nil when from is the high watermark. They are
	// at most maxBytes, except that with wholeFirst the first batch is always whole.
	Read(from messages.Offset, maxBytes int, wholeFirst bool) (Slice, error)
	// OffsetForTime finds the first record that is not older than ts (ms), or NoOffset.
	OffsetForTime(ts int64) (offset messages.Offset, timestamp int64, epoch messages.LeaderEpoch, err error)
	// MaxTimestamp finds the record with the newest timestamp, or NoOffset.
	MaxTimestamp() (offset messages.Offset, timestamp int64, epoch messages.LeaderEpoch, err error)
}

// Slice is a range of a log's bytes, valid until Release.
type Slice interface {
	server.Slice
	// FirstWhole reports whether the first batch is there as a whole.
	FirstWhole() bool
	// More reports whether there are more records behind these, up to the high watermark.
	More() bool
	Release()
}

// Waiter is woken once, by the first publication of any partition that it was
// registered with.
type Waiter struct {
	wake  func() // must not block
	fired atomic.Bool
	local *partition.Waiter // the form in which actors know it
}

// NewWaiter makes a waiter that calls wake.
func NewWaiter(wake func()) *Waiter { return &Waiter{wake: wake} }

// Wake wakes whoever waits; only the first call does.
func (w *Waiter) Wake() {
	if w.fired.CompareAndSwap(false, true) {
		w.wake()
	}
}
