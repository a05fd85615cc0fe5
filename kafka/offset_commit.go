package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/actors/group"
	"understudy/messages"
)

// OffsetCommit (key 8).
//
//	1  the member and its generation; a timestamp for each partition
//	2  how long to keep the offsets, in place of the timestamps
//	3  throttle time
//	5  no such time: the broker's setting alone counts
//	6  leader epochs
//	7  static members (KIP-345)
//	8  flexible
//	9  GROUP_ID_NOT_FOUND (KIP-848)
//
// Timestamps of version 1 are not looked at. What the version does not say has kmsg's
// default: no member, generation -1, no time for which to keep the offsets.
func offsetCommitAPI() api {
	return api{
		key: 8, name: "OffsetCommit", max: 9, flexible: 8,
		shape:  `string 1+:int32 1+:string 7+:string? 2-4:int64 [{string [{int32 int64 1:int64 6+:int32 string?}]}]`,
		answer: answers((*Broker).offsetCommit),
	}
}

func (b *Broker) offsetCommit(ctx context.Context, req *kmsg.OffsetCommitRequest) *kmsg.OffsetCommitResponse {
	image := b.deps.Image()
	commit := group.Commit{
		Member:  memberOf(req.Group, req.MemberID, req.InstanceID, req.Generation),
		Offsets: make(map[messages.TopicPartition]group.Committed), Retention: max(0, req.RetentionTimeMillis),
	}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			if tp := (messages.TopicPartition{Topic: t.Topic, Partition: p.Partition}); image.Partition(tp) != nil {
				commit.Offsets[tp] = group.Committed{Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: orEmpty(p.Metadata)}
			}
		}
	}
	var failed map[messages.TopicPartition]error
	var err error
	if len(commit.Offsets) > 0 {
		failed, err = b.deps.Groups.Commit(ctx, commit)
	}
	if messages.KindOf(err) == messages.GroupIDNotFound && req.Version < 9 {
		err = errGroupForgotten
	}
	return committed(req, func(tp messages.TopicPartition) int16 {
		if _, tried := commit.Offsets[tp]; !tried {
			return errNoTopic.Kind.Code()
		}
		return byPartition(tp, failed, err)
	})
}

// errGroupForgotten is what a member of a group that is no more is told, unless
// its version knows better words for it.
var errGroupForgotten = messages.E("offset commit", messages.IllegalGeneration, "", nil)

// committed answers with each partition's code.
func committed(req *kmsg.OffsetCommitRequest, code func(messages.TopicPartition) int16) *kmsg.OffsetCommitResponse {
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	for _, asked := range req.Topics {
		t := kmsg.NewOffsetCommitResponseTopic()
		t.Topic = asked.Topic
		for _, want := range asked.Partitions {
			p := kmsg.NewOffsetCommitResponseTopicPartition()
			p.Partition, p.ErrorCode = want.Partition, code(messages.TopicPartition{Topic: asked.Topic, Partition: want.Partition})
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}
