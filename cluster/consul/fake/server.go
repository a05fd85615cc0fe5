// Package fake is a Consul agent with its server in one process, for tests: the
// endpoints that Understudy uses, with the semantics that were read from and
// measured against Consul 1.20. It keeps everything in memory, uses no socket, so
// that it runs inside a testing/synctest bubble, and fails when it is told to.
package fake

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault is what happens to a request instead of the ordinary.
type Fault uint8

// The faults.
const (
	None       Fault = iota
	Drop             // the agent cannot be reached
	DropAnswer       // it is carried out, but the connection breaks before the answer
	Hang             // it is not carried out, nor answered before all connections break
	HangAnswer       // it is carried out and never answered
	NoLeader         // the servers have no leader, and say so
	Electing         // they have none, and let calls wait for one
	Overload         // the servers limit the rate
)

// Server is the fake. The zero value is not usable: see New.
type Server struct {
	mu       sync.Mutex
	changed  chan struct{} // closed at every change
	index    uint64
	kv       map[string]*pair
	kvIndex  uint64 // of the last change in kv
	sessions map[string]*session
	sesIndex uint64
	agent    map[string]*registration // by service id: what the agent knows
	catalog  map[string]*registration // what the servers know
	catIndex uint64
	next     int           // number of the next session
	broken   chan struct{} // closed when every connection breaks

	token  string
	maxOps int
	fault  func(*http.Request) Fault
	calls  map[string]int
}

const firstIndex = 10

// New makes an agent without data.
func New() *Server {
	s := &Server{changed: make(chan struct{}), broken: make(chan struct{}), agent: map[string]*registration{}, maxOps: 128, calls: map[string]int{}}
	s.clear()
	return s
}

// clear forgets all that the servers know.
func (s *Server) clear() {
	for _, x := range s.sessions {
		x.timer.Stop()
	}
	s.kv, s.sessions, s.catalog = map[string]*pair{}, map[string]*session{}, map[string]*registration{}
	s.index, s.kvIndex, s.sesIndex, s.catIndex = firstIndex, 1, 1, 1
}

// Client makes an HTTP client whose every request goes to the fake.
func (s *Server) Client() *http.Client { return &http.Client{Transport: transport{s}} }

// SetFault has f decide about every request from now on; nil ends that. It runs
// with no lock held and may call the Server.
func (s *Server) SetFault(f func(*http.Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// SetToken makes the fake refuse every other token; "" allows all.
func (s *Server) SetToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
}

// SetMaxOps sets how many operations a transaction may have; 128 before.
func (s *Server) SetMaxOps(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.maxOps = n
}

// Calls is how often an endpoint was called: "txn", "kv", "agent/check/update".
func (s *Server) Calls(endpoint string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[endpoint]
}

// Break ends every request under way, as a restart of the agent does.
func (s *Server) Break() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.broken)
	s.broken = make(chan struct{})
}

// RestartAgent has the agent forget its services, as one without a data
// directory does; the servers hear of it.
func (s *Server) RestartAgent() {
	s.mu.Lock()
	for id := range s.agent {
		s.forget(id)
	}
	s.mu.Unlock()
	s.Break()
}

// LoseData has the servers forget everything and count from the beginning. The
// agent still knows its services and takes them for known to the servers.
func (s *Server) LoseData() {
	s.mu.Lock()
	s.clear()
	s.touch()
	s.mu.Unlock()
	s.Break()
}

// touch wakes the blocking queries. The lock is held.
func (s *Server) touch() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// advance takes the next index for a write. The lock is held.
func (s *Server) advance() uint64 {
	s.index++
	s.touch()
	return s.index
}

// transport carries requests to the fake.
type transport struct{ s *Server }

// answer is a response while it is written.
type answer struct {
	header http.Header
	status int
	body   strings.Builder
}

func (a *answer) Header() http.Header { return a.header }
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

