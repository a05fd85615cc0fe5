package kafka

import (
	"context"
	"errors"
	"sort"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/cluster/metadata"
	"understudy/messages"
)

// DescribeCluster (key 60).
//
//	1  which kind of endpoint is meant: brokers (1) or controllers (2)
//	2  fenced brokers, which are not told of: of one that is down there is nothing to ask
func describeClusterAPI() api {
	return api{
		key: 60, name: "DescribeCluster", max: 2, flexible: 0,
		shape:  `bool 1+:int8 2+:bool`,
		answer: answers((*Broker).describeCluster),
	}
}

var errEndpoint = messages.E("", messages.UnsupportedVersion, "", errors.New("controllers have no endpoints of their own: ask for brokers"))

func (b *Broker) describeCluster(_ context.Context, req *kmsg.DescribeClusterRequest) *kmsg.DescribeClusterResponse {
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	resp.EndpointType = req.EndpointType
	resp.ClusterAuthorizedOperations = noOperations
	if req.Version >= 1 && req.EndpointType != 1 {
		resp.ErrorCode, resp.ErrorMessage = errorOf(errEndpoint)
		return resp
	}
	image := b.deps.Image()
	resp.ClusterID, resp.ControllerID = image.ClusterID, b.controllerFor(image)
	for i := range image.Brokers {
		node := &image.Brokers[i]
		down := !b.present(node)
		if down && !req.IncludeFencedBrokers {
			continue
		}
		n := kmsg.NewDescribeClusterResponseBroker()
		n.NodeID, n.Host, n.Port, n.Rack, n.IsFenced = node.ID, node.Host, node.Port, nullable(node.Rack), down
		resp.Brokers = append(resp.Brokers, n)
	}
	return resp
}

// DescribeTopicPartitions (key 75): topics' partitions in pages.
func describeTopicPartitionsAPI() api {
	return api{
		key: 75, name: "DescribeTopicPartitions", max: 0, flexible: 0,
		shape:  `[{string}] int32 ?{string int32}`,
		answer: answers((*Broker).describeTopicPartitions),
	}
}

// pageLimit is the most partitions that one page has.
const pageLimit = 2000

func (b *Broker) describeTopicPartitions(_ context.Context, req *kmsg.DescribeTopicPartitionsRequest) *kmsg.DescribeTopicPartitionsResponse {
	resp := req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
	image := b.deps.Image()
	var names []string
	if len(req.Topics) == 0 {
		for t := range image.Topics() {
			names = append(names, t.Name)
		}
	}
	for _, t := range req.Topics {
		names = append(names, t.Topic)
	}
	sort.Strings(names)
	left := int(req.ResponsePartitionLimit)
	if left <= 0 || left > pageLimit {
		left = pageLimit
	}
	for i, name := range names {
		from := int32(0)
		if c := req.Cursor; c != nil {
			if name < c.Topic {
				continue
			}
			if name == c.Topic {
				from = max(c.Partition, 0)
			}
		}
		if i > 0 && name == names[i-1] {
			continue
		}
		if left <= 0 {
			resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name, Partition: from}
			return resp
		}
		t, next := describePage(image, name, from, left)
		resp.Topics = append(resp.Topics, t)
		left -= max(len(t.Partitions), 1) // unknown topics count too
		if next >= 0 {
			resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name, Partition: next}
			return resp
		}
	}
	return resp
}

// describePage describes at most limit partitions of a topic; next is the first
// that did not fit, or -1.
func describePage(image *metadata.Image, name string, from int32, limit int) (d kmsg.DescribeTopicPartitionsResponseTopic, next int32) {
	d = kmsg.NewDescribeTopicPartitionsResponseTopic()
	d.Topic, d.AuthorizedOperations = &name, noOperations
	t := image.Topic(name)
	if t == nil {
		err := messages.CheckTopicName(name)
		if d.ErrorCode = messages.Code(err); err == nil {
			d.ErrorCode = messages.UnknownTopicOrPartition.Code()
		}
		return d, -1
	}
	d.TopicID, d.IsInternal = t.ID, t.Internal
	for i := int(from); i < len(t.Partitions); i++ {
		if len(d.Partitions) == limit {
			return d, int32(i)
		}
		known := &t.Partitions[i]
		p := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		p.Partition, p.LeaderID, p.LeaderEpoch = int32(i), known.Leader, known.LeaderEpoch
		p.Replicas, p.ISR, p.OfflineReplicas = known.Replicas, known.ISR, offline(image, known)
		// There are no such replicas here (KIP-966): Java's tools want an empty list, not null.
		p.EligibleLeaderReplicas, p.LastKnownELR = []int32{}, []int32{}
		if known.Leader == messages.NoBroker {
			p.ErrorCode = messages.LeaderNotAvailable.Code()
		}
		d.Partitions = append(d.Partitions, p)
	}
	return d, -1
}

