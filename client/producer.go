package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ErrFull is the cause of a Failed record for which there was no room. Sending it
// again, best after WaitForRoom, may work.
var ErrFull = errors.New("client: too many records wait to be written")

// ErrStopped is the cause of a Failed record that came when the producer was
// stopping.
var ErrStopped = errors.New("client: the producer has stopped")

// Cause says in a word why a record has failed.
type Cause string

// The causes.
const (
	Full    Cause = "full"    // there was no room: Err is ErrFull. It is not written
	Stopped Cause = "stopped" // the producer has stopped: Err is ErrStopped. It may be written
	Refused Cause = "refused" // the cluster does not take it: Err is a *kerr.Error. It is not written
	Late    Cause = "late"    // its time or its attempts ran out. It may be written
	Other   Cause = "other"   // Err says what. It may be written
)

// failure is what a record that the Kafka client gives back has failed with.
func failure(r *kgo.Record, err error) *Failed {
	f := &Failed{Record: r, Err: err, Cause: Other}
	var refused *kerr.Error
	switch {
	case errors.Is(err, kgo.ErrMaxBuffered):
		f.Err, f.Cause = ErrFull, Full
	case errors.Is(err, kgo.ErrClientClosed):
		f.Err, f.Cause = ErrStopped, Stopped
	case errors.Is(err, kgo.ErrRecordTimeout), errors.Is(err, kgo.ErrRecordRetries), errors.Is(err, context.DeadlineExceeded):
		f.Cause = Late
	case errors.As(err, &refused):
		f.Cause = Refused
	}
	return f
}

// Messages that a producer answers to who sends them a request.
type (
	// Delivered says that a record is written: on every in-sync replica, unless the
	// options of the Kafka client ask for less.
	Delivered struct {
		Record    *kgo.Record // the one that was sent
		Topic     string
		Partition int32
		Offset    int64
	}
	// Failed says that a record is not written or, if its time ran out, may not be.
	Failed struct {
		Record *kgo.Record // nil if the producer has stopped and does not know which, or none was sent
		Err    error
		Cause  Cause // of Err, for switches
	}

	// WaitForRoom asks for room for at least so many records, 1 if it is less. The
	// answer, Room, comes when there is; it is Failed if the producer stops before.
	WaitForRoom struct{ Records int }
	// Room says how many records may be sent now.
	Room struct{ Records int }

	// Flush asks for everything that was sent before it to be written. The answer,
	// Flushed, comes when it is, or has failed.
	Flush struct{}
	// Flushed is the answer to Flush.
	Flushed struct{ Err error }
)

// ProducerOptions describe a producer. Brokers must be set. Without more in Client
// it is idempotent, asks for all in-sync replicas, and compresses with snappy.
type ProducerOptions struct {
	Brokers []string
	// MaxRecords and MaxBytes bound what waits to be written. 0 means 10,000 and
	// 64 MiB.
	MaxRecords int
	MaxBytes   int
	// FlushWithin bounds how long a producer that is stopped waits for what it was
	// sent to be written. 0 means 30 s.
	FlushWithin time.Duration
	Client      []kgo.Opt
}

// Producer is an actor that writes the records it is sent.
type Producer struct {
	pid *actor.PID
	cl  *kgo.Client
	w   *writer
}

// SpawnProducer spawns a producer. Stop it before the program ends.
func SpawnProducer(system *actor.ActorSystem, o ProducerOptions) (*Producer, error) {
	if len(o.Brokers) == 0 {
		return nil, errors.New("client: producer: Brokers must be set")
	}
	o.MaxRecords, o.MaxBytes = orElse(o.MaxRecords, 10_000), orElse(o.MaxBytes, 64<<20)
	o.FlushWithin = orElse(o.FlushWithin, 30*time.Second)
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(o.Brokers...), kgo.MaxBufferedRecords(o.MaxRecords), kgo.MaxBufferedBytes(o.MaxBytes), kgo.AllowAutoTopicCreation(),
	}, o.Client...)...)
	if err != nil {
		return nil, fmt.Errorf("client: producer: %w", err)
	}
	w := &writer{system: system, cl: cl, o: o, ended: make(chan struct{})}
	pid := system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return w },
		actor.WithMailbox(func() actor.Mailbox { return &desk{Mailbox: actor.Unbounded()(), w: w} })))
	w.pid = pid
	return &Producer{pid, cl, w}, nil
}

