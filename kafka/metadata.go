package kafka

import (
	"context"
	"iter"
	"math"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/actors/controller"
	"understudy/cluster/metadata"
	"understudy/cluster/topicconfig"
	"understudy/messages"
)

// Metadata (key 3).
//
//	0   no topics named: all topics are meant
//	1   null: all topics, empty: none; controller, racks, internal topics
//	2   cluster id
//	3   throttle time
//	4   the client says whether missing topics may be created
//	5   offline replicas
//	7   leader epochs
//	8   authorized operations, which are not told
//	9   flexible
//	10  topic ids
//	12  topics asked for by id
//
// librdkafka 2.16 leaves three bytes behind when it asks for all topics in a
// flexible version.
func metadataAPI() api {
	return api{
		key: 3, name: "Metadata", max: 12, flexible: 9, trailing: true,
		shape: `[{10+:uuid 0-9:string 10+:string?}] 4+:bool 8-10:bool 8+:bool`,
		answer: func(ctx context.Context, b *Broker, _ *call, req kmsg.Request) kmsg.Response {
			if resp := b.metadata(ctx, req.(*kmsg.MetadataRequest)); resp != nil {
				return resp
			}
			return nil
		},
	}
}

// noOperations is what an answer says when authorized operations are not told.
const noOperations = math.MinInt32

// metadata is the answer; nil: this broker cannot know it, and whoever asks had better
// ask another. To say so would cost clients seconds: franz-go takes an answer that names
// no leader for as fresh as any, and asked again after five. All topics are told in any
// case, to whoever looks what there is.
func (b *Broker) metadata(ctx context.Context, req *kmsg.MetadataRequest) *kmsg.MetadataResponse {
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	all := req.Topics == nil || req.Version == 0 && len(req.Topics) == 0
	var refused map[string]error
	if !all {
		refused = b.createMissing(ctx, req)
	}
	image := b.settledImage(ctx, func(image *metadata.Image) iter.Seq[*metadata.Topic] {
		if all {
			return image.Topics()
		}
		return wantedTopics(image, req)
	})
	if !all && b.mayBeReplaced(wantedTopics(image, req)) {
		return nil
	}
	for node := range b.brokers(image) {
		n := kmsg.NewMetadataResponseBroker()
		n.NodeID, n.Host, n.Port, n.Rack = node.ID, node.Host, node.Port, nullable(node.Rack)
		resp.Brokers = append(resp.Brokers, n)
	}
	resp.ClusterID = nullable(image.ClusterID)
	resp.ControllerID = b.controllerFor(image)
	resp.AuthorizedOperations = noOperations
	if all {
		for t := range image.Topics() {
			resp.Topics = append(resp.Topics, b.describeTopic(image, t))
		}
		return resp
	}
	told := make(map[controller.TopicRef]bool, len(req.Topics)) // naming a topic often must not make the answer grow
	for _, want := range req.Topics {
		if ref := refOf(want); !told[ref] {
			told[ref] = true
			resp.Topics = append(resp.Topics, b.findTopic(image, ref, refused))
		}
	}
	return resp
}

// wantedTopics are those of the topics asked for that there are, each once.
func wantedTopics(image *metadata.Image, req *kmsg.MetadataRequest) iter.Seq[*metadata.Topic] {
	return func(yield func(*metadata.Topic) bool) {
		seen := make(map[*metadata.Topic]bool, min(len(req.Topics), image.TopicCount()))
		for _, want := range req.Topics {
			t := topicOf(image, refOf(want))
			if t == nil || seen[t] {
				continue
			}
			if seen[t] = true; !yield(t) {
				return
			}
		}
	}
}

// controllerFor is whom clients are told to send changes to. Any broker passes
// them on, so that it is this one while the controller is down.
func (b *Broker) controllerFor(image *metadata.Image) messages.BrokerID {
	if image.Broker(image.Controller).Up() {
		return image.Controller
	}
	return b.deps.Self
}

func refOf(want kmsg.MetadataRequestTopic) controller.TopicRef {
	if want.Topic != nil {
		return controller.TopicRef{Name: *want.Topic}
	}
	return controller.TopicRef{ID: want.TopicID}
}

// nullable is s, or null when it is empty.
func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// createMissing creates the named topics that do not exist, where the client and
// the broker's settings allow it, but none of Kafka's own: those come with their
// first use. It returns why topics could not be created.
func (b *Broker) createMissing(ctx context.Context, req *kmsg.MetadataRequest) map[string]error {
	image := b.deps.Image()
	if req.Version >= 4 && !req.AllowAutoTopicCreation || !b.deps.Defaults(image).Bool(topicconfig.AutoCreateTopics) {
		return nil
	}
	var missing []controller.NewTopic
	var names []string
	seen := make(map[string]bool)
	refused := make(map[string]error)
	for _, t := range req.Topics {
		if t.Topic == nil || seen[*t.Topic] || image.Topic(*t.Topic) != nil || messages.InternalTopic(*t.Topic) {
			continue
		}
		seen[*t.Topic] = true
		if err := messages.CheckTopicName(*t.Topic); err != nil {
			refused[*t.Topic] = err
			continue
		}
		names = append(names, *t.Topic)
		missing = append(missing, controller.NewTopic{Name: *t.Topic, Partitions: -1, ReplicationFactor: -1})
	}
	if len(missing) == 0 {
		return refused
	}
	ctx, cancel := within(ctx, 30_000)
	defer cancel()
	for i, created := range b.deps.Admin.CreateTopics(ctx, missing, false) {
		// That it exists by now is what was wanted.
		if created.Err != nil && messages.KindOf(created.Err) != messages.TopicExists {
			refused[names[i]] = created.Err
		}
	}
	b.deps.Admin.AwaitServing(ctx, names) // a client that is told of a leader expects it to lead
	return refused
}

