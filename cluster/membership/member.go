package membership

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"understudy/cluster/consul"
	"understudy/messages"
)

// Options of a Member.
type Options struct {
	Client  *consul.Client
	Cluster string
	Node    Node

	TTL             time.Duration // how long the check passes without being passed again
	SessionTTL      time.Duration // how long the session lives if even the agent is gone
	DeregisterAfter time.Duration // how long a node that is gone stays registered

	// Events is told what happens; it must not block. May be nil.
	Events func(Event)
}

// ErrLeft is what a Member answers after Leave.
var ErrLeft = errors.New("the node has left the cluster")

// Member keeps this node registered, and its session alive, until Leave.
//
//	        ┌───────── forgotten by the agent ────────┐
//	        ▼                                         │
//	start ▶ registering ──▶ registered ──pass, pass, pass…
//	                            │
//	                            ▼
//	     ┌──▶ no session ──▶ session, renewed, watched ──┐
//	     └──────────────── it has ended ◀────────────────┘
type Member struct {
	o       Options
	id      string
	contact *consul.Contact // with the agent
	servers *consul.Contact // with the servers, through the agent
	stop    context.CancelFunc
	ctx     context.Context
	done    sync.WaitGroup

	mu         sync.Mutex // guards what follows
	node       Node
	dirty      bool           // the agent must be told of node
	poke       chan struct{}  // holds a token when dirty was set
	registered bool           // ever
	forgotten  bool           // by the agent, and not told again yet
	session    consul.Session // ID "" while there is none
	gone       chan struct{}  // the session's
	renewed    time.Time      // when the session was, last
	changed    chan struct{}  // closed when registered or session changes
}

// Join registers this node and keeps it registered. It does not wait for that.
func Join(o Options) (*Member, error) {
	if _, err := consul.Prefix(o.Cluster); err != nil {
		return nil, err
	}
	if o.Client == nil || o.Node.ID < 0 {
		return nil, messages.E("join cluster", messages.InvalidConfig, itoa(o.Node.ID), errors.New("want a node id and a connection to consul"))
	}
	def := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	def(&o.TTL, DefaultTTL)
	def(&o.SessionTTL, DefaultSessionTTL)
	def(&o.DeregisterAfter, DefaultDeregisterAfter)
	if o.Events == nil {
		o.Events = func(Event) {}
	}
	m := &Member{
		o: o, id: serviceID(o.Cluster, o.Node.ID), node: o.Node, dirty: true,
		contact: consul.NewContact(o.Client, func(e consul.Event) { o.Events(Agent{e}) }),
		servers: consul.NewContact(o.Client, func(e consul.Event) { o.Events(Servers{e}) }),
		poke:    make(chan struct{}, 1), changed: make(chan struct{}),
	}
	m.ctx, m.stop = context.WithCancel(context.Background())
	m.done.Go(m.keepRegistered)
	m.done.Go(m.keepSession)
	return m, nil
}

// Node is what this node says about itself.
func (m *Member) Node() Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.node
}

// SetController says whether this node is the controller.
func (m *Member) SetController(is bool) {
	m.change(func(n *Node) { n.Controller = is })
}

// SetEpoch says which broker epoch this node has been given.
func (m *Member) SetEpoch(e messages.BrokerEpoch) {
	m.change(func(n *Node) { n.Epoch = e })
}

func (m *Member) change(f func(*Node)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.node
	if f(&m.node); m.node != old {
		m.mark()
	}
}

// mark has the node registered anew. The lock is held.
func (m *Member) mark() {
	m.dirty = true
	select {
	case m.poke <- struct{}{}:
	default:
	}
}

func (m *Member) again() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mark()
}

// beatsPerTTL is how often the check is passed within its TTL: it takes three
// lost beats in a row, and then some, to fail it.
const beatsPerTTL = 4

// keepRegistered registers the service and passes its check, for ever.
func (m *Member) keepRegistered() {
	b := consul.Backoff{First: 25 * time.Millisecond, Most: m.o.TTL / beatsPerTTL}
	for m.ctx.Err() == nil {
		pause := m.o.TTL / beatsPerTTL
		if err := m.turn(); err == nil {
			b.Reset()
		} else {
			pause = b.Next()
		}
		m.wait(pause)
	}
}

// turn passes the check and tells the agent what it does not know. The check
// comes first: an agent whose servers have no leader may be slow to register
// what has changed, and quick to note that the node lives.
func (m *Member) turn() error {
	m.mu.Lock()
	registered := m.registered
	m.mu.Unlock()
	if registered {
		if err := m.beat(); err != nil {
			return err
		}
	}
	told, err := m.tell(registered)
	if told {
		err = m.beat() // a check that failed before still does
	}
	return err
}

