package understudy

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"understudy/actors/controller"
	"understudy/cluster/link"
	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/messages"
)

// question is a kind of request between nodes, with a JSON body. The numbers are
// part of the protocol.
type question[Q, A any] struct {
	kind byte
	do   func(ctx context.Context, n *node, q Q) (A, error)
	any  bool // any node answers, and not the controller alone
}

// registration is a broker that has started.
type registration struct {
	metadata.Broker
	Doubtful bool // see controller.Client.RegisterBroker
}

// The questions.
var (
	creatingTopics = question[topicsQuestion, []wireTopicResult]{1, func(ctx context.Context, n *node, q topicsQuestion) ([]wireTopicResult, error) {
		return wired(n.b.controller.CreateTopics(ctx, q.Topics, q.ValidateOnly), packTopic)
	}, false}
	deletingTopics = question[[]controller.TopicRef, []wireDeleteResult]{2, func(ctx context.Context, n *node, q []controller.TopicRef) ([]wireDeleteResult, error) {
		return wired(n.b.controller.DeleteTopics(ctx, q), packDelete)
	}, false}
	creatingPartitions = question[partitionsQuestion, []wirePartitionsResult]{3, func(ctx context.Context, n *node, q partitionsQuestion) ([]wirePartitionsResult, error) {
		return wired(n.b.controller.CreatePartitions(ctx, q.Topics, q.ValidateOnly), packPartitions)
	}, false}
	alteringConfigs = question[configsQuestion, []wireConfigResult]{4, func(ctx context.Context, n *node, q configsQuestion) ([]wireConfigResult, error) {
		return wired(n.b.controller.AlterConfigs(ctx, q.Changes, q.ValidateOnly), packConfig)
	}, false}
	allocatingIDs = question[int64, messages.ProducerID]{5, func(ctx context.Context, n *node, count int64) (messages.ProducerID, error) {
		return n.b.controller.AllocateProducerIDs(ctx, count)
	}, false}
	registering = question[registration, metadata.Broker]{6, func(ctx context.Context, n *node, r registration) (metadata.Broker, error) {
		return n.b.controller.RegisterBroker(ctx, r.Broker, r.Doubtful)
	}, false}
	leaving = question[replica.Member, struct{}]{7, func(ctx context.Context, n *node, m replica.Member) (struct{}, error) {
		return struct{}{}, n.b.controller.BrokerDown(ctx, m.ID, m.Epoch, stopsInOrder)
	}, false}
	wishing = question[[]wish, []*wireError]{8, func(ctx context.Context, n *node, list []wish) ([]*wireError, error) {
		return n.grant(ctx, list)
	}, false}
	witness = question[replica.Member, bool]{9, func(_ context.Context, n *node, m replica.Member) (bool, error) {
		return hears(n.peers()[m.ID], m.Epoch), nil
	}, true}
	// departing comes before leaving: no leader asks for the node to be in sync again,
	// and clients that come since others lead in its place wait until that is known.
	departing = question[replica.Member, struct{}]{10, func(_ context.Context, n *node, m replica.Member) (struct{}, error) {
		n.eye.stops(m.ID)
		n.b.replicas.PeerDown(m.ID)
		return struct{}{}, nil
	}, true}
	telling = question[[]json.RawMessage, struct{}]{11, func(_ context.Context, n *node, items []json.RawMessage) (struct{}, error) {
		return struct{}{}, n.learn(items)
	}, true}
	measuring = question[[]messages.TopicPartition, map[string]int64]{13, func(_ context.Context, n *node, list []messages.TopicPartition) (map[string]int64, error) {
		return n.measure(list), nil
	}, true}
	comparing = question[struct{}, int64]{14, func(_ context.Context, n *node, _ struct{}) (int64, error) {
		return n.b.cell.Image().Revision, nil
	}, true}
	restoring = question[restoreQuestion, restored]{15, func(ctx context.Context, n *node, q restoreQuestion) (restored, error) {
		return n.writeBack(ctx, q)
	}, true}
	draining = question[drainQuestion, struct{}]{16, func(ctx context.Context, n *node, q drainQuestion) (struct{}, error) {
		return struct{}{}, n.b.controller.SetDraining(ctx, q.Node, q.On)
	}, false}
	removing = question[messages.BrokerID, struct{}]{17, func(ctx context.Context, n *node, id messages.BrokerID) (struct{}, error) {
		if err := n.b.controller.RemoveBroker(ctx, id); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, n.r.Forget(ctx, id)
	}, false}
	reassigning = question[movesQuestion, []wireMoveResult]{20, func(ctx context.Context, n *node, q movesQuestion) ([]wireMoveResult, error) {
		return wired(n.b.controller.Reassign(ctx, q.Moves, q.FixedFactor), packMove)
	}, false}
	electing = question[electionQuestion, []wireElectionResult]{21, func(ctx context.Context, n *node, q electionQuestion) ([]wireElectionResult, error) {
		results, err := n.elect(ctx, q)
		if err != nil {
			return nil, err
		}
		return wired(results, packElection)
	}, false}
	serving = question[servingQuestion, struct{}]{24, func(ctx context.Context, n *node, q servingQuestion) (struct{}, error) {
		return struct{}{}, n.awaitLed(ctx, q)
	}, true}
	holding = question[holdingQuestion, []controller.Holding]{27, func(ctx context.Context, n *node, q holdingQuestion) ([]controller.Holding, error) {
		ctx, cancel := context.WithTimeout(ctx, knowWithin/2) // who asks waits for as long as that, for all
		defer cancel()
		return n.holdings(ctx, q), nil
	}, true}
	recounting = question[struct{}, []Event]{12, func(_ context.Context, n *node, _ struct{}) ([]Event, error) {
		return n.b.events.decisions(), nil
	}, true}
)

