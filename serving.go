package understudy

import (
	"context"
	"slices"
	"time"

	"understudy/cluster/metadata"
	"understudy/messages"
)

// servingQuestion asks a node to answer when it serves what it leads of topics.
type servingQuestion struct {
	Topics   []string
	Revision int64 // of the metadata that shows them
}

// heardWithin bounds how long a change waits for nodes that only have to hear of it.
const heardWithin = 500 * time.Millisecond

// AwaitServing returns when the leaders of topics serve, wherever they are, or
// when ctx ends: a client that is told of a leader expects it to lead. The other
// nodes have heard of the topics by then, if they are quick: the client's next
// request may go to any of them.
func (n *node) AwaitServing(ctx context.Context, topics []string) {
	im := n.b.cell.Image()
	q := servingQuestion{Topics: topics, Revision: im.Revision}
	leaders := leadersOf(im, topics)
	n.askOthers(ctx, func(id messages.BrokerID) error {
		within := patience(ctx)
		if !slices.Contains(leaders, id) {
			within = min(within, heardWithin)
		}
		asking, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		var none struct{}
		return request(asking, n, id, serving, q, &none)
	})
	_ = n.awaitLed(ctx, q) // those that do not serve say so themselves
}

// awaitLed returns when this node serves what it leads.
func (n *node) awaitLed(ctx context.Context, q servingQuestion) error {
	n.awaitRevision(ctx, patience(ctx), q.Revision)
	return n.b.awaitLed(ctx, q.Topics)
}

// awaitLed returns when this broker serves what it leads of topics, or says why not.
func (b *Broker) awaitLed(ctx context.Context, topics []string) error {
	im := b.cell.Image()
	var led []messages.TopicPartition
	for _, name := range topics {
		if t := im.Topic(name); t != nil {
			for i := range t.Partitions {
				if t.Partitions[i].Leader == b.self.ID {
					led = append(led, messages.TopicPartition{Topic: name, Partition: int32(i)})
				}
			}
		}
	}
	return b.replicas.AwaitReady(ctx, led)
}

// leadersOf are the brokers that lead partitions of topics.
func leadersOf(im *metadata.Image, topics []string) []messages.BrokerID {
	var leaders []messages.BrokerID
	for _, name := range topics {
		if t := im.Topic(name); t != nil {
			for i := range t.Partitions {
				if id := t.Partitions[i].Leader; id != messages.NoBroker && !slices.Contains(leaders, id) {
					leaders = append(leaders, id)
				}
			}
		}
	}
	return leaders
}
