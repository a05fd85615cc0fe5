package client_test

import (
	"fmt"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
)

// TestAGroupThatBeganAtTheEndMissesNothing has a group begin at the end, and lets a
// partition in which nothing was written change hands: what is written meanwhile comes to
// the next member.
func TestAGroupThatBeganAtTheEndMissesNothing(t *testing.T) {
	b, done := newBench(t, 3), newBook()
	before := kgo.Record{Topic: b.topic, Key: []byte("key-0"), Value: []byte("0")} // in one partition
	if err := b.cl.ProduceSync(t.Context(), &before).FirstErr(); err != nil {
		t.Fatal(err)
	}
	assigned, end := events[client.Assigned](b, 10)
	defer end()
	o := b.options()
	o.Start = client.Latest
	o.Actor = client.Handler(func(_ actor.Context, r *kgo.Record) error { done.enter(r); return nil })
	s := b.subscribe(o)
	n := 0
	until(t, assigned, "all partitions", func(client.Assigned) bool { n++; return n == 3 })
	b.stop(s)
	b.writeFrom(1, 20, 10)
	s = b.subscribe(o)
	done.await(t, 20)
	b.stop(s)
	for key, values := range done.done {
		if fmt.Sprint(values) != "[1 2]" {
			t.Errorf("%s: %v", key, values)
		}
	}
}

// TestAGroupThatBeganAtTheEndGoesOnWhereTheLogBegins deletes what a group was to read
// next: it goes on with what there is.
func TestAGroupThatBeganAtTheEndGoesOnWhereTheLogBegins(t *testing.T) {
	b, done := newBench(t, 1), newBook()
	o := b.options()
	o.Start = client.Latest
	o.Actor = client.Handler(func(_ actor.Context, r *kgo.Record) error { done.enter(r); return nil })
	b.write(100, 1)
	if err := b.admin.CommitAllOffsets(t.Context(), b.group, kadm.Offsets{b.topic: {0: {Topic: b.topic, At: 10, LeaderEpoch: -1}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.admin.DeleteRecords(t.Context(), kadm.Offsets{b.topic: {0: {Topic: b.topic, At: 50}}}); err != nil {
		t.Fatal(err)
	}
	s := b.subscribe(o)
	done.await(t, 50)
	b.stop(s)
	if done.done["key-0"][0] != "50" {
		t.Errorf("began with %s", done.done["key-0"][0])
	}
}
