package kafka

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/messages"
)

// OffsetForLeaderEpoch (key 23).
//
//	1  the epoch that was found
//	2  the epoch that the client knows is checked, throttle time
//	3  the replica's id
//	4  flexible
func offsetForLeaderEpochAPI() api {
	return api{
		key: 23, name: "OffsetForLeaderEpoch", min: 2, max: 4, accepts: 0, flexible: 4,
		shape:  `3+:int32 [{string [{int32 2+:int32 int32}]}]`,
		answer: answers((*Broker).offsetForLeaderEpoch),
	}
}

func (b *Broker) offsetForLeaderEpoch(ctx context.Context, req *kmsg.OffsetForLeaderEpochRequest) *kmsg.OffsetForLeaderEpochResponse {
	resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	ctx, cancel := context.WithTimeout(ctx, electionPatience) // for all partitions together
	defer cancel()
	for _, asked := range req.Topics {
		t := kmsg.NewOffsetForLeaderEpochResponseTopic()
		t.Topic = asked.Topic
		for _, want := range asked.Partitions {
			p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			p.Partition, p.LeaderEpoch, p.EndOffset = want.Partition, messages.NoEpoch, messages.NoOffset
			_, view, err := b.leading(ctx, messages.TopicPartition{Topic: asked.Topic, Partition: want.Partition}, want.CurrentLeaderEpoch)
			if p.ErrorCode = messages.Code(err); err == nil {
				p.LeaderEpoch, p.EndOffset = view.endOffsetFor(want.LeaderEpoch)
			}
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

// endOffsetFor is the newest epoch of the log that is not newer than the one
// asked for, and where it ends (KIP-101). Of an epoch from before the log's start
// nothing is left, so that it ends there: whoever has read all of it goes on. Of one
// that nobody has led in yet nothing is known: NoEpoch and NoOffset.
func (v *View) endOffsetFor(epoch messages.LeaderEpoch) (messages.LeaderEpoch, messages.Offset) {
	end, newest := v.End, messages.NoEpoch
	if n := len(v.Epochs); n > 0 {
		newest = v.Epochs[n-1].Epoch
	}
	switch {
	case epoch < 0 || epoch > max(newest, v.Epoch):
		return messages.NoEpoch, messages.NoOffset
	case epoch == v.Epoch && epoch > newest: // its leader has written nothing yet
		return epoch, end
	}
	for _, e := range slices.Backward(v.Epochs) {
		if e.Epoch <= epoch {
			return e.Epoch, end
		}
		end = e.Start
	}
	return epoch, max(end, v.LogStart)
}
