package client_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
)

// TestAnActorThatStopsItselfIsReplaced has each actor say that its record has failed,
// and stop: the record comes again to another actor, and in the end goes to the dead
// letters, and those behind it are done.
func TestAnActorThatStopsItselfIsReplaced(t *testing.T) {
	b, done := newBench(t, 1), newBook()
	b.write(200, 20)
	o := b.options()
	o.Retry.Attempts = 3
	o.Actor = actor.PropsFromFunc(func(ctx actor.Context) {
		d, ok := ctx.Message().(*client.Delivery)
		switch {
		case !ok:
		case string(d.Record.Value) == "2" || string(d.Record.Value) == "4" && d.Attempt < 2:
			d.Fail(errors.New("as planned"))
			ctx.Stop(ctx.Self())
		default:
			done.enter(d.Record)
			d.Ack()
		}
	})
	s := b.subscribe(o)
	done.await(t, 180)
	letters := map[string]int{}
	for _, letter := range b.read(b.topic+".dead", 20) {
		letters[header(letter, client.HeaderAttempts)+" "+string(letter.Value)]++
	}
	if letters["3 2"] != 20 {
		t.Errorf("dead letters, by attempts and value: %v", letters)
	}
	b.stop(s)
	if at := b.committed(); at != 200 {
		t.Errorf("committed %d", at)
	}
}

// TestAnActorThatFailsAsItStopsComesBack has actors panic when they are told that they
// stop, as those do that have had no record for a while.
func TestAnActorThatFailsAsItStopsComesBack(t *testing.T) {
	b, done := newBench(t, 1), newBook()
	stopping := make(chan int, 1000)
	o := b.options()
	o.IdleAfter, o.DrainWithin = time.Nanosecond, time.Minute
	o.Actor = actor.PropsFromFunc(func(ctx actor.Context) {
		switch m := ctx.Message().(type) {
		case *client.Delivery:
			done.enter(m.Record)
			m.Ack()
		case *actor.Stopping, *actor.Stopped:
			stopping <- 1
			panic("as planned")
		}
	})
	s := b.subscribe(o)
	for round := range 3 {
		b.write(10, 10)
		done.await(t, 10*(round+1))
		n := 0
		until(t, stopping, "ten actors to stop", func(int) bool { n++; return n == 10 })
	}
	began := time.Now()
	b.stop(s)
	if took := time.Since(began); took >= o.DrainWithin {
		t.Errorf("it took %v to stop", took)
	}
}

// explode is for an actor to panic at.
type explode struct{}

// seen is a reason to panic that tells when somebody wants to know what it is.
type seen chan struct{}

func (s seen) Error() string { close(s); return "as planned" }

// TestAnActorThatFailsWhileItsChildrenStopIsNotRevived has an actor panic when it has been
// told to stop, and still waits for a child of its own: it ends, and so does the
// subscription.
func TestAnActorThatFailsWhileItsChildrenStopIsNotRevived(t *testing.T) {
	b := newBench(t, 1)
	b.write(1, 1)
	held, stopping, hold, failed := make(chan [2]*actor.PID, 1), make(chan int, 1), make(chan int), make(seen)
	var started atomic.Int64
	helper := actor.PropsFromFunc(func(ctx actor.Context) {
		if _, ok := ctx.Message().(*actor.Stopping); ok {
			stopping <- 1
			<-hold
		}
	})
	o := b.options()
	o.DrainWithin = time.Millisecond
	o.Actor = actor.PropsFromFunc(func(ctx actor.Context) {
		switch ctx.Message().(type) {
		case *actor.Started:
			started.Add(1)
			ctx.Spawn(helper)
		case *client.Delivery:
			held <- [2]*actor.PID{ctx.Self(), ctx.Parent()}
		case explode:
			panic(failed)
		}
	})
	s := b.subscribe(o)
	who := <-held
	stopped := make(chan int)
	go func() {
		defer close(stopped)
		b.stop(s)
	}()
	<-stopping
	b.system.Root.Send(who[0], explode{})
	<-failed
	b.ask(who[1], &actor.Touch{}) // so that what is to be done about it is done
	close(hold)
	<-stopped
	if n := started.Load(); n != 1 {
		t.Errorf("the actor was started %d times", n)
	}
}

// TestWhatAnActorHoldsComesAgain has an actor fail at something else than a record,
// while it holds records: what it knew of them is gone with it, and they come again.
func TestWhatAnActorHoldsComesAgain(t *testing.T) {
	b, done := newBench(t, 1), newBook()
	b.write(100, 1)
	held := make(chan *actor.PID, 1000)
	var failed atomic.Bool
	o := b.options()
	o.Actor = actor.PropsFromFunc(func(ctx actor.Context) {
		switch m := ctx.Message().(type) {
		case *client.Delivery:
			if failed.Load() {
				done.enter(m.Record)
				m.Ack()
			} else {
				held <- ctx.Self()
			}
		case explode:
			failed.Store(true)
			panic("as planned")
		}
	})
	s := b.subscribe(o)
	n := 0
	until(t, held, "records to be held", func(pid *actor.PID) bool {
		if n++; n == 64 {
			b.system.Root.Send(pid, explode{})
		}
		return n == 64
	})
	done.await(t, 100)
	b.stop(s)
	done.inOrder(t, 1, 100)
}

// TestAnActorThatCannotStartDoesNotSpin has actors panic at a record, and then when they
// are started: that is an attempt of the record that they were started for.
func TestAnActorThatCannotStartDoesNotSpin(t *testing.T) {
	b, done := newBench(t, 1), newBook()
	b.write(6, 3)
	var started atomic.Int64
	var well atomic.Bool
	o := b.options()
	o.Retry = client.Retry{Attempts: 3, Initial: 50 * time.Millisecond, Max: 50 * time.Millisecond}
	o.Actor = actor.PropsFromFunc(func(ctx actor.Context) {
		switch m := ctx.Message().(type) {
		case *actor.Started:
			if n := started.Add(1); n > 3 && !well.Load() {
				panic("as planned")
			}
		case *client.Delivery:
			if !well.Load() {
				panic("as planned")
			}
			done.enter(m.Record)
			m.Ack()
		}
	})
	s := b.subscribe(o)
	b.read(b.topic+".dead", 6)
	if n := started.Load(); n > 3*6+3 {
		t.Errorf("actors were started %d times", n)
	}
	well.Store(true)
	b.writeFrom(2, 3, 3)
	done.await(t, 3)
	b.stop(s)
	if at := b.committed(); at != 9 {
		t.Errorf("committed %d", at)
	}
}

// TestARouteThatPanicsHoldsUpNobody has the options' By panic at some records: they go
// to the dead letters, and the others are done.
func TestARouteThatPanicsHoldsUpNobody(t *testing.T) {
	b, done := newBench(t, 1), newBook()
	b.write(100, 10)
	o := b.options()
	o.By = func(r *kgo.Record) string {
		if string(r.Value) == "3" {
			panic("as planned")
		}
		return string(r.Key)
	}
	o.Actor = client.Handler(func(_ actor.Context, r *kgo.Record) error { done.enter(r); return nil })
	s := b.subscribe(o)
	done.await(t, 90)
	b.read(b.topic+".dead", 10)
	b.stop(s)
	if at := b.committed(); at != 100 {
		t.Errorf("committed %d", at)
	}
}
