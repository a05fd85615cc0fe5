package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/cluster/metadata"
	"understudy/kafka/wire"
	"understudy/messages"
)

// ListOffsets (key 2).
//
//	0  a list of offsets for each partition
//	1  one offset, with its timestamp
//	2  isolation level, throttle time
//	4  leader epochs
//	6  flexible
//	7  the newest timestamp (-3)
//	8  the earliest offset on local disk (-4)
func listOffsetsAPI() api {
	return api{
		key: 2, name: "ListOffsets", max: 8, flexible: 6,
		shape:  `int32 2+:int8 [{string [{int32 4+:int32 int64 0:int32}]}]`,
		answer: answers((*Broker).listOffsets),
	}
}

// Timestamps with a meaning of their own.
const (
	latestOffset        = -1
	earliestOffset      = -2
	newestTimestamp     = -3
	earliestLocalOffset = -4
	tieredOffset        = -5 // the last offset in tiered storage, of which there is none
)

// anyReplica, as the replica id, asks for what this broker's replica holds, whether
// or not it leads. The latest offset is then the end of its log.
const anyReplica = -2

// listHeld answers for the local replica.
func (b *Broker) listHeld(topic string, asked *kmsg.ListOffsetsRequestTopicPartition) kmsg.ListOffsetsResponseTopicPartition {
	p := noOffset(asked.Partition, nil)
	local, err := b.local(messages.TopicPartition{Topic: topic, Partition: asked.Partition})
	if err != nil {
		p.ErrorCode = messages.Code(err)
		return p
	}
	view := local.View()
	switch {
	case view.Log == nil:
		p.ErrorCode = messages.Code(view.Err)
	case asked.Timestamp == latestOffset:
		p.Offset, p.LeaderEpoch = view.End, view.epochAt(view.End-1)
	case asked.Timestamp == earliestOffset:
		p.Offset, p.LeaderEpoch = view.LogStart, view.epochAt(view.LogStart)
	default:
		p.ErrorCode = messages.Code(errSpecialTime)
	}
	return p
}

var (
	errSpecialTime = messages.E("list offsets", messages.UnsupportedVersion, "", nil)
	errNamedOften  = messages.E("list offsets", messages.InvalidRequest, "", nil)
)

func (b *Broker) listOffsets(ctx context.Context, req *kmsg.ListOffsetsRequest) *kmsg.ListOffsetsResponse {
	resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	resp.Topics = make([]kmsg.ListOffsetsResponseTopic, len(req.Topics))
	ctx, cancel := context.WithTimeout(ctx, electionPatience) // for all partitions together
	defer cancel()
	often := namedOften(req)
	for i := range req.Topics {
		asked, t := &req.Topics[i], &resp.Topics[i]
		t.Default()
		t.Topic = asked.Topic
		t.Partitions = make([]kmsg.ListOffsetsResponseTopicPartition, len(asked.Partitions))
		for j := range asked.Partitions {
			if often[messages.TopicPartition{Topic: asked.Topic, Partition: asked.Partitions[j].Partition}] {
				t.Partitions[j] = noOffset(asked.Partitions[j].Partition, errNamedOften)
				continue
			}
			if req.ReplicaID == anyReplica {
				t.Partitions[j] = b.listHeld(asked.Topic, &asked.Partitions[j])
				continue
			}
			t.Partitions[j] = b.listOffset(ctx, req.Version, asked.Topic, &asked.Partitions[j])
		}
	}
	return resp
}

// namedOften are the partitions that a request names more than once. They are not
// answered, as in Kafka: a search by time may read and unpack a whole batch.
func namedOften(req *kmsg.ListOffsetsRequest) map[messages.TopicPartition]bool {
	often := make(map[messages.TopicPartition]bool)
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			tp := messages.TopicPartition{Topic: req.Topics[i].Topic, Partition: req.Topics[i].Partitions[j].Partition}
			_, again := often[tp]
			often[tp] = again
		}
	}
	return often
}

// noOffset is the answer for a partition that has none because of an error.
func noOffset(partition int32, err error) kmsg.ListOffsetsResponseTopicPartition {
	p := kmsg.NewListOffsetsResponseTopicPartition()
	p.Partition, p.Offset, p.Timestamp, p.LeaderEpoch = partition, messages.NoOffset, messages.NoTimestamp, messages.NoEpoch
	p.ErrorCode = messages.Code(err)
	return p
}

