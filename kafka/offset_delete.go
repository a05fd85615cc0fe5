package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/messages"
)

// OffsetDelete (key 47): a group forgets offsets of topics that none of its
// members subscribes to (KIP-496).
func offsetDeleteAPI() api {
	return api{
		key: 47, name: "OffsetDelete", max: 0, flexible: -1,
		shape:  `string [{string [{int32}]}]`,
		answer: answers((*Broker).offsetDelete),
	}
}

func (b *Broker) offsetDelete(ctx context.Context, req *kmsg.OffsetDeleteRequest) *kmsg.OffsetDeleteResponse {
	resp := req.ResponseKind().(*kmsg.OffsetDeleteResponse)
	image := b.deps.Image()
	var tps []messages.TopicPartition
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			if tp := (messages.TopicPartition{Topic: t.Topic, Partition: p.Partition}); image.Partition(tp) != nil {
				tps = append(tps, tp)
			}
		}
	}
	failed, err := b.deps.Groups.DeleteOffsets(ctx, req.Group, tps)
	if resp.ErrorCode = messages.Code(err); err != nil {
		return resp
	}
	for _, asked := range req.Topics {
		t := kmsg.NewOffsetDeleteResponseTopic()
		t.Topic = asked.Topic
		for _, want := range asked.Partitions {
			p := kmsg.NewOffsetDeleteResponseTopicPartition()
			tp := messages.TopicPartition{Topic: asked.Topic, Partition: want.Partition}
			if p.Partition, p.ErrorCode = want.Partition, messages.Code(failed[tp]); image.Partition(tp) == nil {
				p.ErrorCode = errNoTopic.Kind.Code()
			}
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}
