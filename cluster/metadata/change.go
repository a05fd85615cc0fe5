package metadata

import (
	"maps"
	"slices"
	"strings"
)

// Change is what differs between two images.
type Change struct {
	Old, New *Image
	Topics   []TopicChange // sorted by name; of a name that was deleted and made anew, the deletion first
	Brokers  bool          // a broker came, went, or is elsewhere
	Configs  bool          // the settings of brokers changed
}

// TopicChange is one topic before and after. Old is nil if it was created, New
// if it was deleted; if there are both, they have the same id.
type TopicChange struct {
	Old, New *Topic
}

// Name is the topic's name.
func (c TopicChange) Name() string {
	if c.New != nil {
		return c.New.Name
	}
	return c.Old.Name
}

// Diff compares two images that were made independently, by the revisions of
// what is in them.
func Diff(older, newer *Image) Change {
	ch := Change{Old: older, New: newer}
	for t := range newer.Topics() {
		if old := older.Topic(t.Name); !sameTopic(old, t) {
			ch.Topics = appendChange(ch.Topics, old, t)
		}
	}
	for t := range older.Topics() {
		if newer.Topic(t.Name) == nil {
			ch.Topics = appendChange(ch.Topics, t, nil)
		}
	}
	ch.Brokers = !slices.Equal(older.Brokers, newer.Brokers)
	ch.Configs = !maps.Equal(older.ClusterConfig, newer.ClusterConfig) ||
		!maps.EqualFunc(older.BrokerConfigs, newer.BrokerConfigs, maps.Equal)
	ch.sort()
	return ch
}

func sameTopic(a, b *Topic) bool {
	if a == b {
		return true
	}
	if a == nil || b == nil || a.ID != b.ID || a.Revision != b.Revision || a.ConfigRevision != b.ConfigRevision {
		return false
	}
	return slices.EqualFunc(a.Partitions, b.Partitions, func(p, q Partition) bool { return p.Revision == q.Revision })
}

// appendChange adds the change of one name. A topic whose id changed is two
// topics: whoever holds the old one's files must not take them for the new one's.
func appendChange(list []TopicChange, old, now *Topic) []TopicChange {
	if old != nil && now != nil && old.ID != now.ID {
		return append(list, TopicChange{Old: old}, TopicChange{New: now})
	}
	return append(list, TopicChange{Old: old, New: now})
}

func (c *Change) sort() {
	slices.SortStableFunc(c.Topics, func(a, b TopicChange) int { return strings.Compare(a.Name(), b.Name()) })
}
