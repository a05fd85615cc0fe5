package topicconfig

// Names of broker settings that other packages read.
const (
	NumPartitions            = "num.partitions"
	DefaultReplicationFactor = "default.replication.factor"
	AutoCreateTopics         = "auto.create.topics.enable"
	DeleteTopicEnable        = "delete.topic.enable"
	ProducerIDExpirationMs   = "producer.id.expiration.ms"
	MaxPartitions            = "max.partitions.per.broker"
	CleanerBackoffMs         = "log.cleaner.backoff.ms"
	CleanerMemory            = "log.cleaner.dedupe.buffer.size"
	CleanerRate              = "log.cleaner.io.max.bytes.per.second"
	AutoLeaderRebalance      = "auto.leader.rebalance.enable"
	LeaderImbalanceInterval  = "leader.imbalance.check.interval.seconds"
	LeaderThrottledRate      = "leader.replication.throttled.rate"
	FollowerThrottledRate    = "follower.replication.throttled.rate"
	CatchUpRate              = "replica.catch.up.max.bytes.per.second"
)

// Broker is the table of broker settings: the default of every topic setting,
// under the broker's name for it, and what concerns brokers alone.
var Broker = newTable("broker setting", append(append(topicDefaults(), groupSettings...), []Setting{
	{Name: AutoCreateTopics, Type: Bool, Default: "true", rule: yesNo{},
		Doc: "Whether asking for the metadata of a topic that does not exist creates it, if the client allows."},
	{Name: AutoLeaderRebalance, Type: Bool, Default: "true", rule: yesNo{},
		Doc: "Whether leaders return to their preferred nodes by themselves."},
	{Name: LeaderImbalanceInterval, Type: Long, Default: "300", rule: between{1, 86400},
		Doc: "For how long a node must have been back before leaders return to it, in seconds."},
	{Name: LeaderThrottledRate, Type: Long, Default: unbounded, rule: between{0, maxLong},
		Doc: "How many bytes per second a broker sends at most to replicas that catch up, all together, of the partitions that leader.replication.throttled.replicas of their topic names."},
	{Name: FollowerThrottledRate, Type: Long, Default: unbounded, rule: between{0, maxLong},
		Doc: "How many bytes per second a broker is sent at most for its replicas that catch up, all together, of the partitions that follower.replication.throttled.replicas of their topic names."},
	{Name: CatchUpRate, Type: Long, Default: unbounded, rule: between{1, maxLong},
		Doc: "How many bytes per second a broker sends at most to replicas that catch up, of whatever partition."},
	{Name: CleanerBackoffMs, Type: Long, Default: "15000", rule: between{1, maxLong},
		Doc: "How long the cleaner waits when there is no log to be compacted, in milliseconds."},
	{Name: CleanerMemory, Type: Long, Default: "134217728", rule: between{65536, maxLong},
		Doc: "How much memory the cleaner takes for the keys of the log that it compacts, in bytes, 32 for each key. Logs with more keys are compacted in several runs."},
	{Name: CleanerRate, Type: Long, Default: unbounded, rule: between{1, maxLong},
		Doc: "How many bytes per second the cleaner reads and writes at most, both counted together."},
	{Name: "replica.alter.log.dirs.io.max.bytes.per.second", Type: Long, Default: unbounded, rule: between{1, maxLong},
		Doc: "How many bytes per second are copied from one data directory to another." + noEffect + "a broker has one."},
	{Name: DefaultReplicationFactor, Type: Int, Default: "1", rule: between{1, 32767},
		Doc: "The replication factor of topics that are created without one."},
	{Name: DeleteTopicEnable, Type: Bool, Default: "true", rule: yesNo{},
		Doc: "Whether topics can be deleted."},
	{Name: MaxPartitions, Type: Int, Default: "20000", rule: between{1, 1_000_000},
		Doc: "How many replicas a broker may hold, on average over all brokers. Creating more is refused."},
	{Name: NumPartitions, Type: Int, Default: "1", rule: between{1, 100_000},
		Doc: "The number of partitions of topics that are created without one."},
	{Name: ProducerIDExpirationMs, Type: Int, Default: "86400000", rule: between{1, maxInt},
		Doc: "How long a partition remembers an idempotent producer that writes nothing, in milliseconds."},

	{Name: "advertised.listeners", Type: String, Fixed: true, rule: anything{},
		Doc: "The address that clients are told to connect to."},
	{Name: "broker.id", Type: Int, Default: "-1", Fixed: true, rule: between{-1, maxInt},
		Doc: "This broker's id; the same as node.id."},
	{Name: "broker.rack", Type: String, Fixed: true, rule: anything{},
		Doc: "Where this broker stands. Replicas are spread over racks."},
	{Name: "listeners", Type: String, Fixed: true, rule: anything{},
		Doc: "The address that this broker listens at."},
	{Name: "log.dirs", Type: List, Fixed: true, rule: anything{},
		Doc: "Where this broker keeps its data."},
	{Name: "node.id", Type: Int, Default: "-1", Fixed: true, rule: between{-1, maxInt},
		Doc: "This broker's id."},
}...))

// unbounded is the default of a rate.
const unbounded = "9223372036854775807"

// topicDefaults are the broker's settings that are defaults of topic settings.
func topicDefaults() []Setting {
	list := make([]Setting, 0, len(Topic.settings))
	for _, s := range Topic.settings {
		if s.Broker == "" {
			continue
		}
		s.Name, s.Broker, s.set = s.Broker, "", nil
		s.Doc = "The default of topics. " + s.Doc
		list = append(list, s)
	}
	return list
}
