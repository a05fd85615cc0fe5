package group

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/rs/zerolog"

	"understudy/actors/controller"
	"understudy/actors/group/core"
	"understudy/actors/partition"
	"understudy/actors/supervision"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// Options are what a Coordinator needs. All fields must be set but those that say
// otherwise.
type Options struct {
	Self       messages.BrokerID
	Cell       *metadata.Cell
	Partitions *partition.Registry // the local replicas
	Topics     Topics
	Settings   func(*metadata.Image) Settings // asked again when settings have changed
	Restarts   *supervision.Backoff
	Log        zerolog.Logger

	// ScanInterval is how often groups look for what need not be kept any longer
	// (offsets.retention.check.interval.ms).
	ScanInterval time.Duration
	// Memory bounds the bytes that groups may take here. Beyond it there are no new
	// groups, members and committed offsets, and those that there are go on.
	Memory int64

	// Now gives the time; nil: the system's clocks.
	Now func() core.Time
	// Fresh gives a name that nobody else is given; nil: at random.
	Fresh func() string
	// Stage is what a simulator sets; the zero value is for everybody else.
	Stage Stage
}

// Topics makes the offsets topic.
type Topics interface {
	CreateTopics(ctx context.Context, topics []controller.NewTopic, validateOnly bool) []controller.TopicResult
}

// Settings are what a broker sets for its groups, and for the topic that they are
// kept in.
type Settings struct {
	core.Settings
	CommitTimeout     int64 // ms that a write may take (offsets.commit.timeout.ms)
	Partitions        int32 // of the offsets topic (offsets.topic.num.partitions)
	ReplicationFactor int16 // of it, at most (offsets.topic.replication.factor)
	SegmentBytes      int64 // of it (offsets.topic.segment.bytes)
}

// DefaultSettings are those of a broker that was not told otherwise.
func DefaultSettings() Settings {
	return Settings{
		Settings: core.DefaultSettings(), CommitTimeout: 5000,
		Partitions: 50, ReplicationFactor: 3, SegmentBytes: 100 << 20,
	}
}

// started is when this process began: the origin of the clock that never goes back.
var started = time.Now()

func systemTime() core.Time {
	now := time.Now()
	return core.Time{Clock: now.Sub(started).Milliseconds() + 1, Wall: now.UnixMilli()}
}

// randomName is a name as clients know them from Kafka: a random UUID (RFC 9562).
func randomName() string {
	const digits = "0123456789abcdef"
	var b [36]byte
	for i := range b {
		b[i] = digits[rand.N(16)]
	}
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	b[14], b[19] = '4', digits[8+rand.N(4)]
	return string(b[:])
}
