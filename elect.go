package understudy

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"understudy/actors/controller"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// knowWithin bounds how long the nodes are asked what their replicas hold.
const knowWithin = 2 * time.Second

// maxPortion is of how many partitions one request and its answer are at most: what
// there is to say of each fits, however long their topics' names are.
const maxPortion = 1024

// elect has this node's controller elect leaders. Before an unclean election all
// nodes are asked what they hold, so that the one with the most leads, and it can
// be told what is lost.
func (n *node) elect(ctx context.Context, q electionQuestion) ([]controller.ElectionResult, error) {
	var known []controller.Holding
	if q.Kind == controller.UncleanElection {
		known = n.allHoldings(ctx, withoutLeader(n.b.cell.Image(), q.Partitions))
	}
	return n.b.controller.ElectLeaders(ctx, q.Kind, q.Partitions, known)
}

// withoutLeader lists those of some partitions, or of all if it is nil, that have
// no leader.
func withoutLeader(im *metadata.Image, among []messages.TopicPartition) []messages.TopicPartition {
	list := []messages.TopicPartition{}
	if among == nil {
		among = everyPartition(im)
	}
	for _, tp := range among {
		if p := im.Partition(tp); p != nil && p.Leader == messages.NoBroker {
			list = append(list, tp)
		}
	}
	return list
}

// everyPartition lists all partitions there are.
func everyPartition(im *metadata.Image) []messages.TopicPartition {
	list := make([]messages.TopicPartition, 0, im.PartitionCount())
	for t := range im.Topics() {
		for n := range t.Partitions {
			list = append(list, messages.TopicPartition{Topic: t.Name, Partition: int32(n)})
		}
	}
	return list
}

// allHoldings is what the replicas of partitions hold on all nodes that answer.
func (n *node) allHoldings(ctx context.Context, list []messages.TopicPartition) []controller.Holding {
	if len(list) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, knowWithin)
	defer cancel()
	revision := n.b.cell.Image().Revision
	all := n.b.holdings(ctx, list)
	var mu sync.Mutex
	var asking sync.WaitGroup
	for portion := range slices.Chunk(list, maxPortion) {
		asking.Go(func() {
			n.askOthers(ctx, func(id messages.BrokerID) error {
				var known []controller.Holding
				err := request(ctx, n, id, holding, holdingQuestion{portion, revision}, &known)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, known...)
				return err
			})
		})
	}
	asking.Wait()
	return all
}

// askOthers asks all other brokers that are up, at the same time, and waits until
// each has answered or failed.
func (n *node) askOthers(ctx context.Context, one func(messages.BrokerID) error) {
	var asking sync.WaitGroup
	for _, b := range n.b.cell.Image().Brokers {
		if b.ID == n.self.ID || !b.Up() {
			continue
		}
		asking.Go(func() {
			if err := one(b.ID); err != nil && !errors.Is(err, ctx.Err()) {
				n.b.log.Debug().Err(err).Int32("node", b.ID).Msg("a node did not answer")
			}
		})
	}
	asking.Wait()
}

// holdingQuestion asks a node what its replicas of partitions hold.
type holdingQuestion struct {
	Partitions []messages.TopicPartition
	Revision   int64 // of the metadata by which it is asked: the node may not have heard yet that a replica is its own
}

// holdings is what the replicas on this node hold.
func (n *node) holdings(ctx context.Context, q holdingQuestion) []controller.Holding {
	n.awaitRevision(ctx, patience(ctx), q.Revision)
	return n.b.holdings(ctx, q.Partitions)
}

// holdings is what the local replicas of partitions hold. It waits for those that
// have just come to this node and are not open yet.
func (b *Broker) holdings(ctx context.Context, list []messages.TopicPartition) []controller.Holding {
	im := b.cell.Image()
	here := slices.DeleteFunc(slices.Clone(list), func(tp messages.TopicPartition) bool {
		p := im.Partition(tp)
		return p == nil || !slices.Contains(p.Replicas, b.self.ID)
	})
	_ = b.replicas.AwaitReady(ctx, here) // what does not open in time is not known
	var all []controller.Holding
	for _, tp := range here {
		h := b.replicas.Lookup(tp)
		if h == nil {
			continue
		}
		v := h.View()
		if v == nil || v.Log == nil {
			continue
		}
		one := controller.Holding{Topic: tp.Topic, Partition: tp.Partition, Broker: b.self.ID, Epoch: messages.NoEpoch, End: v.Log.End, Committed: v.Heard}
		if n := len(v.Epochs); n > 0 {
			one.Epoch = v.Epochs[n-1].Epoch
		}
		all = append(all, one)
	}
	return all
}

// sole is who makes changes for the clients of a broker that is alone.
type sole struct {
	*controller.Client
	b *Broker
}

// ElectLeaders elects leaders; see kafka.Admin.
func (s sole) ElectLeaders(ctx context.Context, kind controller.ElectionKind, partitions []messages.TopicPartition) ([]controller.ElectionResult, error) {
	var known []controller.Holding
	if kind == controller.UncleanElection {
		knowing, cancel := context.WithTimeout(ctx, knowWithin)
		defer cancel()
		known = s.b.holdings(knowing, withoutLeader(s.b.cell.Image(), partitions))
	}
	return s.Client.ElectLeaders(ctx, kind, partitions, known)
}

// AwaitServing returns when this broker serves what it leads of topics.
func (s sole) AwaitServing(ctx context.Context, topics []string) {
	_ = s.b.awaitLed(ctx, topics) // those that do not serve say so themselves
}
