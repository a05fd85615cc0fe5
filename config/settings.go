package config

import "slices"

// The groups of settings, in the order of the reference.
const (
	groupBroker    = "Broker"
	groupCluster   = "Cluster"
	groupNetwork   = "Network"
	groupMemory    = "Memory and limits"
	groupTopics    = "Topics"
	groupConsumers = "Consumer groups"
	groupStorage   = "Storage"
	groupLogging   = "Logging"
)

const (
	kib   = 1 << 10
	mib   = 1 << 20
	gib   = 1 << 30
	tib   = 1 << 40
	yearM = 365 * dayM // in milliseconds, as all bounds of durations
	dayM  = 24 * hourM
	hourM = 60 * minM
	minM  = 60 * secM
	secM  = 1000
)

// Settings are all settings in the order of the reference. The slice is shared:
// it must not be changed.
func Settings() []*Setting { return settings }

// Lookup finds a setting by its key; nil when there is none.
func Lookup(key string) *Setting {
	if i := slices.IndexFunc(settings, func(s *Setting) bool { return s.Key == key }); i >= 0 {
		return settings[i]
	}
	return nil
}

// settings is the table.
var settings = slices.Concat(brokerSettings, clusterSettings, networkSettings, memorySettings, topicSettings, consumerSettings, storageSettings, loggingSettings)

var brokerSettings = []*Setting{
	{Key: "node.id", Group: groupBroker, Type: Int, Default: "1", Min: 0, Max: 1<<31 - 1,
		Doc:   "Names this broker in its cluster. It must not change over the life of a data directory. A node of a cluster that is not told gets a free number and keeps it.",
		field: func(c *Config) any { return &c.NodeID }},
	{Key: "broker.rack", Group: groupBroker, Type: Text,
		Doc:   "Where this broker stands (a rack, a zone). Replicas are spread over racks, and clients are told. Empty: unknown.",
		field: func(c *Config) any { return &c.Rack }},
	{Key: "data.dir", Group: groupBroker, Type: Text, Default: "./understudy-data", Common: true,
		Doc:   "The directory that holds everything this broker keeps: partitions, metadata, checkpoints. It is made when missing. The default lies in the working directory, where a first try can be seen and removed as a whole; a service should say where.",
		field: func(c *Config) any { return &c.DataDir }},
	{Key: "in.memory", Group: groupBroker, Type: Bool, Default: "false", Common: true,
		Doc:   "Keeps everything in memory and nothing on disk; what was written is gone when the broker stops. For tests.",
		field: func(c *Config) any { return &c.InMemory }},
}

