package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/actors/controller"
	"understudy/cluster/metadata"
)

// AlterPartitionReassignments (key 45): replicas are moved, or no longer (KIP-455).
//
//	1  whether the number of replicas may change (KIP-860)
func alterReassignmentsAPI() api {
	return api{
		key: 45, name: "AlterPartitionReassignments", max: 1, flexible: 0,
		shape:  `int32 1+:bool [{string [{int32 [int32]}]}]`,
		answer: answers((*Broker).alterReassignments),
	}
}

// alterReassignments answers when the moves have begun, or were cancelled.
func (b *Broker) alterReassignments(ctx context.Context, req *kmsg.AlterPartitionAssignmentsRequest) *kmsg.AlterPartitionAssignmentsResponse {
	ctx, cancel := within(ctx, req.TimeoutMillis)
	defer cancel()
	resp := req.ResponseKind().(*kmsg.AlterPartitionAssignmentsResponse)
	resp.AllowReplicationFactorChange = req.AllowReplicationFactorChange
	var moves []controller.Reassignment
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			moves = append(moves, controller.Reassignment{Topic: t.Topic, Partition: p.Partition, Target: p.Replicas})
		}
	}
	if len(moves) == 0 {
		return resp
	}
	results := b.deps.Admin.Reassign(ctx, moves, req.Version >= 1 && !req.AllowReplicationFactorChange)
	for _, t := range req.Topics {
		answer := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		answer.Topic = t.Topic
		for range t.Partitions {
			p := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			p.Partition = results[0].Partition
			p.ErrorCode, p.ErrorMessage = errorOf(results[0].Err)
			answer.Partitions = append(answer.Partitions, p)
			results = results[1:]
		}
		resp.Topics = append(resp.Topics, answer)
	}
	return resp
}

// ListPartitionReassignments (key 46): which replicas are being moved (KIP-455).
func listReassignmentsAPI() api {
	return api{
		key: 46, name: "ListPartitionReassignments", max: 0, flexible: 0,
		shape:  `int32 [{string [int32]}]`,
		answer: answers((*Broker).listReassignments),
	}
}

// listReassignments answers for those of the partitions that were named, or of all
// if none were, whose replicas are being moved.
func (b *Broker) listReassignments(_ context.Context, req *kmsg.ListPartitionReassignmentsRequest) *kmsg.ListPartitionReassignmentsResponse {
	resp := req.ResponseKind().(*kmsg.ListPartitionReassignmentsResponse)
	image := b.deps.Image()
	if req.Topics == nil {
		for t := range image.Topics() {
			resp.Topics = appendMoves(resp.Topics, t, nil)
		}
		return resp
	}
	asked := map[string]map[int32]bool{} // naming a partition often must not make the answer grow
	var names []string
	for _, t := range req.Topics {
		if asked[t.Topic] == nil {
			asked[t.Topic] = map[int32]bool{}
			names = append(names, t.Topic)
		}
		for _, n := range t.Partitions {
			asked[t.Topic][n] = true
		}
	}
	for _, name := range names {
		if t := image.Topic(name); t != nil {
			resp.Topics = appendMoves(resp.Topics, t, asked[name])
		}
	}
	return resp
}

// appendMoves appends a topic with those of its partitions whose replicas are being
// moved, if there are any; only those asked for, unless asked is nil.
func appendMoves(topics []kmsg.ListPartitionReassignmentsResponseTopic, t *metadata.Topic, asked map[int32]bool) []kmsg.ListPartitionReassignmentsResponseTopic {
	answer := kmsg.NewListPartitionReassignmentsResponseTopic()
	answer.Topic = t.Name
	for i := range t.Partitions {
		moving := &t.Partitions[i]
		if !moving.Moving() || asked != nil && !asked[int32(i)] {
			continue
		}
		p := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
		p.Partition, p.Replicas, p.AddingReplicas, p.RemovingReplicas = int32(i), moving.Replicas, moving.Adding, moving.Removing()
		answer.Partitions = append(answer.Partitions, p)
	}
	if len(answer.Partitions) == 0 {
		return topics
	}
	return append(topics, answer)
}