// PID is where records are sent, as *kgo.Record messages.
func (p *Producer) PID() *actor.PID { return p.pid }

// Flush waits until everything that was sent before is written, or has failed.
func (p *Producer) Flush(ctx context.Context) error { return p.cl.Flush(ctx) }

// Stop stops the producer as stopping its PID does, and waits for it: it writes what it
// was sent, if that does not take longer than FlushWithin, and ends. The error says
// that not all is written, or that ctx was over before that was known. (The future of
// RootContext.StopFuture waits for ten seconds at most.)
func (p *Producer) Stop(ctx context.Context) error {
	p.w.system.Root.Stop(p.pid)
	select {
	case <-p.w.ended:
		return p.w.unwritten
	case <-ctx.Done():
		return fmt.Errorf("client: producer: %w", ctx.Err())
	}
}

// desk is a mailbox that takes records in the turn of who sends them, so that they
// wait in one place that is bounded and nowhere else.
type desk struct {
	actor.Mailbox
	w *writer
}

// PostUserMessage takes a record, and puts everything else into the mailbox.
func (d *desk) PostUserMessage(message any) {
	_, inner, sender := actor.UnwrapEnvelope(message)
	if r, ok := inner.(*kgo.Record); ok {
		d.w.write(r, sender)
		return
	}
	d.Mailbox.PostUserMessage(message)
}

// RegisterHandlers has what the actor has not come to when it ends be answered, too.
func (d *desk) RegisterHandlers(invoker actor.MessageInvoker, dispatcher actor.Dispatcher) {
	d.Mailbox.RegisterHandlers(closing{invoker, d.w}, dispatcher)
}

// closing stands before the actor.
type closing struct {
	actor.MessageInvoker
	w *writer
}

// InvokeUserMessage gives the actor a message, or answers it if the actor has ended.
func (c closing) InvokeUserMessage(message any) {
	select {
	case <-c.w.ended:
		_, inner, sender := actor.UnwrapEnvelope(message)
		c.w.turnAway(inner, sender)
	default:
		c.MessageInvoker.InvokeUserMessage(message)
	}
}

// writer is the actor. What is above the line is used by everybody who sends.
type writer struct {
	system  *actor.ActorSystem
	cl      *kgo.Client
	o       ProducerOptions
	pid     *actor.PID
	stopped atomic.Bool
	granted atomic.Int64 // records that somebody was told there is room for, and that have not come
	asking  atomic.Bool  // somebody waits for room

	ended     chan struct{} // closed when it has
	unwritten error         // why not all was written; set before

	// ----
	waiters   []waiter
	lastGrant time.Time
	again     *time.Timer // looks for room again; nil: it was never waited for
	pause     time.Duration
}

const (
	// forgetGrants is after how long without a record room that was granted, and not
	// used, is given to others.
	forgetGrants = time.Second
	// lookAgain is how soon it is looked again whether there is room.
	lookAgain = 5 * time.Millisecond
)

type waiter struct {
	sender  *actor.PID
	records int64
}

// Messages of the actor.
type (
	roomier struct{} // there may be room: something has been written
	look    struct{} // there may be room all the same
)

// write hands a record to the Kafka client.
func (w *writer) write(r *kgo.Record, sender *actor.PID) {
	if w.stopped.Load() {
		w.answer(sender, &Failed{r, ErrStopped, Stopped})
		return
	}
	defer w.claim() // when the record is counted as buffered, so that it is counted all the time
	w.cl.TryProduce(context.Background(), r, func(r *kgo.Record, err error) {
		switch {
		case err == nil:
			w.answer(sender, &Delivered{r, r.Topic, r.Partition, r.Offset})
		default:
			w.answer(sender, failure(r, err))
		}
		if w.asking.Load() {
			w.system.Root.Send(w.pid, roomier{})
		}
	})
}

