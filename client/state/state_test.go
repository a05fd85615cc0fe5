package state_test

import (
	"context"
	"errors"
	"fmt"
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
	"understudy/client/state"
)

const patience = 2 * time.Minute // before a test gives up; no test passes by waiting for it

// brokersEnv names brokers that the tests are to use, HOST:PORT,…, such as Apache
// Kafka's. Without it each test has a broker of its own.
const brokersEnv = "CLIENT_TEST_BROKERS"

// names keeps the topics and groups of tests that share brokers apart.
var names atomic.Int64

// bench is a cluster, with a topic of orders, and names for what is made of them.
type bench struct {
	brokers                       []string
	orders, counters, sums, group string
}

func start(t *testing.T) *bench {
	t.Helper()
	unique := fmt.Sprintf("-%d-%d", os.Getpid(), names.Add(1))
	b := &bench{orders: "orders" + unique, counters: "counters" + unique, sums: "sums" + unique, group: "tellers" + unique}
	if given := os.Getenv(brokersEnv); given != "" {
		b.brokers = strings.Split(given, ",")
	} else {
		b.brokers = clienttest.Start(t, 1).Addrs()
	}
	cl := b.client(t)
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 3, 1, nil, b.orders); err != nil {
		t.Fatal(err)
	}
	return b
}

