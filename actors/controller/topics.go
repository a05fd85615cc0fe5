package controller

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"understudy/cluster/metadata"
	"understudy/cluster/placement"
	"understudy/cluster/topicconfig"
	"understudy/messages"
)

// NewTopic asks for a topic.
type NewTopic struct {
	Name              string
	Partitions        int32                 // -1: the broker's default
	ReplicationFactor int16                 // -1: the broker's default
	Assignments       [][]messages.BrokerID // replicas by partition, instead of the two above (-1 then); nil: placed by the controller
	Config            map[string]string     // overrides
}

// TopicResult is what became of a NewTopic. If Err is set, only Name is.
type TopicResult struct {
	Name              string
	ID                messages.TopicID // zero if only validated
	Partitions        int32
	ReplicationFactor int16
	Config            []topicconfig.Entry // every setting, in effect
	Err               error
}

// maxPartitionsPerRequest bounds one transaction, as in Kafka.
const maxPartitionsPerRequest = 10_000

// createTopics creates topics, each for itself.
type createTopics struct {
	topics       []NewTopic
	validateOnly bool
	results      []TopicResult
}

func (c *createTopics) decide(d *decision) error {
	if err := d.lead(); err != nil {
		return err
	}
	c.results = make([]TopicResult, len(c.topics))
	names := map[string]int{}
	for _, t := range c.topics {
		names[t.Name]++
	}
	room := maxPartitionsPerRequest
	for i, t := range c.topics {
		r := &c.results[i]
		if names[t.Name] > 1 {
			r.Err = refuse("create topic", messages.InvalidRequest, t.Name, "comes more than once in the request")
		} else {
			*r = d.createTopic(t, c.validateOnly, &room)
		}
		r.Name = t.Name
	}
	return nil
}

// createTopic checks and creates one topic; room is how many partitions the
// request may still create.
func (d *decision) createTopic(t NewTopic, validateOnly bool, room *int) TopicResult {
	fail := func(err error) TopicResult { return TopicResult{Err: err} }
	if err := d.nameIsFree(t.Name); err != nil {
		return fail(err)
	}
	overrides, err := topicconfig.Topic.Alter(nil, topicconfig.Replace(nil, t.Config), d.defaults())
	if err == nil {
		err = topicconfig.Check(overrides, d.defaults())
	}
	if err != nil {
		return fail(err)
	}
	assignments, err := d.assign(t, *room)
	if err != nil {
		return fail(err)
	}
	*room -= len(assignments)
	r := TopicResult{
		Partitions: int32(len(assignments)), ReplicationFactor: int16(len(assignments[0])),
		Config: topicconfig.DescribeTopic(overrides, d.defaults()),
	}
	if validateOnly {
		return r
	}
	r.ID = d.newTopicID()
	topic := &metadata.Topic{Name: t.Name, ID: r.ID, Internal: messages.InternalTopic(t.Name), Config: overrides, Partitions: d.newPartitions(assignments)}
	d.edit.CreateTopic(topic)
	d.placed(assignments)
	if d.lookalike != nil {
		d.lookalike[flatten(t.Name)] = t.Name
	}
	d.event(TopicCreated{Name: t.Name, ID: r.ID, Partitions: len(assignments), Replicas: len(assignments[0]), Config: overrides})
	return r
}

func (d *decision) nameIsFree(name string) error {
	if err := messages.CheckTopicName(name); err != nil {
		return err
	}
	if d.image().Topic(name) != nil {
		return messages.E("create topic", messages.TopicExists, name, nil)
	}
	if other, ok := d.collision(name); ok {
		return refuse("create topic", messages.InvalidTopic, name, "differs from topic "+other+" only in '.' and '_'")
	}
	return nil
}

// assign gives the replicas of a new topic's partitions.
func (d *decision) assign(t NewTopic, room int) ([][]messages.BrokerID, error) {
	if t.Assignments != nil {
		return d.assignByHand(t, room)
	}
	partitions, factor := int64(t.Partitions), int64(t.ReplicationFactor)
	if partitions == -1 {
		partitions = d.defaults().Int(topicconfig.NumPartitions)
	}
	if factor == -1 {
		factor = d.defaults().Int(topicconfig.DefaultReplicationFactor)
	}
	if partitions < 1 {
		return nil, refuse("create topic", messages.InvalidPartitions, t.Name, fmt.Sprintf("%d partitions, want at least 1", partitions))
	}
	if factor < 1 {
		return nil, refuse("create topic", messages.InvalidReplicationFactor, t.Name, fmt.Sprintf("replication factor %d, want at least 1", factor))
	}
	return d.place(t.Name, int(partitions), int(factor), room)
}

