package understudy_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy"
	"understudy/cluster/consul"
	"understudy/cluster/consul/fake"
	"understudy/cluster/local"
	"understudy/config"
	"understudy/internal/loopback"
	"understudy/persistence/vfs"
)

// cluster is three brokers in this process, each with a disk and a network that
// the test can take from it.
type cluster struct {
	t       *testing.T
	hub     *local.Hub
	consul  *fake.Server         // instead of the hub; nil: the hub
	brokers []*understudy.Broker // nil: down
	disks   []*vfs.Mem
	wires   []*understudy.Wire
	host    string                                              // where all of them listen
	addrs   []string                                            // where each listens for clients, from its first start on
	adjust  func(i int, cfg *config.Config) []understudy.Option // may be nil
	boots   map[int]int                                         // how often the power was cut
	coins   *rand.Rand
}

func newCluster(t *testing.T) *cluster { return newClusterWith(t, nil) }

func newClusterWith(t *testing.T, adjust func(i int, cfg *config.Config) []understudy.Option) *cluster {
	t.Helper()
	return newClusterOn(t, nil, adjust)
}

// newClusterOn makes a cluster whose nodes find each other in a fake Consul, unless
// it is nil.
func newClusterOn(t *testing.T, consul *fake.Server, adjust func(i int, cfg *config.Config) []understudy.Option) *cluster {
	t.Helper()
	c := &cluster{
		t: t, adjust: adjust, hub: local.NewHub(), consul: consul, brokers: make([]*understudy.Broker, 3), disks: make([]*vfs.Mem, 3),
		wires: make([]*understudy.Wire, 3), host: loopback.Host(), addrs: make([]string, 3), coins: rand.New(rand.NewPCG(1, 2)), boots: map[int]int{},
	}
	for i := range c.brokers {
		c.disks[i] = vfs.NewMem(vfs.MemOptions{PowerCuts: true})
	}
	c.startAll()
	t.Cleanup(func() {
		for i := range c.brokers {
			c.stop(i)
		}
	})
	return c
}

// startAll starts those that are down, at the same time.
func (c *cluster) startAll() {
	c.t.Helper()
	type started struct {
		i int
		b *understudy.Broker
		e error
	}
	results := make(chan started)
	n := 0
	for i, b := range c.brokers {
		if b == nil {
			n++
			go func() {
				b, err := c.boot(i)
				results <- started{i, b, err}
			}()
		}
	}
	for range n {
		r := <-results
		if r.e != nil {
			c.t.Errorf("node %d: %v", r.i+1, r.e)
			continue
		}
		c.brokers[r.i], c.addrs[r.i] = r.b, r.b.Addr().String()
	}
	if c.t.Failed() {
		c.t.FailNow()
	}
}

func (c *cluster) start(i int) {
	c.t.Helper()
	b, err := c.boot(i)
	if err != nil {
		c.t.Fatal(err)
	}
	c.brokers[i], c.addrs[i] = b, b.Addr().String()
}

func (c *cluster) boot(i int) (*understudy.Broker, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	return c.bootWithin(ctx, i)
}

func (c *cluster) bootWithin(ctx context.Context, i int) (*understudy.Broker, error) {
	cfg := testConfig("mem")
	cfg.NodeID = int32(i + 1)
	cfg.AdminListen = c.host + ":0"
	cfg.Listen = cmp.Or(c.addrs[i], cfg.AdminListen)
	c.wires[i] = understudy.NewWire()
	options := []understudy.Option{
		understudy.WithHub(c.hub), understudy.WithFS(c.disks[i]), understudy.WithNetwork(c.wires[i].Listen, c.wires[i].Dial), understudy.WithBoot(fmt.Sprintf("%d.%d", i, c.boots[i])),
	}
	if c.consul != nil {
		cfg.Cluster = "test"
		options[0] = understudy.WithConsul(consul.Config{Address: "fake", HTTP: c.consul.Client()})
	}
	if os.Getenv("UNDERSTUDY_TEST_LOG") != "" {
		level, _ := zerolog.ParseLevel(os.Getenv("UNDERSTUDY_TEST_LOG"))
		options = append(options, understudy.WithLogger(zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr, TimeFormat: "05.000"}).Level(level).With().Timestamp().Int("at", i+1).Logger()))
	}
	if c.adjust != nil {
		options = append(options, c.adjust(i, &cfg)...)
	}
	return understudy.Start(ctx, cfg, options...)
}

// stop stops a broker in order.
func (c *cluster) stop(i int) {
	if c.brokers[i] != nil {
		stop(c.t, c.brokers[i])
		c.brokers[i] = nil
	}
}

// kill ends a broker as SIGKILL does, or the power if there is a loss: nothing
// is done in order.
func (c *cluster) kill(i int, loss vfs.Loss) {
	b := c.brokers[i]
	c.brokers[i] = nil
	c.wires[i].Cut()
	c.disks[i].Stop()
	b.Abandon()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_ = b.Stop(ctx) // which is to free memory; its disk is gone
	c.disks[i] = c.disks[i].Cut(loss, c.coins)
	if loss != vfs.LoseNone {
		c.boots[i]++
	}
}

