package metadata

import (
	"fmt"
	"maps"
	"slices"

	"understudy/messages"
)

// builder makes an image out of another one. What it changes it copies first,
// once, however many changes follow: the base stays as it is.
type builder struct {
	base     *Image
	im       *Image
	ownNames [tableShards]bool
	ownIDs   [tableShards]bool
	own      map[string]*Topic // topics copied by this builder and present
	touched  map[string]bool   // names of topics with any change
	ownRevs  bool
	ownLoose bool
	brokers  bool // a broker changed
	configs  bool // broker settings changed
}

func newBuilder(base *Image) *builder {
	im := *base
	im.sorted = new(sortedTopics)
	return &builder{base: base, im: &im, own: map[string]*Topic{}, touched: map[string]bool{}}
}

// writable gives the builder's own copy of a present topic, or nil.
func (b *builder) writable(name string) *Topic {
	if t := b.own[name]; t != nil {
		return t
	}
	old := b.im.Topic(name)
	if old == nil {
		return nil
	}
	t := *old
	t.Partitions = slices.Clone(old.Partitions)
	b.link(&t)
	return &t
}

// link enters a topic of the builder's own into both tables.
func (b *builder) link(t *Topic) {
	b.touched[t.Name] = true
	b.im.sorted = new(sortedTopics)
	b.own[t.Name] = t
	ownShard(&b.im.names, &b.ownNames, t.Name)[t.Name] = t
	ownShard(&b.im.ids, &b.ownIDs, t.ID)[t.ID] = t
}

// unlink takes a topic out of both tables.
func (b *builder) unlink(t *Topic) {
	b.touched[t.Name] = true
	b.im.sorted = new(sortedTopics)
	delete(b.own, t.Name)
	delete(ownShard(&b.im.names, &b.ownNames, t.Name), t.Name)
	delete(ownShard(&b.im.ids, &b.ownIDs, t.ID), t.ID)
}

// ownShard gives the shard of a key after making sure that it is not shared.
func ownShard[K comparable](t *table[K], own *[tableShards]bool, key K) map[K]*Topic {
	i := shardOf(key)
	if !own[i] {
		own[i] = true
		t[i] = maps.Clone(t[i])
		if t[i] == nil {
			t[i] = map[K]*Topic{}
		}
	}
	return t[i]
}

// setTopic creates a topic or changes its count of partitions. New partitions
// are blank until setPartition fills them; claim fills those that were leftovers.
func (b *builder) setTopic(name string, v topicValue, revision int64) {
	t := b.writable(name)
	if t != nil && t.ID != v.ID { // deleted and created anew in one step
		b.dropTopic(t)
		t = nil
	}
	if t == nil {
		t = &Topic{Name: name, ID: v.ID}
		b.im.topics++
		b.link(t)
	}
	t.Internal, t.Revision = v.Internal, revision
	b.resize(t, v.Partitions)
	b.claim(t)
}

// resize changes a topic's count of partitions. Those cut off are leftovers.
func (b *builder) resize(t *Topic, count int) {
	for n := count; n < len(t.Partitions); n++ {
		b.loosen(t, n)
	}
	b.im.partitions += count - len(t.Partitions)
	if count <= len(t.Partitions) {
		t.Partitions = t.Partitions[:count]
		return
	}
	t.Partitions = append(t.Partitions, make([]Partition, count-len(t.Partitions))...)
}

// claim gives a topic its keys from among the leftovers.
func (b *builder) claim(t *Topic) {
	if len(b.im.loose) == 0 {
		return
	}
	for n := range t.Partitions {
		key := PartitionKey(messages.TopicPartition{Topic: t.Name, Partition: int32(n)})
		if e, ok := b.im.loose[key]; ok {
			v, err := decode[partitionValue](key, e.Value)
			if err == nil { // else it stays blank, which finish reports
				t.Partitions[n] = v.partition(e.Revision)
				b.forget(key)
			}
		}
	}
	key := TopicConfigKey(t.Name)
	if e, ok := b.im.loose[key]; ok {
		if v, err := decode[configValue](key, e.Value); err == nil {
			t.Config, t.ConfigRevision = v, e.Revision
			b.forget(key)
		}
	}
}

// dropTopic removes a topic. Its other keys are leftovers until they are
// deleted too.
func (b *builder) dropTopic(t *Topic) {
	for n := range t.Partitions {
		b.loosen(t, n)
	}
	if t.ConfigRevision != 0 {
		b.keepLoose(TopicConfigKey(t.Name), Entry{Value: encode(configValue(t.Config)), Revision: t.ConfigRevision})
	}
	b.im.topics--
	b.im.partitions -= len(t.Partitions)
	b.unlink(t)
}

// loosen makes a leftover of partition n.
func (b *builder) loosen(t *Topic, n int) {
	p := t.Partitions[n]
	if len(p.Replicas) == 0 {
		return
	}
	key := PartitionKey(messages.TopicPartition{Topic: t.Name, Partition: int32(n)})
	b.keepLoose(key, Entry{Value: encode(p.value()), Revision: p.Revision})
}