// place chooses replicas for so many new partitions of a topic.
func (d *decision) place(topic string, partitions, factor, room int) ([][]messages.BrokerID, error) {
	if factor <= len(d.loads()) { // else placement says so
		if err := d.fits(topic, partitions, factor, room); err != nil {
			return nil, err
		}
	}
	placed, err := placement.Place(d.loads(), partitions, factor, d.seed())
	if err != nil {
		return nil, messages.E("create topic", messages.Unknown, topic, err)
	}
	return placed, nil
}

// fits checks the limits: partitions of one request, replicas of all brokers.
func (d *decision) fits(topic string, partitions, factor, room int) error {
	if partitions > room {
		return refuse("create partitions", messages.PolicyViolation, topic,
			fmt.Sprintf("more than %d partitions in one request", maxPartitionsPerRequest))
	}
	brokers := len(d.loads())
	limit := int(d.defaults().Int(topicconfig.MaxPartitions)) * brokers
	if more := partitions * factor; d.replicas+more > limit {
		return refuse("create partitions", messages.PolicyViolation, topic,
			fmt.Sprintf("%d replicas more than the %d there are would be above %s for %d brokers, %d",
				more, d.replicas, topicconfig.MaxPartitions, brokers, limit))
	}
	return nil
}

func (d *decision) assignByHand(t NewTopic, room int) ([][]messages.BrokerID, error) {
	if t.Partitions != -1 || t.ReplicationFactor != -1 {
		return nil, refuse("create topic", messages.InvalidRequest, t.Name, "has both an assignment and a number of partitions or replicas")
	}
	if len(t.Assignments) == 0 {
		return nil, refuse("create topic", messages.InvalidReplicaAssignment, t.Name, "has an assignment of no partitions")
	}
	return d.check(t.Name, t.Assignments, 0, room)
}

// check accepts an assignment that somebody made by hand. At least one replica
// of each partition must be up to lead.
func (d *decision) check(topic string, assignments [][]messages.BrokerID, factor, room int) ([][]messages.BrokerID, error) {
	known := func(id messages.BrokerID) bool { return d.image().Broker(id) != nil }
	if err := placement.Check(assignments, factor, known); err != nil {
		return nil, messages.E("create partitions", messages.Unknown, topic, err)
	}
	for n, replicas := range assignments {
		if len(d.up(replicas)) == 0 {
			return nil, refuse("create partitions", messages.InvalidReplicaAssignment, topic, fmt.Sprintf("partition %d: none of brokers %v is up", n, replicas))
		}
	}
	if err := d.fits(topic, len(assignments), len(assignments[0]), room); err != nil {
		return nil, err
	}
	return assignments, nil
}

// up are those of the brokers that are up, in the same order.
func (d *decision) up(ids []messages.BrokerID) []messages.BrokerID {
	var up []messages.BrokerID
	for _, id := range ids {
		if d.isUp(id) {
			up = append(up, id)
		}
	}
	return up
}

// newPartitions begin with all replicas in sync that are up: none has anything.
func (d *decision) newPartitions(assignments [][]messages.BrokerID) []metadata.Partition {
	list := make([]metadata.Partition, len(assignments))
	for i, replicas := range assignments {
		isr := d.up(replicas)
		leader := slices.IndexFunc(isr, func(id messages.BrokerID) bool { return !d.isDraining(id) })
		list[i] = metadata.Partition{Replicas: replicas, ISR: isr, Leader: isr[max(leader, 0)]}
	}
	return list
}

// TopicRef names a topic by one of its name and its id.
type TopicRef struct {
	Name string
	ID   messages.TopicID
}

// DeleteResult is what became of a deletion. Name and ID are both set if the
// topic was found.
type DeleteResult struct {
	Name string
	ID   messages.TopicID
	Err  error
}

type deleteTopics struct {
	refs    []TopicRef
	results []DeleteResult
}

func (c *deleteTopics) decide(d *decision) error {
	if err := d.lead(); err != nil {
		return err
	}
	allowed := d.defaults().Bool(topicconfig.DeleteTopicEnable)
	c.results = make([]DeleteResult, len(c.refs))
	asked := map[*metadata.Topic]int{}
	found := make([]*metadata.Topic, len(c.refs))
	for i, ref := range c.refs {
		t, err := d.find(ref)
		found[i] = t
		asked[t]++
		c.results[i] = DeleteResult{Name: ref.Name, ID: ref.ID, Err: err}
	}
	for i, t := range found {
		r := &c.results[i]
		switch {
		case r.Err != nil:
		case asked[t] > 1:
			r.Err = refuse("delete topic", messages.InvalidRequest, t.Name, "comes more than once in the request")
		case !allowed:
			r.Err = refuse("delete topic", messages.TopicDeletionDisabled, t.Name, topicconfig.DeleteTopicEnable+" is false")
		default:
			r.Name, r.ID = t.Name, t.ID
			d.edit.DeleteTopic(t.Name)
			d.event(TopicDeleted{Name: t.Name, ID: t.ID})
			d.forgetLoads()
		}
	}
	return nil
}