var clusterSettings = []*Setting{
	{Key: "cluster", Group: groupCluster, Type: Text, Common: true,
		Doc:   "The name of the cluster of which this broker is a node. Nodes of one name find each other in Consul. Empty: the broker runs alone.",
		field: func(c *Config) any { return &c.Cluster }},
	{Key: "consul", Group: groupCluster, Type: Text, Common: true,
		Derived: "CONSUL_HTTP_ADDR, or 127.0.0.1:8500",
		Doc:     "The Consul agent. Its token and TLS come from Consul's own environment variables.",
		field:   func(c *Config) any { return &c.Consul }},
	{Key: "link.listen", Group: groupCluster, Type: Address, Default: "127.0.0.1:0", Common: true,
		Doc:   "Where the other nodes of the cluster connect. Port 0 picks a free one. The default is open to this machine only. Without link.secret.file or link.tls.* anybody who reaches it can pose as a node: keep the address private then.",
		field: func(c *Config) any { return &c.LinkListen }},
	{Key: "link.advertise", Group: groupCluster, Type: Address, DialedBy: "the other nodes",
		Derived: "the address in link.listen; the host in advertise when that is every address",
		Doc:     "The address that the other nodes are told to connect to, where it is not the one in link.listen: behind a proxy, or a port that is mapped.",
		field:   func(c *Config) any { return &c.LinkAdvertise }},
	{Key: "link.secret.file", Group: groupCluster, Type: Text,
		Doc:   "A file that holds the cluster's secret, of at least 16 bytes. Nodes prove to each other that they know it, and refuse one that does not. All nodes have the same or none. Nothing is encrypted by it; see link.tls.cert.file.",
		field: func(c *Config) any { return &c.LinkSecretFile }},
	{Key: "link.tls.cert.file", Group: groupCluster, Type: Text,
		Doc:   "This node's certificate, in PEM, for the connections between nodes, which are TLS 1.3 then. It must hold the name or address under which the others connect (link.listen), and be good for both servers and clients. It is read again when it has been replaced.",
		field: func(c *Config) any { return &c.LinkTLS.CertFile }},
	{Key: "link.tls.key.file", Group: groupCluster, Type: Text,
		Doc:   "The certificate's key, in PEM.",
		field: func(c *Config) any { return &c.LinkTLS.KeyFile }},
	{Key: "link.tls.ca.file", Group: groupCluster, Type: Text,
		Doc:   "Certificates, in PEM, of those who vouch for the nodes' own. Every node must show one that they have signed.",
		field: func(c *Config) any { return &c.LinkTLS.CAFile }},
	{Key: "link.protocol.version.max", Group: groupCluster, Type: Int, Default: "0", Min: 0, Max: 255,
		Doc:   "The newest version of the protocol between nodes that this node speaks; 0: the newest that it knows. Two nodes speak the newest that both do, so that nodes can be upgraded one after the other. To name here what the older nodes speak keeps the newer version for when all have been upgraded.",
		field: func(c *Config) any { return &c.LinkVersionMax }},
	{Key: "auto.leader.rebalance.enable", Group: groupCluster, Type: Bool, Default: "true",
		Doc:   "Has leaders return to their preferred nodes by themselves. Can be changed while running.",
		field: func(c *Config) any { return &c.Balance.LeadersReturn }},
	{Key: "leader.imbalance.check.interval.seconds", Group: groupCluster, Type: Int, Default: "300", Min: 1, Max: 86400,
		Doc:   "For how long a node must have been back before leaders return to it, in seconds. Can be changed while running.",
		field: func(c *Config) any { return &c.Balance.ReturnAfter }},
	{Key: "replica.catch.up.max.bytes.per.second", Group: groupCluster, Type: Size, Default: "-1", Min: 1 * kib, Max: 1 * tib, MinusOne: "no bound",
		Doc:   "How many bytes per second this node sends at most to copies that catch up. Those that are in sync are not slowed down. Can be changed while running.",
		field: func(c *Config) any { return &c.Balance.CatchUpRate }},
}

var networkSettings = []*Setting{
	{Key: "listen", Group: groupNetwork, Type: Address, Default: "127.0.0.1:9092", Common: true,
		Doc:   "Where Kafka clients connect. Port 0 picks a free one. The default is open to this machine only; use :9092 for every address of the machine.",
		field: func(c *Config) any { return &c.Listen }},
	{Key: "advertise", Group: groupNetwork, Type: Address, Common: true, DialedBy: "clients",
		Derived: "the address in listen; this machine's name when listen is every address",
		Doc:     "The address that clients are told to connect to, since a client asks any broker where the leader of a partition is. It must be right for the clients, whatever this machine calls itself.",
		field:   func(c *Config) any { return &c.Advertise }},
	{Key: "admin.listen", Group: groupNetwork, Type: Address, Default: "127.0.0.1:9644", Off: AdminOff, Common: true,
		Doc:   "Where /healthz, /readyz, /metrics, /events, /cluster and /debug/pprof are served by HTTP. They ask for no password, and nodes are drained and removed there: keep the address private.",
		field: func(c *Config) any { return &c.AdminListen }},
}