func (b *builder) setPartition(tp messages.TopicPartition, v partitionValue, revision int64) {
	t := b.im.Topic(tp.Topic)
	if t == nil || int(tp.Partition) >= len(t.Partitions) {
		b.keepLoose(PartitionKey(tp), Entry{Value: encode(v), Revision: revision})
		return
	}
	b.writable(tp.Topic).Partitions[tp.Partition] = v.partition(revision)
}

func (b *builder) setTopicConfig(name string, v configValue, revision int64) {
	t := b.writable(name)
	if t == nil {
		b.keepLoose(TopicConfigKey(name), Entry{Value: encode(v), Revision: revision})
		return
	}
	t.Config, t.ConfigRevision = v, revision
}

// setBrokerConfig replaces a broker's settings; nil removes them.
func (b *builder) setBrokerConfig(id messages.BrokerID, v configValue, revision int64) {
	b.configs = true
	b.im.BrokerConfigs = maps.Clone(b.im.BrokerConfigs)
	if b.im.BrokerConfigs == nil {
		b.im.BrokerConfigs = map[messages.BrokerID]map[string]string{}
	}
	if v == nil {
		delete(b.im.BrokerConfigs, id)
	} else {
		b.im.BrokerConfigs[id] = v
	}
	b.setRevision(BrokerConfigKey(id), revision)
}

func (b *builder) setBroker(id messages.BrokerID, v brokerValue, revision int64) {
	b.brokers = true
	nb := v.broker(id, revision)
	list := slices.Clone(b.im.Brokers)
	i, ok := slices.BinarySearchFunc(list, id, compareBroker)
	if ok {
		list[i] = nb
	} else {
		list = slices.Insert(list, i, nb)
	}
	b.im.Brokers = list
}

func (b *builder) dropBroker(id messages.BrokerID) {
	b.brokers = true
	b.im.Brokers = slices.DeleteFunc(slices.Clone(b.im.Brokers), func(x Broker) bool { return x.ID == id })
}

// setRevision remembers the revision of a key that is kept nowhere else; 0
// forgets it.
func (b *builder) setRevision(key string, revision int64) {
	if !b.ownRevs {
		b.ownRevs = true
		b.im.revisions = maps.Clone(b.im.revisions)
		if b.im.revisions == nil {
			b.im.revisions = map[string]int64{}
		}
	}
	if revision == 0 {
		delete(b.im.revisions, key)
	} else {
		b.im.revisions[key] = revision
	}
}

func (b *builder) keepLoose(key string, e Entry) {
	b.ownLooseMap()
	b.im.loose[key] = e
}

func (b *builder) forget(key string) {
	if _, ok := b.im.loose[key]; ok {
		b.ownLooseMap()
		delete(b.im.loose, key)
	}
}

func (b *builder) ownLooseMap() {
	if !b.ownLoose {
		b.ownLoose = true
		b.im.loose = maps.Clone(b.im.loose)
		if b.im.loose == nil {
			b.im.loose = map[string]Entry{}
		}
	}
}

// finish checks that every topic has all its partitions and gives the image and
// what changed. The builder must not be used afterwards.
func (b *builder) finish(revision int64) (*Image, Change, error) {
	for name, t := range b.own {
		for n := range t.Partitions {
			if len(t.Partitions[n].Replicas) == 0 {
				key := PartitionKey(messages.TopicPartition{Topic: name, Partition: int32(n)})
				return nil, Change{}, badKey(key, fmt.Errorf("is missing, though %s counts %d partitions", TopicKey(name), len(t.Partitions)))
			}
		}
	}
	b.im.Revision = revision
	ch := Change{Old: b.base, New: b.im, Brokers: b.brokers, Configs: b.configs}
	for name := range b.touched {
		if old, now := b.base.Topic(name), b.im.Topic(name); !sameTopic(old, now) {
			ch.Topics = appendChange(ch.Topics, old, now)
		}
	}
	ch.sort()
	return b.im, ch, nil
}

func (v brokerValue) broker(id messages.BrokerID, revision int64) Broker {
	return Broker{
		ID: id, Epoch: v.Epoch, Host: v.Host, Port: v.Port, Rack: v.Rack,
		Admin: v.Admin, Directory: v.Directory, Down: v.Down, Draining: v.Draining, Revision: revision,
	}
}

func (b Broker) value() brokerValue {
	return brokerValue{
		Epoch: b.Epoch, Host: b.Host, Port: b.Port, Rack: b.Rack,
		Admin: b.Admin, Directory: b.Directory, Down: b.Down, Draining: b.Draining,
	}
}

func (v partitionValue) partition(revision int64) Partition {
	return Partition{
		Replicas: v.Replicas, ISR: v.ISR, Leader: v.Leader, LeaderEpoch: v.LeaderEpoch, UncleanEpoch: v.UncleanEpoch,
		Adding: v.Adding, Target: v.Target, Revision: revision,
	}
}

func (p Partition) value() partitionValue {
	return partitionValue{
		Replicas: p.Replicas, ISR: p.ISR, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, UncleanEpoch: p.UncleanEpoch,
		Adding: p.Adding, Target: p.Target,
	}
}
