package topicconfig

import (
	"math"
	"slices"

	"understudy/messages/batch"
)

const (
	maxInt   = math.MaxInt32
	maxLong  = math.MaxInt64
	noEffect = " Accepted for compatibility; no effect: " // begins the reason why a setting does nothing
)

// Topic is the table of topic settings.
var Topic = newTable("topic setting", append(throttles(), []Setting{
	{Name: "cleanup.policy", Broker: "log.cleanup.policy", Type: List, Default: "delete", rule: cleanup{},
		Doc: "What becomes of old records. delete: whole segments are removed by retention.ms and retention.bytes. compact: of every key only the last record stays. Both can be had together.",
		set: func(s *Settings, v value) {
			s.Compact, s.Delete = slices.Contains(split(v.text), policyCompact), slices.Contains(split(v.text), policyDelete)
		}},
	{Name: "compression.type", Broker: "compression.type", Type: String, Default: "producer",
		rule: oneOf{"producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"},
		Doc:  "How batches are stored: as the producer compressed them, uncompressed, or with one codec, which costs the broker the recompression of batches that come otherwise.",
		set: func(s *Settings, v value) {
			s.Compression.AsProduced = v.text == "producer"
			if !s.Compression.AsProduced {
				s.Compression.Codec, _ = batch.ParseCodec(v.text) // the rule lets only codecs through
			}
		}},
	{Name: "compression.gzip.level", Broker: "compression.gzip.level", Type: Int, Default: "-1", rule: gzipLevel{},
		Doc: "The level when compression.type is gzip; -1 is the library's choice."},
	{Name: "compression.lz4.level", Broker: "compression.lz4.level", Type: Int, Default: "9", rule: between{1, 17},
		Doc: "The level when compression.type is lz4."},
	{Name: "compression.zstd.level", Broker: "compression.zstd.level", Type: Int, Default: "3", rule: between{-131072, 22},
		Doc: "The level when compression.type is zstd."},
	{Name: "delete.retention.ms", Broker: "log.cleaner.delete.retention.ms", Type: Long, Default: "86400000", rule: between{0, maxLong},
		Doc: "How long a compacted topic keeps a record without a value, which removes its key, after it was first compacted, in milliseconds.",
		set: func(s *Settings, v value) { s.DeleteRetentionMs = v.num }},
	{Name: "file.delete.delay.ms", Broker: "log.segment.delete.delay.ms", Type: Long, Default: "60000", rule: between{0, maxLong},
		Doc: "How long a removed segment's file stays, in milliseconds." + noEffect + "a file goes when its last reader lets go of it."},
	{Name: "flush.messages", Broker: "log.flush.interval.messages", Type: Long, Default: "9223372036854775807", rule: between{1, maxLong},
		Doc: "How many records may be written before they are flushed." + noEffect + "what acks=all acknowledges is on disk already, unless write.caching is true."},
	{Name: "flush.ms", Broker: "log.flush.interval.ms", Type: Long, Default: "9223372036854775807", rule: between{0, maxLong},
		Doc: "How long a record may be written before it is flushed, in milliseconds." + noEffect + "what acks=all acknowledges is on disk already, unless write.caching is true."},
	{Name: "index.interval.bytes", Broker: "log.index.interval.bytes", Type: Int, Default: "4096", rule: between{0, maxInt},
		Doc: "How many bytes of log lie between two entries of its index.",
		set: func(s *Settings, v value) { s.IndexIntervalBytes = int(v.num) }},
	{Name: "max.compaction.lag.ms", Broker: "log.cleaner.max.compaction.lag.ms", Type: Long, Default: "9223372036854775807", rule: between{1, maxLong},
		Doc: "The longest that a record of a compacted topic stays uncompacted, in milliseconds.",
		set: func(s *Settings, v value) { s.MaxCompactionLagMs = v.num }},
	{Name: "max.message.bytes", Broker: "message.max.bytes", Type: Int, Default: "1048588", rule: between{0, maxInt},
		Doc: "The largest batch that is taken, in bytes, as it comes and as it is stored.",
		set: func(s *Settings, v value) { s.MaxMessageBytes = int32(v.num) }},
	{Name: "message.timestamp.after.max.ms", Broker: "log.message.timestamp.after.max.ms", Type: Long, Default: "3600000", rule: between{0, maxLong},
		Doc: "How far a record's time may lie ahead of the broker's, in milliseconds. Without meaning for LogAppendTime.",
		set: func(s *Settings, v value) { s.TimestampAfterMax = v.num }},
	{Name: "message.timestamp.before.max.ms", Broker: "log.message.timestamp.before.max.ms", Type: Long, Default: "9223372036854775807", rule: between{0, maxLong},
		Doc: "How far a record's time may lie behind the broker's, in milliseconds. Without meaning for LogAppendTime.",
		set: func(s *Settings, v value) { s.TimestampBeforeMax = v.num }},
	{Name: "message.timestamp.type", Broker: "log.message.timestamp.type", Type: String, Default: "CreateTime",
		rule: oneOf{"CreateTime", "LogAppendTime"},
		Doc:  "Whether a record's time is the producer's (CreateTime) or that of its append (LogAppendTime).",
		set: func(s *Settings, v value) {
			if v.text == "LogAppendTime" {
				s.TimestampType = batch.LogAppendTime
			}
		}},
	{Name: "min.cleanable.dirty.ratio", Broker: "log.cleaner.min.cleanable.ratio", Type: Double, Default: "0.5", rule: share{},
		Doc: "How much of a log must be uncompacted before it is compacted, as a share of what could be.",
		set: func(s *Settings, v value) { s.MinDirtyRatio = v.float }},
	{Name: "min.compaction.lag.ms", Broker: "log.cleaner.min.compaction.lag.ms", Type: Long, Default: "0", rule: between{0, maxLong},
		Doc: "The least time that a record stays uncompacted, in milliseconds.",
		set: func(s *Settings, v value) { s.MinCompactionLagMs = v.num }},
	{Name: "min.insync.replicas", Broker: "min.insync.replicas", Type: Int, Default: "1", rule: between{1, maxInt},
		Doc: "How many replicas must be in sync for writes with acks=all to be taken.",
		set: func(s *Settings, v value) { s.MinInsyncReplicas = int(v.num) }},
	{Name: "preallocate", Broker: "log.preallocate", Type: Bool, Default: "true", rule: yesNo{},
		Doc: "Whether disk space is reserved ahead of the writes, in steps of the broker's log.preallocate.bytes.",
		set: func(s *Settings, v value) { s.Preallocate = v.yes }},
	{Name: "retention.bytes", Broker: "log.retention.bytes", Type: Long, Default: "-1", rule: between{-1, maxLong},
		Doc: "How large a partition may grow before its oldest segments are removed, in bytes; -1 is without bound.",
		set: func(s *Settings, v value) { s.RetentionBytes = v.num }},
	{Name: "retention.ms", Broker: "log.retention.ms", Type: Long, Default: "604800000", rule: between{-1, maxLong},
		Doc: "How long records are kept, in milliseconds; -1 is for ever.",
		set: func(s *Settings, v value) { s.RetentionMs = v.num }},
	{Name: "segment.bytes", Broker: "log.segment.bytes", Type: Int, Default: "1073741824", rule: between{minSegment, maxInt},
		Doc: "The size at which a partition begins its next segment file, in bytes. Retention removes whole segments.",
		set: func(s *Settings, v value) { s.SegmentBytes = v.num }},
	{Name: "segment.index.bytes", Broker: "log.index.size.max.bytes", Type: Int, Default: "10485760", rule: between{4, maxInt},
		Doc: "The size of a segment's index file." + noEffect + "an index grows with its segment."},
	{Name: "segment.jitter.ms", Broker: "log.roll.jitter.ms", Type: Long, Default: "0", rule: between{0, maxLong},
		Doc: "How much segment.ms varies between segments, in milliseconds." + noEffect + "beginning a segment is too cheap to need spreading."},
	{Name: "segment.ms", Broker: "log.roll.ms", Type: Long, Default: "604800000", rule: between{1, maxLong},
		Doc: "The age at which a partition begins its next segment file even if the last is not full, in milliseconds.",
		set: func(s *Settings, v value) { s.SegmentMs = v.num }},
	{Name: "unclean.leader.election.enable", Broker: "unclean.leader.election.enable", Type: Bool, Default: "false", rule: yesNo{},
		Doc: "Whether a replica that is not in sync may lead when no other is left, losing what it has not.",
		set: func(s *Settings, v value) { s.UncleanElection = v.yes }},
	{Name: "write.caching", Broker: "write.caching", Type: Bool, Default: "false", rule: yesNo{},
		Doc: "Whether acks=all is answered when every in-sync replica has the batch in memory, before it is on disk. Faster, and a power cut of all replicas at once loses what was answered last.",
		set: func(s *Settings, v value) { s.WriteCaching = v.yes }},
}...))

// minSegment keeps a mistyped size from making a file of every batch.
const minSegment = 1024
