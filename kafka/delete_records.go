package kafka

import (
	"context"
	"errors"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/messages"
)

// DeleteRecords (key 21).
//
//	1  throttle time is told after the request is done
//	2  flexible
//
// Offset -1 is the high watermark. What the cluster itself keeps is not to be deleted:
// the offsets of groups would be gone with the next failover. Nor are the records of a
// topic whose cleanup.policy does not say delete.
func deleteRecordsAPI() api {
	return api{
		key: 21, name: "DeleteRecords", max: 2, flexible: 2,
		shape:  `[{string [{int32 int64}]}] int32`,
		answer: answers((*Broker).deleteRecords),
	}
}

// deleteRecords asks all partitions side by side: each answers when its new start
// is on disk, and many can share that round.
func (b *Broker) deleteRecords(ctx context.Context, req *kmsg.DeleteRecordsRequest) *kmsg.DeleteRecordsResponse {
	ctx, cancel := within(ctx, req.TimeoutMillis)
	defer cancel()
	resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
	resp.Topics = make([]kmsg.DeleteRecordsResponseTopic, len(req.Topics))
	var pending sync.WaitGroup
	room := make(chan struct{}, 64)
	for i := range req.Topics {
		asked, t := &req.Topics[i], &resp.Topics[i]
		t.Topic = asked.Topic
		t.Partitions = make([]kmsg.DeleteRecordsResponseTopicPartition, len(asked.Partitions))
		for j := range asked.Partitions {
			room <- struct{}{}
			pending.Go(func() {
				defer func() { <-room }()
				t.Partitions[j] = b.deleteRecordsOf(ctx, asked.Topic, &asked.Partitions[j])
			})
		}
	}
	pending.Wait()
	return resp
}

var errNotDeleted = messages.E("delete records", messages.PolicyViolation, "", errors.New("the topic's cleanup.policy does not say delete"))

var errKept = messages.E("delete records", messages.InvalidTopic, "", errors.New("the cluster keeps its internal topics itself"))

func (b *Broker) deleteRecordsOf(ctx context.Context, topic string, asked *kmsg.DeleteRecordsRequestTopicPartition) kmsg.DeleteRecordsResponseTopicPartition {
	p := kmsg.NewDeleteRecordsResponseTopicPartition()
	p.Partition, p.LowWatermark = asked.Partition, messages.NoOffset
	where, err := b.local(messages.TopicPartition{Topic: topic, Partition: asked.Partition})
	if messages.InternalTopic(topic) {
		err = errKept
	}
	if err == nil {
		err = b.mayDelete(topic)
	}
	if err == nil {
		p.LowWatermark, err = where.DeleteRecords(ctx, asked.Offset)
	}
	if p.ErrorCode = messages.Code(err); err != nil {
		p.LowWatermark = messages.NoOffset
	}
	return p
}

// mayDelete says why no records of a topic may be deleted, or nil.
func (b *Broker) mayDelete(topic string) error {
	image := b.deps.Image()
	t := image.Topic(topic)
	if t == nil {
		return errNoTopic
	}
	settings, err := b.topicSettings(image, t)
	if err == nil && !settings.Delete {
		err = errNotDeleted
	}
	return err
}
