package core

import (
	"encoding/binary"
	"slices"
)

// consumers is the protocol type of consumers, whose subscriptions Kafka defines
// the format of.
const consumers = "consumer"

// topicsOf reads the topics off a consumer's subscription. What follows them, and
// what newer versions append, does not matter here.
//
//	+---------+-----------+----------------------------+------------------
//	| version | number of | name of each:              | user data, owned
//	| int16   | topics    | length int16, bytes        | partitions, ...
//	|         | int32     |                            |
//	+---------+-----------+----------------------------+------------------
func topicsOf(subscription []byte) (topics []string, ok bool) {
	if len(subscription) < 6 {
		return nil, false
	}
	count, rest := int32(binary.BigEndian.Uint32(subscription[2:])), subscription[6:]
	if count < 0 || int64(count)*2 > int64(len(rest)) {
		return nil, false
	}
	topics = make([]string, 0, count)
	for range count {
		if len(rest) < 2 {
			return nil, false
		}
		n := int(int16(binary.BigEndian.Uint16(rest)))
		if rest = rest[2:]; n < 0 || n > len(rest) {
			return nil, false
		}
		topics, rest = append(topics, string(rest[:n])), rest[n:]
	}
	return topics, true
}

// sameTopics reports whether two subscriptions are to the same topics, as far as
// can be seen.
func sameTopics(a, b []byte) bool {
	before, ok := topicsOf(a)
	now, readable := topicsOf(b)
	if !ok || !readable {
		return true
	}
	slices.Sort(before)
	slices.Sort(now)
	return slices.Equal(slices.Compact(before), slices.Compact(now))
}

// noteSubscriptions finds out which topics the generation's members consume.
func (g *Group) noteSubscriptions() {
	g.subscribed, g.knowsSubscribed = nil, g.protocolType == consumers
	for _, m := range g.members {
		topics, ok := topicsOf(m.metadata(g.protocol))
		g.knowsSubscribed = g.knowsSubscribed && ok
		for _, t := range topics {
			if g.subscribed == nil {
				g.subscribed = map[string]bool{}
			}
			g.subscribed[t] = true
		}
	}
}

// mayConsume reports whether members may be consuming a topic.
func (g *Group) mayConsume(topic string) bool {
	return len(g.members) > 0 && (!g.knowsSubscribed || g.subscribed[topic])
}