// handle answers a question that has come from another node.
func (q question[Q, A]) handle(ctx context.Context, n *node, body []byte) ([]byte, error) {
	if !q.any && !n.active.Load() {
		return nil, messages.E("request", messages.NotController, "", nil)
	}
	var asked Q
	if err := json.Unmarshal(body, &asked); err != nil {
		return nil, messages.E("request", messages.InvalidRequest, "", err)
	}
	var r reply[A]
	var err error
	if r.Value, err = q.do(ctx, n, asked); err != nil {
		return nil, err
	}
	r.Revision = n.b.cell.Image().Revision
	return json.Marshal(r)
}

// reply is an answer on the wire, and the revision of the metadata that shows it.
type reply[A any] struct {
	Revision int64
	Value    A
}

// handlers are all kinds of question, by number.
var handlers = map[byte]func(context.Context, *node, []byte) ([]byte, error){
	creatingTopics.kind: creatingTopics.handle, deletingTopics.kind: deletingTopics.handle,
	creatingPartitions.kind: creatingPartitions.handle, alteringConfigs.kind: alteringConfigs.handle,
	allocatingIDs.kind: allocatingIDs.handle, registering.kind: registering.handle, leaving.kind: leaving.handle,
	wishing.kind: wishing.handle, witness.kind: witness.handle, departing.kind: departing.handle,
	reassigning.kind: reassigning.handle, electing.kind: electing.handle,
	serving.kind: serving.handle, holding.kind: holding.handle,
	telling.kind: telling.handle, recounting.kind: recounting.handle, measuring.kind: measuring.handle,
	comparing.kind: comparing.handle, restoring.kind: restoring.handle,
	draining.kind: draining.handle, removing.kind: removing.handle,
}

// answer answers another node's request.
func (n *node) answer(ctx context.Context, _ replica.Member, kind byte, body []byte) ([]byte, error) {
	if kind == relaying {
		return n.relay(ctx, body)
	}
	return n.answerHere(ctx, kind, body)
}

func (n *node) answerHere(ctx context.Context, kind byte, body []byte) ([]byte, error) {
	handle := handlers[kind]
	if handle == nil {
		return nil, link.ErrUnsupported
	}
	return handle(ctx, n, body)
}

// request asks one node, once. The image shows what came of it when it returns.
func request[Q, A any](ctx context.Context, n *node, to messages.BrokerID, q question[Q, A], asked Q, value *A) error {
	body, err := json.Marshal(asked)
	if err != nil {
		return messages.E("request", messages.InvalidRequest, "", err)
	}
	ask := n.link.Request
	if !q.any {
		ask = n.reach
	}
	if body, err = ask(ctx, to, q.kind, body); err != nil {
		return err
	}
	var r reply[A]
	if err := json.Unmarshal(body, &r); err != nil {
		return messages.E("request", messages.Unknown, "", err)
	}
	*value = r.Value
	if wait := patience(ctx); !q.any && wait > 0 {
		n.awaitRevision(ctx, wait, r.Revision)
	}
	return nil
}

// askWithin bounds a question to the controller that has no other bound.
const askWithin = 30 * time.Second

// patience is how long there is until the context ends.
func patience(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return time.Until(deadline)
	}
	return askWithin
}

// ask asks the controller, here or on another node, again and again until there
// is one that knows, or ctx ends. A question of which it is not known whether it
// was carried out is not repeated.
func ask[Q, A any](ctx context.Context, n *node, q question[Q, A], asked Q) (value A, err error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	for {
		to := n.b.cell.Image().Controller
		switch {
		case n.active.Load():
			value, err = q.do(ctx, n, asked)
		case to == n.self.ID || to == messages.NoBroker:
			err = messages.E("request", messages.NotController, "", errors.New("there is no controller at the moment"))
		default:
			err = request(ctx, n, to, q, asked, &value)
		}
		if err == nil || !(messages.KindOf(err) == messages.NotController || errors.Is(err, link.ErrNotConnected)) {
			return value, n.blame(err)
		}
		if n.awaitImage(ctx, retryPause, func(im *metadata.Image) bool { return im.Controller != to }); ctx.Err() != nil || n.ctx.Err() != nil {
			return value, n.blame(err)
		}
	}
}
