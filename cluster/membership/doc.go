// Package membership is how the nodes of a cluster find each other in Consul.
//
// Each broker is a service "understudy" of the Consul agent it talks to, with
// the address of its Kafka listener, tags and metadata, and a check that the
// broker passes itself. On the check hangs the broker's session, with which it
// can hold the controller's lock: a broker that is gone loses it within the
// check's TTL.
//
//	service  understudy, id understudy-<cluster>-<node>
//	tags     cluster-<name>  rack-<rack>  controller
//	meta     cluster  node  epoch  link  admin  rack  version  told
//	check    understudy-<cluster>-<node>, TTL 2 s, passed four times as often
//	session  understudy-<cluster>-<node>, on the check, TTL 10 s
//	key      understudy/<cluster>/ids/nodes/<node>: who has the id
//
// So `consul catalog services` shows the brokers, and clients can bootstrap from
// understudy.service.consul or cluster-<name>.understudy.service.consul.
//
// Nothing that Consul does or forgets ends a [Member]: what is lost is made
// again. A [Directory] knows who is registered; that a check fails is a hint and
// no verdict, which is the controller's to find from the links between nodes.
package membership

import (
	"fmt"
	"strconv"
	"time"

	"understudy/cluster/consul"
	"understudy/messages"
)

// ServiceName is the name of the service that brokers are.
const ServiceName = "understudy"

// Node is what a broker tells the others about itself.
type Node struct {
	ID         messages.BrokerID
	Host       string // where clients connect to
	Port       int32
	Link       string               // "host:port" where other nodes connect to
	Admin      string               // "host:port" of its admin endpoint; "": it has none
	Rack       string               // "" if unknown
	Version    string               // of the program
	Epoch      messages.BrokerEpoch // 0 until the controller has given one
	Controller bool
}

// serviceID is the id of a broker's service, its check and its session.
func serviceID(cluster string, id messages.BrokerID) string {
	return fmt.Sprintf("%s-%s-%d", ServiceName, cluster, id)
}

func clusterTag(cluster string) string { return "cluster-" + cluster }

// Event is something worth telling about who is registered. String is one line
// for a log; the fields are for whoever counts or shows them.
type Event interface {
	fmt.Stringer
	event()
}

// Registered: this node's service is known to Consul's agent.
type Registered struct {
	Node  messages.BrokerID
	Again bool // it was before, and Consul had forgotten it
}

// Forgotten: Consul's agent does not know this node's service any more. It is
// registered again at once.
type Forgotten struct {
	Node  messages.BrokerID
	Cause error
}

// SessionBegun: this node has a session.
type SessionBegun struct {
	Node    messages.BrokerID
	Session string
}

// SessionEnded: the session has ended though this node lives. Another is made.
type SessionEnded struct {
	Node    messages.BrokerID
	Session string
	Cause   string
}

// Agent: calls to Consul fail, or succeed again. Those of a Member are the ones that
// its agent answers by itself.
type Agent struct{ consul.Event }

// Servers: a Member's calls that Consul's servers answer fail, or succeed again. An
// agent may be well that has lost its servers.
type Servers struct{ consul.Event }

// Joined: a node is registered that was not.
type Joined struct{ Entry Entry }

// Left: a node is not registered any more.
type Left struct{ Entry Entry }

// Moved: a node says something else about itself than before.
type Moved struct{ Old, New Entry }

// Failing: a node's check fails: it has not been heard of for a while.
type Failing struct{ Entry Entry }

// Passing: a node's check passes again.
type Passing struct{ Entry Entry }

func (e Registered) String() string {
	if e.Again {
		return fmt.Sprintf("node %d is registered in consul again", e.Node)
	}
	return fmt.Sprintf("node %d is registered in consul", e.Node)
}

func (e Forgotten) String() string {
	return fmt.Sprintf("consul has forgotten node %d; cause: %v", e.Node, e.Cause)
}

func (e SessionBegun) String() string {
	return fmt.Sprintf("node %d has session %s", e.Node, e.Session)
}

func (e SessionEnded) String() string {
	return fmt.Sprintf("session %s of node %d has ended; cause: %s", e.Session, e.Node, e.Cause)
}

func (e Joined) String() string {
	return fmt.Sprintf("node %d has joined at %s:%d, link %s", e.Entry.ID, e.Entry.Host, e.Entry.Port, e.Entry.Link)
}

func (e Left) String() string {
	return fmt.Sprintf("node %d is not registered any more", e.Entry.ID)
}

func (e Moved) String() string {
	return fmt.Sprintf("node %d is at %s:%d, link %s, broker epoch %d", e.New.ID, e.New.Host, e.New.Port, e.New.Link, e.New.Epoch)
}

func (e Failing) String() string {
	return fmt.Sprintf("node %d fails its check: %s", e.Entry.ID, e.Entry.Output)
}

func (e Passing) String() string { return fmt.Sprintf("node %d passes its check again", e.Entry.ID) }

func (Registered) event()   {}
func (Forgotten) event()    {}
func (SessionBegun) event() {}
func (SessionEnded) event() {}
func (Agent) event()        {}
func (Servers) event()      {}
func (Joined) event()       {}
func (Left) event()         {}
func (Moved) event()        {}
func (Failing) event()      {}
func (Passing) event()      {}

// Defaults of Options.
const (
	DefaultTTL             = 2 * time.Second  // less lapses on a machine that is busy for a moment
	DefaultSessionTTL      = 10 * time.Second // the least that Consul takes
	DefaultDeregisterAfter = 24 * time.Hour
)

func itoa[N ~int32 | ~int64](n N) string { return strconv.FormatInt(int64(n), 10) }