var memorySettings = []*Setting{
	{Key: "memory.limit", Group: groupMemory, Type: Size, Min: 64 * mib, Max: 1024 * tib, Common: true,
		Derived: "a quarter of the memory of the machine, or of the container when it has less",
		Doc:     "The bytes that the whole broker may hold for its clients and its caches. A quarter of them may be taken by consumer groups and their committed offsets; then there are no more of these, and those that there are go on.",
		field:   func(c *Config) any { return &c.MemoryLimit }},
	{Key: "queued.max.request.bytes", Group: groupMemory, Type: Size, Min: 16 * mib, Max: 1024 * tib,
		Derived: "half of memory.limit",
		Doc:     "The bytes of requests being read or worked on, over all connections. Beyond it connections are not read from until others are done.",
		field:   func(c *Config) any { return &c.Limits.InFlightBytes }},
	{Key: "connection.queued.max.request.bytes", Group: groupMemory, Type: Size, Min: 1 * mib, Max: 1024 * tib,
		Derived: "32MiB, or a quarter of queued.max.request.bytes when that is less",
		Doc:     "The bytes of requests being worked on of one connection, which is read ahead of its answers up to this bound. A single larger request is taken alone.",
		field:   func(c *Config) any { return &c.Limits.ConnectionInFlightBytes }},
	{Key: "socket.request.max.bytes", Group: groupMemory, Type: Size, Min: 1 * mib, Max: 2*gib - 1,
		Derived: "100MiB, or half of queued.max.request.bytes when that is less",
		Doc:     "The largest Produce request that is read; other requests have 1 MiB at most. A connection that announces a larger one is closed.",
		field:   func(c *Config) any { return &c.Limits.RequestBytes }},
	{Key: "fetch.max.bytes", Group: groupMemory, Type: Size, Min: 1 * kib, Max: 2*gib - 1,
		Derived: "55MiB, or a quarter of memory.limit when that is less",
		Doc:     "The most bytes of records in the answer to one fetch, whatever the client asks for. A single larger batch is still sent whole.",
		field:   func(c *Config) any { return &c.Limits.FetchBytes }},
	{Key: "max.connections", Group: groupMemory, Type: Int, Default: "10000", Min: 1, Max: 1_000_000,
		Doc:   "Client connections at a time. More are closed at once.",
		field: func(c *Config) any { return &c.Limits.Connections }},
	{Key: "max.connections.per.ip", Group: groupMemory, Type: Int, Default: "9000", Min: 1, Max: 1_000_000,
		Doc:   "Client connections at a time from one address.",
		field: func(c *Config) any { return &c.Limits.ConnectionsPerIP }},
	{Key: "connections.max.idle.ms", Group: groupMemory, Type: Duration, Default: "10m", Min: 1 * secM, Max: yearM,
		Doc:   "A connection on which nothing happens for this long is closed.",
		field: func(c *Config) any { return &c.Limits.IdleTimeout }},
	{Key: "max.incremental.fetch.session.cache.slots", Group: groupMemory, Type: Int, Default: "1000", Min: 0, Max: 1_000_000,
		Doc:   "Fetch sessions that are remembered, so that a consumer need not name all its partitions in each fetch. When all are taken the oldest idle one makes way.",
		field: func(c *Config) any { return &c.Limits.FetchSessions }},
	{Key: "producer.id.expiration.ms", Group: groupMemory, Type: Duration, Default: "1d", Min: 1 * secM, Max: 24 * dayM,
		Doc:   "How long a partition remembers an idempotent producer that writes nothing, while its broker runs. Of more than 100,000 in a partition it forgets who wrote longest ago. A producer that was forgotten starts over.",
		field: func(c *Config) any { return &c.Limits.ProducerIDExpiration }},
}

