package client_test

import (
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
)

// TestWhatIsMadeOfRecordsIsWritten has two records made of each, with failures: all
// of them are there, those of each key in order.
func TestWhatIsMadeOfRecordsIsWritten(t *testing.T) {
	b := newBench(t, 3)
	b.write(600, 20)
	p := b.producer(client.ProducerOptions{MaxRecords: 50}) // it is full now and then
	var attempts atomic.Int64
	o := b.options()
	o.Retry.Attempts = -1
	o.Actor = client.Transform(p, func(_ actor.Context, r *kgo.Record) ([]*kgo.Record, error) {
		switch n := attempts.Add(1); {
		case n%50 == 0:
			panic("as planned")
		case n%25 == 0:
			return nil, errors.New("as planned")
		case string(r.Value) == "7":
			return nil, nil // nothing comes of it
		}
		return []*kgo.Record{
			{Topic: b.topic + "-made", Key: r.Key, Value: r.Value},
			{Topic: b.topic + "-made", Key: r.Key, Value: append([]byte("again "), r.Value...)},
		}, nil
	})
	s := b.subscribe(o)
	seen := map[string]int{} // how far each key has come
	complete := 0
	b.readUntil(b.topic+"-made", func(r *kgo.Record) bool {
		rest, again := strings.CutPrefix(string(r.Value), "again ")
		n, err := strconv.Atoi(rest)
		if err != nil {
			t.Fatal(err)
		}
		have, key := 2*n+1, string(r.Key)
		if again {
			have++
		}
		if n > 7 {
			have -= 2
		}
		switch { // what was being written when a later record failed comes twice; nothing comes early
		case have > seen[key]+1:
			t.Fatalf("%s: %s after number %d", key, r.Value, seen[key])
		case have == seen[key]+1:
			if seen[key] = have; have == 2*29 {
				complete++
			}
		}
		return complete == 20
	})
	b.stop(s)
	if n := b.committed(); n != 600 {
		t.Errorf("committed %d", n)
	}
}

// TestWhatCannotBeWrittenIsNotAcknowledged has the producer stop.
func TestWhatCannotBeWrittenIsNotAcknowledged(t *testing.T) {
	b := newBench(t, 1)
	b.write(1, 1)
	p := b.producer(client.ProducerOptions{})
	b.ended(b.system.Root.StopFuture, p.PID())
	retried := make(chan client.Retried, 100)
	watch := b.system.EventStream.Subscribe(func(e any) {
		if e, ok := e.(client.Retried); ok {
			select {
			case retried <- e:
			default:
			}
		}
	})
	defer b.system.EventStream.Unsubscribe(watch)
	o := b.options()
	o.Retry.Attempts = -1
	o.Actor = client.Transform(p, func(_ actor.Context, r *kgo.Record) ([]*kgo.Record, error) {
		return []*kgo.Record{{Topic: b.topic + "-made", Value: r.Value}}, nil
	})
	s := b.subscribe(o)
	until(t, retried, "the record to come again", func(e client.Retried) bool { return errors.Is(e.Cause, client.ErrStopped) })
	b.stop(s)
	if n := b.committed(); n > 0 {
		t.Errorf("committed %d", n)
	}
}
