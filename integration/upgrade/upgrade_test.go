package upgrade

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/cluster/consul/fake"
	"understudy/integration/process"
	"understudy/internal/loopback"
)

func TestMain(m *testing.M) {
	code := m.Run()
	process.Cleanup()
	os.Exit(code)
}

const (
	topic      = "orders"
	partitions = 6
	patience   = 2 * time.Minute // before the test gives up; it is no measure
)

// cluster is three brokers, each a process, and what they speak.
type cluster struct {
	t       *testing.T
	agent   *httptest.Server
	nodes   [3]*process.Broker
	version [3]int // the newest that each may speak
	admin   *kadm.Client
}

// serveConsul has a fake of Consul served to other processes.
func serveConsul() *httptest.Server {
	return httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "fake"}) },
		Transport:    fake.New().Client().Transport,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // somebody has hung up
	})
}

func startCluster(t *testing.T, version int) *cluster {
	t.Helper()
	c := &cluster{t: t, agent: serveConsul()}
	t.Cleanup(c.agent.Close)
	for i := range c.nodes {
		c.start(i, version, process.Options{Listen: loopback.Host() + ":0"}) // whose port is free when it is started again
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.seeds()...), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	c.admin = kadm.NewClient(cl)
	least := "2"
	c.admin.SetTimeoutMillis(int32(patience.Milliseconds()))
	if _, err := c.admin.CreateTopic(t.Context(), partitions, 3, map[string]*string{"min.insync.replicas": &least}, topic); err != nil {
		t.Fatal(err)
	}
	c.awaitInSync()
	return c
}

// start starts a node that speaks up to a version.
func (c *cluster) start(i, version int, o process.Options) {
	c.t.Helper()
	c.version[i] = version
	o.Args = []string{
		"--cluster", "upgrade", "--consul", c.agent.Listener.Addr().String(), "--node-id", strconv.Itoa(i + 1),
		"--link-protocol-version-max", strconv.Itoa(version),
	}
	c.nodes[i] = process.Test(c.t, o)
}

// install stops a node in order and starts another program in its place.
func (c *cluster) install(i, version int) {
	c.t.Helper()
	old := c.nodes[i]
	old.MustStop(c.t)
	c.start(i, version, process.Options{DataDir: old.DataDir(), Listen: old.Addr()})
	c.awaitInSync()
	c.awaitVersions()
}

func (c *cluster) seeds() (addrs []string) {
	for _, n := range c.nodes {
		addrs = append(addrs, n.Addr())
	}
	return addrs
}

// await tries something until it is as it should be.
func (c *cluster) await(what string, try func(context.Context) error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			c.t.Fatalf("waited too long for %s: %v", what, err)
		}
	}
}

func (c *cluster) awaitInSync() {
	c.t.Helper()
	c.await("all replicas to be in sync", func(ctx context.Context) error {
		topics, err := c.admin.ListTopics(ctx, topic)
		if err != nil {
			return err
		}
		for _, p := range topics[topic].Partitions {
			if len(p.ISR) != 3 {
				return fmt.Errorf("partition %d: in sync %v", p.Partition, p.ISR)
			}
		}
		return topics[topic].Err
	})
}

var spoken = regexp.MustCompile(`(?m)^understudy_link_protocol_version\{node="(\d)"\} (\d+)$`)

// awaitVersions waits until each two nodes speak what the older of them does.
func (c *cluster) awaitVersions() {
	c.t.Helper()
	for i, n := range c.nodes {
		want := map[int]int{}
		for j := range c.nodes {
			if j != i {
				want[j+1] = min(c.version[i], c.version[j])
			}
		}
		c.await("versions to be agreed", func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.Ready().Admin+"/metrics", nil)
			if err != nil {
				return err
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil {
				return err
			}
			got := map[int]int{}
			for _, m := range spoken.FindAllStringSubmatch(string(text), -1) {
				peer, _ := strconv.Atoi(m[1]) // digits, by the pattern
				got[peer], _ = strconv.Atoi(m[2])
			}
			if !maps.Equal(got, want) {
				return fmt.Errorf("node %d speaks %v with the others, want %v", i+1, got, want)
			}
			return nil
		})
	}
}

// load produces numbered records without a pause, each partition's in order, until it
// is ended.
type load struct {
	c       *cluster
	t       *testing.T
	client  *kgo.Client
	stop    chan struct{}
	working sync.WaitGroup

	mu     sync.Mutex
	acked  [partitions]int // the next number to be acknowledged
	failed []error
	more   *sync.Cond
}

func (c *cluster) load() *load {
	c.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.seeds()...), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(200))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(cl.Close)
	l := &load{c: c, t: c.t, client: cl, stop: make(chan struct{})}
	l.more = sync.NewCond(&l.mu)
	l.working.Go(l.produce)
	return l
}

func (l *load) produce() {
	for n := 0; ; n++ {
		for p := range int32(partitions) {
			select {
			case <-l.stop:
				return
			default:
			}
			// It waits while as many are on their way as may be.
			l.client.Produce(context.Background(), &kgo.Record{Partition: p, Value: []byte(strconv.Itoa(n))}, func(r *kgo.Record, err error) {
				l.acknowledged(r, n, err)
			})
		}
	}
}

func (l *load) acknowledged(r *kgo.Record, n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && (l.acked[r.Partition] != n || r.Offset != int64(n)) {
		err = fmt.Errorf("record %d of partition %d has offset %d; %d was due", n, r.Partition, r.Offset, l.acked[r.Partition])
	}
	if err != nil {
		l.failed = append(l.failed, err)
	}
	l.acked[r.Partition] = n + 1
	l.more.Broadcast()
}

// await waits until so many records more of each partition are acknowledged.
func (l *load) await(more int) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.acked
	for p := range l.acked {
		for l.acked[p] < before[p]+more && len(l.failed) == 0 {
			l.more.Wait()
		}
	}
	if len(l.failed) > 0 {
		l.t.Fatalf("%d requests failed, the first: %v", len(l.failed), l.failed[0])
	}
}

// end stops and reads everything: each record that was acknowledged, once, in order.
func (l *load) end() {
	l.t.Helper()
	l.await(100)
	close(l.stop)
	l.working.Wait()
	if err := l.client.Flush(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	l.await(0)
	consumer, err := kgo.NewClient(kgo.SeedBrokers(l.c.seeds()...), kgo.ConsumeTopics(topic))
	if err != nil {
		l.t.Fatal(err)
	}
	defer consumer.Close()
	total, read := 0, [partitions]int{}
	for _, n := range l.acked {
		total += n
	}
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	for left := total; left > 0; {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			l.t.Fatalf("%d of %d records read: %v", total-left, total, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if string(r.Value) != strconv.Itoa(read[r.Partition]) || r.Offset != int64(read[r.Partition]) {
				l.t.Errorf("partition %d: %s at offset %d, want %d", r.Partition, r.Value, r.Offset, read[r.Partition])
			}
			read[r.Partition]++
			left--
		})
	}
	if read != l.acked {
		l.t.Errorf("read %v, acknowledged %v", read, l.acked)
	}
	l.t.Logf("%d records, each of them once and in order", total)
}

// TestAClusterIsUpgradedWhileItIsUsed rolls three nodes from version 2 to 3, and then
// one of them back: not one request fails, and nothing is lost or doubled.
func TestAClusterIsUpgradedWhileItIsUsed(t *testing.T) {
	c := startCluster(t, 2)
	c.awaitVersions()
	l := c.load()
	l.await(500)
	for i := range c.nodes {
		c.install(i, 3)
		l.await(500)
	}
	c.install(1, 2)
	l.end()
}
