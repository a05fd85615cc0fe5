package controller

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"sync"

	"github.com/asynkron/protoactor-go/actor"

	"understudy/cluster/metadata"
	"understudy/cluster/topicconfig"
	"understudy/messages"
)

// Options are what a controller needs.
type Options struct {
	Store metadata.Store
	Cell  *metadata.Cell // where images are published

	// Static is what this broker was started with, by the names of
	// topicconfig.Broker: below what was changed while running.
	Static map[string]string

	// Events is told what was decided and why, after it was committed. It runs
	// in the actor's turn and must not block.
	Events func(Event)

	// Committed is told of every transaction that was committed, before the events
	// that belong to it, and like Events must not block.
	Committed func(Commit)

	// Trouble says what is wrong with the store at the moment, for those who have
	// waited in vain; nil: nothing. It is called from any goroutine.
	Trouble func() error

	// Returned reports whether a broker came back so short a time ago that clients may
	// not have found it again: if others can, they lead in the place of one that is
	// down. It is called in the actor's turn and must not block; nil: none did.
	Returned func(messages.BrokerID) bool

	// Entropy is where topic ids, the cluster id and placement get their
	// randomness; nil means crypto/rand.
	Entropy io.Reader

	// Portion is how many partitions lose a broker that is down in one transaction; 0:
	// as many as is good.
	Portion int

	// Stage is what a simulator sets; the zero value is for everybody else.
	Stage Stage
}

// Commit is a transaction that was committed: it led from the revision Before to
// After, and nobody else has written in between.
type Commit struct {
	Before, After int64
	Txn           metadata.Txn
}

// Controller is what outlives the restarts of the actor. Everything below fence
// is the actor's and touched only in its turns.
type Controller struct {
	o       Options
	stopped chan struct{} // closed when the actor has stopped for good
	credits chan struct{} // bounds the commands that are waiting
	stop    context.CancelFunc
	ctx     context.Context // ends with the actor; what store calls run under
	calls   sync.WaitGroup  // store calls under way
	fence   fence

	incarnation int64
	active      bool // self is the controller, as far as is known
	self        messages.BrokerID
}

// maxWaiting is how many commands of clients may wait. Whoever comes next waits
// for one of them to be answered.
const maxWaiting = 256

// New makes a controller. It does nothing until an actor of its Props is spawned.
func New(o Options) *Controller {
	if o.Entropy == nil {
		o.Entropy = rand.Reader
	}
	o.Portion = cmp.Or(o.Portion, maxRepairs)
	c := &Controller{
		o:       o,
		stopped: make(chan struct{}),
		credits: make(chan struct{}, maxWaiting),
		fence:   fence{store: o.Store},
		self:    messages.NoBroker,
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// Props are what the actor is spawned with, once. Its supervisor may restart it
// as often as it fails.
func (c *Controller) Props(opts ...actor.PropsOption) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		c.incarnation++
		return &instance{c: c, number: c.incarnation}
	}, opts...)
}

// Client gives access to the actor that was spawned as pid.
func (c *Controller) Client(root *actor.RootContext, pid *actor.PID) *Client {
	return &Client{c: c, root: root, pid: pid}
}

// Close waits until no call of the store is under way. Stop the actor first.
func (c *Controller) Close() {
	<-c.stopped
	c.calls.Wait()
}

// Defaults are the layers of settings that hold on a broker: static is what it
// was started with, the image has what was changed while running.
func Defaults(im *metadata.Image, self messages.BrokerID, static map[string]string) topicconfig.Defaults {
	return topicconfig.Defaults{Broker: im.BrokerConfigs[self], Cluster: im.ClusterConfig, Static: static}
}

// errSuperseded is the result of a store call by an actor that was restarted.
var errSuperseded = errors.New("the controller was restarted meanwhile")

// fence lets one incarnation of the actor at a time use the store. A commit that
// was begun before a restart ends before the new incarnation reads, and one that
// was to begin later does not: what was read stays true.
type fence struct {
	store metadata.Store
	mu    sync.Mutex
	holds int64 // the incarnation that read last
}

func (f *fence) load(ctx context.Context, incarnation int64) (metadata.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if incarnation < f.holds {
		return metadata.State{}, errSuperseded
	}
	f.holds = incarnation
	return f.store.Load(ctx)
}

func (f *fence) commit(ctx context.Context, incarnation int64, txn metadata.Txn) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if incarnation != f.holds {
		return 0, errSuperseded
	}
	return f.store.Commit(ctx, txn)
}

// adopt takes over whether this is the controller from a decision, once it is
// committed.
func (c *Controller) adopt(d *decision) { c.active, c.self = d.active, d.self }

func (c *Controller) begin(im *metadata.Image) *decision {
	return &decision{c: c, edit: metadata.NewEdit(im), active: c.active, self: c.self, starting: messages.NoBroker}
}
