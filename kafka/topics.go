package kafka

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/actors/controller"
	"understudy/messages"
)

// within is a context that ends when a request's own timeout has passed, which is
// bounded: a client that is gone must not hold anything for ever.
func within(ctx context.Context, timeoutMs int32) (context.Context, context.CancelFunc) {
	const longest = 5 * time.Minute
	timeout := time.Duration(timeoutMs) * time.Millisecond
	if timeout <= 0 || timeout > longest {
		timeout = longest
	}
	return context.WithTimeout(ctx, timeout)
}

// CreateTopics (key 19).
//
//	1  validate only, error messages
//	2  throttle time
//	4  -1 for the broker's default number of partitions and replicas
//	5  flexible; the answer tells partitions, replicas and settings
//	7  topic ids
func createTopicsAPI() api {
	return api{
		key: 19, name: "CreateTopics", max: 7, flexible: 5,
		shape:  `[{string int32 int16 [{int32 [int32]}] [{string string?}]}] int32 1+:bool`,
		answer: answers((*Broker).createTopics),
	}
}

// awaitServing returns when the leaders of topics that have just been made, or been
// made larger, serve. Others are not waited for: theirs may be away for long.
func (b *Broker) awaitServing(ctx context.Context, topics []string) {
	if len(topics) > 0 {
		b.deps.Admin.AwaitServing(ctx, topics)
	}
}

// createTopics returns when the topics' leaders serve.
func (b *Broker) createTopics(ctx context.Context, req *kmsg.CreateTopicsRequest) *kmsg.CreateTopicsResponse {
	ctx, cancel := within(ctx, req.TimeoutMillis)
	defer cancel()
	resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
	var wanted []controller.NewTopic
	var slots []int // of wanted in resp.Topics
	for i := range req.Topics {
		r := kmsg.NewCreateTopicsResponseTopic()
		r.Topic, r.NumPartitions, r.ReplicationFactor = req.Topics[i].Topic, -1, -1
		n, err := newTopic(&req.Topics[i])
		if err != nil {
			r.ErrorCode, r.ErrorMessage = errorOf(err)
		} else {
			wanted, slots = append(wanted, n), append(slots, i)
		}
		resp.Topics = append(resp.Topics, r)
	}
	if len(wanted) == 0 {
		return resp
	}
	results := b.deps.Admin.CreateTopics(ctx, wanted, req.ValidateOnly)
	var created []string
	for i := range results {
		if results[i].Err == nil && !req.ValidateOnly {
			created = append(created, results[i].Name)
		}
	}
	b.awaitServing(ctx, created)
	for i := range results {
		describeCreated(&resp.Topics[slots[i]], &results[i])
	}
	return resp
}

var (
	errAssignment = messages.E("create topic", messages.InvalidReplicaAssignment, "", errors.New("partitions must be numbered from 0, each once"))
	errNoValue    = messages.E("create topic", messages.InvalidConfig, "", errors.New("a setting has no value"))
)

func newTopic(t *kmsg.CreateTopicsRequestTopic) (controller.NewTopic, error) {
	n := controller.NewTopic{
		Name: t.Topic, Partitions: t.NumPartitions, ReplicationFactor: t.ReplicationFactor,
		Config: make(map[string]string, len(t.Configs)),
	}
	for _, c := range t.Configs {
		if c.Value == nil {
			return n, errNoValue
		}
		n.Config[c.Name] = *c.Value
	}
	if len(t.ReplicaAssignment) == 0 {
		return n, nil
	}
	n.Assignments = make([][]messages.BrokerID, len(t.ReplicaAssignment))
	for _, a := range t.ReplicaAssignment {
		if a.Partition < 0 || int(a.Partition) >= len(n.Assignments) || n.Assignments[a.Partition] != nil {
			return n, errAssignment
		}
		n.Assignments[a.Partition] = append([]messages.BrokerID{}, a.Replicas...)
	}
	return n, nil
}

// describeCreated tells how the creation of a topic ended and, if well, what the
// topic is like.
func describeCreated(r *kmsg.CreateTopicsResponseTopic, c *controller.TopicResult) {
	if r.ErrorCode, r.ErrorMessage = errorOf(c.Err); c.Err != nil {
		return
	}
	r.TopicID, r.NumPartitions, r.ReplicationFactor = c.ID, c.Partitions, c.ReplicationFactor
	for i := range c.Config {
		e, entry := &c.Config[i], kmsg.NewCreateTopicsResponseTopicConfig()
		entry.Name, entry.Value, entry.ReadOnly, entry.Source, entry.IsSensitive = e.Name, shown(e), e.ReadOnly, int8(e.Source), e.Sensitive
		r.Configs = append(r.Configs, entry)
	}
}

// DeleteTopics (key 20).
//
//	1  throttle time
//	4  flexible
//	5  error messages
//	6  topics by id
func deleteTopicsAPI() api {
	return api{
		key: 20, name: "DeleteTopics", max: 6, flexible: 4,
		shape:  `0-5:[string] 6+:[{string? uuid}] int32`,
		answer: answers((*Broker).deleteTopics),
	}
}

func (b *Broker) deleteTopics(ctx context.Context, req *kmsg.DeleteTopicsRequest) *kmsg.DeleteTopicsResponse {
	ctx, cancel := within(ctx, req.TimeoutMillis)
	defer cancel()
	var refs []controller.TopicRef
	for _, name := range req.TopicNames {
		refs = append(refs, controller.TopicRef{Name: name})
	}
	for _, t := range req.Topics {
		ref := controller.TopicRef{ID: t.TopicID}
		if t.Topic != nil {
			ref.Name = *t.Topic
		}
		refs = append(refs, ref)
	}
	resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
	if len(refs) == 0 {
		return resp
	}
	for _, result := range b.deps.Admin.DeleteTopics(ctx, refs) {
		t := kmsg.NewDeleteTopicsResponseTopic()
		t.Topic, t.TopicID = nullable(result.Name), result.ID
		if t.Topic == nil && req.Version < 6 {
			t.Topic = &result.Name
		}
		t.ErrorCode, t.ErrorMessage = errorOf(result.Err)
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

// CreatePartitions (key 37).
//
//	1  throttle time is told after the request is done
//	2  flexible
//	3  the same
func createPartitionsAPI() api {
	return api{
		key: 37, name: "CreatePartitions", max: 3, flexible: 2,
		shape:  `[{string int32 [{[int32]}]}] int32 bool`,
		answer: answers((*Broker).createPartitions),
	}
}

func (b *Broker) createPartitions(ctx context.Context, req *kmsg.CreatePartitionsRequest) *kmsg.CreatePartitionsResponse {
	ctx, cancel := within(ctx, req.TimeoutMillis)
	defer cancel()
	resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
	var changes []controller.NewPartitions
	for _, t := range req.Topics {
		n := controller.NewPartitions{Topic: t.Topic, Count: t.Count}
		for _, a := range t.Assignment {
			n.Assignments = append(n.Assignments, a.Replicas)
		}
		changes = append(changes, n)
	}
	if len(changes) == 0 {
		return resp
	}
	results := b.deps.Admin.CreatePartitions(ctx, changes, req.ValidateOnly)
	var grown []string
	for i := range results {
		if results[i].Err == nil && !req.ValidateOnly {
			grown = append(grown, results[i].Topic)
		}
	}
	b.awaitServing(ctx, grown)
	for _, result := range results {
		t := kmsg.NewCreatePartitionsResponseTopic()
		t.Topic = result.Topic
		t.ErrorCode, t.ErrorMessage = errorOf(result.Err)
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}
