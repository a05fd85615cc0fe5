package group

import (
	"context"
	"errors"
	"slices"
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

// Coordinator implements Service.
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
	if leader == messages.NoBroker {
		return leader, messages.E(op, messages.CoordinatorNotAvailable, group, errors.New(topicName+"-"+strconv.Itoa(n)+" has no leader"))
	}
	return leader, nil
}

// servingPatience bounds how long clients are not answered so that they need not
// ask again: they wait longer between two attempts.
const servingPatience = time.Second

// AwaitServing implements Service.
func (c *Coordinator) AwaitServing(ctx context.Context, groups []string) {
	ctx, cancel := c.o.Stage.timeout(ctx, servingPatience)
	defer cancel()
	for {
		changed := c.news.next()
		if !slices.ContainsFunc(groups, c.opening) || c.o.Stage.awaitClosed(ctx, changed) != nil {
			return
		}
	}
}

// opening reports whether this broker coordinates a group and cannot be asked yet.
func (c *Coordinator) opening(group string) bool {
	t := c.o.Cell.Image().Topic(topicName)
	if t == nil {
		return false
	}
	n := PartitionOf(group, len(t.Partitions))
	if t.Partitions[n].Leader != c.o.Self {
		return false
	}
	shards := *c.shards.Load()
	return n >= len(shards) || shards[n] == nil || !shards[n].ready.Load()
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