// client gives a Kafka client that lives as long as the test.
func (b *bench) client(t *testing.T, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.brokers...), kgo.UnknownTopicRetries(-1), kgo.MetadataMinAge(10 * time.Millisecond)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func open(t *testing.T, b *bench) *state.Store {
	t.Helper()
	s, err := state.Open(t.Context(), state.Options{Brokers: b.brokers, Topic: b.counters, Partitions: 3, Patience: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// write produces the records from and up to, over so many keys.
func write(t *testing.T, c *bench, from, to, keys int) {
	t.Helper()
	var records []*kgo.Record
	for i := from; i < to; i++ {
		records = append(records, &kgo.Record{Topic: c.orders, Key: fmt.Appendf(nil, "key-%d", i%keys), Value: fmt.Append(nil, i)})
	}
	if err := c.client(t).ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// tally is what actors keep: which records they have seen.
type tally struct {
	N    int
	Seen []string
}

// ledger is the tallies as they were last.
type ledger struct {
	mu    sync.Mutex
	last  map[string]tally
	moved chan struct{}
}

func newLedger() *ledger { return &ledger{last: map[string]tally{}, moved: make(chan struct{}, 1)} }

func (l *ledger) enter(key []byte, t *tally) {
	l.mu.Lock()
	l.last[string(key)] = tally{t.N, append([]string(nil), t.Seen...)}
	l.mu.Unlock()
	select {
	case l.moved <- struct{}{}:
	default:
	}
}

// await waits until all tallies together have come to n, and checks that each is
// of all its records, once each, in order.
func (l *ledger) await(t *testing.T, n, keys int) {
	t.Helper()
	limit := time.After(patience)
	for l.sum() < n {
		select {
		case <-l.moved:
		case <-limit:
			t.Fatalf("%d of %d", l.sum(), n)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range keys {
		have := l.last[fmt.Sprintf("key-%d", k)]
		if have.N != len(have.Seen) {
			t.Errorf("%+v", have)
		}
		for i, seen := range have.Seen {
			if seen != fmt.Sprint(k+i*keys) {
				t.Fatalf("key-%d: %v", k, have.Seen)
			}
		}
	}
}

func (l *ledger) sum() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.last {
		n += t.N
	}
	return n
}

// actors gives both kinds of actors. fail may make a turn fail.
func actors(store *state.Store, l *ledger, fail func(r *kgo.Record)) map[string]*actor.Props {
	return map[string]*actor.Props{
		"states": state.Handler(store, func(_ *state.Turn, s *tally, r *kgo.Record) error {
			s.N++
			s.Seen = append(s.Seen, string(r.Value))
			fail(r)
			l.enter(r.Key, s)
			return nil
		}),
		"changes": state.Sourced(store, state.Sourcing[tally, string]{
			SnapshotEvery: 4,
			Decide: func(_ *state.Turn, s *tally, r *kgo.Record) ([]string, error) {
				fail(r)
				if len(r.Value)%2 == 0 {
					return []string{string(r.Value), ""}, nil // two changes, of which one changes nothing
				}
				return []string{string(r.Value)}, nil
			},
			Apply: func(s *tally, seen string) {
				if seen == "" {
					return
				}
				s.N++
				s.Seen = append(s.Seen, seen)
				l.enter(fmt.Appendf(nil, "key-%s", seen[len(seen)-1:]), s) // ten keys
			},
		}),
	}
}

// TestStateIsThereAgain has subscriptions come and go, with actors that fail, sleep
// and are given records once more: each record counts once.
func TestStateIsThereAgain(t *testing.T) {
	for _, kind := range []string{"states", "changes"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			c, l := start(t), newLedger()
			var mu sync.Mutex
			failed := map[string]bool{}
			fail := func(r *kgo.Record) {
				mu.Lock()
				defer mu.Unlock()
				if v := string(r.Value); strings.HasSuffix(v, "7") && !failed[v] {
					failed[v] = true
					panic("as planned")
				}
			}
			system := actor.NewActorSystem()
			for life := range 3 {
				store := open(t, c)
				s, err := client.Subscribe(system, client.SubscriptionOptions{
					Brokers: c.brokers, Topics: []string{c.orders}, Group: fmt.Sprint(c.group, "-", life%2), By: client.ByKey,
					CommitEvery: 10 * time.Millisecond, IdleAfter: time.Nanosecond,
					Retry: client.Retry{Initial: time.Millisecond, Max: time.Millisecond},
					Actor: actors(store, l, fail)[kind],
				})
				if err != nil {
					t.Fatal(err)
				}
				write(t, c, 200*life, 200*life+200, 10)
				l.await(t, 200*life+200, 10)
				if err := s.Stop(context.Background()); err != nil {
					t.Error(err)
				}
				store.Close()
			}
		})
	}
}

func TestWhatIsEmittedIsWrittenFirst(t *testing.T) {
	t.Parallel()
	c := start(t)
	store := open(t, c)
	system := actor.NewActorSystem()
	s, err := client.Subscribe(system, client.SubscriptionOptions{
		Brokers: c.brokers, Topics: []string{c.orders}, Group: c.group, By: client.ByKey,
		Actor: state.Handler(store, func(turn *state.Turn, s *tally, r *kgo.Record) error {
			if turn.Fresh != (s.N == 0) {
				t.Errorf("fresh: %v, after %d records", turn.Fresh, s.N)
			}
			s.N++
			turn.Emit(&kgo.Record{Topic: c.sums, Key: r.Key, Value: fmt.Append(nil, s.N)})
			return nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	write(t, c, 0, 30, 1)
	cl := c.client(t, kgo.ConsumeTopics(c.sums), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := 1; i <= 30; {
		for _, r := range cl.PollFetches(ctx).Records() {
			if string(r.Value) != fmt.Sprint(i) {
				t.Fatalf("%s instead of %d", r.Value, i)
			}
			i++
		}
		if ctx.Err() != nil {
			t.Fatal("not all was emitted")
		}
	}
}

// TestOthersSeeWhatWasWritten has two stores take turns: each sees at once what
// the other has written.
func TestOthersSeeWhatWasWritten(t *testing.T) {
	t.Parallel()
	c := start(t)
	stores := []*state.Store{open(t, c), open(t, c)}
	ctx := t.Context()
	for i := range 40 {
		writer, reader := stores[i%2], stores[(i+1)%2]
		if err := writer.Append(ctx, "a/b", state.Entry{Index: int64(i), Data: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
		if i%10 == 9 {
			if err := writer.Snapshot(ctx, "a/b", state.Entry{Index: int64(i), Data: []byte("s")}); err != nil {
				t.Fatal(err)
			}
			if err := writer.Drop(ctx, "a/b", int64(i-9), int64(i-8)); err != nil {
				t.Fatal(err)
			}
		}
		j, err := reader.Load(ctx, "a/b")
		if want := i + 1 - 2*((i+1)/10); err != nil || len(j.Changes) != want || string(j.Changes[want-1].Data) != fmt.Sprint(i) {
			t.Fatalf("after %d: %d changes, %v", i, len(j.Changes), err)
		}
		if i%10 == 9 && (j.Snapshot == nil || len(j.Since()) != 1) {
			t.Fatalf("after %d: snapshot %+v, %d since", i, j.Snapshot, len(j.Since()))
		}
	}
	if err := stores[0].Delete(ctx, "a/b"); err != nil {
		t.Fatal(err)
	}
	if j, err := stores[1].Load(ctx, "a/b"); err != nil || j.Snapshot != nil || len(j.Changes) > 0 {
		t.Errorf("%+v, %v", j, err)
	}
}

func TestATopicThatForgetsIsRefused(t *testing.T) {
	t.Parallel()
	c := start(t)
	_, err := state.Open(t.Context(), state.Options{Brokers: c.brokers, Topic: c.orders})
	if err == nil || !strings.Contains(err.Error(), "cleanup.policy") {
		t.Error(err)
	}
	open(t, c)
	_, err = state.Open(t.Context(), state.Options{Brokers: c.brokers, Topic: c.counters, Partitions: 4})
	if err == nil || !strings.Contains(err.Error(), "3 partitions") {
		t.Error(err)
	}
	if _, err = state.Open(t.Context(), state.Options{}); err == nil {
		t.Error("nothing is missing")
	}
}

func TestAStoreThatIsClosedFails(t *testing.T) {
	t.Parallel()
	s := open(t, start(t))
	s.Close()
	if err := s.Append(t.Context(), "a", state.Entry{}); !errors.Is(err, kgo.ErrClientClosed) {
		t.Error(err)
	}
	if _, err := s.Load(t.Context(), "a"); !errors.Is(err, kgo.ErrClientClosed) {
		t.Error(err)
	}
}
