package metadata

import (
	"strconv"
	"strings"

	"understudy/messages"
)

// The keys that exist once.
const (
	ClusterIDKey     = "ids/cluster"
	ProducersKey     = "ids/producers"
	RetiredKey       = "ids/retired"
	ControllerKey    = "controller"
	ClusterConfigKey = "configs/brokers/default"
)

// The first parts of keys that exist many times.
const (
	brokersPrefix       = "brokers/"
	topicsPrefix        = "topics/"
	partitionsPrefix    = "partitions/"
	topicConfigsPrefix  = "configs/topics/"
	brokerConfigsPrefix = "configs/brokers/"
)

// BrokerKey is the key of a broker's registration.
func BrokerKey(id messages.BrokerID) string { return brokersPrefix + itoa(id) }

// TopicKey is the key that makes a topic exist.
func TopicKey(name string) string { return topicsPrefix + name }

// PartitionKey is the key of a partition's replicas and leadership.
func PartitionKey(tp messages.TopicPartition) string {
	return partitionsPrefix + tp.Topic + "/" + itoa(tp.Partition)
}

// TopicConfigKey is the key of a topic's overrides.
func TopicConfigKey(name string) string { return topicConfigsPrefix + name }

// BrokerConfigKey is the key of one broker's changed settings.
func BrokerConfigKey(id messages.BrokerID) string { return brokerConfigsPrefix + itoa(id) }

func itoa(n int32) string { return strconv.Itoa(int(n)) }

// keyKind is what a key is about.
type keyKind uint8

const (
	foreignKey keyKind = iota // not of this package
	clusterIDKey
	producersKey
	retiredKey
	controllerKey
	brokerKey
	topicKey
	partitionKey
	topicConfigKey
	brokerConfigKey
	clusterConfigKey
)

// parsedKey is a key taken apart.
type parsedKey struct {
	kind keyKind
	name string // of the topic
	num  int32  // of the partition or broker
}

// parseKey takes a key apart. A key below one of this package's prefixes that
// does not name a thing properly is an error.
func parseKey(key string) (parsedKey, error) {
	switch key {
	case ClusterIDKey:
		return parsedKey{kind: clusterIDKey}, nil
	case ProducersKey:
		return parsedKey{kind: producersKey}, nil
	case RetiredKey:
		return parsedKey{kind: retiredKey}, nil
	case ControllerKey:
		return parsedKey{kind: controllerKey}, nil
	case ClusterConfigKey:
		return parsedKey{kind: clusterConfigKey}, nil
	}
	if rest, ok := strings.CutPrefix(key, partitionsPrefix); ok {
		name, num, _ := strings.Cut(rest, "/")
		return parseNamed(key, partitionKey, name, num)
	}
	if rest, ok := strings.CutPrefix(key, topicsPrefix); ok {
		return parseNamed(key, topicKey, rest, "0")
	}
	if rest, ok := strings.CutPrefix(key, topicConfigsPrefix); ok {
		return parseNamed(key, topicConfigKey, rest, "0")
	}
	if rest, ok := strings.CutPrefix(key, brokersPrefix); ok {
		return parseNamed(key, brokerKey, "", rest)
	}
	if rest, ok := strings.CutPrefix(key, brokerConfigsPrefix); ok {
		return parseNamed(key, brokerConfigKey, "", rest)
	}
	return parsedKey{}, nil
}

// parseNamed checks the topic's name, if the kind has one, and the number, which
// must be written as itoa writes it: one thing has one key.
func parseNamed(key string, kind keyKind, name, num string) (parsedKey, error) {
	if kind != brokerKey && kind != brokerConfigKey {
		if err := messages.CheckTopicName(name); err != nil {
			return parsedKey{}, badKey(key, err)
		}
	}
	n, err := strconv.ParseInt(num, 10, 32)
	if err != nil {
		return parsedKey{}, badKey(key, err)
	}
	if n < 0 || num != itoa(int32(n)) {
		return parsedKey{}, badKey(key, errNumber)
	}
	return parsedKey{kind: kind, name: name, num: int32(n)}, nil
}
