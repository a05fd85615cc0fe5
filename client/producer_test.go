package client_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
	"understudy/internal/pulse"
)

func (b *bench) producer(o client.ProducerOptions) *client.Producer {
	b.Helper()
	o.Brokers, o.FlushWithin = b.brokers, cmp.Or(o.FlushWithin, patience)
	p, err := client.SpawnProducer(b.system, o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = b.system.Root.StopFuture(p.PID()).Wait() }) // it may have stopped
	return p
}

func (b *bench) ask(pid *actor.PID, message any) any {
	b.Helper()
	answer, err := b.system.Root.RequestFuture(pid, message, patience).Result()
	if err != nil {
		b.Fatal(err)
	}
	return answer
}

func TestAProducerTellsWhatBecameOfARecord(t *testing.T) {
	b := newBench(t, 1)
	p := b.producer(client.ProducerOptions{})
	for i := range int64(3) {
		d, ok := b.ask(p.PID(), &kgo.Record{Topic: b.topic, Value: []byte("v")}).(*client.Delivered)
		if !ok || d.Topic != b.topic || d.Offset != i {
			t.Errorf("%+v", d)
		}
	}
	failed, ok := b.ask(p.PID(), &kgo.Record{Topic: b.topic, Value: make([]byte, 2<<20)}).(*client.Failed)
	if !ok || !errors.Is(failed.Err, kerr.MessageTooLarge) || failed.Cause != client.Refused {
		t.Errorf("%+v", failed)
	}
}

func TestAProducerWritesWhatItWasSentBeforeItStops(t *testing.T) {
	b := newBench(t, 1)
	p := b.producer(client.ProducerOptions{})
	for i := range 1000 {
		b.system.Root.Send(p.PID(), &kgo.Record{Topic: b.topic, Value: fmt.Append(nil, i)})
	}
	b.ended(b.system.Root.StopFuture, p.PID())
	for i, r := range b.read(b.topic, 1000) {
		if string(r.Value) != fmt.Sprint(i) {
			t.Fatalf("%s is number %d", r.Value, i)
		}
	}
}

func TestAFullProducerSaysSo(t *testing.T) {
	b := newBench(t, 1)
	p := b.producer(client.ProducerOptions{MaxRecords: 10, Client: []kgo.Opt{kgo.ManualFlushing()}})
	failures, end := events[*client.Failed](b, 10)
	defer end()
	if room := b.ask(p.PID(), client.WaitForRoom{Records: 100}); room != (client.Room{Records: 10}) {
		t.Errorf("%+v", room)
	}
	for range 11 {
		b.system.Root.Send(p.PID(), &kgo.Record{Topic: b.topic})
	}
	until(t, failures, "a record to find no room", func(f *client.Failed) bool { return errors.Is(f.Err, client.ErrFull) && f.Cause == client.Full })
	waiting := b.system.Root.RequestFuture(p.PID(), client.WaitForRoom{Records: 5}, patience)
	if flushed := b.ask(p.PID(), client.Flush{}); flushed != (client.Flushed{}) {
		t.Errorf("%+v", flushed)
	}
	if room, err := waiting.Result(); err != nil || room != (client.Room{Records: 5}) {
		t.Errorf("%+v, %v", room, err)
	}
}

// TestRoomIsKept has many actors send as much as they were told there is room for,
// at the same time: none is refused.
func TestRoomIsKept(t *testing.T) {
	b := newBench(t, 3)
	p := b.producer(client.ProducerOptions{MaxRecords: 64})
	const senders, each, credit = 16, 500, 8
	stood := pulse.Watch()
	answers := make(chan any, senders*each)
	for range senders {
		left := each
		b.system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *actor.Started:
				ctx.Request(p.PID(), client.WaitForRoom{Records: credit})
			case client.Room:
				for range min(left, m.Records) {
					ctx.Request(p.PID(), &kgo.Record{Topic: b.topic})
					left--
				}
				if left > 0 {
					ctx.Request(p.PID(), client.WaitForRoom{Records: credit})
				}
			case *client.Delivered, *client.Failed:
				answers <- m
			}
		}))
	}
	var failed []error
	for range senders * each {
		if f, ok := (<-answers).(*client.Failed); ok {
			failed = append(failed, f.Err)
		}
	}
	if lost := stood(); len(failed) > 0 && lost < time.Second/2 { // room that is not used for a second is given to others
		t.Errorf("%d have failed, the first: %v", len(failed), failed[0])
	}
}