func (b *Broker) listOffset(ctx context.Context, version int16, topic string, asked *kmsg.ListOffsetsRequestTopicPartition) kmsg.ListOffsetsResponseTopicPartition {
	p := kmsg.NewListOffsetsResponseTopicPartition()
	p.Partition = asked.Partition
	local, view, err := b.leading(ctx, messages.TopicPartition{Topic: topic, Partition: asked.Partition}, asked.CurrentLeaderEpoch)
	if err == nil {
		if p.Offset, p.Timestamp, p.LeaderEpoch, err = b.findOffset(&view, asked.Timestamp); err != nil {
			local.ReadFailed(err)
		}
	}
	if err == errSettling && version < 5 {
		err = errNotYet
	}
	if err != nil {
		p.ErrorCode = messages.Code(err)
		p.Offset, p.Timestamp, p.LeaderEpoch = messages.NoOffset, messages.NoTimestamp, messages.NoEpoch
	}
	if version == 0 && err == nil && p.Offset >= 0 && asked.MaxNumOffsets > 0 {
		p.OldStyleOffsets = []int64{p.Offset}
	}
	return p
}

// While a new leader does not know what its predecessors committed, the end is not
// known either (KIP-207). Clients of old do not know that error.
var (
	errSettling = messages.E("list offsets", messages.OffsetNotAvailable, "", nil)
	errNotYet   = messages.E("list offsets", messages.LeaderNotAvailable, "", nil)
)

// findOffset finds an offset by its time. For a search as many may unpack a batch at a
// time as there is memory for.
func (b *Broker) findOffset(view *View, timestamp int64) (messages.Offset, int64, messages.LeaderEpoch, error) {
	if timestamp >= 0 || timestamp == newestTimestamp {
		if err := b.unpacking.Acquire(new(wire.Holder), MaxUnpacked); err != nil {
			return 0, 0, 0, err
		}
		defer b.unpacking.Release(MaxUnpacked)
	}
	switch {
	case view.Settling && (timestamp == latestOffset || timestamp == newestTimestamp):
		return 0, 0, 0, errSettling
	case timestamp == latestOffset:
		return view.HighWatermark, messages.NoTimestamp, view.Epoch, nil
	case timestamp == earliestOffset, timestamp == earliestLocalOffset:
		return view.LogStart, messages.NoTimestamp, view.epochAt(view.LogStart), nil
	case timestamp == newestTimestamp:
		return view.Log.MaxTimestamp()
	case timestamp == tieredOffset:
		return messages.NoOffset, messages.NoTimestamp, messages.NoEpoch, nil
	case timestamp < 0:
		return 0, 0, 0, errSpecialTime
	}
	return view.Log.OffsetForTime(timestamp)
}

// epochAt is the leader epoch of the record at an offset.
func (v *View) epochAt(offset messages.Offset) messages.LeaderEpoch {
	epoch := messages.NoEpoch
	for _, e := range v.Epochs {
		if e.Start <= offset {
			epoch = e.Epoch
		}
	}
	return epoch
}

// leading finds a partition that this broker leads, in the epoch that the client
// knows of (-1: any), or will in a moment; see passing.
func (b *Broker) leading(ctx context.Context, tp messages.TopicPartition, known messages.LeaderEpoch) (Partition, View, error) {
	p, view, err := b.leads(tp, known)
	if err == nil {
		return p, view, nil
	}
	b.awaitImage(ctx, func(image *metadata.Image) bool { return b.passing(image, err, tp.Topic, tp.Partition, known) })
	return b.leads(tp, known) // the news may have come since the first look
}

func (b *Broker) leads(tp messages.TopicPartition, known messages.LeaderEpoch) (Partition, View, error) {
	p, err := b.local(tp)
	if err != nil {
		return nil, View{}, err
	}
	view := p.View()
	return p, view, view.check(known)
}

// local finds the local replica of a partition, or says why there is none.
func (b *Broker) local(tp messages.TopicPartition) (Partition, error) {
	if b.deps.Image().Partition(tp) == nil {
		return nil, errNoTopic
	}
	if p := b.deps.Partitions.Lookup(tp); p != nil {
		return p, nil
	}
	return nil, errElsewhere
}