var errBroken = &net.OpError{Op: "read", Net: "tcp", Err: errors.New("connection reset by peer")}

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	s := t.s
	s.mu.Lock()
	decide, broken := s.fault, s.broken
	s.calls[endpoint(r.URL.Path)]++
	s.mu.Unlock()
	fault := None
	if decide != nil {
		fault = decide(r)
	}
	switch fault {
	case Drop:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	case Electing:
		if endpoint(r.URL.Path) == "status/leader" {
			break
		}
		fallthrough
	case Hang:
		select {
		case <-r.Context().Done():
			return nil, r.Context().Err()
		case <-broken:
			return nil, errBroken
		}
	}
	a := &answer{header: http.Header{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.serve(a, r, fault, broken)
	}()
	select {
	case <-done:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-broken:
		return nil, errBroken
	}
	switch fault {
	case DropAnswer:
		return nil, errBroken
	case HangAnswer:
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	a.WriteHeader(http.StatusOK)
	return &http.Response{
		StatusCode: a.status, Status: http.StatusText(a.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header, Body: io.NopCloser(strings.NewReader(a.body.String())), ContentLength: int64(a.body.Len()), Request: r,
	}, nil
}

// endpoint is the part of a path that is no name.
func endpoint(path string) string {
	path = strings.TrimPrefix(path, "/v1/")
	for _, e := range endpoints {
		if strings.HasPrefix(path, e.path) {
			return strings.TrimSuffix(e.path, "/")
		}
	}
	return path
}

// endpoints is the table of what is served. rest is the path behind it.
var endpoints = []struct {
	path    string
	servers bool // needs a leader
	serve   func(s *Server, a *answer, r *http.Request, rest string)
}{
	{"kv/", true, (*Server).serveKV},
	{"txn", true, (*Server).serveTxn},
	{"session/create", true, (*Server).createSession},
	{"session/destroy/", true, (*Server).destroySession},
	{"session/renew/", true, (*Server).renewSession},
	{"session/info/", true, (*Server).sessionInfo},
	{"session/list", true, (*Server).listSessions},
	{"health/service/", true, (*Server).health},
	{"status/leader", false, (*Server).leader},
	{"agent/service/register", false, (*Server).register},
	{"agent/service/deregister/", false, (*Server).deregister},
	{"agent/check/update/", false, (*Server).updateCheck},
}

func (s *Server) serve(a *answer, r *http.Request, fault Fault, broken <-chan struct{}) {
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	for _, e := range endpoints {
		rest, ok := strings.CutPrefix(path, e.path)
		if !ok {
			continue
		}
		switch {
		case !s.allowed(r):
			fail(a, http.StatusForbidden, "ACL not found")
		case fault == NoLeader && e.servers:
			fail(a, http.StatusInternalServerError, "No cluster leader")
		case fault == Overload && e.servers:
			fail(a, http.StatusTooManyRequests, "rate limit reached for operation")
		default:
			e.serve(s, a, r.WithContext(withBroken(r.Context(), broken)), rest)
		}
		return
	}
	fail(a, http.StatusNotFound, "the fake does not know %s", path)
}

// leader says who leads: nobody while calls fail with NoLeader or wait for one.
func (s *Server) leader(a *answer, r *http.Request, _ string) {
	s.mu.Lock()
	decide := s.fault
	s.mu.Unlock()
	if decide != nil {
		if f := decide(r); f == NoLeader || f == Electing {
			reply(a, 0, "")
			return
		}
	}
	reply(a, 0, "127.0.0.1:8300")
}

func (s *Server) allowed(r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token == "" || r.Header.Get("X-Consul-Token") == s.token
}

func fail(a *answer, status int, format string, args ...any) {
	a.WriteHeader(status)
	fmt.Fprintf(a, format, args...)
}

func reply(a *answer, index uint64, v any) {
	if index > 0 {
		a.header.Set("X-Consul-Index", strconv.FormatUint(index, 10))
		a.header.Set("X-Consul-KnownLeader", "true")
		a.header.Set("X-Consul-LastContact", "0")
	}
	if v == nil {
		a.WriteHeader(http.StatusNotFound)
		return
	}
	b, err := json.Marshal(v)
	if err != nil {
		fail(a, http.StatusInternalServerError, "%v", err)
		return
	}
	a.Write(b)
}

// block answers a query, once its index has passed the one asked for. look runs
// with the lock held; a nil value is not found.
func (s *Server) block(a *answer, r *http.Request, look func() (index uint64, v any)) {
	q := r.URL.Query()
	after := number(q, "index")
	wait, err := time.ParseDuration(q.Get("wait"))
	if err != nil || wait <= 0 {
		wait = 5 * time.Minute
	}
	limit := time.NewTimer(wait)
	defer limit.Stop()
	for {
		s.mu.Lock()
		index, v := look()
		changed := s.changed
		s.mu.Unlock()
		index = max(index, 1)
		if after == 0 || index > after {
			reply(a, index, v)
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			reply(a, index, v)
			return
		case <-r.Context().Done():
			return
		case <-brokenOf(r.Context()):
			return
		}
	}
}

func number(q url.Values, name string) uint64 {
	n, err := strconv.ParseUint(q.Get(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
