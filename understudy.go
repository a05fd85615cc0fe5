// Package understudy is a distributed event log that speaks the Kafka protocol.
// It is the assembly: it puts a broker together from the packages below it. The
// command, the tests and programs that embed a broker all start one here.
//
//	cfg := config.Default()
//	cfg.InMemory = true
//	cfg.Listen = "127.0.0.1:0"
//	b, err := understudy.Start(ctx, cfg)
//	...
//	defer b.Stop(ctx)
//	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr().String()))
package understudy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"understudy/actors/controller"
	"understudy/actors/group"
	"understudy/actors/partition"
	"understudy/actors/supervision"
	"understudy/cluster/consul"
	"understudy/cluster/metadata"
	"understudy/config"
	"understudy/kafka"
	"understudy/kafka/server"
	"understudy/kafka/wire"
	"understudy/messages"
	"understudy/persistence/flush"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// Broker is a running broker.
type Broker struct {
	cfg     config.Config
	log     zerolog.Logger
	metrics *prometheus.Registry
	events  *chronicle

	join    func(context.Context) (rendezvous, error) // nil: the broker is alone
	network network
	adopts  bool          // what ran alone may become the first node of a cluster
	consul  consul.Config // where the nodes find each other, unless join says otherwise
	node    *node         // nil: alone

	returned func(messages.BrokerID) bool // which brokers came back a moment ago; nil: none

	identity identity // of the data directory, in a cluster
	boot     string   // of the machine; "": not known

	files      vfs.FS
	static     map[string]string // settings this broker was started with, by the names of topicconfig.Broker
	self       metadata.Broker
	cell       *metadata.Cell
	flusher    *flush.Scheduler
	segments   *segment.Files
	replicas   *partition.Registry
	shared     *partition.Shared
	cleaner    *partition.Cleaner
	groups     *group.Coordinator
	controller *controller.Client
	tree       *supervision.Root
	listener   net.Listener
	pool       *wire.Pool
	kafka      *kafka.Broker
	server     *server.Server
	admin      *admin
	ready      atomic.Bool // clients are served

	closers  []closer // what to undo, in the order in which it was done
	stopOnce sync.Once
	stopErr  error
	done     chan struct{}
}

// closer undoes one step of the start.
type closer struct {
	what  string
	close func(context.Context) error
}

func (b *Broker) onStop(what string, undo func(context.Context) error) {
	b.closers = append(b.closers, closer{what, undo})
}

// Option changes how a broker is started.
type Option func(*Broker)

// WithLogger gives the broker a logger; without it nothing is logged.
func WithLogger(l zerolog.Logger) Option { return func(b *Broker) { b.log = l } }

// WithFS makes the broker keep its data on a given file system, whatever the
// configuration says. Tests give it one that fails.
func WithFS(files vfs.FS) Option { return func(b *Broker) { b.files = files } }

// Start starts a broker and returns when it serves clients. The context bounds
// the start alone; Stop ends the broker.
func Start(ctx context.Context, cfg config.Config, options ...Option) (*Broker, error) {
	cfg, err := cfg.Complete()
	if err != nil {
		return nil, err
	}
	b := &Broker{cfg: cfg, log: zerolog.Nop(), metrics: newMetrics(), cell: metadata.NewCell(), replicas: partition.NewRegistry(), done: make(chan struct{})}
	b.events = newChronicle(b.metrics)
	b.network = network{cluster: "understudy", addr: "127.0.0.1:0", listen: listenTCP, dial: dialTCP}
	b.static = cfg.StaticSettings()
	if cfg.Cluster != "" {
		b.network.cluster, b.network.addr = cfg.Cluster, cfg.LinkListen
		b.consul.Address = cfg.Consul
		b.join = b.joinConsul
	}
	for _, option := range options {
		option(b)
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"open the data directory", b.openData},
		{"listen", b.listen},
		{"open the metadata", b.openMetadata},
		{"start the partitions", b.startPartitions},
		{"start the groups", b.startGroups},
		{"serve clients", b.serve},
		{"start the admin endpoint", b.serveAdmin},
	} {
		if err := step.do(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", step.what, err), b.Stop(context.WithoutCancel(ctx)))
		}
	}
	b.ready.Store(true)
	return b, nil
}

// Addr is the address that Kafka clients connect to.
func (b *Broker) Addr() net.Addr { return b.listener.Addr() }

// AdvertisedAddr is the address that clients are told, host:port.
func (b *Broker) AdvertisedAddr() string {
	host, port, err := b.cfg.Advertised(b.listener.Addr())
	if err != nil {
		return b.listener.Addr().String()
	}
	return net.JoinHostPort(host, fmt.Sprint(port))
}

// AdminAddr is the address of the admin endpoint, nil when it is off.
func (b *Broker) AdminAddr() net.Addr {
	if b.admin == nil {
		return nil
	}
	return b.admin.addr()
}

// Done is closed when the broker has stopped.
func (b *Broker) Done() <-chan struct{} { return b.done }

// stopTimeout bounds an orderly stop when the caller's context does not.
const stopTimeout = 30 * time.Second

// closeTime is what the first steps of a stop, which wait for others, leave of its time
// to the last, which close the logs: one that is not closed is recovered by the next
// start. Of less than twice as much time they leave half.
const closeTime = time.Second

// leavingTime bounds a step that waits for others, and that takes so long once it waits
// no more.
func leavingTime(ctx context.Context, most, after time.Duration) (context.Context, context.CancelFunc) {
	if until, bounded := ctx.Deadline(); bounded {
		left := time.Until(until)
		most = min(most, left-min(closeTime, left/2)-after)
	}
	return context.WithTimeout(ctx, most)
}

// Stop ends the broker in order: it takes no more requests, answers those it
// has, makes everything durable and leaves a data directory that opens at once.
// When the context ends first, the rest is left to the next start's recovery.
func (b *Broker) Stop(ctx context.Context) error {
	b.stopOnce.Do(func() {
		defer close(b.done)
		ctx, cancel := context.WithTimeout(ctx, stopTimeout)
		defer cancel()
		for i := len(b.closers) - 1; i >= 0; i-- {
			if err := b.closers[i].close(ctx); err != nil {
				b.stopErr = errors.Join(b.stopErr, fmt.Errorf("%s: %w", b.closers[i].what, err))
			}
		}
	})
	return b.stopErr
}
