package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
	"understudy/client/clienttest"
)

const patience = 2 * time.Minute // before a test gives up; no test passes by waiting for it

// brokersEnv names brokers that the tests are to use, HOST:PORT,…, such as Apache
// Kafka's. Without it each test has a broker of its own.
const brokersEnv = "CLIENT_TEST_BROKERS"

// names keeps the topics and groups of tests that share brokers apart.
var names atomic.Int64

// bench is a cluster, an actor system, and a client beside them.
type bench struct {
	*testing.T
	brokers []string
	topic   string
	group   string
	system  *actor.ActorSystem
	cl      *kgo.Client
	admin   *kadm.Client
}

func newBench(t *testing.T, partitions int32) *bench {
	t.Helper()
	n := names.Add(1)
	b := &bench{T: t, system: quietSystem(), topic: fmt.Sprintf("orders-%d-%d", os.Getpid(), n), group: fmt.Sprintf("workers-%d-%d", os.Getpid(), n)}
	if given := os.Getenv(brokersEnv); given != "" {
		b.brokers = strings.Split(given, ",")
	} else {
		b.brokers = clienttest.Start(t, 1).Addrs()
	}
	var err error
	b.cl, err = kgo.NewClient(kgo.SeedBrokers(b.brokers...), kgo.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.cl.Close)
	b.admin = kadm.NewClient(b.cl)
	if _, err := b.admin.CreateTopic(t.Context(), partitions, 1, nil, b.topic); err != nil {
		t.Fatal(err)
	}
	return b
}

// quietSystem is an actor system that does not log each failure that a test plans.
func quietSystem() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
}

// write produces n records over so many keys; the value counts up in each key.
func (b *bench) write(n, keys int) {
	b.Helper()
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = &kgo.Record{Topic: b.topic, Key: fmt.Appendf(nil, "key-%d", i%keys), Value: fmt.Append(nil, i/keys)}
	}
	if err := b.cl.ProduceSync(b.Context(), records...).FirstErr(); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) options() client.SubscriptionOptions {
	return client.SubscriptionOptions{
		Brokers: b.brokers, Topics: []string{b.topic}, Group: b.group, By: client.ByKey,
		CommitEvery: 10 * time.Millisecond,
		Retry:       client.Retry{Initial: time.Millisecond, Max: 10 * time.Millisecond},
		Client:      []kgo.Opt{kgo.HeartbeatInterval(50 * time.Millisecond)},
	}
}

func (b *bench) subscribe(o client.SubscriptionOptions) *client.Subscription {
	b.Helper()
	s, err := client.Subscribe(b.system, o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { b.stop(s) })
	return s
}

// ended has an actor stop, and waits until it has: Proto.Actor's futures wait for ten
// seconds at most.
func (b *bench) ended(stop func(*actor.PID) *actor.Future, pid *actor.PID) {
	b.Helper()
	for deadline := time.Now().Add(patience); ; {
		err := stop(pid).Wait()
		if err == nil {
			return
		}
		if !errors.Is(err, actor.ErrTimeout) || time.Now().After(deadline) {
			b.Fatal(err)
		}
	}
}

func (b *bench) stop(s *client.Subscription) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		b.Error(err)
	}
}

// committed is the sum of the group's committed offsets.
func (b *bench) committed() (sum int64) {
	b.Helper()
	offsets, err := b.admin.FetchOffsets(b.Context(), b.group)
	if err != nil {
		b.Fatal(err)
	}
	offsets.Each(func(o kadm.OffsetResponse) { sum += o.At })
	return sum
}

// events gives the SDK's events of a kind until end is called. Who tells them waits when
// there is no more room.
func events[E any](b *bench, room int) (told <-chan E, end func()) {
	ch := make(chan E, room)
	watch := b.system.EventStream.Subscribe(func(e any) {
		if e, ok := e.(E); ok {
			ch <- e
		}
	})
	return ch, func() { b.system.EventStream.Unsubscribe(watch) }
}

// until waits for events until the condition holds; look is asked after each.
func until[E any](t *testing.T, events <-chan E, what string, look func(E) bool) {
	t.Helper()
	limit := time.After(patience)
	for {
		select {
		case e := <-events:
			if look(e) {
				return
			}
		case <-limit:
			t.Fatalf("in vain: %s", what)
		}
	}
}

// book is what actors have done, by key.
type book struct {
	mu   sync.Mutex
	done map[string][]string
	sum  int
	told chan int // the sum, after each; never full
}

func newBook() *book { return &book{done: map[string][]string{}, told: make(chan int, 1<<20)} }

func (b *book) enter(r *kgo.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done[string(r.Key)] = append(b.done[string(r.Key)], string(r.Value))
	b.sum++
	b.told <- b.sum
}

func (b *book) await(t *testing.T, n int) {
	t.Helper()
	until(t, b.told, fmt.Sprintf("%d records to be processed", n), func(sum int) bool { return sum >= n })
}

// inOrder checks that each key's records were done once each, in order.
func (b *book) inOrder(t *testing.T, keys, each int) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.done) != keys {
		t.Errorf("%d keys", len(b.done))
	}
	for key, values := range b.done {
		if len(values) != each {
			t.Errorf("%s: %d records", key, len(values))
		}
		for i, v := range values {
			if v != fmt.Sprint(i) {
				t.Errorf("%s: %s is number %d", key, v, i)
				break
			}
		}
	}
}