// claim makes use of one record's grant, if there is any.
func (w *writer) claim() {
	if w.granted.Add(-1) < 0 {
		w.granted.Add(1) // nobody was told
	}
}

// answer tells who sent a record what became of it. Who did not ask is told of
// failures by the event stream.
func (w *writer) answer(sender *actor.PID, answer any) {
	if sender != nil {
		w.system.Root.Send(sender, answer)
		return
	}
	if failed, ok := answer.(*Failed); ok {
		w.system.EventStream.Publish(failed)
	}
}

// turnAway answers what the actor does not come to any more.
func (w *writer) turnAway(message any, sender *actor.PID) {
	if r, ok := message.(*kgo.Record); ok {
		w.write(r, sender)
	}
	if sender == nil {
		return
	}
	switch message.(type) {
	case WaitForRoom:
		w.system.Root.Send(sender, &Failed{Err: ErrStopped, Cause: Stopped})
	case Flush:
		w.system.Root.Send(sender, Flushed{ErrStopped})
	}
}

// Receive is the actor.
func (w *writer) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *kgo.Record: // of several messages that were sent as one, which only the mailbox behind the desk takes apart
		w.write(m, ctx.Sender())
	case WaitForRoom:
		w.waiters = append(w.waiters, waiter{ctx.Sender(), int64(min(max(m.Records, 1), w.o.MaxRecords))})
		w.grant()
	case roomier:
		w.pause = 0
		w.grant()
	case look:
		w.grant()
	case Flush:
		w.flush(ctx)
	case *actor.Stopping:
		w.stop()
	}
}

// grant tells those who wait of the room that there is, the first first.
func (w *writer) grant() {
	w.asking.Store(len(w.waiters) > 0) // before looking: what is written from now on is told
	if w.cl.BufferedProduceRecords() == 0 && time.Since(w.lastGrant) > forgetGrants {
		w.granted.Store(0) // who was told has changed its mind
	}
	for len(w.waiters) > 0 {
		first := w.waiters[0]
		granted := w.granted.Load() // before what is buffered: a record on its way from one to the other counts twice, and never not at all
		buffered := w.cl.BufferedProduceRecords()
		if w.cl.BufferedProduceBytes() >= int64(w.o.MaxBytes) || int64(w.o.MaxRecords)-buffered-granted < first.records {
			w.look()
			return
		}
		w.waiters = w.waiters[1:]
		w.lastGrant = time.Now()
		w.granted.Add(first.records)
		if first.sender != nil {
			w.system.Root.Send(first.sender, Room{int(first.records)})
		}
	}
	w.asking.Store(false)
}

// look has the actor look for room again after a while that grows: the client tells
// what was written a little before there is room for more, and nothing tells that
// grants are not used.
func (w *writer) look() {
	if w.pause = min(max(2*w.pause, lookAgain), forgetGrants); w.again == nil {
		w.again = time.AfterFunc(w.pause, func() { w.system.Root.Send(w.pid, look{}) })
	} else {
		w.again.Reset(w.pause)
	}
}

// flush answers when everything has been written, without holding up the actor.
func (w *writer) flush(ctx actor.Context) {
	sender := ctx.Sender()
	go func() {
		err := w.cl.Flush(context.Background()) // ends when the client is closed at the latest
		if sender != nil {
			w.system.Root.Send(sender, Flushed{err})
		}
	}()
}

// stop writes what was sent, and ends.
func (w *writer) stop() {
	w.stopped.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), w.o.FlushWithin)
	defer cancel()
	if err := w.cl.Flush(ctx); err != nil {
		w.unwritten = fmt.Errorf("client: stopped before everything was written: %w", err)
		w.system.EventStream.Publish(&Failed{Err: w.unwritten, Cause: Stopped})
	}
	w.cl.Close()
	for _, first := range w.waiters {
		w.turnAway(WaitForRoom{}, first.sender)
	}
	close(w.ended)
}
