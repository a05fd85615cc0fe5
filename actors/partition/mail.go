package partition

import (
	"context"

	"understudy/cluster/metadata"
	"understudy/cluster/topicconfig"
	"understudy/messages"
	"understudy/messages/producer"
	"understudy/persistence/log"
)

// The messages of a partition actor, beside Append.
type (
	// flushed is the completion of a flush: everything below end is on disk.
	flushed struct {
		by  *Machine // that asked for it; another one's is none of ours
		end messages.Offset
		err error
	}
	// update says that the metadata about the partition has changed.
	update struct {
		assignment metadata.Partition
		settings   topicconfig.Settings
	}
	// scan is the time for what is done now and then: retention, rolling by age,
	// expiry of idle producers.
	scan struct {
		producerExpiry int64 // ms; see topicconfig.ProducerIDExpirationMs
	}
	// tick tells the time to a replica that waits for something.
	tick struct{}
	// takeCheckpoint asks for the log's checkpoint.
	takeCheckpoint struct{ deliver func(log.Checkpoint) }
)

// ask is a question from outside the actor. Exactly one answer is put on reply,
// which has room for it.
type ask[Q, A any] struct {
	question Q
	reply    chan answer[A]
}

type answer[A any] struct {
	value A
	err   error
}

// refusable is a message whose sender waits for an answer.
type refusable interface{ refuse(err error) }

func (a *ask[Q, A]) refuse(err error) { a.reply <- answer[A]{err: err} }

func (a *ask[Q, A]) answer(value A, err error) { a.reply <- answer[A]{value, err} }

// The questions.
type (
	deleteRecords     struct{ before messages.Offset }
	describeProducers struct{}
	confirm           struct {
		epoch   messages.LeaderEpoch
		timeout int64 // ms
	}

	deleteRecordsAsk     = ask[deleteRecords, messages.Offset]
	confirmAsk           = ask[confirm, struct{}]
	describeProducersAsk = ask[describeProducers, []producer.Info]
)

// request posts a question to the actor and waits for the answer.
func request[Q, A any](ctx context.Context, h *Handle, op string, question Q) (A, error) {
	a := &ask[Q, A]{question, make(chan answer[A], 1)}
	h.mail.PostUserMessage(a)
	return a.await(ctx, h, op)
}

// await waits for the answer to a question that was posted.
func (a *ask[Q, A]) await(ctx context.Context, h *Handle, op string) (A, error) {
	if h.pause != nil {
		h.pause(func() bool { return len(a.reply) > 0 })
	}
	got, ok := receive(ctx, a.reply)
	if !ok {
		return got.value, messages.E(op, messages.RequestTimedOut, h.tp.String(), ctx.Err())
	}
	return got.value, got.err
}

// receive takes what comes before the context ends. What is there counts also when
// the time is up: a select alone would leave it to chance.
func receive[T any](ctx context.Context, from <-chan T) (got T, ok bool) {
	select {
	case got = <-from:
		return got, true
	default:
	}
	select {
	case got = <-from:
		return got, true
	case <-ctx.Done():
		return got, false
	}
}

// DeleteRecords removes what lies below an offset, or below the high watermark
// for NoOffset, and returns the new log start offset.
func (h *Handle) DeleteRecords(ctx context.Context, before messages.Offset) (messages.Offset, error) {
	return request[deleteRecords, messages.Offset](ctx, h, "delete records", deleteRecords{before})
}

// confirmTime is how long the in-sync set has to answer, ms: a member that does not
// is out of it by then, or another leads.
const confirmTime = 5000

// Confirm returns when it is sure that the replica led in an epoch when it was called:
// what is read of it afterwards is not older than what any other leader had committed
// before. It fails with the kind NotLeader or FencedLeaderEpoch if another leads, and
// with RequestTimedOut if that could not be found out in time.
func (h *Handle) Confirm(ctx context.Context, epoch messages.LeaderEpoch) error {
	_, err := request[confirm, struct{}](ctx, h, "confirm", confirm{epoch, confirmTime})
	return err
}

// Producers lists the idempotent producers that the partition remembers.
func (h *Handle) Producers(ctx context.Context) ([]producer.Info, error) {
	return request[describeProducers, []producer.Info](ctx, h, "describe producers", describeProducers{})
}