// TestAFailureHasACause has no broker be reached in time.
func TestAFailureHasACause(t *testing.T) {
	b := newBench(t, 1)
	unreachable := kgo.Dialer(func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no way") })
	late := b.producer(client.ProducerOptions{Client: []kgo.Opt{unreachable, kgo.RecordDeliveryTimeout(time.Second)}})
	failed, ok := b.ask(late.PID(), &kgo.Record{Topic: b.topic}).(*client.Failed)
	if !ok || failed.Cause != client.Late {
		t.Errorf("%+v", failed)
	}
}

// TestNothingIsLostWhenTheSystemStops stops everything in order while much is on
// its way: what is said to be written is there, and what is not has failed.
func TestNothingIsLostWhenTheSystemStops(t *testing.T) {
	b := newBench(t, 3)
	p := b.producer(client.ProducerOptions{})
	const n = 3000
	written, failed := make(chan string, n), make(chan error, n)
	sender := b.system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		switch m := ctx.Message().(type) {
		case *actor.Started:
			for i := range n {
				ctx.Request(p.PID(), &kgo.Record{Topic: b.topic, Key: fmt.Append(nil, i)})
			}
		case *client.Delivered:
			written <- string(m.Record.Key)
		case *client.Failed:
			failed <- m.Err
		}
	}))
	first := <-written
	b.ended(b.system.Root.StopFuture, p.PID())
	b.ended(b.system.Root.PoisonFuture, sender) // after the answers
	b.system.Shutdown()
	said := map[string]bool{first: true}
	for len(written) > 0 {
		said[<-written] = true
	}
	if len(said)+len(failed) != n {
		t.Errorf("%d are written, %d have failed, of %d", len(said), len(failed), n)
	}
	for _, r := range b.read(b.topic, len(said)) {
		delete(said, string(r.Key))
	}
	if len(said) > 0 {
		t.Errorf("%d are said to be written and are not", len(said))
	}
}

