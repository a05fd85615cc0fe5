package metadata

import (
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"sync"

	"understudy/cluster/election"
	"understudy/messages"
)

// Image is all metadata at one revision. It is immutable: whoever holds one
// keeps a consistent picture for as long as they like, and nothing reachable
// from it may be changed. Images share what did not change between them.
type Image struct {
	Revision   int64             // of the transaction that led to it
	ClusterID  string            // "" until one has been chosen
	Controller messages.BrokerID // NoBroker while there is none
	Brokers    []Broker          // those registered, sorted by id

	ClusterConfig  map[string]string                       // broker settings changed for all brokers
	BrokerConfigs  map[messages.BrokerID]map[string]string // and for one broker
	NextProducerID int64                                   // the first that was never handed out
	RetiredEpoch   messages.BrokerEpoch                    // the highest of all brokers that were removed

	names      table[string]
	ids        table[messages.TopicID]
	topics     int
	partitions int
	revisions  map[string]int64 // of the keys that are neither topics nor brokers
	loose      map[string]Entry // keys that no topic claims
	sorted     *sortedTopics
}

// Broker is a registered node.
type Broker struct {
	ID    messages.BrokerID
	Epoch messages.BrokerEpoch // rises with every registration
	Host  string               // what clients are told to connect to
	Port  int32
	Rack  string // "" if unknown

	// Admin is where its admin endpoint is, host:port; "": it has none.
	Admin string
	// Directory is the id of its data directory: another one is another disk. ""
	// if unknown.
	Directory string
	// Down is why the broker counts as down; "": it is up. Only the controller
	// finds that out, and every one remembers what the ones before it found.
	Down string
	// Draining: it shall hold nothing. It leads only where nobody else can, gets no
	// new replicas, and those that it has are moved elsewhere.
	Draining bool
	Revision int64
}

// Up reports whether the broker counts as up.
func (b *Broker) Up() bool { return b != nil && b.Down == "" }

// Topic is a topic with its partitions and the settings that override defaults.
type Topic struct {
	Name           string
	ID             messages.TopicID
	Internal       bool // Kafka's own topics, such as __consumer_offsets
	Config         map[string]string
	Partitions     []Partition // by number
	Revision       int64       // of topics/<name>
	ConfigRevision int64       // of configs/topics/<name>; 0 if there are no overrides
}

// Partition says where a partition's replicas are and who leads.
type Partition struct {
	Replicas     []messages.BrokerID // the first is the preferred leader
	ISR          []messages.BrokerID // never empty; the last known ones while offline
	Leader       messages.BrokerID   // NoBroker while the partition is offline
	LeaderEpoch  messages.LeaderEpoch
	UncleanEpoch messages.LeaderEpoch // newest epoch that an unclean election began; 0: none

	// While replicas are being moved (KIP-455), Replicas are the original ones and
	// behind them those that are being added, and Target is what is to be in the
	// end. Otherwise both are nil.
	Adding, Target []messages.BrokerID

	Revision int64 // of the key; a proposed change must name the one it is based on
}

// Moving reports whether replicas are being moved.
func (p *Partition) Moving() bool { return p.Target != nil }

// Removing are the replicas that go when the move is over.
func (p *Partition) Removing() []messages.BrokerID { return election.State(*p).Removing() }

// Empty is the image of a store in which nothing was ever written.
func Empty() *Image {
	return &Image{Controller: messages.NoBroker, sorted: new(sortedTopics)}
}

// Topic finds a topic by name, or nil.
func (im *Image) Topic(name string) *Topic { return im.names.get(name) }

// TopicByID finds a topic by id, or nil.
func (im *Image) TopicByID(id messages.TopicID) *Topic { return im.ids.get(id) }

// Partition finds a partition, or nil.
func (im *Image) Partition(tp messages.TopicPartition) *Partition {
	t := im.Topic(tp.Topic)
	if t == nil || tp.Partition < 0 || int(tp.Partition) >= len(t.Partitions) {
		return nil
	}
	return &t.Partitions[tp.Partition]
}

// Broker finds a registered broker, or nil.
func (im *Image) Broker(id messages.BrokerID) *Broker {
	i, ok := slices.BinarySearchFunc(im.Brokers, id, compareBroker)
	if !ok {
		return nil
	}
	return &im.Brokers[i]
}

func compareBroker(b Broker, id messages.BrokerID) int { return int(b.ID) - int(id) }

// NextEpoch is the broker epoch of a broker's next start.
func (im *Image) NextEpoch(id messages.BrokerID) messages.BrokerEpoch {
	if b := im.Broker(id); b != nil {
		return b.Epoch + 1
	}
	return im.RetiredEpoch + 1
}

// Topics gives all topics, sorted by name. The first use of an image sorts them.
func (im *Image) Topics() iter.Seq[*Topic] {
	return slices.Values(im.sorted.of(im))
}

// TopicCount is the number of topics.
func (im *Image) TopicCount() int { return im.topics }

// PartitionCount is the number of partitions of all topics.
func (im *Image) PartitionCount() int { return im.partitions }

// Leftovers is the number of partition and config keys that no topic claims.
func (im *Image) Leftovers() int { return len(im.loose) }

// sortedTopics is the list of an image's topics, made when it is first wanted:
// most images are replaced before anybody lists their topics.
type sortedTopics struct {
	once sync.Once
	list []*Topic
}

func (s *sortedTopics) of(im *Image) []*Topic {
	s.once.Do(func() {
		s.list = make([]*Topic, 0, im.topics)
		for _, shard := range im.names {
			for _, t := range shard {
				s.list = append(s.list, t)
			}
		}
		slices.SortFunc(s.list, func(a, b *Topic) int { return strings.Compare(a.Name, b.Name) })
	})
	return s.list
}

// tableShards is how many maps a table is spread over. A change of one topic
// copies one of them and the array: with 10,000 topics about 40 entries and 2 KiB.
const tableShards = 256

// table is a map of topics that is cheap to copy with one change. Copying the
// value shares the shards; a builder copies those that it writes to.
type table[K comparable] [tableShards]map[K]*Topic

var tableSeed = maphash.MakeSeed()

func shardOf[K comparable](key K) int {
	return int(maphash.Comparable(tableSeed, key) % tableShards)
}

func (t *table[K]) get(key K) *Topic { return t[shardOf(key)][key] }