func (d *decision) find(ref TopicRef) (*metadata.Topic, error) {
	switch {
	case ref.Name != "" && !ref.ID.IsZero():
		return nil, refuse("topic", messages.InvalidRequest, ref.Name, "is named by name and by id")
	case ref.Name != "":
		if t := d.image().Topic(ref.Name); t != nil {
			return t, nil
		}
		return nil, messages.E("topic", messages.UnknownTopicOrPartition, ref.Name, nil)
	case !ref.ID.IsZero():
		if t := d.image().TopicByID(ref.ID); t != nil {
			return t, nil
		}
		return nil, messages.E("topic", messages.UnknownTopicID, ref.ID.String(), nil)
	}
	return nil, refuse("topic", messages.InvalidRequest, "", "has neither name nor id")
}

// NewPartitions asks that a topic have more partitions.
type NewPartitions struct {
	Topic       string
	Count       int32                 // in all, not how many more
	Assignments [][]messages.BrokerID // replicas of the new ones; nil: placed by the controller
}

// PartitionsResult is what became of NewPartitions.
type PartitionsResult struct {
	Topic string
	Err   error
}

type createPartitions struct {
	topics       []NewPartitions
	validateOnly bool
	results      []PartitionsResult
}

func (c *createPartitions) decide(d *decision) error {
	if err := d.lead(); err != nil {
		return err
	}
	c.results = make([]PartitionsResult, len(c.topics))
	names := map[string]int{}
	for _, t := range c.topics {
		names[t.Topic]++
	}
	room := maxPartitionsPerRequest
	for i, t := range c.topics {
		c.results[i].Topic = t.Topic
		if names[t.Topic] > 1 {
			c.results[i].Err = refuse("create partitions", messages.InvalidRequest, t.Topic, "comes more than once in the request")
			continue
		}
		c.results[i].Err = d.createPartitions(t, c.validateOnly, &room)
	}
	return nil
}

func (d *decision) createPartitions(want NewPartitions, validateOnly bool, room *int) error {
	t, err := d.find(TopicRef{Name: want.Topic})
	if err != nil {
		return err
	}
	if t.Internal { // what is kept there is found by its hash, modulo the number of partitions
		return refuse("create partitions", messages.InvalidPartitions, t.Name, "is an internal topic, whose number of partitions cannot change")
	}
	have := len(t.Partitions)
	more := int(want.Count) - have
	if more <= 0 {
		return refuse("create partitions", messages.InvalidPartitions, t.Name, fmt.Sprintf("has %d partitions already, want more than that, not %d", have, want.Count))
	}
	factor := len(wanted(&t.Partitions[0]))
	var assignments [][]messages.BrokerID
	switch {
	case want.Assignments == nil:
		assignments, err = d.place(t.Name, more, factor, *room)
	case len(want.Assignments) != more:
		return refuse("create partitions", messages.InvalidReplicaAssignment, t.Name, fmt.Sprintf("%d new partitions, but an assignment of %d", more, len(want.Assignments)))
	default:
		assignments, err = d.check(t.Name, want.Assignments, factor, *room)
	}
	if err != nil {
		return err
	}
	*room -= more
	if validateOnly {
		return nil
	}
	d.edit.AddPartitions(t.Name, d.newPartitions(assignments))
	d.placed(assignments)
	d.event(PartitionsAdded{Name: t.Name, From: have, To: have + more})
	return nil
}

func refuse(op string, kind messages.Kind, subject, why string) error {
	return messages.E(op, kind, subject, errors.New(why))
}

// clone copies what the caller might change while a command waits, and what
// would become part of an image.
func (t NewTopic) clone() NewTopic {
	t.Config, t.Assignments = maps.Clone(t.Config), cloneAssignments(t.Assignments)
	return t
}

func (t NewPartitions) clone() NewPartitions {
	t.Assignments = cloneAssignments(t.Assignments)
	return t
}

func cloneAssignments(given [][]messages.BrokerID) [][]messages.BrokerID {
	list := slices.Clone(given)
	for i := range list {
		list[i] = slices.Clone(list[i])
	}
	return list
}
