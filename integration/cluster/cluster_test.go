//go:build cluster

package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/integration/cluster/powerfs"
	"understudy/integration/process"
)

const (
	kafkaPort = 9092
	linkPort  = 9093
	adminPort = 9644
)

// patience is for anything that must happen; it is no measure.
const patience = 2 * time.Minute

// cluster is Consul's servers and the brokers, each a process in a place of its own.
type cluster struct {
	t       testing.TB
	dir     string
	net     network
	clients *place // where this process is
	consuls []*agent
	nodes   []*node
	admin   *kgo.Client
	tracer  *exec.Cmd // strace, while it holds a node
	power   bool      // see options
}

// node is one broker over all its restarts.
type node struct {
	*process.Broker
	id    int32
	place *place
	kafka string // where clients reach it
	link  string // where the other nodes do
	agent string // where it reaches Consul
	log   *os.File
	disk  *powerfs.Disk // whose power can be cut; nil: the machine's own
}

// options say which cluster to start.
type options struct {
	consuls int // 1 or 3; with 3, each broker has a server of its own
	brokers int
	args    []string // of the brokers
	power   bool     // their disks forget what was not synced when their power is cut
}

func startCluster(t testing.TB, o options) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: directory(t)}
	c.net, c.clients = newNetwork(t, c.dir)
	c.consuls = startConsul(t, c.net, c.dir, o.consuls)
	if c.power = o.power && os.Geteuid() == 0; c.power {
		end, err := powerfs.Share(c.dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := end(); err != nil {
				t.Error(err)
			}
		})
	}
	for range o.brokers {
		c.addNode(o.args...)
	}
	admin, err := kgo.NewClient(kgo.SeedBrokers(c.seeds()...), kgo.MetadataMinAge(10*time.Millisecond), kgo.RequestTimeoutOverhead(2*time.Second), kgo.DialTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.Close)
	c.admin = admin
	return c
}

// directory is for all that a test's processes write. It is kept when the test
// failed, or when it is wanted.
func directory(t testing.TB) string {
	dir, err := os.MkdirTemp("", "cluster-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() || *keep {
			t.Logf("what the processes wrote is in %s", dir)
			return
		}
		_ = os.RemoveAll(dir) // in the folder for temporary files
	})
	return dir
}

// addNode starts another broker.
func (c *cluster) addNode(args ...string) *node {
	c.t.Helper()
	i := len(c.nodes) + 1
	n := &node{id: int32(i), place: c.net.place(c.t, fmt.Sprint("node", i), byte(10+i))}
	n.kafka, n.link = c.net.way(c.t, c.clients, n.place, kafkaPort), c.net.way(c.t, nil, n.place, linkPort)
	n.agent = c.net.way(c.t, n.place, c.consulOf(n).place, consulHTTP)
	c.nodes = append(c.nodes, n)
	dir := filepath.Join(c.dir, strconv.Itoa(i))
	if c.power {
		c.mount(n, dir)
	}
	c.startNode(n, dir, args...)
	return n
}

// mount gives a node a disk whose power can be cut.
func (c *cluster) mount(n *node, dir string) {
	c.t.Helper()
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		n.disk, err = powerfs.Mount(dir)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := n.disk.Close(); err != nil {
			c.t.Error(err)
		}
	})
}