// TestAProducerThatIsStoppedSaysWhetherAllIsWritten stops one that can write, and one
// that cannot.
func TestAProducerThatIsStoppedSaysWhetherAllIsWritten(t *testing.T) {
	b := newBench(t, 1)
	p := b.producer(client.ProducerOptions{Client: []kgo.Opt{kgo.ProducerLinger(time.Millisecond)}})
	for i := range 1000 {
		b.system.Root.Send(p.PID(), &kgo.Record{Topic: b.topic, Value: fmt.Append(nil, i)})
	}
	for range 2 { // a second time it says the same
		if err := p.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b.read(b.topic, 1000)
	unreachable := kgo.Dialer(func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no way") })
	lost := b.producer(client.ProducerOptions{FlushWithin: time.Millisecond, Client: []kgo.Opt{unreachable}})
	b.system.Root.Send(lost.PID(), &kgo.Record{Topic: b.topic})
	if err := lost.Stop(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	slow := b.producer(client.ProducerOptions{FlushWithin: patience, Client: []kgo.Opt{unreachable, kgo.RecordDeliveryTimeout(time.Second)}})
	b.system.Root.Send(slow.PID(), &kgo.Record{Topic: b.topic})
	if err := slow.Stop(over); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestWhoWaitsForRoomIsTold asks for all the room that there is while one record after
// the other is written. The Kafka client is held up when it has told that one is, and
// has not made room for the next yet: until the producer has looked for room in vain, and
// once more.
func TestWhoWaitsForRoomIsTold(t *testing.T) {
	b := newBench(t, 1)
	p := b.producer(client.ProducerOptions{MaxRecords: 1})
	root := b.system.Root
	looked := make(chan int, 1)
	b.system.Root = root.Copy().WithSenderMiddleware(func(next actor.SenderFunc) actor.SenderFunc {
		return func(ctx actor.SenderContext, to *actor.PID, envelope *actor.MessageEnvelope) {
			if next(ctx, to, envelope); !to.Equal(p.PID()) {
				return
			}
			_, _ = root.RequestFuture(to, &actor.Touch{}, patience).Result() // when it has come to the message
			switch fmt.Sprintf("%T", envelope.Message) {
			case "client.roomier":
				select {
				case <-looked: // before
				default:
				}
				<-looked
			case "client.look":
				select {
				case looked <- 1:
				default:
				}
			}
		}
	})
	for range 10 {
		root.Send(p.PID(), &kgo.Record{Topic: b.topic})
		if room, err := root.RequestFuture(p.PID(), client.WaitForRoom{}, patience).Result(); room != (client.Room{Records: 1}) {
			t.Fatalf("%+v, %v", room, err)
		}
	}
}

// TestAProducerThatStopsAnswersEverybody stops one that cannot write, while some wait
// for room, and others ask. It ends by the machine's clock, however soon they have asked:
// if that was too soon, it is tried with more time.
func TestAProducerThatStopsAnswersEverybody(t *testing.T) {
	b := newBench(t, 1)
	for within := 500 * time.Millisecond; !b.answersEverybody(within); within *= 4 {
		if within > patience {
			t.Fatal("it has always ended before all have asked")
		}
	}
}

// answersEverybody has a producer answer that has so long to stop, and reports whether
// all have asked in that time.
func (b *bench) answersEverybody(within time.Duration) bool {
	b.Helper()
	unreachable := kgo.Dialer(func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no way") })
	p := b.producer(client.ProducerOptions{MaxRecords: 1, FlushWithin: within, Client: []kgo.Opt{unreachable}})
	request := func(message any) *actor.Future { return b.system.Root.RequestFuture(p.PID(), message, patience) }
	record := request(&kgo.Record{Topic: b.topic})
	var waiting, flushes []*actor.Future
	ask := func() {
		waiting = append(waiting, request(client.WaitForRoom{}))
		flushes = append(flushes, request(client.Flush{}))
	}
	ask()
	began := time.Now()
	b.system.Root.Stop(p.PID())
	for stopping := false; !stopping; { // it waits for what it was sent when it turns records away
		answer, err := request(&kgo.Record{Topic: b.topic}).Result()
		if time.Since(began) >= within {
			return false
		}
		if err != nil {
			b.Fatal(err)
		}
		failed, ok := answer.(*client.Failed)
		stopping = ok && failed.Cause == client.Stopped
	}
	for range 3 {
		ask()
	}
	if time.Since(began) >= within {
		return false
	}
	if err := p.Stop(b.Context()); !errors.Is(err, context.DeadlineExceeded) {
		b.Error(err)
	}
	if answer, err := record.Result(); err != nil || answer.(*client.Failed).Cause != client.Stopped {
		b.Errorf("%+v, %v", answer, err)
	}
	for _, w := range waiting {
		answer, err := w.Result()
		if failed, ok := answer.(*client.Failed); err != nil || !ok || failed.Cause != client.Stopped {
			b.Errorf("%+v, %v", answer, err)
		}
	}
	for _, f := range flushes {
		if answer, err := f.Result(); err != nil {
			b.Errorf("%+v, %v", answer, err)
		}
	}
	return true
}

// bundle is several messages that are sent as one.
type bundle []any

func (b bundle) GetMessages() []any { return b }

func TestAProducerTakesRecordsThatComeTogether(t *testing.T) {
	b := newBench(t, 1)
	p := b.producer(client.ProducerOptions{})
	b.system.Root.Send(p.PID(), bundle{&kgo.Record{Topic: b.topic}, &kgo.Record{Topic: b.topic}})
	b.read(b.topic, 2)
}
