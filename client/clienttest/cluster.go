// Package clienttest is for tests of programs that use Kafka: brokers within the
// test's own process, in memory, ready in milliseconds.
//
//	func TestOrders(t *testing.T) {
//		cluster := clienttest.Start(t, 1)
//		if err := cluster.CreateTopic(t.Context(), "orders", 3, nil); err != nil {
//			t.Fatal(err)
//		}
//		// client.Subscribe(…, client.SubscriptionOptions{Brokers: cluster.Addrs(), …})
//	}
//
// They are real brokers, with replication, elections and consumer groups; only
// their disks are in memory. Any of them can be killed and revived in the middle of
// a test. Other than package client itself, it imports the broker.
package clienttest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"understudy"
	"understudy/cluster/local"
	"understudy/config"
	"understudy/internal/loopback"
	"understudy/persistence/vfs"
)

// Options describe a cluster. The zero value is one broker.
type Options struct {
	Brokers int // 0 means 1
	// Adjust may change each broker's settings before it starts for the first time.
	Adjust func(broker int, cfg *config.Config)
	// Log gets what the brokers log; the zero value gets nothing.
	Log zerolog.Logger
}

// Cluster is brokers in this process. They are numbered from 0. Its methods may be
// called from any goroutine.
type Cluster struct {
	o   Options
	hub *local.Hub // where they find each other; nil: there is but one

	mu    sync.Mutex
	nodes []*node
}

// node is one broker, with what outlives its process.
//
//	down ──start──▶ up ──Kill──▶ down
type node struct {
	turn   sync.Mutex         // one change at a time
	cfg    config.Config      // listens where it listened first
	disk   *vfs.Mem           // what it has written
	broker *understudy.Broker // nil: down. The cluster's lock guards it
}

// stopWithin bounds how long the brokers may take to stop.
const stopWithin = time.Minute

// Start starts so many brokers, which stop when the test ends.
func Start(tb testing.TB, brokers int) *Cluster {
	tb.Helper()
	c, err := New(tb.Context(), Options{Brokers: brokers})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
		defer cancel()
		if err := c.Stop(ctx); err != nil {
			tb.Errorf("stopping the brokers: %v", err)
		}
	})
	return c
}

// New starts the brokers, and returns when they serve. It is for programs other
// than tests, which have to Stop them.
func New(ctx context.Context, o Options) (*Cluster, error) {
	o.Brokers = max(o.Brokers, 1)
	c := &Cluster{o: o, nodes: make([]*node, o.Brokers)}
	if o.Brokers > 1 {
		c.hub = local.NewHub()
	}
	for i := range c.nodes {
		n := &node{cfg: settings(i, o.Brokers), disk: vfs.NewMem(vfs.MemOptions{})}
		if o.Adjust != nil {
			o.Adjust(i, &n.cfg)
		}
		c.nodes[i] = n
	}
	errs := make([]error, o.Brokers)
	var starting sync.WaitGroup
	for i := range c.nodes {
		starting.Go(func() { errs[i] = c.Revive(ctx, i) }) // at once: the first waits for the others
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, c.Stop(context.WithoutCancel(ctx)))
	}
	return c, nil
}

// settings are those of one of n brokers.
func settings(i, n int) config.Config {
	cfg := config.Default()
	cfg.NodeID = int32(i + 1)
	cfg.DataDir = "memory"
	cfg.Listen = loopback.Host() + ":0" // whose port is free when the broker is revived
	cfg.AdminListen = config.AdminOff
	cfg.MemoryLimit = 256 << 20
	cfg.Topics.ReplicationFactor = int16(min(n, 3))
	cfg.Groups.InitialDelay = 0 // tests do not want to wait for members that do not come
	cfg.Groups.Partitions = 4
	return cfg
}

// Addrs are the addresses of all brokers, for clients. They stay as they are when
// brokers are killed and revived.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		addrs[i] = n.cfg.Listen
	}
	return addrs
}

// Up reports whether a broker runs.
func (c *Cluster) Up(i int) bool { return c.broker(i) != nil }

func (c *Cluster) broker(i int) *understudy.Broker {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[i].broker
}

func (c *Cluster) setBroker(i int, b *understudy.Broker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[i].broker = b
}

// Kill ends a broker as kill -9 would, if it runs: connections break, nothing is
// handed over. What it has on its disk is there when it is revived.
func (c *Cluster) Kill(i int) error {
	n := c.nodes[i]
	n.turn.Lock()
	defer n.turn.Unlock()
	b := c.broker(i)
	if b == nil {
		return nil
	}
	c.setBroker(i, nil)
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	if err := b.Kill(ctx); err != nil {
		return fmt.Errorf("clienttest: broker %d: %w", i, err)
	}
	n.disk = n.disk.Cut(vfs.LoseNone, nil)
	return nil
}

// Revive starts a broker that is down, on its disk and at its address, and returns
// when it serves.
func (c *Cluster) Revive(ctx context.Context, i int) error {
	n := c.nodes[i]
	n.turn.Lock()
	defer n.turn.Unlock()
	if c.Up(i) {
		return nil
	}
	options := []understudy.Option{understudy.WithFS(n.disk)}
	if c.hub != nil {
		options = append(options, understudy.WithHub(c.hub))
	}
	if log := c.o.Log; log.GetLevel() != zerolog.Disabled && log.GetLevel() != zerolog.NoLevel {
		options = append(options, understudy.WithLogger(log.With().Int("broker", i).Logger()))
	}
	b, err := understudy.Start(ctx, n.cfg, options...)
	if err != nil {
		return fmt.Errorf("clienttest: broker %d: %w", i, err)
	}
	n.cfg.Listen = b.Addr().String()
	c.setBroker(i, b)
	return nil
}

// Stop stops all brokers in order.
func (c *Cluster) Stop(ctx context.Context) error {
	errs := make([]error, len(c.nodes))
	var stopping sync.WaitGroup
	for i, n := range c.nodes {
		stopping.Go(func() {
			n.turn.Lock()
			defer n.turn.Unlock()
			if b := c.broker(i); b != nil {
				c.setBroker(i, nil)
				errs[i] = b.Stop(ctx)
			}
		})
	}
	stopping.Wait()
	return errors.Join(errs...)
}
