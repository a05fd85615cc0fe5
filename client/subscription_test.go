package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
)

func TestEachKeyIsProcessedInOrder(t *testing.T) {
	for name, route := range map[string]client.Route{"by key": client.ByKey, "by partition": client.ByPartition} {
		t.Run(name, func(t *testing.T) {
			b, done := newBench(t, 4), newBook()
			b.write(5000, 50)
			o := b.options()
			o.By = route
			o.Actor = client.Handler(func(_ actor.Context, r *kgo.Record) error { done.enter(r); return nil })
			s := b.subscribe(o)
			done.await(t, 5000)
			b.stop(s)
			done.inOrder(t, 50, 100)
			if n := b.committed(); n != 5000 {
				t.Errorf("committed %d", n)
			}
		})
	}
}

// TestFailuresKeepTheOrder has every tenth attempt fail or panic.
func TestFailuresKeepTheOrder(t *testing.T) {
	b, done := newBench(t, 3), newBook()
	b.write(2000, 20)
	var attempts atomic.Int64
	o := b.options()
	o.Retry.Attempts = -1
	o.Actor = client.Handler(func(_ actor.Context, r *kgo.Record) error {
		switch n := attempts.Add(1); {
		case n%20 == 0:
			panic("as planned")
		case n%10 == 0:
			return errors.New("as planned")
		}
		done.enter(r)
		return nil
	})
	registry := prometheus.NewRegistry()
	o.Metrics = registry
	s := b.subscribe(o)
	done.await(t, 2000)
	b.stop(s)
	done.inOrder(t, 20, 100)
	if n := b.committed(); n != 2000 {
		t.Errorf("committed %d", n)
	}
	if families, err := registry.Gather(); err != nil || len(families) < 5 {
		t.Errorf("%d metrics, %v", len(families), err)
	}
}

func TestDeadLettersAndTheirReturn(t *testing.T) {
	b, done := newBench(t, 1), newBook()
	b.write(30, 3)
	var poisonous atomic.Bool
	poisonous.Store(true)
	o := b.options()
	o.Retry.Attempts = 3
	o.Actor = client.Handler(func(_ actor.Context, r *kgo.Record) error {
		if poisonous.Load() && string(r.Value) == "4" {
			return errors.New("no thanks")
		}
		done.enter(r)
		return nil
	})
	buried, end := events[client.DeadLettered](b, 10)
	defer end()
	b.subscribe(o)
	done.await(t, 27)
	n := 0
	until(t, buried, "three dead letters", func(e client.DeadLettered) bool {
		n++
		if e.Attempt != 3 || e.Topic != b.topic+".dead" || e.Cause.Error() != "no thanks" {
			t.Errorf("%+v", e)
		}
		return n == 3
	})
	letter := b.read(b.topic+".dead", 3)[0]
	for key, want := range map[string]string{client.HeaderCause: "no thanks", client.HeaderAttempts: "3", client.HeaderTopic: b.topic, client.HeaderPartition: "0", client.HeaderGroup: b.group} {
		if have := header(letter, key); have != want {
			t.Errorf("%s is %q", key, have)
		}
	}
	poisonous.Store(false)
	for _, want := range []int{3, 0} {
		if sent, err := client.Replay(t.Context(), client.ReplayOptions{Brokers: b.brokers, Topic: b.topic + ".dead"}); sent != want || err != nil {
			t.Errorf("%d sent back instead of %d, %v", sent, want, err)
		}
	}
	done.await(t, 30)
}

// read reads so many records of a topic.
func (b *bench) read(topic string, n int) (all []*kgo.Record) {
	b.Helper()
	b.readUntil(topic, func(r *kgo.Record) bool {
		all = append(all, r)
		return len(all) >= n
	})
	return all
}

// readUntil reads a topic, which need not be there yet, until it is enough.
func (b *bench) readUntil(topic string, enough func(*kgo.Record) bool) {
	b.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.UnknownTopicRetries(-1), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			b.Fatalf("in vain: enough records of %s", topic)
		}
		for _, r := range fetches.Records() {
			if enough(r) {
				return
			}
		}
	}
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// TestWhatWasDoneBeyondTheFrontIsNotRepeated keeps one record open, and starts
// again.
func TestWhatWasDoneBeyondTheFrontIsNotRepeated(t *testing.T) {
	b := newBench(t, 1)
	b.write(100, 10)
	o := b.options()
	o.DrainWithin = time.Millisecond
	first := newBook()
	o.Actor = actor.PropsFromFunc(func(ctx actor.Context) {
		if d, ok := ctx.Message().(*client.Delivery); ok {
			if key := string(d.Record.Key); key == "key-3" {
				return // never says what became of it
			}
			d.Ack() // first: the stop that follows the last hardly waits
			first.enter(d.Record)
		}
	})
	s := b.subscribe(o)
	first.await(t, 90)
	b.stop(s)
	if n := b.committed(); n != 3 {
		t.Errorf("committed %d", n)
	}
	second := newBook()
	o.DrainWithin = 0
	o.Actor = client.Handler(func(_ actor.Context, r *kgo.Record) error { second.enter(r); return nil })
	s = b.subscribe(o)
	second.await(t, 10)
	b.stop(s)
	if len(second.done) != 1 || len(second.done["key-3"]) != 10 {
		t.Errorf("came again: %v", second.done)
	}
	if n := b.committed(); n != 100 {
		t.Errorf("committed %d", n)
	}
}

