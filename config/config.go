package config

import (
	"time"

	"understudy/messages"
)

// Unlimited, as a size, a count or a duration, means "no bound". It is written
// -1, as in Kafka.
const Unlimited = -1

// AdminOff as AdminListen means that there is no admin endpoint.
const AdminOff = "off"

// Config is all settings of one broker. What each means, its unit and its bounds
// stand in the table in settings.go and in `understudy config reference`.
//
// Where a field says "derived", zero means that Complete works the value out
// from the machine or from other fields.
type Config struct {
	NodeID   messages.BrokerID
	Rack     string
	DataDir  string
	InMemory bool

	Listen      string // host:port
	Advertise   string // host:port, empty: derived from the address that is bound (see Advertised)
	AdminListen string // host:port or AdminOff

	Cluster       string // of which the broker is a node; empty: it runs alone
	Consul        string // host:port of the agent, empty: as Consul's own tools find it
	LinkListen    string // host:port, for the other nodes
	LinkAdvertise string // host:port, where they are told to connect; empty: derived from the address that is bound, as Advertise is

	LinkSecretFile string // holds what every node of the cluster knows; empty: there is no secret
	LinkTLS        TLS    // of the connections between nodes
	LinkVersionMax int32  // newest version of the protocol between nodes; 0: that it knows

	MemoryLimit int64 // bytes, derived

	Limits  Limits
	Topics  Topics
	Groups  Groups
	Storage Storage
	Balance Balance
	Logging Logging

	sources map[string]Source // by key; only what is not a plain default
}

// TLS names the files, in PEM, of a certificate, its key, and those who vouch for
// the other side's. All empty: no TLS.
type TLS struct {
	CertFile, KeyFile, CAFile string
}

// Limits bound what clients can make the broker hold.
type Limits struct {
	InFlightBytes           int64 // bytes of requests being read or answered, all connections together, derived
	ConnectionInFlightBytes int64 // the same for one connection, derived
	RequestBytes            int64 // bytes of one Produce request, derived; others have 1 MiB
	FetchBytes              int64 // bytes of records in one fetch response, derived
	Connections             int32
	ConnectionsPerIP        int32
	IdleTimeout             time.Duration
	FetchSessions           int32
	ProducerIDExpiration    time.Duration
}

// Topics says how topics come to be and what holds for a topic that does not
// say otherwise.
type Topics struct {
	AutoCreate         bool
	Delete             bool
	Partitions         int32
	MaxPartitions      int32 // per broker
	ReplicationFactor  int16
	MinInsyncReplicas  int16
	UncleanElection    bool
	CompressionType    string
	GzipLevel          int32 // Unlimited: the library's choice
	LZ4Level           int32
	ZstdLevel          int32
	MaxMessageBytes    int64 // bytes of one batch
	TimestampType      string
	TimestampBeforeMax time.Duration // Unlimited: any
	TimestampAfterMax  time.Duration // Unlimited: any
	CleanupPolicy      string
	MinDirtyRatio      float64
	MinCompactionLag   time.Duration
	MaxCompactionLag   time.Duration // Unlimited: any
	DeleteRetention    time.Duration
	WriteCaching       bool
	Retention          time.Duration // Unlimited: for ever
	RetentionBytes     int64         // Unlimited: any
	SegmentBytes       int64
	SegmentAge         time.Duration
	IndexIntervalBytes int32
}

// Storage says how the broker works with its disk.
type Storage struct {
	FlushWorkers       int32
	CheckpointInterval time.Duration
	RetentionInterval  time.Duration
	OpenFiles          int32
	Preallocate        bool
	PreallocateBytes   int64
	CleanerBackoff     time.Duration
	CleanerMemory      int64 // bytes
	CleanerRate        int64 // bytes per second; Unlimited: any
	ReplicaLagTimeMax  time.Duration
	DiskTimeout        time.Duration
}

// Balance says how leaders and copies come to be where they should be.
type Balance struct {
	LeadersReturn bool
	ReturnAfter   int32 // seconds
	CatchUpRate   int64 // bytes per second; Unlimited: any
}

// Logging says what the broker tells about itself, and how.
type Logging struct {
	Level  string // a level of zerolog's
	Format string // auto, console or json
}

// Default is the configuration of a broker that was told nothing.
func Default() Config {
	var c Config
	for _, s := range settings {
		if s.Default == "" {
			continue
		}
		if err := s.parse(&c, s.Default); err != nil {
			panic("config: the table's own default: " + s.Key + ": " + err.Error()) // not reachable from input; TestDefaults
		}
	}
	return c
}
