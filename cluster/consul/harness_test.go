package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"understudy/cluster/consul/fake"
	"understudy/cluster/metadata"
	"understudy/messages"
)

var ctx = context.Background()

// world is a fake Consul and the events of everybody who uses it.
type world struct {
	t      *testing.T
	server *fake.Server

	mu     sync.Mutex
	events []Event
}

func newWorld(t *testing.T) *world { return &world{t: t, server: fake.New()} }

func (w *world) tell(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// told takes the events so far, as lines.
func (w *world) told() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var lines []string
	for _, e := range w.events {
		lines = append(lines, e.String())
	}
	w.events = nil
	return strings.Join(lines, "\n")
}

func (w *world) client() *Client {
	c, err := Dial(Config{Address: "consul.test", HTTP: w.server.Client(), Token: "secret"})
	must(w.t, err)
	return c
}

// node is a broker as far as the Store is concerned.
type node struct {
	*Store
	w    *world
	id   messages.BrokerID
	gone chan struct{}
	name string
}

// node opens a Store for a broker whose sessions are made when asked for.
func (w *world) node(id messages.BrokerID, change ...func(*Options)) *node {
	n := &node{w: w, id: id, gone: make(chan struct{})}
	o := Options{Client: w.client(), Cluster: "test", Broker: id, Session: n.session, Events: w.tell}
	for _, f := range change {
		f(&o)
	}
	s, err := Open(o)
	must(w.t, err)
	n.Store = s
	w.t.Cleanup(func() { s.Close() })
	return n
}

func (n *node) session(ctx context.Context) (Session, error) {
	if n.name == "" {
		check := fmt.Sprint("node-", n.id)
		c := n.o.Client
		err := c.API().Agent().ServiceRegister(&api.AgentServiceRegistration{
			ID: check, Name: "test", Meta: map[string]string{"told": newWriter()}, Check: &api.AgentServiceCheck{CheckID: check, TTL: "100h", Status: api.HealthPassing},
		})
		if err != nil {
			return Session{}, err
		}
		id, err := c.CreateSession(ctx, check, check, 10*time.Hour)
		if err != nil {
			return Session{}, err
		}
		n.name = id
	}
	return Session{ID: n.name, Gone: n.gone}, nil
}

// lock acquires the controller's lock.
func (n *node) lock() *Hold {
	n.w.t.Helper()
	h, err := n.Acquire(ctx)
	must(n.w.t, err)
	return h
}

// controller is a node that has the lock.
func (w *world) controller(id messages.BrokerID, change ...func(*Options)) *node {
	n := w.node(id, change...)
	n.lock()
	return n
}

func (n *node) load() metadata.State {
	n.w.t.Helper()
	state, err := n.Load(ctx)
	must(n.w.t, err)
	return state
}

func (n *node) commit(txn metadata.Txn) int64 {
	n.w.t.Helper()
	revision, err := n.Commit(ctx, txn)
	must(n.w.t, err)
	return revision
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want %v", err, target)
	}
}

// puts is a transaction of keys and values in turns.
func puts(pairs ...string) (txn metadata.Txn) {
	for i := 0; i < len(pairs); i += 2 {
		txn.Puts = append(txn.Puts, metadata.Put{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return txn
}

// show is a state in one line: key=value@revision. Revisions of what was written
// by hand are '?'.
func show(s metadata.State) string {
	var list []string
	for key, e := range s.Entries {
		revision := fmt.Sprint(e.Revision)
		if e.Revision >= byHand {
			revision = "?"
		}
		list = append(list, fmt.Sprintf("%s=%s@%s", key, e.Value, revision))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// lockShown is how show shows the lock of a node that has not committed to it.
func lockShown(id messages.BrokerID) string { return fmt.Sprintf(`controller={"broker":%d}@?`, id) }

// failing makes a fault for the requests to an endpoint, from the first-th on,
// count times.
func failing(endpoint string, f fake.Fault, first, count int) func(*http.Request) fake.Fault {
	var mu sync.Mutex
	n := 0
	return func(r *http.Request) fake.Fault {
		if !strings.HasPrefix(r.URL.Path, "/v1/"+endpoint) {
			return fake.None
		}
		mu.Lock()
		defer mu.Unlock()
		n++
		if n >= first && n < first+count {
			return f
		}
		return fake.None
	}
}

const forever = 1 << 30