// TestABlockedKeyHoldsUpNobodyElse blocks one key: others flow, and what waits is bounded.
func TestABlockedKeyHoldsUpNobodyElse(t *testing.T) {
	b, done := newBench(t, 1), newBook()
	b.write(3000, 30)
	release := make(chan struct{})
	o := b.options()
	o.MaxRecords = 500
	o.Actor = client.Handler(func(_ actor.Context, r *kgo.Record) error {
		if string(r.Key) == "key-7" {
			<-release
		}
		done.enter(r)
		return nil
	})
	b.subscribe(o)
	done.await(t, 2900)
	close(release)
	done.await(t, 3000)
	done.inOrder(t, 30, 100)
}

// TestIdleActorsComeBack counts the actors that are started.
func TestIdleActorsComeBack(t *testing.T) {
	b, done := newBench(t, 1), newBook()
	stopped := make(chan string, 100)
	o := b.options()
	o.IdleAfter = time.Nanosecond
	o.Actor = actor.PropsFromFunc(func(ctx actor.Context) {
		switch m := ctx.Message().(type) {
		case *client.Delivery:
			done.enter(m.Record)
			m.Ack()
		case *actor.Stopped:
			stopped <- ctx.Self().Id
		}
	})
	b.subscribe(o)
	for round := range 3 {
		b.write(10, 10)
		done.await(t, 10*(round+1))
		n := 0
		until(t, stopped, "ten actors to stop", func(string) bool { n++; return n == 10 })
	}
}

// TestMembersShareAndHandOver has members come and go: nothing is left out, each
// key stays in order, and what is repeated was not acknowledged.
func TestMembersShareAndHandOver(t *testing.T) {
	b := newBench(t, 6)
	var mu sync.Mutex
	last := map[string]int{}
	seen, told := map[string]bool{}, make(chan int, 1<<20)
	o := b.options()
	o.Actor = client.Handler(func(_ actor.Context, r *kgo.Record) error {
		mu.Lock()
		defer mu.Unlock()
		var n int
		fmt.Sscan(string(r.Value), &n)
		if before, any := last[string(r.Key)]; any && n > before+1 {
			t.Errorf("%s: %d after %d", r.Key, n, before)
		}
		last[string(r.Key)] = n
		seen[string(r.Key)+"/"+string(r.Value)] = true
		told <- len(seen)
		return nil
	})
	first := b.subscribe(o)
	b.write(3000, 60)
	second := b.subscribe(o)
	await := func(n int) {
		until(t, told, fmt.Sprintf("%d different records", n), func(have int) bool { return have >= n })
	}
	await(3000)
	b.stop(first)
	b.writeFrom(50, 3000, 60)
	await(6000)
	b.stop(second)
	if n := b.committed(); n != 6000 {
		t.Errorf("committed %d", n)
	}
}

// writeFrom is write with values that count on.
func (b *bench) writeFrom(from, n, keys int) {
	b.Helper()
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = &kgo.Record{Topic: b.topic, Key: fmt.Appendf(nil, "key-%d", i%keys), Value: fmt.Append(nil, from+i/keys)}
	}
	if err := b.cl.ProduceSync(b.Context(), records...).FirstErr(); err != nil {
		b.Fatal(err)
	}
}

// TestStopWaitsNoLongerThanItMay stops a subscription whose actor goes on all the same.
func TestStopWaitsNoLongerThanItMay(t *testing.T) {
	b := newBench(t, 1)
	b.write(1, 1)
	at, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	o := b.options()
	o.Actor = client.Handler(func(actor.Context, *kgo.Record) error {
		close(at)
		<-release
		return nil
	})
	s, err := client.Subscribe(b.system, o)
	if err != nil {
		t.Fatal(err)
	}
	<-at
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(over); !errors.Is(err, context.Canceled) || errors.Is(err, actor.ErrTimeout) {
		t.Error(err)
	}
}

func TestSubscribeSaysWhatIsMissing(t *testing.T) {
	_, err := client.Subscribe(actor.NewActorSystem(), client.SubscriptionOptions{Brokers: []string{"127.0.0.1:1"}})
	for _, want := range []string{"Topics", "Group", "Actor"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %s in %v", want, err)
		}
	}
}

// TestMetricsMakeRoomForTheNextSubscription subscribes twice with the same metrics registry,
// one subscription after the other.
func TestMetricsMakeRoomForTheNextSubscription(t *testing.T) {
	b := newBench(t, 1)
	o := b.options()
	o.Actor = client.Handler(func(actor.Context, *kgo.Record) error { return nil })
	o.Metrics = prometheus.NewRegistry()
	bad := o
	bad.Client = []kgo.Opt{kgo.SessionTimeout(-1)}
	if _, err := client.Subscribe(b.system, bad); err == nil {
		t.Error("a bad option is taken")
	}
	for range 2 {
		s, err := client.Subscribe(b.system, o)
		if err != nil {
			t.Fatal(err)
		}
		b.stop(s)
	}
}

// TestSubscribeSaysWhatCannotBe gives numbers with which a subscription could not work.
func TestSubscribeSaysWhatCannotBe(t *testing.T) {
	for want, spoil := range map[string]func(*client.SubscriptionOptions){
		"MaxRecords":  func(o *client.SubscriptionOptions) { o.MaxRecords = -1 },
		"MaxBytes":    func(o *client.SubscriptionOptions) { o.MaxBytes = -1 },
		"CommitEvery": func(o *client.SubscriptionOptions) { o.CommitEvery = -1 },
		"Initial":     func(o *client.SubscriptionOptions) { o.Retry.Initial = -1 },
	} {
		o := client.SubscriptionOptions{Brokers: []string{"127.0.0.1:1"}, Topics: []string{"orders"}, Group: "workers",
			Actor: client.Handler(func(actor.Context, *kgo.Record) error { return nil })}
		spoil(&o)
		s, err := client.Subscribe(actor.NewActorSystem(), o)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if s != nil {
			_ = s.Stop(t.Context())
		}
	}
}