var topicSettings = []*Setting{
	{Key: "auto.create.topics.enable", Group: groupTopics, Type: Bool, Default: "true",
		Doc:   "Makes a topic when a client asks for one that is not there.",
		field: func(c *Config) any { return &c.Topics.AutoCreate }},
	{Key: "delete.topic.enable", Group: groupTopics, Type: Bool, Default: "true",
		Doc:   "Lets clients delete topics.",
		field: func(c *Config) any { return &c.Topics.Delete }},
	{Key: "num.partitions", Group: groupTopics, Type: Int, Default: "1", Min: 1, Max: 100_000,
		Doc:   "Partitions of a topic whose creator does not say.",
		field: func(c *Config) any { return &c.Topics.Partitions }},
	{Key: "max.partitions.per.broker", Group: groupTopics, Type: Int, Default: "20000", Min: 1, Max: 1_000_000,
		Doc:   "Copies of partitions that a broker may hold, on average over all brokers. Topics that would make it more are refused.",
		field: func(c *Config) any { return &c.Topics.MaxPartitions }},
	{Key: "default.replication.factor", Group: groupTopics, Type: Int, Default: "1", Min: 1, Max: 32767,
		Doc:   "Copies of each partition of a topic whose creator does not say.",
		field: func(c *Config) any { return &c.Topics.ReplicationFactor }},
	{Key: "min.insync.replicas", Group: groupTopics, Type: Int, Default: "1", Min: 1, Max: 32767, Topic: "min.insync.replicas",
		Doc:   "How many in-sync copies a partition must have before it takes writes with acks=all.",
		field: func(c *Config) any { return &c.Topics.MinInsyncReplicas }},
	{Key: "unclean.leader.election.enable", Group: groupTopics, Type: Bool, Default: "false", Topic: "unclean.leader.election.enable",
		Doc:   "Lets a copy that was not in sync lead when no other is left. What only the others had is lost.",
		field: func(c *Config) any { return &c.Topics.UncleanElection }},
	{Key: "compression.type", Group: groupTopics, Type: Choice, Default: "producer", Topic: "compression.type",
		Choices: []string{"producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"},
		Doc:     "How batches are compressed on disk. producer keeps them as they came, which costs nothing; anything else makes the broker recompress what differs.",
		field:   func(c *Config) any { return &c.Topics.CompressionType }},
	{Key: "compression.gzip.level", Group: groupTopics, Type: Int, Default: "-1", Min: 1, Max: 9, MinusOne: "the library's choice", Topic: "compression.gzip.level",
		Doc:   "How hard to compress where compression.type is gzip.",
		field: func(c *Config) any { return &c.Topics.GzipLevel }},
	{Key: "compression.lz4.level", Group: groupTopics, Type: Int, Default: "9", Min: 1, Max: 17, Topic: "compression.lz4.level",
		Doc:   "How hard to compress where compression.type is lz4.",
		field: func(c *Config) any { return &c.Topics.LZ4Level }},
	{Key: "compression.zstd.level", Group: groupTopics, Type: Int, Default: "3", Min: -131072, Max: 22, Topic: "compression.zstd.level",
		Doc:   "How hard to compress where compression.type is zstd.",
		field: func(c *Config) any { return &c.Topics.ZstdLevel }},
	{Key: "message.max.bytes", Group: groupTopics, Type: Size, Default: "1048588", Min: 1, Max: 1 * gib, Topic: "max.message.bytes",
		Doc:   "The largest batch of records that is taken, as compressed by the producer, and by the broker where compression.type has it do so.",
		field: func(c *Config) any { return &c.Topics.MaxMessageBytes }},
	{Key: "log.message.timestamp.type", Group: groupTopics, Type: Choice, Default: "CreateTime", Topic: "message.timestamp.type",
		Choices: []string{"CreateTime", "LogAppendTime"},
		Doc:     "Whether a record keeps its producer's time or gets the time at which it was appended.",
		field:   func(c *Config) any { return &c.Topics.TimestampType }},
	{Key: "log.message.timestamp.before.max.ms", Group: groupTopics, Type: Duration, Default: "-1", Min: 0, Max: 100 * yearM, MinusOne: "no bound", Topic: "message.timestamp.before.max.ms",
		Doc:   "How far a producer's time may lie behind the broker's.",
		field: func(c *Config) any { return &c.Topics.TimestampBeforeMax }},
	{Key: "log.message.timestamp.after.max.ms", Group: groupTopics, Type: Duration, Default: "1h", Min: 0, Max: 100 * yearM, MinusOne: "no bound", Topic: "message.timestamp.after.max.ms",
		Doc:   "How far a producer's time may lie ahead of the broker's.",
		field: func(c *Config) any { return &c.Topics.TimestampAfterMax }},
	{Key: "log.cleanup.policy", Group: groupTopics, Type: Choice, Default: "delete", Topic: "cleanup.policy",
		Choices: []string{"delete", "compact", "compact,delete"},
		Doc:     "What becomes of old records: delete removes whole segments by age and size, compact keeps of every key the last record.",
		field:   func(c *Config) any { return &c.Topics.CleanupPolicy }},
	{Key: "log.cleaner.min.cleanable.ratio", Group: groupTopics, Type: Share, Default: "0.5", Topic: "min.cleanable.dirty.ratio",
		Doc:   "How much of what could be compacted of a partition must be new before it is compacted again. Less costs more reading and writing, more costs more disk.",
		field: func(c *Config) any { return &c.Topics.MinDirtyRatio }},
	{Key: "log.cleaner.min.compaction.lag.ms", Group: groupTopics, Type: Duration, Default: "0s", Min: 0, Max: 100 * yearM, Topic: "min.compaction.lag.ms",
		Doc:   "How long a record stays at least before compaction may remove it.",
		field: func(c *Config) any { return &c.Topics.MinCompactionLag }},
	{Key: "log.cleaner.max.compaction.lag.ms", Group: groupTopics, Type: Duration, Default: "-1", Min: 1, Max: 100 * yearM, MinusOne: "no bound", Topic: "max.compaction.lag.ms",
		Doc:   "How long a record that another has replaced stays at most, however little of its partition is new.",
		field: func(c *Config) any { return &c.Topics.MaxCompactionLag }},
	{Key: "log.cleaner.delete.retention.ms", Group: groupTopics, Type: Duration, Default: "1d", Min: 0, Max: 100 * yearM, Topic: "delete.retention.ms",
		Doc:   "How long a record without a value, which removes its key from a compacted topic, stays itself, so that consumers see it.",
		field: func(c *Config) any { return &c.Topics.DeleteRetention }},
	{Key: "write.caching", Group: groupTopics, Type: Bool, Default: "false", Topic: "write.caching",
		Doc:   "Answers acks=all when every in-sync copy has the batch in memory instead of on disk. Faster; a power cut that takes all copies at once loses what was not yet written.",
		field: func(c *Config) any { return &c.Topics.WriteCaching }},
	{Key: "log.retention.ms", Group: groupTopics, Type: Duration, Default: "7d", Min: 1, Max: 100 * yearM, MinusOne: "no bound", Topic: "retention.ms",
		Doc:   "How long records are kept.",
		field: func(c *Config) any { return &c.Topics.Retention }},
	{Key: "log.retention.bytes", Group: groupTopics, Type: Size, Default: "-1", Min: 0, Max: 1024 * tib, MinusOne: "no bound", Topic: "retention.bytes",
		Doc:   "How many bytes of each partition are kept, as long as they are not too old.",
		field: func(c *Config) any { return &c.Topics.RetentionBytes }},
	{Key: "log.segment.bytes", Group: groupTopics, Type: Size, Default: "1GiB", Min: 1 * kib, Max: 2*gib - 1, Topic: "segment.bytes",
		Doc:   "The size at which a partition goes on in a new file. Records are removed a whole file at a time.",
		field: func(c *Config) any { return &c.Topics.SegmentBytes }},
	{Key: "log.roll.ms", Group: groupTopics, Type: Duration, Default: "7d", Min: 1, Max: 100 * yearM, Topic: "segment.ms",
		Doc:   "The age at which a partition goes on in a new file even if the old one is small.",
		field: func(c *Config) any { return &c.Topics.SegmentAge }},
	{Key: "log.index.interval.bytes", Group: groupTopics, Type: Size, Default: "4KiB", Min: 0, Max: 1 * gib, Topic: "index.interval.bytes",
		Doc:   "How many bytes of records lie between two entries of an index.",
		field: func(c *Config) any { return &c.Topics.IndexIntervalBytes }},
}

