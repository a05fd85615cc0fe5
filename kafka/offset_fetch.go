package kafka

import (
	"context"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/actors/group"
	"understudy/messages"
)

// OffsetFetch (key 9).
//
//	0  a partition without an offset is an error
//	1  it has the offset -1
//	2  all topics, by null; an error of the whole group stands by itself and no
//	   longer with each partition
//	3  throttle time
//	5  leader epochs
//	6  flexible
//	7  offsets of open transactions may be waited for (KIP-447); there are none yet
//	8  several groups at a time
//	9  the member who asks (KIP-848)
func offsetFetchAPI() api {
	return api{
		key: 9, name: "OffsetFetch", max: 9, flexible: 6,
		shape:  `0-7:string 0-7:[{string [int32]}] 8+:[{string 9+:string? 9+:int32 [{string [int32]}]}] 7+:bool`,
		answer: answers((*Broker).offsetFetch),
	}
}

func (b *Broker) offsetFetch(ctx context.Context, req *kmsg.OffsetFetchRequest) *kmsg.OffsetFetchResponse {
	resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
	if req.Version >= 8 {
		told := make(map[string]bool, len(req.Groups)) // naming a group often must not make the answer grow
		for i := range req.Groups {
			if g := &req.Groups[i]; !told[g.Group] {
				told[g.Group] = true
				resp.Groups = append(resp.Groups, b.fetchOffsets(ctx, g))
			}
		}
		return resp
	}
	asked := oldOffsetFetch(req)
	found := b.fetchOffsets(ctx, &asked)
	if found.ErrorCode != 0 && req.Version < 2 {
		found.Topics = failedTopics(asked.Topics, found.ErrorCode)
	}
	resp.ErrorCode = found.ErrorCode
	for _, t := range found.Topics {
		old := kmsg.OffsetFetchResponseTopic{Topic: t.Topic}
		for _, p := range t.Partitions {
			if req.Version == 0 && p.Offset == messages.NoOffset && p.ErrorCode == 0 {
				p.ErrorCode = errNoTopic.Kind.Code()
			}
			old.Partitions = append(old.Partitions, kmsg.OffsetFetchResponseTopicPartition(p))
		}
		resp.Topics = append(resp.Topics, old)
	}
	return resp
}

// oldOffsetFetch is the one group of a request before version 8.
func oldOffsetFetch(req *kmsg.OffsetFetchRequest) kmsg.OffsetFetchRequestGroup {
	g := kmsg.NewOffsetFetchRequestGroup()
	if g.Group = req.Group; req.Topics != nil {
		g.Topics = make([]kmsg.OffsetFetchRequestGroupTopic, len(req.Topics))
	}
	for i, t := range req.Topics {
		g.Topics[i].Topic, g.Topics[i].Partitions = t.Topic, t.Partitions
	}
	return g
}

// eachOnce leaves each partition where it is named first: naming one often must not
// make the answer large, since what is committed may be a hundred times as long.
func eachOnce(topics []kmsg.OffsetFetchRequestGroupTopic) {
	seen := make(map[messages.TopicPartition]bool)
	for i := range topics {
		t := &topics[i]
		t.Partitions = slices.DeleteFunc(t.Partitions, func(n int32) bool {
			tp := messages.TopicPartition{Topic: t.Topic, Partition: n}
			before := seen[tp]
			seen[tp] = true
			return before
		})
	}
}

// fetchOffsets answers for one group.
func (b *Broker) fetchOffsets(ctx context.Context, asked *kmsg.OffsetFetchRequestGroup) kmsg.OffsetFetchResponseGroup {
	resp := kmsg.NewOffsetFetchResponseGroup()
	resp.Group = asked.Group
	var tps []messages.TopicPartition // nil: all
	if asked.Topics != nil {
		tps = []messages.TopicPartition{}
	}
	eachOnce(asked.Topics)
	for _, t := range asked.Topics {
		for _, n := range t.Partitions {
			tps = append(tps, messages.TopicPartition{Topic: t.Topic, Partition: n})
		}
	}
	found, err := b.deps.Groups.Offsets(ctx, memberOf(asked.Group, orEmpty(asked.MemberID), nil, asked.MemberEpoch), tps)
	if messages.KindOf(err) == messages.CoordinatorNotAvailable {
		err = errAskAnother // Java's consumers expect no other such error here before 3.9
	}
	err = toldToMembers(err)
	if resp.ErrorCode = messages.Code(err); err != nil {
		return resp
	}
	if asked.Topics == nil {
		resp.Topics = allOffsets(found)
		return resp
	}
	for _, t := range asked.Topics {
		told := kmsg.OffsetFetchResponseGroupTopic{Topic: t.Topic}
		for _, n := range t.Partitions {
			told.Partitions = append(told.Partitions, offsetOf(n, found, t.Topic))
		}
		resp.Topics = append(resp.Topics, told)
	}
	return resp
}

// allOffsets gives all that a group has committed, in order.
func allOffsets(found map[messages.TopicPartition]group.Committed) (topics []kmsg.OffsetFetchResponseGroupTopic) {
	tps := make([]messages.TopicPartition, 0, len(found))
	for tp := range found {
		tps = append(tps, tp)
	}
	slices.SortFunc(tps, func(a, b messages.TopicPartition) int {
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		return int(a.Partition) - int(b.Partition)
	})
	for _, tp := range tps {
		if n := len(topics); n == 0 || topics[n-1].Topic != tp.Topic {
			topics = append(topics, kmsg.OffsetFetchResponseGroupTopic{Topic: tp.Topic})
		}
		last := &topics[len(topics)-1]
		last.Partitions = append(last.Partitions, offsetOf(tp.Partition, found, tp.Topic))
	}
	return topics
}

func offsetOf(n int32, found map[messages.TopicPartition]group.Committed, topic string) kmsg.OffsetFetchResponseGroupTopicPartition {
	p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = n, messages.NoOffset, messages.NoEpoch, new(string)
	if o, ok := found[messages.TopicPartition{Topic: topic, Partition: n}]; ok {
		p.Offset, p.LeaderEpoch, p.Metadata = o.Offset, o.LeaderEpoch, &o.Metadata
	}
	return p
}

// failedTopics gives every partition the same error.
func failedTopics(asked []kmsg.OffsetFetchRequestGroupTopic, code int16) (topics []kmsg.OffsetFetchResponseGroupTopic) {
	for _, t := range asked {
		failed := kmsg.OffsetFetchResponseGroupTopic{Topic: t.Topic}
		for _, n := range t.Partitions {
			p := offsetOf(n, nil, t.Topic)
			p.ErrorCode = code
			failed.Partitions = append(failed.Partitions, p)
		}
		topics = append(topics, failed)
	}
	return topics
}
