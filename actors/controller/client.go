package controller

import (
	"context"
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"understudy/cluster/election"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// Client is how the rest of the broker asks the controller. Calls wait until
// what they changed is committed and published in the Cell, or until the context
// ends: then it is not known whether it was done, and the error has the kind
// RequestTimedOut. NotController means that it was not done and that another
// broker, or this one a little later, can do it. Safe for concurrent use.
type Client struct {
	c    *Controller
	root *actor.RootContext
	pid  *actor.PID
}

// CreateTopics creates topics, each for itself: some may fail. With validateOnly
// it tells what would become of it, and writes nothing.
func (c *Client) CreateTopics(ctx context.Context, topics []NewTopic, validateOnly bool) []TopicResult {
	cmd := &createTopics{topics: cloneAll(topics, NewTopic.clone), validateOnly: validateOnly}
	if err := c.do(ctx, cmd); err != nil {
		failed := make([]TopicResult, len(topics))
		for i, t := range topics {
			failed[i] = TopicResult{Name: t.Name, Err: err}
		}
		return failed
	}
	return cmd.results
}

// DeleteTopics deletes topics, each for itself.
func (c *Client) DeleteTopics(ctx context.Context, refs []TopicRef) []DeleteResult {
	cmd := &deleteTopics{refs: slices.Clone(refs)}
	if err := c.do(ctx, cmd); err != nil {
		failed := make([]DeleteResult, len(refs))
		for i, r := range refs {
			failed[i] = DeleteResult{Name: r.Name, ID: r.ID, Err: err}
		}
		return failed
	}
	return cmd.results
}

// CreatePartitions gives topics more partitions, each for itself.
func (c *Client) CreatePartitions(ctx context.Context, topics []NewPartitions, validateOnly bool) []PartitionsResult {
	cmd := &createPartitions{topics: cloneAll(topics, NewPartitions.clone), validateOnly: validateOnly}
	if err := c.do(ctx, cmd); err != nil {
		failed := make([]PartitionsResult, len(topics))
		for i, t := range topics {
			failed[i] = PartitionsResult{Topic: t.Topic, Err: err}
		}
		return failed
	}
	return cmd.results
}

// AlterConfigs changes settings, each resource for itself and as a whole.
func (c *Client) AlterConfigs(ctx context.Context, changes []ConfigChange, validateOnly bool) []ConfigResult {
	cmd := &alterConfigs{changes: cloneAll(changes, ConfigChange.clone), validateOnly: validateOnly}
	if err := c.do(ctx, cmd); err != nil {
		failed := make([]ConfigResult, len(changes))
		for i, ch := range changes {
			failed[i] = ConfigResult{Resource: ch.Resource, Err: err}
		}
		return failed
	}
	return cmd.results
}

// AllocateProducerIDs gives the first of n consecutive producer ids that nobody
// else has or gets.
func (c *Client) AllocateProducerIDs(ctx context.Context, n int64) (first messages.ProducerID, err error) {
	cmd := &allocateProducerIDs{n: n}
	if err := c.do(ctx, cmd); err != nil {
		return messages.NoProducerID, err
	}
	return cmd.first, nil
}

// TakeOver makes this broker the controller of the cluster. The first one ever gives
// the cluster its id. Unless the broker runs alone, the caller must hold
// the cluster's lock: what another controller has written is read first, and the
// store refuses what one without the lock would write. It returns this broker as
// it is registered.
func (c *Client) TakeOver(ctx context.Context, t Takeover) (metadata.Broker, error) {
	cmd := &takeOver{Takeover: t}
	err := c.do(ctx, cmd)
	return cmd.resultOr(err)
}

// StandDown ends this broker's time as the controller: the lock is lost.
func (c *Client) StandDown(ctx context.Context) error { return c.do(ctx, &standDown{}) }

// RegisterBroker enters a broker that has started. If it names no broker epoch it
// gets the next one; one that it names must be newer than all before. It counts
// as up from then on, and leads in new epochs. doubtful says that it may miss what
// it wrote, and acknowledged where a topic does not wait for the disk: its machine
// went down, or nothing is known of that. Then it leads nothing for which there is
// somebody else in sync.
func (c *Client) RegisterBroker(ctx context.Context, b metadata.Broker, doubtful bool) (metadata.Broker, error) {
	cmd := &registerBroker{broker: b, doubtful: doubtful}
	err := c.do(ctx, cmd)
	return cmd.resultOr(err)
}

// Reassign begins and cancels moves of replicas, each for itself. fixedFactor
// refuses those that would change the number of replicas.
func (c *Client) Reassign(ctx context.Context, moves []Reassignment, fixedFactor bool) []ReassignmentResult {
	cmd := &reassign{moves: cloneAll(moves, Reassignment.clone), fixedFactor: fixedFactor}
	if err := c.do(ctx, cmd); err != nil {
		failed := make([]ReassignmentResult, len(moves))
		for i, m := range moves {
			failed[i] = ReassignmentResult{Topic: m.Topic, Partition: m.Partition, Err: err}
		}
		return failed
	}
	return cmd.results
}

// ElectLeaders elects leaders of partitions, each for itself; nil stands for all
// that are in need of it. An unclean election prefers the replica that holds the
// most of what is known.
func (c *Client) ElectLeaders(ctx context.Context, kind ElectionKind, partitions []messages.TopicPartition, known []Holding) ([]ElectionResult, error) {
	cmd := &electLeaders{kind: kind, partitions: slices.Clone(partitions), holdings: map[messages.TopicPartition][]Holding{}}
	for _, h := range known {
		tp := messages.TopicPartition{Topic: h.Topic, Partition: h.Partition}
		cmd.holdings[tp] = append(cmd.holdings[tp], h)
	}
	var results []ElectionResult
	for {
		if err := c.do(ctx, cmd); err != nil {
			return nil, err
		}
		results = append(results, cmd.results...)
		if cmd.next == nil {
			return results, nil
		}
		cmd = &electLeaders{kind: kind, holdings: cmd.holdings, from: *cmd.next}
	}
}

// SetDraining has a broker hold nothing from now on, or ends that. It is refused
// when there is nowhere to go for what the broker holds.
func (c *Client) SetDraining(ctx context.Context, id messages.BrokerID, on bool) error {
	return c.do(ctx, &setDraining{id: id, on: on})
}

// RemoveBroker forgets a broker that is down and holds nothing.
func (c *Client) RemoveBroker(ctx context.Context, id messages.BrokerID) error {
	return c.do(ctx, &removeBroker{id: id})
}

// Tend does what is to be done by and by, to be called every second or so: replicas
// go on moving off brokers that are being drained, and up to so many leaders
// return to the preferred ones, if those are steady: back for a while. It tells
// whether more could return.
func (c *Client) Tend(ctx context.Context, steady func(messages.BrokerID) bool, leaders int) (more bool, err error) {
	cmd := &tend{steady: steady, leaders: leaders}
	if err := c.do(ctx, cmd); err != nil {
		return false, err
	}
	return cmd.pending, nil
}

func (c *registerBroker) resultOr(err error) (metadata.Broker, error) {
	if err != nil {
		return metadata.Broker{}, err
	}
	return c.result, nil
}

func (c *takeOver) resultOr(err error) (metadata.Broker, error) {
	if err != nil {
		return metadata.Broker{}, err
	}
	return c.result, nil
}

// BrokerDown tells that a broker's start, named by its epoch, has come to its
// end: others lead its partitions. detail says how it was noticed.
func (c *Client) BrokerDown(ctx context.Context, id messages.BrokerID, epoch messages.BrokerEpoch, detail string) error {
	return c.do(ctx, &brokerDown{id: id, epoch: epoch, detail: detail})
}

// BrokerUp tells that a broker's start that was taken for down is up after all: it
// was frozen or cut off, and has lost nothing.
func (c *Client) BrokerUp(ctx context.Context, id messages.BrokerID, epoch messages.BrokerEpoch) error {
	return c.do(ctx, &brokerUp{id: id, epoch: epoch})
}

// ChangeISR asks for another in-sync set, and returns at once. done, which may be
// nil, is called once in the controller's turn and must not block: with the
// partition's state, which on a refusal is the present one if it is known, or
// never if the controller has stopped. The change itself comes with the image.
func (c *Client) ChangeISR(tp messages.TopicPartition, change election.Change, done func(metadata.Partition, error)) {
	change.ISR = slices.Clone(change.ISR)
	cmd := &changeISR{tp: tp, change: change}
	c.send(cmd, func(err error) {
		if done != nil {
			done(cmd.result, err)
		}
	})
}

// Resign tells that a replica refuses to lead, and returns at once; what follows
// comes with the image. done is as in ChangeISR.
func (c *Client) Resign(tp messages.TopicPartition, r Resignation, done func(error)) {
	c.send(&resign{tp: tp, r: r}, done)
}

func (c *Client) send(cmd command, done func(error)) {
	c.root.Send(c.pid, &request{ctx: context.Background(), cmd: cmd, done: done})
}

// do sends a command and waits for its answer. The result fields of cmd may be
// read only if the error is nil.
func (c *Client) do(ctx context.Context, cmd command) error {
	if err := ctx.Err(); err != nil { // or else chance would decide whether it is sent
		return c.c.timedOut(err)
	}
	select {
	case c.c.credits <- struct{}{}:
	case <-ctx.Done():
		return c.c.timedOut(ctx.Err())
	case <-c.c.stopped:
		return stopped()
	}
	answer := make(chan error, 1)
	_, fresh := cmd.(*takeOver)
	c.root.Send(c.pid, &request{ctx: ctx, cmd: cmd, fresh: fresh, done: func(err error) {
		<-c.c.credits
		answer <- err
	}})
	if pause := c.c.o.Stage.Pause; pause != nil {
		pause(func() bool { return len(answer) > 0 || ctx.Err() != nil || c.c.ctx.Err() != nil })
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
	case <-c.c.stopped:
	}
	select { // an answer that has come counts
	case err := <-answer:
		return err
	default:
	}
	if err := ctx.Err(); err != nil {
		return c.c.timedOut(err)
	}
	return stopped()
}

func stopped() error {
	return messages.E("controller", messages.NotController, "", errGoing)
}

// cloneAll copies questions with all that is in them: a caller that has given up
// waiting may use its own again.
func cloneAll[Q any](questions []Q, clone func(Q) Q) []Q {
	list := make([]Q, len(questions))
	for i, q := range questions {
		list[i] = clone(q)
	}
	return list
}
