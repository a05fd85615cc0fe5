package metadata

import (
	"maps"
	"slices"

	"understudy/messages"
)

// unwritten stands for the revision of what an Edit has changed and nobody has
// committed yet.
const unwritten int64 = -1

// Edit is a set of changes on top of an image: the image they lead to, and the
// transaction that makes them so in the store. Every key that is written is
// checked against the revision it has in the base, so that the transaction
// fails if anybody else has changed it.
//
//	open ──Set…, Create…, Delete…──▶ open ──Txn──▶ (commit) ──Seal──▶ done
//
// An Edit is not for concurrent use.
type Edit struct {
	b      *builder
	writes map[string][]byte // nil: deleted
	checks map[string]int64
}

// NewEdit begins an edit of an image, which itself never changes.
func NewEdit(base *Image) *Edit {
	return &Edit{b: newBuilder(base), writes: map[string][]byte{}, checks: map[string]int64{}}
}

// Image is the base with the changes so far. It is valid only until the next
// change and must not be given away: Seal makes the image for others.
func (e *Edit) Image() *Image { return e.b.im }

// Empty reports whether nothing was changed.
func (e *Edit) Empty() bool { return len(e.writes) == 0 }

// Txn is the transaction for the store, in the order of its keys.
func (e *Edit) Txn() Txn {
	var txn Txn
	for _, key := range slices.Sorted(maps.Keys(e.checks)) {
		txn.Checks = append(txn.Checks, Check{Key: key, Revision: e.checks[key]})
	}
	for _, key := range slices.Sorted(maps.Keys(e.writes)) {
		if value := e.writes[key]; value != nil {
			txn.Puts = append(txn.Puts, Put{Key: key, Value: value})
		} else {
			txn.Deletes = append(txn.Deletes, key)
		}
	}
	return txn
}

// Seal gives the image as it is after the transaction was committed at
// revision, and what changed. The edit is over.
func (e *Edit) Seal(revision int64) (*Image, Change, error) {
	stamp := func(r *int64) {
		if *r == unwritten {
			*r = revision
		}
	}
	for _, t := range e.b.own {
		stamp(&t.Revision)
		stamp(&t.ConfigRevision)
		for n := range t.Partitions {
			stamp(&t.Partitions[n].Revision)
		}
	}
	if e.b.brokers {
		for i := range e.b.im.Brokers {
			stamp(&e.b.im.Brokers[i].Revision)
		}
	}
	for key, r := range e.b.im.revisions {
		if r == unwritten {
			e.b.im.revisions[key] = revision
		}
	}
	return e.b.finish(revision)
}

// Require adds the check that a key is as it was in the base, though the edit
// may not write it: a controller requires that it still is the controller.
func (e *Edit) Require(key string) {
	if _, ok := e.checks[key]; !ok {
		e.checks[key] = e.b.base.revisionOf(key)
	}
}

// put records the write of a key; v nil deletes it.
func (e *Edit) put(key string, v checked) {
	e.Require(key)
	if v == nil {
		e.drop(key)
		return
	}
	e.writes[key] = encode(v)
}

// drop records a deletion, or takes back a write of a key that the base has not, of
// which nothing is to be checked then.
func (e *Edit) drop(key string) {
	if e.b.base.revisionOf(key) == 0 {
		delete(e.writes, key)
		delete(e.checks, key)
		return
	}
	e.writes[key] = nil
}

// SetClusterID names the cluster.
func (e *Edit) SetClusterID(id string) {
	e.put(ClusterIDKey, clusterIDValue{ID: id})
	e.b.im.ClusterID = id
	e.b.setRevision(ClusterIDKey, unwritten)
}

// SetController names the active controller.
func (e *Edit) SetController(id messages.BrokerID) {
	e.put(ControllerKey, controllerValue{Broker: id})
	e.b.im.Controller = id
	e.b.setRevision(ControllerKey, unwritten)
}

// SetNextProducerID records that all producer ids below next are taken.
func (e *Edit) SetNextProducerID(next int64) {
	e.put(ProducersKey, producersValue{Next: next})
	e.b.im.NextProducerID = next
	e.b.setRevision(ProducersKey, unwritten)
}

// SetBroker registers a broker or changes its registration.
func (e *Edit) SetBroker(b Broker) {
	e.put(BrokerKey(b.ID), b.value())
	e.b.setBroker(b.ID, b.value(), unwritten)
}