var storageSettings = []*Setting{
	{Key: "num.flush.workers", Group: groupStorage, Type: Int, Default: "4", Min: 1, Max: 1024,
		Doc:   "How many files are brought to disk at the same time.",
		field: func(c *Config) any { return &c.Storage.FlushWorkers }},
	{Key: "log.flush.offset.checkpoint.interval.ms", Group: groupStorage, Type: Duration, Default: "5s", Min: 100, Max: hourM,
		Doc:   "How often the broker notes what is known to be on disk. After an unclean stop only what is newer is checked.",
		field: func(c *Config) any { return &c.Storage.CheckpointInterval }},
	{Key: "log.retention.check.interval.ms", Group: groupStorage, Type: Duration, Default: "5m", Min: 100, Max: dayM,
		Doc:   "How often the broker looks for records that need not be kept.",
		field: func(c *Config) any { return &c.Storage.RetentionInterval }},
	{Key: "open.files.max", Group: groupStorage, Type: Int, Default: "4096", Min: 16, Max: 1_000_000,
		Doc:   "Segment files that are held open. Others are opened when they are read.",
		field: func(c *Config) any { return &c.Storage.OpenFiles }},
	{Key: "log.preallocate", Group: groupStorage, Type: Bool, Default: "true", Topic: "preallocate",
		Doc:   "Reserves disk ahead of what is written, in steps of log.preallocate.bytes.",
		field: func(c *Config) any { return &c.Storage.Preallocate }},
	{Key: "log.preallocate.bytes", Group: groupStorage, Type: Size, Default: "16MiB", Min: 0, Max: 1 * gib,
		Doc:   "How much disk a segment reserves ahead of what is written, which makes bringing it to disk cheaper.",
		field: func(c *Config) any { return &c.Storage.PreallocateBytes }},
	{Key: "log.cleaner.backoff.ms", Group: groupStorage, Type: Duration, Default: "15s", Min: 1, Max: dayM,
		Doc:   "How long the broker waits before it looks again for partitions to be compacted, when there was none.",
		field: func(c *Config) any { return &c.Storage.CleanerBackoff }},
	{Key: "log.cleaner.dedupe.buffer.size", Group: groupStorage, Type: Size, Default: "128MiB", Min: 64 * kib, Max: 1 * tib,
		Doc:   "The memory for the keys of the partition that is being compacted, 32 bytes for each. It is taken as far as it is needed. A partition with more keys is compacted in several runs.",
		field: func(c *Config) any { return &c.Storage.CleanerMemory }},
	{Key: "log.cleaner.io.max.bytes.per.second", Group: groupStorage, Type: Size, Default: "-1", Min: 1, Max: 1 * tib, MinusOne: "no bound",
		Doc:   "How many bytes per second compaction reads and writes at most, both counted together.",
		field: func(c *Config) any { return &c.Storage.CleanerRate }},
	{Key: "replica.lag.time.max.ms", Group: groupStorage, Type: Duration, Default: "30s", Min: 100, Max: hourM,
		Doc:   "A copy that has been behind its leader for this long is no longer in sync.",
		field: func(c *Config) any { return &c.Storage.ReplicaLagTimeMax }},
	{Key: "disk.timeout.ms", Group: groupStorage, Type: Duration, Default: "10s", Min: 1 * secM, Max: hourM,
		Doc:   "In a cluster, a disk that has not answered for this long counts as failed: what it holds is led by other nodes until it answers again.",
		field: func(c *Config) any { return &c.Storage.DiskTimeout }},
}

var loggingSettings = []*Setting{
	{Key: "log.level", Group: groupLogging, Type: Choice, Default: "info", Common: true,
		Choices: []string{"trace", "debug", "info", "warn", "error"},
		Doc:     "The least important log lines that are still written to standard error.",
		field:   func(c *Config) any { return &c.Logging.Level }},
	{Key: "log.format", Group: groupLogging, Type: Choice, Default: "auto", Common: true,
		Choices: []string{"auto", "console", "json"},
		Doc:     "How log lines are written: for people or for programs. auto is console on a terminal, else json.",
		field:   func(c *Config) any { return &c.Logging.Format }},
}
