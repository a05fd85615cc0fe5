package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"understudy/cluster/consul"
	"understudy/cluster/membership"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// agent is a Consul agent that is its cluster's only server: a real one or the fake.
type agent interface {
	client(t *testing.T) consul.Config
	restart(t *testing.T)      // it stops and starts again, and remembers
	forget(t *testing.T)       // it restarts and has forgotten the services registered with it
	wipe(t *testing.T)         // it restarts and all of the cluster's data is lost
	pause(t *testing.T)        // it does not answer
	resume(t *testing.T)       // it does again
	token(t *testing.T) string // a token it refuses
}

var ctx = context.Background()

// soon bounds what is waited for; it is no measure.
const soon = 60 * time.Second

// cluster is the nodes that use an agent.
type cluster struct {
	t     *testing.T
	agent agent
	name  string
	ttl   time.Duration // of the nodes' checks and sessions; 0: the usual
}

// steady has the nodes that are made from now on be thought there for longer than the
// machine may stand still, where none is to be found gone, nor to be registered again: who
// stands still for the usual time has lost its session, and the lock.
func (c *cluster) steady() *cluster {
	c.ttl = soon
	return c
}

// newCluster makes a cluster, named for the test, that uses an agent.
func newCluster(t *testing.T, a agent) *cluster {
	t.Helper()
	name := strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())
	return &cluster{t: t, agent: a, name: name}
}

// node is a broker as far as Consul is concerned: a member and its store.
type node struct {
	c      *cluster
	id     messages.BrokerID
	line   *line
	client *consul.Client
	member *membership.Member
	store  *consul.Store

	mu     sync.Mutex
	events []string
}

func (c *cluster) node(id messages.BrokerID, change ...func(*consul.Options)) *node {
	c.t.Helper()
	n := &node{c: c, id: id}
	cfg := c.agent.client(c.t)
	n.line = &line{next: http.DefaultTransport}
	if cfg.HTTP != nil {
		n.line.next = cfg.HTTP.Transport
	}
	cfg.HTTP = &http.Client{Transport: n.line}
	var err error
	n.client, err = consul.Dial(cfg)
	must(c.t, err)
	n.member, err = membership.Join(membership.Options{
		Client: n.client, Cluster: c.name, TTL: c.ttl, SessionTTL: c.ttl,
		Node:   membership.Node{ID: id, Host: "127.0.0.1", Port: 9000 + id, Link: fmt.Sprint("127.0.0.1:", 9100+id), Version: "test"},
		Events: func(e membership.Event) { n.tell(e.String()) },
	})
	must(c.t, err)
	o := consul.Options{Client: n.client, Cluster: c.name, Broker: id, Session: n.member.Session, Events: func(e consul.Event) { n.tell(e.String()) }}
	for _, f := range change {
		f(&o)
	}
	n.store, err = consul.Open(o)
	must(c.t, err)
	c.t.Cleanup(n.end)
	return n
}

// end takes the node away without trusting that Consul is there.
func (n *node) end() {
	must(n.c.t, n.store.Close())
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := n.member.Leave(short); err != nil {
		n.c.t.Logf("node %d could not leave: %v", n.id, err)
	}
	if n.c.t.Failed() {
		n.c.t.Logf("node %d:\n%s", n.id, n.told())
	}
}

func (n *node) tell(line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, time.Now().Format("05.000 ")+line)
}

func (n *node) told() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.events, "\n")
}

// lock makes the node the controller.
func (n *node) lock() *consul.Hold {
	n.c.t.Helper()
	limited, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	h, err := n.store.Acquire(limited)
	must(n.c.t, err)
	return h
}

func (n *node) session() consul.Session {
	n.c.t.Helper()
	limited, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	s, err := n.member.Session(limited)
	must(n.c.t, err)
	return s
}

func (n *node) image() *metadata.Image {
	n.c.t.Helper()
	limited, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	state, err := n.store.Load(limited)
	must(n.c.t, err)
	im, err := metadata.Build(state)
	must(n.c.t, err)
	return im
}

// save commits an edit of what is in the store.
func (n *node) save(change func(*metadata.Edit)) int64 {
	n.c.t.Helper()
	e := metadata.NewEdit(n.image())
	change(e)
	limited, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	revision, err := n.store.Commit(limited, e.Txn())
	must(n.c.t, err)
	return revision
}

// line is a node's way to Consul, which can be cut.
type line struct {
	next http.RoundTripper

	mu    sync.Mutex
	fault func(r *http.Request) fault
}

// fault is what a line does to a request.
type fault uint8

const (
	pass       fault = iota
	drop             // it does not arrive
	dropAnswer       // it arrives, its answer does not
)

func (l *line) set(f func(*http.Request) fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = f
}

// cut lets nothing through. Requests under way are waited for by nobody.
func (l *line) cut() { l.set(func(*http.Request) fault { return drop }) }

var errCut = errors.New("the line is cut")

func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	f := l.fault
	l.mu.Unlock()
	fate := pass
	if f != nil {
		fate = f(r)
	}
	if fate == drop {
		return nil, errCut
	}
	resp, err := l.next.RoundTrip(r)
	if err == nil && fate == dropAnswer {
		resp.Body.Close()
		return nil, errCut
	}
	return resp, err
}

// nth makes a fault for the n-th and all later transactions.
func nth(n int, f fault) func(*http.Request) fault {
	var mu sync.Mutex
	count := 0
	return func(r *http.Request) fault {
		if !strings.HasSuffix(r.URL.Path, "/txn") {
			return pass
		}
		mu.Lock()
		defer mu.Unlock()
		if count++; count == n {
			return f
		} else if count > n {
			return drop
		}
		return pass
	}
}

// wait tries f until it holds.
func wait(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(soon)
	for !f() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited too long: %s", what)
		}
	}
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