// startNode starts a broker on a data directory.
func (c *cluster) startNode(n *node, dir string, args ...string) {
	c.t.Helper()
	var err error
	if n.log, err = os.OpenFile(filepath.Join(c.dir, fmt.Sprintf("node%d.log", n.id)), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = n.log.Close() })
	n.Broker, err = process.Start(c.t.Context(), process.Options{
		DataDir: dir, Listen: n.place.at(kafkaPort), Under: n.place.launcher, Output: n.log, Ready: patience,
		Args: append([]string{
			"--cluster", "proof", "--consul", n.agent, "--node-id", strconv.Itoa(int(n.id)), "--advertise", n.kafka,
			"--link-listen", n.place.at(linkPort), "--link-advertise", n.link, "--admin-listen", n.place.at(adminPort), "--log-level", *logLevel,
		}, args...),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(n.Kill)
}

// consulOf is the server that a broker uses.
func (c *cluster) consulOf(n *node) *agent { return c.consuls[(int(n.id)-1)%len(c.consuls)] }

func (c *cluster) seeds() (addrs []string) {
	for _, n := range c.nodes {
		addrs = append(addrs, n.kafka)
	}
	return addrs
}

func (c *cluster) consulPlaces() (list []*place) {
	for _, a := range c.consuls {
		list = append(list, a.place)
	}
	return list
}

// peersOf are the places of the other brokers.
func (c *cluster) peersOf(n *node) (list []*place) {
	for _, o := range c.nodes {
		if o != n {
			list = append(list, o.place)
		}
	}
	return list
}

func (n *node) freeze() error { return syscall.Kill(n.PID(), syscall.SIGSTOP) }
func (n *node) thaw() error   { return syscall.Kill(n.PID(), syscall.SIGCONT) }

// stopLimit is how long a node may take to stop in order.
const stopLimit = time.Minute

// end stops a node in order. That it could not, because the machine stood still, is one
// fault more.
func (n *node) end() error {
	err := n.Stop(stopLimit)
	if errors.Is(err, process.ErrStoodStill) {
		return nil
	}
	return err
}

func (c *cluster) createTopic(name string, partitions, replicas int, configs map[string]string) {
	c.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, int32(partitions), int16(replicas)
	for k, v := range configs {
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = k, kmsg.StringPtr(v)
		t.Configs = append(t.Configs, config)
	}
	req.Topics = append(req.Topics, t)
	req.TimeoutMillis = int32(patience.Milliseconds())
	err := await(c.t.Context(), "a topic to be created", func(ctx context.Context) error {
		resp, err := req.RequestWith(ctx, c.admin)
		if err == nil {
			if err = kerr.ErrorForCode(resp.Topics[0].ErrorCode); errors.Is(err, kerr.TopicAlreadyExists) {
				err = nil // by an attempt without an answer
			}
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// view is what one broker says of a topic.
type view struct {
	controller int32
	partitions []kmsg.MetadataResponseTopicPartition
}

// view asks a node, or any for nil.
func (c *cluster) view(ctx context.Context, n *node, topic string) (view, error) {
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = kmsg.StringPtr(topic)
	req.Topics = append(req.Topics, t)
	var resp *kmsg.MetadataResponse
	var err error
	if n == nil {
		resp, err = req.RequestWith(ctx, c.admin)
	} else {
		resp, err = c.ask(ctx, n, req)
	}
	if err != nil {
		return view{}, err
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		return view{}, err
	}
	v := view{resp.ControllerID, make([]kmsg.MetadataResponseTopicPartition, len(resp.Topics[0].Partitions))}
	for _, p := range resp.Topics[0].Partitions {
		if int(p.Partition) >= len(v.partitions) {
			return view{}, fmt.Errorf("partition %d is one of %d", p.Partition, len(v.partitions))
		}
		v.partitions[p.Partition] = p
	}
	return v, nil
}

// ask asks one node and no other, on a connection of its own.
func (c *cluster) ask(ctx context.Context, n *node, req *kmsg.MetadataRequest) (*kmsg.MetadataResponse, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(n.kafka), kgo.RequestRetries(0), kgo.DialTimeout(time.Second), kgo.RequestTimeoutOverhead(2*time.Second))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	resp, err := cl.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		return nil, err
	}
	return resp.(*kmsg.MetadataResponse), nil
}

// awaitInSync waits until all replicas of a topic are in sync and led, as every
// running node says.
func (c *cluster) awaitInSync(ctx context.Context, topic string) error {
	return await(ctx, "all replicas to be in sync", func(ctx context.Context) error {
		for _, n := range c.nodes {
			v, err := c.view(ctx, n, topic)
			if err != nil {
				return fmt.Errorf("node %d: %w", n.id, err)
			}
			for _, p := range v.partitions {
				if len(p.ISR) != len(p.Replicas) || p.Leader < 0 {
					return fmt.Errorf("node %d: partition %d: leader %d, replicas %v, in sync %v", n.id, p.Partition, p.Leader, p.Replicas, p.ISR)
				}
			}
		}
		return nil
	})
}

// await tries something until it succeeds or patience is at an end.
func await(ctx context.Context, what string, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return fmt.Errorf("waited too long for %s: %w", what, err)
		}
	}
}

// sleep reports whether it lasted as long as it should.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// every does something with several at once, and returns all errors.
func every[T any](list []T, do func(T) error) error {
	var all sync.WaitGroup
	errs := make([]error, len(list))
	for i, one := range list {
		all.Go(func() { errs[i] = do(one) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// between two durations, as chance has it.
func chance(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)+1))
}
