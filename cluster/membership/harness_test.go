package membership

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"understudy/cluster/consul"
	"understudy/cluster/consul/fake"
	"understudy/messages"
)

var ctx = context.Background()

// world is a fake Consul and the events of everybody who uses it.
type world struct {
	t      *testing.T
	server *fake.Server

	mu    sync.Mutex
	lines []string
}

func newWorld(t *testing.T) *world { return &world{t: t, server: fake.New()} }

func (w *world) tell(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, e.String())
}

// told takes the events so far.
func (w *world) told() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := strings.Join(w.lines, "\n")
	w.lines = nil
	return s
}

func (w *world) client() *consul.Client {
	c, err := consul.Dial(consul.Config{Address: "consul.test", HTTP: w.server.Client()})
	must(w.t, err)
	return c
}

func nodeOf(id messages.BrokerID) Node {
	return Node{ID: id, Host: "host" + itoa(id), Port: 9092, Link: "host" + itoa(id) + ":9192", Admin: "host" + itoa(id) + ":9644", Rack: "r1", Version: "1.0"}
}

// join has a node join until the test ends.
func (w *world) join(id messages.BrokerID) *Member {
	w.t.Helper()
	m, err := Join(Options{Client: w.client(), Cluster: "test", Node: nodeOf(id), Events: w.tell})
	must(w.t, err)
	w.t.Cleanup(func() { m.kill() })
	return m
}

// kill ends a member as the end of its process does: Consul hears nothing.
func (m *Member) kill() {
	m.stop()
	m.done.Wait()
}

// session waits for the member's session.
func (w *world) session(m *Member) consul.Session {
	w.t.Helper()
	limited, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	s, err := m.Session(limited)
	must(w.t, err)
	return s
}

// list is who is registered, as words: 1 passes, 2! does not.
func (w *world) list() string {
	w.t.Helper()
	entries, err := List(ctx, w.client(), "test")
	must(w.t, err)
	return words(entries)
}

func words(entries []Entry) string {
	var s []string
	for _, e := range entries {
		word := itoa(e.ID)
		if !e.Passing {
			word += "!"
		}
		s = append(s, word)
	}
	return strings.Join(s, " ")
}

// locked reports whether a key's lock is held.
func (w *world) locked(key string) bool {
	w.t.Helper()
	p, _, err := w.client().API().KV().Get(key, nil)
	must(w.t, err)
	return p != nil && p.Session != ""
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

// failing makes a fault for all requests to an endpoint.
func failing(endpoint string, f fake.Fault) func(*http.Request) fake.Fault {
	return func(r *http.Request) fake.Fault {
		if strings.HasPrefix(r.URL.Path, "/v1/"+endpoint) {
			return f
		}
		return fake.None
	}
}

// failingOnce fails the first request to an endpoint.
func failingOnce(endpoint string, f fake.Fault) func(*http.Request) fake.Fault {
	var once sync.Once
	return func(r *http.Request) (out fake.Fault) {
		if strings.HasPrefix(r.URL.Path, "/v1/"+endpoint) {
			once.Do(func() { out = f })
		}
		return out
	}
}
