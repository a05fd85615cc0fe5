package group

import (
	"context"
	"errors"
	"strconv"
	"time"
	"unicode/utf16"

	"understudy/actors/controller"
	"understudy/actors/group/core"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// topicName is the topic in which groups are kept.
const topicName = "__consumer_offsets"

// PartitionOf is the partition of the offsets topic that a group is kept in. It
// follows, as in Kafka, from the absolute value of the hash that Java has for
// strings, over UTF-16 code units.
func PartitionOf(group string, partitions int) int {
	var hash int32
	for _, r := range group {
		if r > 0xffff {
			high, low := utf16.EncodeRune(r)
			hash = 31*hash + high
			r = low
		}
		hash = 31*hash + r
	}
	return int(max(hash, -hash, 0)) % partitions // the least number has no opposite: 0 stands for it
}

// Coordinator implements Service. On the broker that coordinates the group it
// returns when the group can be asked, or a moment later.
func (c *Coordinator) Coordinator(ctx context.Context, group string) (messages.BrokerID, error) {
	const op = "find coordinator"
	if err := core.CheckName(op, group, true); err != nil {
		return messages.NoBroker, err
	}
	t, err := c.topic(ctx)
	if err != nil {
		return messages.NoBroker, messages.E(op, messages.CoordinatorNotAvailable, group, err)
	}
	n := PartitionOf(group, len(t.Partitions))
	leader := t.Partitions[n].Leader
	switch leader {
	case messages.NoBroker:
		return leader, messages.E(op, messages.CoordinatorNotAvailable, group, errors.New(topicName+"-"+strconv.Itoa(n)+" has no leader"))
	case c.o.Self:
		c.awaitServing(ctx, n)
	}
	return leader, nil
}

// servingPatience bounds how long a client is not answered so that it need not
// ask again: clients wait longer between two attempts.
const servingPatience = time.Second

// awaitServing waits until a shard serves, but not for long.
func (c *Coordinator) awaitServing(ctx context.Context, n int) {
	ctx, cancel := c.o.Stage.timeout(ctx, servingPatience)
	defer cancel()
	for {
		changed := c.news.next()
		if shards := *c.shards.Load(); n < len(shards) && shards[n] != nil && shards[n].ready.Load() {
			return
		}
		if c.o.Stage.awaitClosed(ctx, changed) != nil {
			return
		}
	}
}

// topic gives the offsets topic, which is made when it is first asked for.
func (c *Coordinator) topic(ctx context.Context) (*metadata.Topic, error) {
	if t := c.o.Cell.Image().Topic(topicName); t != nil {
		return t, nil
	}
	if err := c.o.Stage.acquire(ctx, c.creating); err != nil {
		return nil, err
	}
	defer func() { <-c.creating }()
	// As many replicas as there are brokers to hold them: some of those that are
	// known may be down.
	brokers := max(1, len(c.o.Cell.Image().Brokers))
	for factor := min(int(c.settings.Load().ReplicationFactor), brokers); ; factor-- {
		if t := c.o.Cell.Image().Topic(topicName); t != nil {
			return t, nil
		}
		r := c.o.Topics.CreateTopics(ctx, []controller.NewTopic{c.newTopic(factor)}, false)
		switch kind := messages.KindOf(r[0].Err); {
		case r[0].Err == nil, kind == messages.TopicExists:
			return c.awaitTopic(ctx)
		case kind != messages.InvalidReplicationFactor || factor == 1:
			return nil, r[0].Err
		}
	}
}

func (c *Coordinator) newTopic(factor int) controller.NewTopic {
	s := c.settings.Load()
	return controller.NewTopic{
		Name: topicName, Partitions: s.Partitions, ReplicationFactor: int16(factor),
		Config: map[string]string{
			"cleanup.policy": "compact", "compression.type": "producer",
			"segment.bytes": strconv.FormatInt(s.SegmentBytes, 10),
		},
	}
}

// awaitTopic waits until the metadata shows the topic that somebody has made.
func (c *Coordinator) awaitTopic(ctx context.Context) (*metadata.Topic, error) {
	for {
		image, changed := c.o.Cell.Next()
		if t := image.Topic(topicName); t != nil {
			return t, nil
		}
		if err := c.o.Stage.awaitClosed(ctx, changed); err != nil {
			return nil, err
		}
	}
}
