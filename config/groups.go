package config

import (
	"time"

	"understudy/cluster/topicconfig"
)

// Groups says what holds for consumer groups.
type Groups struct {
	InitialDelay      time.Duration
	MinSession        time.Duration
	MaxSession        time.Duration
	MaxSize           int32
	OffsetMetadata    int64 // bytes kept with an offset
	CommitTimeout     time.Duration
	RetentionMinutes  int32
	RetentionCheck    time.Duration
	Partitions        int32 // of the offsets topic
	ReplicationFactor int16 // of it, at most
	SegmentBytes      int64 // of it
}

var consumerSettings = []*Setting{
	{Key: "group.initial.rebalance.delay.ms", Group: groupConsumers, Type: Duration, Default: "100ms", Min: 0, Max: hourM,
		Doc:   "For how long the first members of a group wait for more, and again while more keep coming, though for no more than three seconds. A longer time saves groups that are started slowly a rebalance; a shorter one has the first consumer begin sooner.",
		field: func(c *Config) any { return &c.Groups.InitialDelay }},
	{Key: "group.min.session.timeout.ms", Group: groupConsumers, Type: Duration, Default: "6s", Min: 1, Max: dayM,
		Doc:   "The shortest session that a member may ask for. A member that is not heard of for its session loses what it was assigned.",
		field: func(c *Config) any { return &c.Groups.MinSession }},
	{Key: "group.max.session.timeout.ms", Group: groupConsumers, Type: Duration, Default: "30m", Min: 1, Max: dayM,
		Doc:   "The longest session that a member may ask for.",
		field: func(c *Config) any { return &c.Groups.MaxSession }},
	{Key: "group.max.size", Group: groupConsumers, Type: Int, Default: "10000", Min: 1, Max: topicconfig.MaxGroupSize,
		Doc:   "How many members a group may have.",
		field: func(c *Config) any { return &c.Groups.MaxSize }},
	{Key: "offset.metadata.max.bytes", Group: groupConsumers, Type: Size, Default: "4KiB", Min: 0, Max: 32767,
		Doc:   "How much text a client may keep with a committed offset.",
		field: func(c *Config) any { return &c.Groups.OffsetMetadata }},
	{Key: "offsets.commit.timeout.ms", Group: groupConsumers, Type: Duration, Default: "5s", Min: 1, Max: hourM,
		Doc:   "How long the replicas may take to write what a group commits.",
		field: func(c *Config) any { return &c.Groups.CommitTimeout }},
	{Key: "offsets.retention.minutes", Group: groupConsumers, Type: Int, Default: "10080", Min: 1, Max: 1<<31 - 1,
		Doc:   "How many minutes the offsets of a group are kept that has no members.",
		field: func(c *Config) any { return &c.Groups.RetentionMinutes }},
	{Key: "offsets.retention.check.interval.ms", Group: groupConsumers, Type: Duration, Default: "10m", Min: 1, Max: dayM,
		Doc:   "How often the broker looks for offsets that need not be kept.",
		field: func(c *Config) any { return &c.Groups.RetentionCheck }},
	{Key: "offsets.topic.num.partitions", Group: groupConsumers, Type: Int, Default: "50", Min: 1, Max: 10_000,
		Doc:   "Partitions of __consumer_offsets, the topic that groups are kept in, when it is made. The groups are spread over them, and they over the brokers.",
		field: func(c *Config) any { return &c.Groups.Partitions }},
	{Key: "offsets.topic.replication.factor", Group: groupConsumers, Type: Int, Default: "3", Min: 1, Max: 32767,
		Doc:   "Copies of each of them, when the topic is made; with fewer brokers, as many as there are.",
		field: func(c *Config) any { return &c.Groups.ReplicationFactor }},
	{Key: "offsets.topic.segment.bytes", Group: groupConsumers, Type: Size, Default: "100MiB", Min: 1 * kib, Max: 2*gib - 1,
		Doc:   "The size of the topic's files, when it is made. Small ones are compacted sooner, which keeps the time short that a new coordinator has to read.",
		field: func(c *Config) any { return &c.Groups.SegmentBytes }},
}
