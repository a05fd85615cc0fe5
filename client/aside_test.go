package client_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
)

// hot is the key of which there are most records.
const hot = "hot"

// writeHot produces n records to each partition, every second of which has the hot
// key, in the first partition only; the others have one of ten other keys.
func (b *bench) writeHot(n, partitions int) {
	b.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	var records []*kgo.Record
	counts := map[string]int{}
	for p := range partitions {
		for i := range n {
			key := fmt.Sprintf("key-%d-%d", p, i/2%10)
			if p == 0 && i%2 == 1 {
				key = hot
			}
			records = append(records, &kgo.Record{Topic: b.topic, Partition: int32(p), Key: []byte(key), Value: fmt.Append(nil, counts[key])})
			counts[key]++
		}
	}
	if err := cl.ProduceSync(b.Context(), records...).FirstErr(); err != nil {
		b.Fatal(err)
	}
}

// most keeps the highest of what it is shown.
type most struct{ n atomic.Int64 }

func (m *most) see(n int64) {
	for old := m.n.Load(); n > old && !m.n.CompareAndSwap(old, n); old = m.n.Load() {
	}
}

// hotOptions are for few records in flight, which are measured.
func (b *bench) hotOptions() (o client.SubscriptionOptions, look func(name string) int64) {
	registry := prometheus.NewRegistry()
	o = b.options()
	o.MaxRecords = 400
	o.Metrics = registry
	return o, func(name string) int64 { return int64(gauge(b.T, registry, "understudy_client_"+name)) }
}

// TestABlockedKeyDoesNotTakeAllTheRoom blocks the one key that has most records: all
// others get theirs, and what is in flight stays bounded. Then it gets its own.
func TestABlockedKeyDoesNotTakeAllTheRoom(t *testing.T) {
	b, done := newBench(t, 1), newBook()
	const n = 20_000
	b.writeHot(n, 1)
	var inFlight most
	release := make(chan struct{})
	o, look := b.hotOptions()
	o.Actor = client.Handler(func(_ actor.Context, r *kgo.Record) error {
		if string(r.Key) == hot {
			<-release
		} else if r.Offset%100 == 0 {
			inFlight.see(look("in_flight_records"))
		}
		done.enter(r)
		return nil
	})
	s := b.subscribe(o)
	done.await(t, n/2)
	if have := look("aside_records"); have > n/2 || have == 0 {
		t.Errorf("%d records are aside", have)
	}
	close(release)
	done.await(t, n)
	b.stop(s)
	if have := inFlight.n.Load(); have > 400+400/8+1 {
		t.Errorf("%d records were in flight", have)
	}
	if have := look("aside_records"); have != 0 {
		t.Errorf("%d records are aside, of none", have)
	}
	if at := b.committed(); at != n {
		t.Errorf("committed %d", at)
	}
	if done.sum != n || len(done.done[hot]) != n/2 {
		t.Errorf("%d records were processed, %d of the hot key", done.sum, len(done.done[hot]))
	}
	for key, values := range done.done {
		for i, v := range values {
			if v != fmt.Sprint(i) {
				t.Fatalf("%s: %s is number %d", key, v, i)
			}
		}
	}
}

// TestOnlyThePartitionWithTooMuchAsideIsPaused has one key put more aside than may be:
// its partition waits, the other goes on.
func TestOnlyThePartitionWithTooMuchAsideIsPaused(t *testing.T) {
	for name, route := range map[string]client.Route{"by key": client.ByKey, "by partition": client.ByPartition} {
		t.Run(name, func(t *testing.T) {
			b, done := newBench(t, 2), newBook()
			const n = 10_000
			b.writeHot(n, 2)
			release := make(chan struct{})
			other := make(chan int, n)
			o, look := b.hotOptions()
			o.MaxAside = 300
			o.By = route
			o.Actor = client.Handler(func(_ actor.Context, r *kgo.Record) error {
				if string(r.Key) == hot {
					<-release
				}
				done.enter(r)
				if r.Partition == 1 {
					other <- 1
				}
				return nil
			})
			s := b.subscribe(o)
			seen := 0
			until(t, other, "all of the other partition", func(int) bool { seen++; return seen == n })
			if have := look("aside_records"); have > 300+2*400 || have == 0 {
				t.Errorf("%d records are aside", have)
			}
			close(release)
			done.await(t, 2*n)
			b.stop(s)
			if at := b.committed(); at != 2*n {
				t.Errorf("committed %d", at)
			}
		})
	}
}

