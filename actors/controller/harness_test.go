package controller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"understudy/actors/supervision"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// memStore is a metadata.Store in memory whose commits a test can hold up and fail.
type memStore struct {
	mu      sync.Mutex
	state   metadata.State
	loads   int
	commits int
	before  func(*memStore, metadata.Txn) error // called, unlocked, before each commit; may be nil
}

func (s *memStore) Load(context.Context) (metadata.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads++
	return metadata.State{Revision: s.state.Revision, Entries: maps.Clone(s.state.Entries)}, nil
}

func (s *memStore) Commit(_ context.Context, txn metadata.Txn) (int64, error) {
	s.mu.Lock()
	before := s.before
	s.mu.Unlock()
	if before != nil {
		if err := before(s, txn); err != nil {
			return 0, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range txn.Checks {
		if s.state.Entries[c.Key].Revision != c.Revision {
			return 0, metadata.ErrConflict
		}
	}
	s.commits++
	s.write(txn)
	return s.state.Revision, nil
}

func (s *memStore) Watch(ctx context.Context, _ int64) (int64, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

func (s *memStore) write(txn metadata.Txn) {
	if s.state.Entries == nil {
		s.state.Entries = map[string]metadata.Entry{}
	}
	s.state.Revision++
	for _, p := range txn.Puts {
		s.state.Entries[p.Key] = metadata.Entry{Value: bytes.Clone(p.Value), Revision: s.state.Revision}
	}
	for _, key := range txn.Deletes {
		delete(s.state.Entries, key)
	}
}

// meddle writes as somebody else would.
func (s *memStore) meddle(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(metadata.Txn{Puts: []metadata.Put{{Key: key, Value: []byte(value)}}})
}

func (s *memStore) intercept(f func(*memStore, metadata.Txn) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

func (s *memStore) revision() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Revision
}

// stage is a controller with its actor system.
type stage struct {
	*Client
	t      testing.TB
	store  *memStore
	system *actor.ActorSystem
	parent *actor.PID

	mu       sync.Mutex
	events   []Event
	failures []error
}

// begin starts a controller on a store, with broker 1 active unless the store is
// to be found as it is.
func begin(t testing.TB, store *memStore, change func(*Options)) *stage {
	t.Helper()
	s := &stage{t: t, store: store, system: supervision.NewSystem()}
	o := Options{Store: store, Cell: metadata.NewCell(), Events: func(e Event) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.events = append(s.events, e)
	}, Committed: func(Commit) {}, Trouble: func() error { return nil }}
	if change != nil {
		change(&o)
	}
	ctrl := New(o)
	strategy := &supervision.Backoff{
		Initial: time.Millisecond, Max: time.Millisecond, Healthy: time.Hour,
		After: func(_ time.Duration, f func()) { f() },
		OnFailure: func(f supervision.Failure) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.failures = append(s.failures, f.Cause)
		},
	}
	spawned := make(chan *actor.PID, 1)
	s.parent = s.system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		if _, ok := c.Message().(*actor.Started); ok {
			spawned <- c.Spawn(ctrl.Props())
		}
	}, actor.WithSupervisor(strategy)))
	s.Client = ctrl.Client(s.system.Root, <-spawned)
	t.Cleanup(s.end)
	return s
}

// end stops the actor and waits for all that it had under way.
func (s *stage) end() {
	s.system.Root.Stop(s.parent)
	s.c.Close()
	s.system.Shutdown()
}

func active(t testing.TB, change func(*Options)) *stage {
	t.Helper()
	s := begin(t, &memStore{}, change)
	s.activate(1, false)
	return s
}

func (s *stage) activate(id int32, doubtful bool) metadata.Broker {
	s.t.Helper()
	self := metadata.Broker{ID: id, Host: "localhost", Port: 9092}
	b, err := s.TakeOver(ctx(s.t), Takeover{Self: self, Register: true, Doubtful: doubtful})
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// Image is the latest image that was published.
func (s *stage) Image() *metadata.Image { return s.c.o.Cell.Image() }

func (s *stage) register(id int32, doubtful bool) metadata.Broker {
	s.t.Helper()
	b, err := s.RegisterBroker(ctx(s.t), metadata.Broker{ID: id, Host: fmt.Sprint("host", id), Port: 9092}, doubtful)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// create makes one topic, which must succeed.
func (s *stage) create(name string, partitions int32, factor int16, kv ...string) TopicResult {
	s.t.Helper()
	r := s.try(NewTopic{Name: name, Partitions: partitions, ReplicationFactor: factor, Config: pairs(kv)})
	if r.Err != nil {
		s.t.Fatal(r.Err)
	}
	return r
}

func (s *stage) try(t NewTopic) TopicResult {
	s.t.Helper()
	return s.CreateTopics(ctx(s.t), []NewTopic{t}, false)[0]
}

// state is a partition as "leader/epoch isr".
func (s *stage) state(topic string, n int32) string {
	p := s.Image().Partition(messages.TopicPartition{Topic: topic, Partition: n})
	if p == nil {
		return "gone"
	}
	return fmt.Sprintf("%d/%d %v", p.Leader, p.LeaderEpoch, p.ISR)
}

// told lists the events so far, as lines, and forgets them.
func (s *stage) told() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, e := range s.events {
		lines = append(lines, e.String())
	}
	s.events = nil
	return strings.Join(lines, "\n")
}

func (s *stage) failed() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failures
}

func ctx(t testing.TB) context.Context { return t.Context() }

func pairs(kv []string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return m
}

// wantKind checks an error's kind and that it says a word.
func wantKind(t *testing.T, what string, err error, kind messages.Kind, word string) {
	t.Helper()
	if err == nil || messages.KindOf(err) != kind || !strings.Contains(err.Error(), word) {
		t.Errorf("%s: have %v (%v), want %v with %q", what, err, messages.KindOf(err), kind, word)
	}
}

var errDisk = errors.New("disk on fire")