// RemoveBroker forgets a broker and its settings. What is registered under its id
// afterwards gets a later broker epoch than it had: who still remembers the old
// one takes nothing of the new one's for the old one's.
func (e *Edit) RemoveBroker(id messages.BrokerID) {
	b := e.b.im.Broker(id)
	if b == nil {
		return
	}
	e.SetRetiredEpoch(max(e.b.im.RetiredEpoch, b.Epoch))
	e.SetBrokerConfig(id, nil)
	e.put(BrokerKey(id), nil)
	e.b.dropBroker(id)
}

// SetRetiredEpoch records the highest epoch of all brokers that were removed.
func (e *Edit) SetRetiredEpoch(epoch messages.BrokerEpoch) {
	e.put(RetiredKey, retiredValue{Epoch: epoch})
	e.b.im.RetiredEpoch = epoch
	e.b.setRevision(RetiredKey, unwritten)
}

// SetClusterConfig replaces the settings for all brokers; none removes the key.
func (e *Edit) SetClusterConfig(c map[string]string) {
	e.b.configs = true
	if len(c) == 0 {
		e.put(ClusterConfigKey, nil)
		e.b.im.ClusterConfig = nil
		e.b.setRevision(ClusterConfigKey, 0)
		return
	}
	e.put(ClusterConfigKey, configValue(c))
	e.b.im.ClusterConfig = maps.Clone(c)
	e.b.setRevision(ClusterConfigKey, unwritten)
}

// SetBrokerConfig replaces the settings of one broker; none removes the key.
func (e *Edit) SetBrokerConfig(id messages.BrokerID, c map[string]string) {
	key := BrokerConfigKey(id)
	if len(c) == 0 {
		e.put(key, nil)
		e.b.setBrokerConfig(id, nil, 0)
		return
	}
	e.put(key, configValue(c))
	e.b.setBrokerConfig(id, maps.Clone(c), unwritten)
}

// CreateTopic enters a topic with its partitions and settings. There must be
// none of that name; revisions in t are not looked at.
func (e *Edit) CreateTopic(t *Topic) {
	v := topicValue{ID: t.ID, Partitions: len(t.Partitions), Internal: t.Internal}
	e.put(TopicKey(t.Name), v)
	e.b.setTopic(t.Name, v, unwritten)
	for n, p := range t.Partitions {
		e.SetPartition(messages.TopicPartition{Topic: t.Name, Partition: int32(n)}, p)
	}
	e.SetTopicConfig(t.Name, t.Config)
}

// AddPartitions gives an existing topic further partitions.
func (e *Edit) AddPartitions(name string, more []Partition) {
	t := e.b.im.Topic(name)
	have := len(t.Partitions)
	v := topicValue{ID: t.ID, Partitions: have + len(more), Internal: t.Internal}
	e.put(TopicKey(name), v)
	e.b.setTopic(name, v, unwritten)
	for i, p := range more {
		e.SetPartition(messages.TopicPartition{Topic: name, Partition: int32(have + i)}, p)
	}
}

// SetPartition replaces the state of an existing partition.
func (e *Edit) SetPartition(tp messages.TopicPartition, p Partition) {
	e.put(PartitionKey(tp), p.value())
	e.b.setPartition(tp, p.value(), unwritten)
}

// SetTopicConfig replaces the overrides of an existing topic; none removes the key.
func (e *Edit) SetTopicConfig(name string, c map[string]string) {
	key := TopicConfigKey(name)
	if len(c) == 0 && e.b.im.Topic(name).ConfigRevision == 0 {
		return
	}
	t := e.b.writable(name)
	if len(c) == 0 {
		e.put(key, nil)
		t.Config, t.ConfigRevision = nil, 0
		return
	}
	e.put(key, configValue(c))
	t.Config, t.ConfigRevision = maps.Clone(c), unwritten
}

// DeleteTopic deletes a topic, if there is one, with all its keys.
func (e *Edit) DeleteTopic(name string) {
	t := e.b.im.Topic(name)
	if t == nil {
		return
	}
	keys := []string{TopicKey(name)}
	for n := range t.Partitions {
		keys = append(keys, PartitionKey(messages.TopicPartition{Topic: name, Partition: int32(n)}))
	}
	if t.ConfigRevision != 0 {
		keys = append(keys, TopicConfigKey(name))
	}
	e.b.dropTopic(t)
	for _, key := range keys {
		e.put(key, nil)
		e.b.forget(key)
	}
}

// DeleteLeftovers deletes the keys that no topic claims.
func (e *Edit) DeleteLeftovers() {
	for key := range e.b.im.loose {
		e.put(key, nil)
		e.b.forget(key)
	}
}