// TestWhatIsAsideComesToTheNextMember stops a subscription while much is aside: the
// next one is given what was not acknowledged, in order.
func TestWhatIsAsideComesToTheNextMember(t *testing.T) {
	b, first := newBench(t, 1), newBook()
	const n = 5000
	b.writeHot(n, 1)
	o, look := b.hotOptions()
	o.DrainWithin = time.Millisecond
	o.Actor = actor.PropsFromFunc(func(ctx actor.Context) {
		if d, ok := ctx.Message().(*client.Delivery); ok && string(d.Record.Key) != hot {
			first.enter(d.Record)
			d.Ack()
		}
	})
	s := b.subscribe(o)
	first.await(t, n/2)
	b.stop(s)
	if at := b.committed(); at != 1 {
		t.Errorf("committed %d", at)
	}
	if have := look("aside_records"); have != 0 {
		t.Errorf("%d records are aside, of none", have)
	}
	second := newBook()
	o, _ = b.hotOptions()
	o.Actor = client.Handler(func(_ actor.Context, r *kgo.Record) error {
		if string(r.Key) == hot {
			second.enter(r)
		}
		return nil
	})
	s = b.subscribe(o)
	second.await(t, n/2)
	b.stop(s)
	second.inOrder(t, 1, n/2)
	if at := b.committed(); at != n {
		t.Errorf("committed %d", at)
	}
}

// TestWhatIsAsideMayBeDeleted deletes records that are aside: nobody waits for them.
func TestWhatIsAsideMayBeDeleted(t *testing.T) {
	b, done := newBench(t, 1), newBook()
	const n, from = 5000, 4000
	b.writeHot(n, 1)
	release := make(chan struct{})
	last := make(chan string, n)
	o, _ := b.hotOptions()
	o.Actor = client.Handler(func(_ actor.Context, r *kgo.Record) error {
		if string(r.Key) == hot {
			<-release
			last <- string(r.Value)
		}
		done.enter(r)
		return nil
	})
	s := b.subscribe(o)
	done.await(t, n/2)
	deleted, err := b.admin.DeleteRecords(t.Context(), kadm.Offsets{b.topic: {0: {Topic: b.topic, Partition: 0, At: from}}})
	if err == nil {
		err = deleted.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	close(release)
	end := fmt.Sprint(n/2 - 1)
	until(t, last, "the last record", func(v string) bool { return v == end })
	b.stop(s)
	if at := b.committed(); at != n {
		t.Errorf("committed %d", at)
	}
	if have := len(done.done[hot]); have < (n-from)/2 || have >= n/2 {
		t.Errorf("%d records of the hot key were processed", have)
	}
}

// TestManyAreSlowAtOnce has several keys be slow, by failing now and then and by
// waiting for others: order is kept, and all is done.
func TestManyAreSlowAtOnce(t *testing.T) {
	b, done := newBench(t, 2), newBook()
	const n, keys = 12_000, 24
	b.write(n, keys)
	release := make(chan struct{})
	var tries atomic.Int64
	o, look := b.hotOptions()
	o.MaxRecords = 1000
	o.Retry.Attempts = -1
	o.Actor = client.Handler(func(_ actor.Context, r *kgo.Record) error {
		switch string(r.Key) {
		case "key-3", "key-4", "key-5", "key-6":
			<-release
			if tries.Add(1)%50 == 0 {
				return errors.New("as planned")
			}
		}
		done.enter(r)
		return nil
	})
	s := b.subscribe(o)
	done.await(t, n/keys*(keys-4))
	if have := look("aside_records"); have == 0 {
		t.Error("nothing is aside")
	}
	close(release)
	done.await(t, n)
	b.stop(s)
	done.inOrder(t, keys, n/keys)
	if at := b.committed(); at != n {
		t.Errorf("committed %d", at)
	}
}
