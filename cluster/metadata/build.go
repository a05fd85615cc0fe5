package metadata

import (
	"fmt"
	"strings"

	"understudy/messages"
)

// Build makes the image of everything in a store.
func Build(s State) (*Image, error) {
	b := newBuilder(Empty())
	var later []string // keys that need their topic first
	for key, e := range s.Entries {
		if strings.HasPrefix(key, partitionsPrefix) || strings.HasPrefix(key, topicConfigsPrefix) {
			later = append(later, key)
			continue
		}
		if err := b.put(key, e.Value, e.Revision, len(s.Entries)); err != nil {
			return nil, err
		}
	}
	for _, key := range later {
		e := s.Entries[key]
		if err := b.put(key, e.Value, e.Revision, 0); err != nil {
			return nil, err
		}
	}
	im, _, err := b.finish(s.Revision)
	return im, err
}

// Apply makes the image that a transaction, committed at revision, leads to, and
// says what changed. The cost is that of the transaction's changes. The checks
// are not looked at: the store has.
func (im *Image) Apply(txn Txn, revision int64) (*Image, Change, error) {
	b := newBuilder(im)
	for _, key := range txn.Deletes {
		if strings.HasPrefix(key, topicsPrefix) {
			if err := b.remove(key); err != nil {
				return nil, Change{}, err
			}
		}
	}
	room := len(txn.Puts) + len(im.loose)
	for _, topics := range []bool{true, false} { // topics first, then what is in them
		for _, p := range txn.Puts {
			if strings.HasPrefix(p.Key, topicsPrefix) != topics {
				continue
			}
			if err := b.put(p.Key, p.Value, revision, room); err != nil {
				return nil, Change{}, err
			}
		}
	}
	for _, key := range txn.Deletes {
		if !strings.HasPrefix(key, topicsPrefix) {
			if err := b.remove(key); err != nil {
				return nil, Change{}, err
			}
		}
	}
	return b.finish(revision)
}

// put enters one key's value. A topic may count at most room partitions more
// than it has: a count that the keys at hand cannot fill is an error before
// anything of that size is allocated.
func (b *builder) put(key string, value []byte, revision int64, room int) error {
	k, err := parseKey(key)
	if err != nil {
		return err
	}
	switch k.kind {
	case topicKey:
		return b.putTopic(k.name, key, value, revision, room)
	case partitionKey:
		return putAs(key, value, func(v partitionValue) {
			b.setPartition(messages.TopicPartition{Topic: k.name, Partition: k.num}, v, revision)
		})
	case topicConfigKey:
		return putAs(key, value, func(v configValue) { b.setTopicConfig(k.name, v, revision) })
	case brokerConfigKey:
		return putAs(key, value, func(v configValue) { b.setBrokerConfig(k.num, v, revision) })
	case brokerKey:
		return putAs(key, value, func(v brokerValue) { b.setBroker(k.num, v, revision) })
	}
	err = b.putSingle(k.kind, key, value)
	if err == nil && k.kind != foreignKey {
		b.setRevision(key, revision)
	}
	return err
}

// putSingle enters the value of a key that exists once.
func (b *builder) putSingle(kind keyKind, key string, value []byte) error {
	switch kind {
	case clusterIDKey:
		return putAs(key, value, func(v clusterIDValue) { b.im.ClusterID = v.ID })
	case producersKey:
		return putAs(key, value, func(v producersValue) { b.im.NextProducerID = v.Next })
	case retiredKey:
		return putAs(key, value, func(v retiredValue) { b.im.RetiredEpoch = v.Epoch })
	case controllerKey:
		return putAs(key, value, func(v controllerValue) { b.im.Controller = v.Broker })
	case clusterConfigKey:
		return putAs(key, value, func(v configValue) { b.im.ClusterConfig, b.configs = v, true })
	}
	return nil
}

func putAs[V checked](key string, value []byte, set func(V)) error {
	v, err := decode[V](key, value)
	if err == nil {
		set(v)
	}
	return err
}

func (b *builder) putTopic(name, key string, value []byte, revision int64, room int) error {
	v, err := decode[topicValue](key, value)
	if err != nil {
		return err
	}
	if other := b.im.TopicByID(v.ID); other != nil && other.Name != name {
		return badKey(key, fmt.Errorf("has the id of %s", TopicKey(other.Name)))
	}
	if t := b.im.Topic(name); t != nil {
		room += len(t.Partitions)
	}
	if v.Partitions > room {
		return badKey(key, fmt.Errorf("counts %d partitions, more than there are keys", v.Partitions))
	}
	b.setTopic(name, v, revision)
	return nil
}

// remove deletes one key. Deleting a partition of a topic that stays leaves it
// blank, which finish reports.
func (b *builder) remove(key string) error {
	k, err := parseKey(key)
	if err != nil {
		return err
	}
	b.forget(key)
	switch k.kind {
	case topicKey:
		if t := b.im.Topic(k.name); t != nil {
			b.dropTopic(t)
		}
	case partitionKey:
		if t := b.im.Topic(k.name); t != nil && int(k.num) < len(t.Partitions) {
			b.writable(k.name).Partitions[k.num] = Partition{}
		}
	case topicConfigKey:
		if t := b.writable(k.name); t != nil {
			t.Config, t.ConfigRevision = nil, 0
		}
	case brokerKey:
		b.dropBroker(k.num)
	case brokerConfigKey:
		b.setBrokerConfig(k.num, nil, 0)
	default:
		b.removeSingle(k.kind, key)
	}
	return nil
}

func (b *builder) removeSingle(kind keyKind, key string) {
	switch kind {
	case clusterIDKey:
		b.im.ClusterID = ""
	case producersKey:
		b.im.NextProducerID = 0
	case retiredKey:
		b.im.RetiredEpoch = 0
	case controllerKey:
		b.im.Controller = messages.NoBroker
	case clusterConfigKey:
		b.im.ClusterConfig, b.configs = nil, true
	}
	b.setRevision(key, 0)
}

// revisionOf finds the revision of any of this package's keys; 0 if it is not there.
func (im *Image) revisionOf(key string) int64 {
	if e, ok := im.loose[key]; ok {
		return e.Revision
	}
	k, err := parseKey(key)
	if err != nil {
		return 0
	}
	switch k.kind {
	case topicKey:
		if t := im.Topic(k.name); t != nil {
			return t.Revision
		}
		return 0
	case topicConfigKey:
		if t := im.Topic(k.name); t != nil {
			return t.ConfigRevision
		}
		return 0
	case partitionKey:
		if p := im.Partition(messages.TopicPartition{Topic: k.name, Partition: k.num}); p != nil {
			return p.Revision
		}
		return 0
	case brokerKey:
		if b := im.Broker(k.num); b != nil {
			return b.Revision
		}
		return 0
	}
	return im.revisions[key]
}
