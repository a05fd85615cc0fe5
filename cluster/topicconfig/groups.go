package topicconfig

// Names of the broker settings about consumer groups.
const (
	GroupInitialDelayMs      = "group.initial.rebalance.delay.ms"
	GroupMaxSessionMs        = "group.max.session.timeout.ms"
	GroupMaxSize             = "group.max.size"
	GroupMinSessionMs        = "group.min.session.timeout.ms"
	OffsetMetadataMaxBytes   = "offset.metadata.max.bytes"
	OffsetsCommitTimeoutMs   = "offsets.commit.timeout.ms"
	OffsetsCheckIntervalMs   = "offsets.retention.check.interval.ms"
	OffsetsRetentionMinutes  = "offsets.retention.minutes"
	OffsetsTopicPartitions   = "offsets.topic.num.partitions"
	OffsetsReplicationFactor = "offsets.topic.replication.factor"
	OffsetsSegmentBytes      = "offsets.topic.segment.bytes"
)

// MaxGroupSize is the most that group.max.size may be: in each generation a group's
// leader assigns to all its members in one request.
const MaxGroupSize = 20_000

var groupSettings = []Setting{
	{Name: GroupInitialDelayMs, Type: Int, Default: "100", rule: between{0, maxInt},
		Doc: "For how long the first members of a group wait for more, in milliseconds, and again while more keep coming."},
	{Name: GroupMaxSessionMs, Type: Int, Default: "1800000", rule: between{1, maxInt},
		Doc: "The longest session that a member may ask for, in milliseconds."},
	{Name: GroupMaxSize, Type: Int, Default: "10000", rule: between{1, MaxGroupSize},
		Doc: "How many members a group may have."},
	{Name: GroupMinSessionMs, Type: Int, Default: "6000", rule: between{1, maxInt},
		Doc: "The shortest session that a member may ask for, in milliseconds."},
	{Name: OffsetMetadataMaxBytes, Type: Int, Default: "4096", rule: between{0, 32767},
		Doc: "How many bytes of text may be kept with a committed offset."},
	{Name: OffsetsCommitTimeoutMs, Type: Int, Default: "5000", rule: between{1, maxInt},
		Doc: "How long the replicas may take to write what a group commits, in milliseconds."},
	{Name: OffsetsCheckIntervalMs, Type: Long, Default: "600000", rule: between{1, maxLong},
		Doc: "How often the broker looks for offsets that need not be kept, in milliseconds. Takes effect at the next start."},
	{Name: OffsetsRetentionMinutes, Type: Int, Default: "10080", rule: between{1, maxInt},
		Doc: "How long the offsets of a group are kept that has no members, in minutes."},
	{Name: OffsetsTopicPartitions, Type: Int, Default: "50", rule: between{1, 10_000},
		Doc: "The number of partitions of the topic that offsets are kept in, when it is made."},
	{Name: OffsetsReplicationFactor, Type: Short, Default: "3", rule: between{1, 32767},
		Doc: "The replication factor of that topic, when it is made; with fewer brokers, as many as there are."},
	{Name: OffsetsSegmentBytes, Type: Int, Default: "104857600", rule: between{minSegment, maxInt},
		Doc: "The size of that topic's segments in bytes, when it is made. Small ones are compacted sooner."},
}
