package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/actors/controller"
	"understudy/messages"
)

// ElectLeaders (key 43).
//
//	0  the preferred leaders (KIP-183)
//	1  also unclean elections; an error of the whole request (KIP-460)
//	2  flexible
func electLeadersAPI() api {
	return api{
		key: 43, name: "ElectLeaders", max: 2, flexible: 2,
		shape:  `1+:int8 [{string [int32]}] int32`,
		answer: answers((*Broker).electLeaders),
	}
}

// electLeaders answers for the partitions that were named; if none were, for
// those of all that were in need of an election. The message of one that
// succeeded says what was lost by it, if anything was.
func (b *Broker) electLeaders(ctx context.Context, req *kmsg.ElectLeadersRequest) *kmsg.ElectLeadersResponse {
	ctx, cancel := within(ctx, req.TimeoutMillis)
	defer cancel()
	resp := req.ResponseKind().(*kmsg.ElectLeadersResponse)
	var partitions []messages.TopicPartition
	if req.Topics != nil {
		partitions = []messages.TopicPartition{}
	}
	for _, t := range req.Topics {
		for _, n := range t.Partitions {
			partitions = append(partitions, messages.TopicPartition{Topic: t.Topic, Partition: n})
		}
	}
	if partitions != nil && len(partitions) == 0 {
		return resp
	}
	results, err := b.deps.Admin.ElectLeaders(ctx, controller.ElectionKind(req.ElectionType), partitions)
	if err != nil {
		resp.ErrorCode = messages.Code(err)
		for _, tp := range partitions { // version 0 knows no other error
			results = append(results, controller.ElectionResult{Topic: tp.Topic, Partition: tp.Partition, Err: err})
		}
	}
	at := map[string]int{}
	for _, r := range results {
		i, known := at[r.Topic]
		if !known {
			i, at[r.Topic] = len(resp.Topics), len(resp.Topics)
			t := kmsg.NewElectLeadersResponseTopic()
			t.Topic = r.Topic
			resp.Topics = append(resp.Topics, t)
		}
		p := kmsg.NewElectLeadersResponseTopicPartition()
		p.Partition = r.Partition
		p.ErrorCode, p.ErrorMessage = errorOf(r.Err)
		if r.Err == nil {
			p.ErrorMessage = nullable(r.Losses)
		}
		resp.Topics[i].Partitions = append(resp.Topics[i].Partitions, p)
	}
	return resp
}
