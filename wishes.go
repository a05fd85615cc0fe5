package understudy

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"understudy/actors/controller"
	"understudy/actors/partition"
	"understudy/cluster/election"
	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/messages"
)

// A node is what its replicas need of the controller and of the other nodes.
var _ partition.Cluster = (*node)(nil)

// Send passes a message to a replica on another node.
func (n *node) Send(to messages.BrokerID, id messages.TopicID, tp messages.TopicPartition, m *replica.Message, owner partition.Payload) error {
	return n.link.Send(to, id, tp.Partition, *m, owner)
}

// Event tells what a replica decided.
func (n *node) Event(tp messages.TopicPartition, e replica.Event) {
	if line := n.b.log.Debug(); line.Enabled() {
		line.Stringer("partition", tp).Msg(e.String())
	}
}

// wish is what a replica asks of the controller, and repeats until the metadata
// answers it.
type wish struct {
	Topic     string
	Partition int32
	ISR       *election.Change        `json:",omitempty"`
	Resign    *controller.Resignation `json:",omitempty"`

	change replica.ISRChange // ISR, as the replica knows it
}

func (w *wish) tp() messages.TopicPartition {
	return messages.TopicPartition{Topic: w.Topic, Partition: w.Partition}
}

// wishes are those that wait to be sent: of each replica the latest.
type wishes struct {
	poke     chan struct{}
	granting atomic.Int64 // of all nodes, if this one is the controller: those not decided yet
	mu       sync.Mutex
	list     map[messages.TopicPartition]wish
}

func newWishes() wishes {
	return wishes{poke: make(chan struct{}, 1), list: map[messages.TopicPartition]wish{}}
}

func (w *wishes) add(one wish) {
	w.mu.Lock()
	w.list[one.tp()] = one
	w.mu.Unlock()
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// again adds wishes back that nobody has heard, unless there are newer ones.
func (w *wishes) again(list []wish) {
	for _, one := range list {
		w.mu.Lock()
		_, newer := w.list[one.tp()]
		w.mu.Unlock()
		if !newer {
			w.add(one)
		}
	}
}

func (w *wishes) take() []wish {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := slices.Collect(maps.Values(w.list))
	clear(w.list)
	return all
}

// leaves says for a leader's causes what they mean for a member that leaves.
var leaves = map[replica.ISRCause]election.Reason{
	replica.Lagging: election.ISRShrunk, replica.Down: election.ISRCutOff, replica.LostLog: election.ISRLost,
	replica.LogFailed: election.ISRFailed,
}

// ChangeISR asks the controller for another in-sync set.
func (n *node) ChangeISR(tp messages.TopicPartition, c replica.ISRChange) {
	change := &election.Change{From: election.Member(n.member()), Epoch: c.Epoch, Revision: c.Revision, Why: leaves[c.Cause]}
	for _, m := range c.ISR {
		change.ISR = append(change.ISR, election.Member(m))
	}
	n.wishes.add(wish{Topic: tp.Topic, Partition: tp.Partition, ISR: change, change: c})
}

// Resign asks the controller for an election in a new epoch.
func (n *node) Resign(tp messages.TopicPartition, r replica.Resignation) {
	n.wishes.add(wish{Topic: tp.Topic, Partition: tp.Partition, Resign: &controller.Resignation{
		From: election.Member(n.member()), Epoch: r.Epoch, Lost: r.Cause == replica.LostCommitted, Failed: r.Cause == replica.StorageFailed, Detail: r.Cause.String(),
	}})
}

const (
	// maxWishes bounds what goes into one request.
	maxWishes = 1024
	// wishWithin bounds a request: replicas repeat their wishes that often.
	wishWithin = time.Second
	// maxGranting bounds the wishes that the controller has taken and not decided. More
	// come than it decides while it cannot commit, since replicas repeat them.
	maxGranting = 16 * maxWishes
)

// wish sends what replicas wish, all that has gathered in one request.
func (n *node) wish() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.wishes.poke:
		}
		for chunk := range slices.Chunk(n.wishes.take(), maxWishes) {
			n.send(chunk)
		}
	}
}

func (n *node) send(list []wish) {
	ctx, cancel := context.WithTimeout(n.ctx, wishWithin)
	defer cancel()
	refusals, err := ask(ctx, n, wishing, list)
	if err != nil {
		n.b.log.Debug().Err(err).Int("wishes", len(list)).Msg("the controller could not be asked")
		// Replicas repeat theirs; those that have failed cannot.
		failed := slices.DeleteFunc(slices.Clone(list), func(w wish) bool { return w.Resign == nil || !w.Resign.Failed })
		if len(failed) > 0 && n.pause(retryPause) {
			n.wishes.again(failed)
		}
		return
	}
	for i, w := range list {
		if i >= len(refusals) || refusals[i] == nil || w.ISR == nil {
			continue
		}
		if h := n.b.replicas.Lookup(w.tp()); h != nil {
			h.Refused(w.change, refusals[i].unpack())
		}
	}
}

// grant has this node's controller decide what replicas wish. The answers come in
// the controller's turn, after it has committed.
func (n *node) grant(ctx context.Context, list []wish) ([]*wireError, error) {
	if n.cutOff() { // what is asked for here may only look so from here
		return nil, messages.E("change in-sync set", messages.NotController, "", errors.New("the controller hears no other node"))
	}
	type decided struct {
		at  int
		err error
	}
	if n.wishes.granting.Add(int64(len(list))) > maxGranting {
		n.wishes.granting.Add(-int64(len(list)))
		return nil, messages.E("change in-sync set", messages.RequestTimedOut, "", errors.New("too much waits to be decided"))
	}
	answers := make(chan decided, len(list)) // room for all: nobody may be waiting any more
	for i, w := range list {
		answer := func(err error) {
			n.wishes.granting.Add(-1)
			answers <- decided{i, err}
		}
		switch {
		case w.ISR != nil:
			n.b.controller.ChangeISR(w.tp(), *w.ISR, func(_ metadata.Partition, err error) { answer(err) })
		case w.Resign != nil:
			n.b.controller.Resign(w.tp(), *w.Resign, answer)
		default:
			answer(messages.E("wish", messages.InvalidRequest, w.tp().String(), nil))
		}
	}
	errs := make([]*wireError, len(list))
	for range list {
		select {
		case a := <-answers:
			errs[a.at] = packError(a.err)
		case <-ctx.Done():
			return nil, messages.E("change in-sync set", messages.RequestTimedOut, "", ctx.Err())
		}
	}
	return errs, nil
}