// killAll ends all brokers at once: nobody's end is noticed by another, or at least
// not written down.
func (c *cluster) killAll(loss vfs.Loss) {
	for _, b := range c.brokers {
		b.Seat().Die()
	}
	for i := range c.brokers {
		c.kill(i, loss)
	}
}

// client connects to whoever is up.
func (c *cluster) client(options ...kgo.Opt) *kgo.Client {
	c.t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.addrs...), unhurried,
		kgo.MetadataMinAge(10 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }),
		kgo.UnknownTopicRetries(-1),
	}, options...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(client.Close)
	return client
}

// admin is a client for changes, which may take longer than usual.
func (c *cluster) admin() *kadm.Client {
	c.t.Helper()
	admin := kadm.NewClient(c.client())
	admin.SetTimeoutMillis(int32(probeTime.Milliseconds()))
	return admin
}

func (c *cluster) createTopic(topic string, partitions int32, settings map[string]*string) {
	c.t.Helper()
	if _, err := c.admin().CreateTopic(c.t.Context(), partitions, 3, settings, topic); err != nil {
		c.t.Fatal(err)
	}
}

// TestThePortsOfANodeThatIsDownAreKept has somebody else get the number of a port while
// the node that had it is down, as any test may that asks for a free one.
func TestThePortsOfANodeThatIsDownAreKept(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("all tests share one address here")
	}
	c := newCluster(t)
	_, port, err := net.SplitHostPort(c.addrs[2])
	if err != nil {
		t.Fatal(err)
	}
	c.stop(2)
	other, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Skipf("it is taken already: %v", err)
	}
	defer other.Close()
	c.start(2)
}

// createTopicOf creates a topic with so many replicas of each partition.
func (c *cluster) createTopicOf(topic string, partitions int32, replicas int16) {
	c.t.Helper()
	if _, err := c.admin().CreateTopic(c.t.Context(), partitions, replicas, nil, topic); err != nil {
		c.t.Fatal(err)
	}
}

// details is the metadata of a topic once it is as wanted.
func (c *cluster) await(topic, what string, wanted func(kadm.PartitionDetails) bool) kadm.PartitionDetails {
	c.t.Helper()
	admin := kadm.NewClient(c.client())
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	for {
		details, err := admin.ListTopics(ctx, topic)
		if err == nil && wanted(details[topic].Partitions) {
			return details[topic].Partitions
		}
		if ctx.Err() != nil {
			c.t.Fatalf("%s: never %s; now %+v (%v)", topic, what, details[topic].Partitions, err)
		}
	}
}

// awaitInSync waits until every partition of a topic has so many in-sync replicas.
func (c *cluster) awaitInSync(topic string, n int) kadm.PartitionDetails {
	c.t.Helper()
	return c.await(topic, fmt.Sprintf("%d in sync", n), func(ps kadm.PartitionDetails) bool {
		for _, p := range ps {
			if len(p.ISR) != n || p.Leader < 0 {
				return false
			}
		}
		return len(ps) > 0
	})
}

func TestPartitionsAreSpreadAndReplicated(t *testing.T) {
	c := newCluster(t)
	c.createTopic("orders", 6, nil)
	leads := map[int32]int{}
	for _, p := range c.awaitInSync("orders", 3) {
		leads[p.Leader]++
	}
	if len(leads) != 3 || leads[1] != 2 || leads[2] != 2 {
		t.Errorf("leaders are spread %v", leads)
	}
	l := c.load("orders", 6)
	l.await(2000)
	l.end()
	c.compare("orders", 6)
}

// controller is the index of the broker whose controller decides.
func (c *cluster) controller() int {
	c.t.Helper()
	for {
		if i := slices.IndexFunc(c.brokers, func(b *understudy.Broker) bool { return b != nil && b.IsController() }); i >= 0 {
			return i
		}
		if c.t.Context().Err() != nil {
			c.t.Fatal("no controller")
		}
	}
}

// TestABatchThatUnpacksGetsToTheFollowers has a broker unpack a batch that is larger
// then than any request may be here.
func TestABatchThatUnpacksGetsToTheFollowers(t *testing.T) {
	c := newClusterWith(t, func(_ int, cfg *config.Config) []understudy.Option {
		cfg.MemoryLimit = 128 << 20
		return nil
	})
	plain, large := "uncompressed", "67108864"
	c.createTopic("plain", 1, map[string]*string{"compression.type": &plain, "max.message.bytes": &large})
	client := c.client(kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(60<<20), kgo.DefaultProduceTopic("plain"))
	ctx, cancel := context.WithTimeout(t.Context(), probeTime)
	defer cancel()
	if err := client.ProduceSync(ctx, &kgo.Record{Value: make([]byte, 40<<20)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	c.awaitInSync("plain", 3)
}
