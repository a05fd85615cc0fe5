package client_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/client"
)

// TestAStaticMemberKeepsItsPlace stops a static member and starts it again, beside
// one that stays: the one that stays is given nothing and loses nothing, and the
// group has had no rebalance (KIP-345).
func TestAStaticMemberKeepsItsPlace(t *testing.T) {
	b, done := newBench(t, 4), newBook()
	moved := make(chan any, 100)
	watch := b.system.EventStream.Subscribe(func(e any) {
		switch e.(type) {
		case client.Assigned, client.Revoked:
			moved <- e
		}
	})
	defer b.system.EventStream.Unsubscribe(watch)
	o := b.options()
	o.SessionTimeout = 5 * time.Minute
	o.Actor = client.Handler(func(_ actor.Context, r *kgo.Record) error { done.enter(r); return nil })
	o.InstanceID = "one"
	stays := new(joins)
	rest := o.Client
	o.Client = append(slices.Clone(rest), kgo.WithHooks(stays))
	b.subscribe(o)
	n := 0
	until(t, moved, "the first to have all partitions", func(any) bool { n++; return n == 4 }) // so that it leads: who leads balances anew when it is back
	o.Client = rest
	o.InstanceID = "two"
	second := b.subscribe(o)
	b.balanced("one", "two")
	before := stays.n.Load()
	b.stop(second)
	for len(moved) > 0 {
		<-moved
	}
	b.write(400, 40) // some of it is for the one that is away
	b.subscribe(o)
	done.await(t, 400)
	done.inOrder(t, 40, 10)
	for len(moved) > 0 {
		if e, is := (<-moved).(client.Revoked); is {
			t.Errorf("%+v", e)
		}
	}
	if now := stays.n.Load(); now != before {
		t.Errorf("the one that stays had to join %d times more", now-before)
	}
}

// balanced waits until the named members share the partitions, two each.
func (b *bench) balanced(instances ...string) {
	b.Helper()
	limit := time.Now().Add(patience)
	for time.Now().Before(limit) {
		groups, err := b.admin.DescribeGroups(b.Context(), b.group)
		if err != nil {
			b.Fatal(err)
		}
		ready := 0
		for _, m := range groups[b.group].Members {
			if c, ok := m.Assigned.AsConsumer(); ok && len(c.Topics) == 1 && len(c.Topics[0].Partitions) == 2 {
				ready++
			}
		}
		if g := groups[b.group]; g.State == "Stable" && ready == len(instances) {
			return
		}
	}
	b.Fatalf("%v never share the partitions", instances)
}

// joins counts the requests to join the group that a client sends.
type joins struct{ n atomic.Int64 }

// OnBrokerWrite is of kgo.HookBrokerWrite.
func (j *joins) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == kmsg.JoinGroup.Int16() {
		j.n.Add(1)
	}
}