// localPartitions appends those of a topic's partitions that have a replica here.
func (b *Broker) localPartitions(tps []messages.TopicPartition, t *metadata.Topic) []messages.TopicPartition {
	for i := range t.Partitions {
		if slices.Contains(t.Partitions[i].Replicas, b.deps.Self) {
			tps = append(tps, messages.TopicPartition{Topic: t.Name, Partition: int32(i)})
		}
	}
	return tps
}

// topicOf is the topic that is meant, or nil.
func topicOf(image *metadata.Image, ref controller.TopicRef) *metadata.Topic {
	if ref.Name == "" && !ref.ID.IsZero() {
		return image.TopicByID(ref.ID)
	}
	return image.Topic(ref.Name)
}

func (b *Broker) findTopic(image *metadata.Image, ref controller.TopicRef, refused map[string]error) kmsg.MetadataResponseTopic {
	if t := topicOf(image, ref); t != nil {
		return b.describeTopic(image, t)
	}
	none := kmsg.NewMetadataResponseTopic()
	none.AuthorizedOperations = noOperations
	err := refused[ref.Name]
	if ref.Name == "" && !ref.ID.IsZero() {
		none.TopicID, none.ErrorCode = ref.ID, messages.UnknownTopicID.Code()
		return none
	}
	none.Topic = &ref.Name
	if err == nil {
		err = messages.CheckTopicName(ref.Name)
	}
	if none.ErrorCode = messages.Code(err); err == nil {
		none.ErrorCode = messages.UnknownTopicOrPartition.Code()
	}
	return none
}

func (b *Broker) describeTopic(image *metadata.Image, t *metadata.Topic) kmsg.MetadataResponseTopic {
	d := kmsg.NewMetadataResponseTopic()
	d.Topic, d.TopicID, d.IsInternal, d.AuthorizedOperations = &t.Name, t.ID, t.Internal, noOperations
	d.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(t.Partitions))
	for i := range t.Partitions {
		known, p := &t.Partitions[i], &d.Partitions[i]
		p.Default()
		p.Partition, p.Leader, p.LeaderEpoch = int32(i), known.Leader, known.LeaderEpoch
		p.Replicas, p.ISR, p.OfflineReplicas = known.Replicas, known.ISR, offline(image, known)
		if known.Leader == b.deps.Self && b.isolated(messages.TopicPartition{Topic: t.Name, Partition: int32(i)}) {
			p.Leader = messages.NoBroker
		}
		if p.Leader == messages.NoBroker {
			p.ErrorCode = messages.LeaderNotAvailable.Code()
		}
	}
	return d
}

// mayBeReplaced reports whether this broker leads one of some topics' partitions as far
// as it knows, and may have been replaced.
func (b *Broker) mayBeReplaced(topics iter.Seq[*metadata.Topic]) bool {
	for t := range topics {
		for i := range t.Partitions {
			if t.Partitions[i].Leader == b.deps.Self && b.isolated(messages.TopicPartition{Topic: t.Name, Partition: int32(i)}) {
				return true
			}
		}
	}
	return false
}

// isolated reports whether this broker leads a partition as far as it knows, and
// may have been replaced: then it sends nobody to itself.
func (b *Broker) isolated(tp messages.TopicPartition) bool {
	p := b.deps.Partitions.Lookup(tp)
	return p != nil && p.View().Isolated
}

// brokers are those that clients can turn to: who is up, or will be soon, and in
// any case this one.
func (b *Broker) brokers(image *metadata.Image) iter.Seq[*metadata.Broker] {
	return func(yield func(*metadata.Broker) bool) {
		for i := range image.Brokers {
			if node := &image.Brokers[i]; b.present(node) && !yield(node) {
				return
			}
		}
	}
}

func (b *Broker) present(node *metadata.Broker) bool {
	return node.Up() || node.ID == b.deps.Self || b.deps.Elections.Leaving(node.ID)
}

// offline are the replicas of a partition whose brokers are not up.
func offline(image *metadata.Image, p *metadata.Partition) []messages.BrokerID {
	var ids []messages.BrokerID
	for _, id := range p.Replicas {
		if !image.Broker(id).Up() {
			ids = append(ids, id)
		}
	}
	return ids
}