// wait waits for d, or for something to tell.
func (m *Member) wait(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-m.poke:
	case <-m.ctx.Done():
	}
}

// tell registers the service if the agent does not know it as it is. Once it is
// registered that must not take so long that the check fails meanwhile.
func (m *Member) tell(registered bool) (told bool, err error) {
	m.mu.Lock()
	node, dirty, again := m.node, m.dirty, m.forgotten
	m.dirty = false
	m.mu.Unlock()
	if !dirty {
		return false, nil
	}
	limit := max(m.o.TTL, 5*time.Second)
	if registered {
		limit = m.o.TTL / 2
	}
	err = m.call("register", limit, func(ctx context.Context) error {
		o := api.ServiceRegisterOpts{ReplaceExistingChecks: true}.WithContext(ctx)
		return m.o.Client.API().Agent().ServiceRegisterOpts(m.service(node), o)
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.dirty = true
		return false, err
	}
	if !m.registered || again {
		m.registered, m.forgotten = true, false
		m.announce()
		m.o.Events(Registered{Node: node.ID, Again: again})
	}
	return true, nil
}

// announce wakes those who wait for a change. The lock is held.
func (m *Member) announce() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// call makes a call to the agent.
func (m *Member) call(op string, limit time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(m.ctx, limit)
	defer cancel()
	err := f(ctx)
	m.contact.Note(m.ctx, op, err)
	return err
}

// service is how the node is registered. No two registrations are the same: an agent
// takes what it has been told before for known to the servers, whether it is or not.
func (m *Member) service(n Node) *api.AgentServiceRegistration {
	told := time.Now().UTC().Format(time.RFC3339Nano)
	tags := []string{clusterTag(m.o.Cluster)}
	if n.Rack != "" {
		tags = append(tags, "rack-"+n.Rack)
	}
	if n.Controller {
		tags = append(tags, "controller")
	}
	return &api.AgentServiceRegistration{
		ID: m.id, Name: ServiceName, Tags: tags, Address: n.Host, Port: int(n.Port),
		Meta: map[string]string{
			"cluster": m.o.Cluster, "node": itoa(n.ID), "epoch": itoa(int64(n.Epoch)),
			"link": n.Link, "admin": n.Admin, "rack": n.Rack, "version": n.Version,
			"told": told,
		},
		Check: &api.AgentServiceCheck{
			CheckID: m.id, Name: "passed by the broker", Notes: "told " + told, TTL: m.o.TTL.String(), Status: api.HealthPassing,
			DeregisterCriticalServiceAfter: m.o.DeregisterAfter.String(),
		},
	}
}

// beat passes the check. An agent that does not know the check has restarted, or
// somebody has deregistered the service: it has to be told again.
func (m *Member) beat() error {
	err := m.call("pass check", max(m.o.TTL/2, time.Second), func(ctx context.Context) error {
		o := (&api.QueryOptions{}).WithContext(ctx)
		return m.o.Client.API().Agent().UpdateTTLOpts(m.id, "", api.HealthPassing, o)
	})
	if err == nil || !unknownCheck(err) {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dirty = true
	if !m.forgotten {
		m.forgotten = true
		m.o.Events(Forgotten{Node: m.o.Node.ID, Cause: err})
	}
	return nil
}

// unknownCheck tells whether the agent does not know the check. Versions before
// 1.11 say so with status 500.
func unknownCheck(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && (status.Code == 404 || strings.Contains(status.Body, "does not have associated TTL"))
}

// Leave ends the session and deregisters the node, trying until ctx ends. What
// does not come about by then happens when the check fails.
func (m *Member) Leave(ctx context.Context) error {
	m.stop()
	m.done.Wait()
	m.mu.Lock()
	session := m.session
	m.mu.Unlock()
	if session.ID != "" {
		err := m.servers.Retry(ctx, "end session", session.ID, func(ctx context.Context) error {
			return m.o.Client.DestroySession(ctx, session.ID)
		})
		m.endSession("the node leaves")
		if err != nil {
			return err
		}
	}
	return m.contact.Retry(ctx, "deregister", m.id, func(ctx context.Context) error {
		err := m.o.Client.API().Agent().ServiceDeregisterOpts(m.id, (&api.QueryOptions{}).WithContext(ctx))
		if unknownCheck(err) {
			return nil
		}
		return err
	})
}
