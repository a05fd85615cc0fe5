package client_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
	"understudy/internal/pulse"
)

// gauge reads one metric without labels of its own.
func gauge(t *testing.T, registry *prometheus.Registry, name string) (value float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				value += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return value
}

// TestWhatIsInFlightIsBounded has no record acknowledged until as many as there may
// be have come: there are no more. Then all is let go.
func TestWhatIsInFlightIsBounded(t *testing.T) {
	for name, adjust := range map[string]func(*client.SubscriptionOptions){
		"records": func(o *client.SubscriptionOptions) { o.MaxRecords = 100 },
		"bytes":   func(o *client.SubscriptionOptions) { o.MaxBytes = 100 << 10 },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 2)
			var records []*kgo.Record
			for i := range 2000 {
				records = append(records, &kgo.Record{Topic: b.topic, Key: []byte{byte(i), byte(i >> 8)}, Value: make([]byte, 1022)})
			}
			if err := b.cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			registry := prometheus.NewRegistry()
			var mu sync.Mutex
			var held []*client.Delivery
			came, released := make(chan int, 2000), false
			o := b.options()
			adjust(&o)
			o.Metrics = registry
			o.Actor = actor.PropsFromFunc(func(ctx actor.Context) {
				d, ok := ctx.Message().(*client.Delivery)
				if !ok {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if released {
					d.Ack()
				} else {
					held = append(held, d)
				}
				came <- 1
			})
			b.subscribe(o)
			n := 0
			count := func(want int) {
				until(t, came, "deliveries", func(int) bool { n++; return n >= want })
			}
			count(100)
			// One poll may go beyond the bytes by as much as sizes differ; these do not.
			if have := gauge(t, registry, "understudy_client_in_flight_records"); have > 101 {
				t.Errorf("%v records are in flight", have)
			}
			mu.Lock()
			released = true
			for _, d := range held {
				d.Ack()
			}
			mu.Unlock()
			count(2000)
		})
	}
}

// TestAHandlerThatBlocksForLong blocks one key while everything else flows, for as
// long as it takes for the group to have a second life if it wanted to: nothing
// rebalances, and the memory for what is acknowledged behind it does not grow with
// each record. A key that blocks for a minute is the same, for longer.
func TestAHandlerThatBlocksForLong(t *testing.T) {
	b, done := newBench(t, 2), newBook()
	const n, keys = 30_000, 3000
	b.write(n, keys)
	var revoked atomic.Int64
	watch := b.system.EventStream.Subscribe(func(e any) {
		if _, is := e.(client.Revoked); is {
			revoked.Add(1)
		}
	})
	defer b.system.EventStream.Unsubscribe(watch)
	stood := pulse.Watch()
	release := make(chan struct{})
	o := b.options()
	o.MaxRecords = 500
	o.SessionTimeout = 6 * time.Second
	o.Actor = client.Handler(func(_ actor.Context, r *kgo.Record) error {
		if string(r.Key) == "key-7" {
			<-release
		}
		done.enter(r)
		return nil
	})
	b.subscribe(o)
	done.await(t, n-n/keys)
	if r, lost := revoked.Load(), stood(); r > 0 && lost < o.SessionTimeout/2 { // who stands still for long enough is taken for dead, and rightly
		t.Errorf("%d partitions were revoked meanwhile", r)
	}
	close(release)
	done.await(t, n)
	done.inOrder(t, keys, n/keys)
}
