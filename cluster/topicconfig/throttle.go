package topicconfig

import (
	"errors"
	"strconv"
	"strings"
)

// throttles are the topic settings that say which replicas a throttle holds for.
// As in Kafka there is no default for them on the broker.
func throttles() []Setting {
	return []Setting{
		{Name: "follower.replication.throttled.replicas", Type: List, rule: replicas{},
			Doc: "For which replicas follower.replication.throttled.rate holds when they catch up: PARTITION:BROKER,... or *.",
			set: func(s *Settings, v value) { s.FollowerThrottled = Throttled(v.text) }},
		{Name: "leader.replication.throttled.replicas", Type: List, rule: replicas{},
			Doc: "For which leaders leader.replication.throttled.rate holds when they send to replicas that catch up: PARTITION:BROKER,... or *.",
			set: func(s *Settings, v value) { s.LeaderThrottled = Throttled(v.text) }},
	}
}

// Throttled names replicas: "0:1,0:2" those of partition 0 on brokers 1 and 2, "*"
// all of the topic.
type Throttled string

// Has reports whether a partition's replica on a broker is named.
func (t Throttled) Has(partition, broker int32) bool {
	if t == "" || t == "*" {
		return t == "*"
	}
	want := strconv.Itoa(int(partition)) + ":" + strconv.Itoa(int(broker))
	for item := range strings.SplitSeq(string(t), ",") {
		if strings.TrimSpace(item) == want {
			return true
		}
	}
	return false
}

// replicas is a list of PARTITION:BROKER, or "*".
type replicas struct{}

func (replicas) parse(text string) (value, error) {
	if text == "*" {
		return value{text: text}, nil
	}
	for _, item := range split(text) {
		partition, broker, ok := strings.Cut(item, ":")
		if _, err := strconv.ParseUint(partition, 10, 31); err != nil || !ok {
			return value{}, errReplicas(text)
		}
		if _, err := strconv.ParseUint(broker, 10, 31); err != nil {
			return value{}, errReplicas(text)
		}
	}
	return value{text: text}, nil
}

func errReplicas(text string) error {
	return errors.New(clip(text) + " is neither * nor a list of PARTITION:BROKER")
}