// DescribeLogDirs (key 35).
//
//	1  throttle time is told after the request is done
//	2  flexible
//	3  an error of the whole request
//	4  sizes of the disk
func describeLogDirsAPI() api {
	return api{
		key: 35, name: "DescribeLogDirs", max: 4, flexible: 2,
		shape:  `[{string [int32]}]`,
		answer: answers((*Broker).describeLogDirs),
	}
}

func (b *Broker) describeLogDirs(_ context.Context, req *kmsg.DescribeLogDirsRequest) *kmsg.DescribeLogDirsResponse {
	resp := req.ResponseKind().(*kmsg.DescribeLogDirsResponse)
	image := b.deps.Image()
	dir := kmsg.NewDescribeLogDirsResponseDir()
	dir.Dir = b.deps.LogDir
	dir.TotalBytes, dir.UsableBytes = b.deps.Space()
	if req.Topics == nil {
		for t := range image.Topics() {
			dir.Topics = b.appendSizes(dir.Topics, t.Name, b.localPartitions(nil, t))
		}
	}
	wanted := make(map[messages.TopicPartition]bool)
	for _, asked := range req.Topics {
		var tps []messages.TopicPartition
		for _, n := range asked.Partitions {
			tp := messages.TopicPartition{Topic: asked.Topic, Partition: n}
			if !wanted[tp] && image.Partition(tp) != nil {
				wanted[tp] = true
				tps = append(tps, tp)
			}
		}
		dir.Topics = b.appendSizes(dir.Topics, asked.Topic, tps)
	}
	resp.Dirs = append(resp.Dirs, dir)
	return resp
}

// appendSizes appends a topic with the sizes of those of its partitions that
// have a replica here, if any.
func (b *Broker) appendSizes(topics []kmsg.DescribeLogDirsResponseDirTopic, name string, tps []messages.TopicPartition) []kmsg.DescribeLogDirsResponseDirTopic {
	t := kmsg.NewDescribeLogDirsResponseDirTopic()
	t.Topic = name
	for _, tp := range tps {
		if where := b.deps.Partitions.Lookup(tp); where != nil {
			p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
			p.Partition, p.Size = tp.Partition, where.Size()
			t.Partitions = append(t.Partitions, p)
		}
	}
	if len(t.Partitions) == 0 {
		return topics
	}
	return append(topics, t)
}

// DescribeProducers (key 61): the idempotent producers that partitions remember.
func describeProducersAPI() api {
	return api{
		key: 61, name: "DescribeProducers", max: 0, flexible: 0,
		shape:  `[{string [int32]}]`,
		answer: answers((*Broker).describeProducers),
	}
}

func (b *Broker) describeProducers(ctx context.Context, req *kmsg.DescribeProducersRequest) *kmsg.DescribeProducersResponse {
	ctx, cancel := within(ctx, 30_000)
	defer cancel()
	resp := req.ResponseKind().(*kmsg.DescribeProducersResponse)
	told := make(map[messages.TopicPartition]bool)
	for _, asked := range req.Topics {
		t := kmsg.NewDescribeProducersResponseTopic()
		t.Topic = asked.Topic
		for _, n := range asked.Partitions {
			if tp := (messages.TopicPartition{Topic: asked.Topic, Partition: n}); !told[tp] {
				told[tp] = true
				t.Partitions = append(t.Partitions, b.producersOf(ctx, tp))
			}
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

func (b *Broker) producersOf(ctx context.Context, tp messages.TopicPartition) kmsg.DescribeProducersResponseTopicPartition {
	p := kmsg.NewDescribeProducersResponseTopicPartition()
	p.Partition = tp.Partition
	where, err := b.local(tp)
	if err == nil {
		err = where.View().Err
	}
	if err != nil {
		p.ErrorCode, p.ErrorMessage = errorOf(err)
		return p
	}
	list, err := where.Producers(ctx)
	p.ErrorCode, p.ErrorMessage = errorOf(err)
	for _, known := range list {
		a := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
		a.ProducerID, a.ProducerEpoch, a.LastSequence = known.ID, int32(known.Epoch), known.LastSequence
		a.LastTimestamp, a.CoordinatorEpoch, a.CurrentTxnStartOffset = known.LastTimestamp, known.CoordinatorEpoch, known.TxnStart
		p.ActiveProducers = append(p.ActiveProducers, a)
	}
	return p
}
