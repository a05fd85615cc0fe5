package client_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
)

func (b *bench) producer(o client.ProducerOptions) *client.Producer {
	b.Helper()
	o.Brokers = b.brokers
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
	if !ok || !errors.Is(failed.Err, kerr.MessageTooLarge) {
		t.Errorf("%+v", failed)
	}
}

func TestAProducerWritesWhatItWasSentBeforeItStops(t *testing.T) {
	b := newBench(t, 1)
	p := b.producer(client.ProducerOptions{})
	for i := range 1000 {
		b.system.Root.Send(p.PID(), &kgo.Record{Topic: b.topic, Value: fmt.Append(nil, i)})
	}
	if err := b.system.Root.StopFuture(p.PID()).Wait(); err != nil {
		t.Fatal(err)
	}
	for i, r := range b.read(b.topic, 1000) {
		if string(r.Value) != fmt.Sprint(i) {
			t.Fatalf("%s is number %d", r.Value, i)
		}
	}
}

func TestAFullProducerSaysSo(t *testing.T) {
	b := newBench(t, 1)
	p := b.producer(client.ProducerOptions{MaxRecords: 10, Client: []kgo.Opt{kgo.ManualFlushing()}})
	failures := make(chan *client.Failed, 10)
	watch := b.system.EventStream.Subscribe(func(e any) {
		if e, ok := e.(*client.Failed); ok {
			failures <- e
		}
	})
	defer b.system.EventStream.Unsubscribe(watch)
	if room := b.ask(p.PID(), client.WaitForRoom{Records: 100}); room != (client.Room{Records: 10}) {
		t.Errorf("%+v", room)
	}
	for range 11 {
		b.system.Root.Send(p.PID(), &kgo.Record{Topic: b.topic})
	}
	until(t, failures, "a record to find no room", func(f *client.Failed) bool { return errors.Is(f.Err, client.ErrFull) })
	waiting := b.system.Root.RequestFuture(p.PID(), client.WaitForRoom{Records: 5}, patience)
	if flushed := b.ask(p.PID(), client.Flush{}); flushed != (client.Flushed{}) {
		t.Errorf("%+v", flushed)
	}
	if room, err := waiting.Result(); err != nil || room != (client.Room{Records: 5}) {
		t.Errorf("%+v, %v", room, err)
	}
}
