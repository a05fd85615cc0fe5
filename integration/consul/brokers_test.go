package consul

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy"
	brokers "understudy/config"
)

// door is a broker's own way to Consul, by HTTP, which can be shut.
type door struct {
	*httptest.Server
	line *line
}

// newDoor opens a way to an agent.
func newDoor(t *testing.T, a agent) *door {
	t.Helper()
	cfg := a.client(t)
	d := &door{line: &line{next: http.DefaultTransport}}
	if cfg.HTTP != nil {
		d.line.next = cfg.HTTP.Transport
	}
	target := &url.URL{Scheme: "http", Host: cfg.Address}
	d.Server = httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:    d.line,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	})
	// A client that finds a connection closed which it has used before tries once
	// more, without a word.
	d.Config.SetKeepAlivesEnabled(false)
	t.Cleanup(func() {
		d.shut(true)
		d.Close()
	})
	return d
}

// shut lets nothing through any more, or again.
func (d *door) shut(on bool) {
	if !on {
		d.line.set(nil)
		return
	}
	d.line.cut()
	d.CloseClientConnections()
}

// broker is a whole broker that knows nothing but its way to Consul.
type broker struct {
	*understudy.Broker
	door *door
	log  lockedLines
}

// lockedLines are what a broker logs.
type lockedLines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// brokers starts three, each at an agent, and stops them at the end of the test.
func (c *cluster) brokers(agents ...agent) []*broker {
	c.t.Helper()
	list := make([]*broker, 3)
	var starting sync.WaitGroup
	for i := range list {
		b := &broker{door: newDoor(c.t, agents[i%len(agents)])}
		list[i] = b
		starting.Go(func() { b.start(c) })
	}
	starting.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
	return list
}

// start starts the broker; an error is the test's.
func (b *broker) start(c *cluster) {
	cfg := brokers.Default()
	cfg.InMemory, cfg.Listen, cfg.AdminListen, cfg.MemoryLimit = true, "127.0.0.1:0", "127.0.0.1:0", 256<<20
	cfg.Cluster, cfg.Consul = c.name, b.door.Listener.Addr().String()
	limited, cancel := context.WithTimeout(ctx, 2*soon)
	defer cancel()
	var err error
	if b.Broker, err = understudy.Start(limited, cfg, understudy.WithLogger(zerolog.New(&b.log))); err != nil {
		c.t.Error(err)
		return
	}
	c.t.Cleanup(func() {
		b.door.shut(true) // whether or not Consul is there
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_ = b.Stop(short) // it cannot leave in order
		if c.t.Failed() {
			c.t.Logf("broker at %v:\n%s", b.Addr(), b.log.String())
		}
	})
}

// state is what the tests look at in what a broker says of the cluster.
type state struct {
	Controller int32
	Rendezvous string
	Brokers    []struct {
		ID    int32
		State string
	}
}

// admin asks the broker's admin endpoint; status is the answer's.
func (b *broker) admin(t *testing.T, method, path string, answer any) (status int) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+b.AdminAddr().String()+path, nil)
	must(t, err)
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(t, err)
	if err := json.Unmarshal(body, answer); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, body)
	}
	return response.StatusCode
}

func (b *broker) state(t *testing.T) (s state) {
	t.Helper()
	b.admin(t, "GET", "/cluster", &s)
	return s
}

// work is a producer, and what it was told.
type work struct {
	t      *testing.T
	client *kgo.Client
	admin  *kadm.Client
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	acked  int
	failed error
}

const workTopic, workPartitions = "work", 6

// begin creates a topic and writes to it, one record after the other, until the end
// of the test.
func begin(t *testing.T, list []*broker) *work {
	t.Helper()
	var seeds []string
	for _, b := range list {
		seeds = append(seeds, b.Addr().String())
	}
	w := &work{t: t}
	var err error
	w.client, err = kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic(workTopic), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
		kgo.ProducerLinger(0), kgo.MetadataMinAge(50*time.Millisecond), kgo.UnknownTopicRetries(-1))
	must(t, err)
	w.admin = kadm.NewClient(w.client)
	w.create(workTopic)
	running, cancel := context.WithCancel(ctx)
	w.cancel = cancel
	w.done.Go(func() {
		for running.Err() == nil {
			err := w.client.ProduceSync(ctx, &kgo.Record{Value: []byte("x")}).FirstErr()
			w.mu.Lock()
			if w.acked++; err != nil && w.failed == nil {
				w.failed = err
			}
			w.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		cancel()
		w.client.Close()
	})
	return w
}

// create creates a topic of three replicas, sooner or later.
func (w *work) create(topic string) {
	w.t.Helper()
	var err error
	wait(w.t, "topic "+topic, func() bool {
		limited, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if _, err = w.admin.CreateTopic(limited, workPartitions, 3, nil, topic); err == nil || strings.Contains(err.Error(), "TOPIC_ALREADY_EXISTS") {
			return true
		}
		w.t.Logf("creating topic %s: %v", topic, err)
		return false
	})
}

// more waits until so many more records are acknowledged.
func (w *work) more(n int) {
	w.t.Helper()
	w.mu.Lock()
	goal := w.acked + n
	w.mu.Unlock()
	wait(w.t, fmt.Sprint(n, " more records"), func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.acked >= goal
	})
}

// leaders are the partitions' leaders and epochs, in words, once all replicas are
// in sync.
func (w *work) leaders() (words string) {
	w.t.Helper()
	wait(w.t, "all replicas to be in sync", func() bool {
		limited, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		details, err := w.admin.ListTopics(limited, workTopic)
		if err != nil || len(details[workTopic].Partitions) != workPartitions {
			return false
		}
		words = ""
		for _, p := range details[workTopic].Partitions.Sorted() {
			if len(p.ISR) != 3 {
				return false
			}
			words += fmt.Sprintf("%d: node %d in epoch %d\n", p.Partition, p.Leader, p.LeaderEpoch)
		}
		return true
	})
	return words
}

// end ends the work and reads everything back.
func (w *work) end() {
	w.t.Helper()
	w.cancel()
	w.done.Wait()
	if w.failed != nil {
		w.t.Errorf("a record failed: %v", w.failed)
	}
	w.client.AddConsumeTopics(workTopic)
	limited, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	for read := 0; read < w.acked; {
		fetches := w.client.PollFetches(limited)
		if err := fetches.Err0(); err != nil {
			w.t.Fatalf("%d of %d records are there: %v", read, w.acked, err)
		}
		read += fetches.NumRecords()
	}
}

// TestBrokersGoOn does to Consul what can happen to it, under load. Nobody is thrown
// out, no leadership changes, and afterwards the cluster can decide again.
func TestBrokersGoOn(t *testing.T) {
	a := startAgent(t)
	c := newCluster(t, a)
	list := c.brokers(a)
	w := begin(t, list)
	w.more(20)
	before := w.leaders()
	observer := c.node(9) // to see who is registered
	harms := []struct {
		name string
		do   func()
	}{
		{"restarted", func() { a.restart(t) }},
		{"restarted without its registrations", func() { a.forget(t) }},
		{"away", func() {
			a.pause(t)
			<-time.After(awayFor)
			w.more(20)
			a.resume(t)
		}},
		{"restarted without its data", func() {
			a.wipe(t)
			for _, b := range list {
				wait(t, "the loss to be told of", func() bool { return strings.HasPrefix(b.state(t).Rendezvous, "metadata lost") })
			}
			w.more(20)
			var done struct {
				Topics int
				Error  string
			}
			if status := list[1].admin(t, "POST", "/cluster/restore", &done); status != http.StatusOK || done.Topics < 2 {
				t.Errorf("restoring: %d, %+v", status, done)
			}
		}},
	}
	for i, harm := range harms {
		begun := time.Now()
		harm.do()
		over := time.Now()
		for _, b := range list {
			wait(t, "all to be well after consul was "+harm.name, func() bool {
				s := b.state(t)
				return s.Rendezvous == "ok" && s.Controller > 0 && len(s.Brokers) == 3
			})
		}
		wait(t, "the registrations", func() bool { return len(observer.list()) == 4 })
		w.create(fmt.Sprint("after-", i))
		w.more(20)
		if after := w.leaders(); after != before {
			t.Errorf("consul was %s; before:\n%safter:\n%s", harm.name, before, after)
		}
		t.Logf("consul %s for %v: all is well %v later", harm.name, over.Sub(begun).Round(time.Millisecond), time.Since(over).Round(time.Millisecond))
	}
	w.end()
}

// TestBrokersCutOffFromConsul shuts one broker's way, first the controller's. The
// lock moves, leaderships do not.
func TestBrokersCutOffFromConsul(t *testing.T) {
	a := startAgent(t)
	c := newCluster(t, a)
	list := c.brokers(a)
	w := begin(t, list)
	w.more(20)
	before := w.leaders()
	ids := map[int32]*broker{}
	meta, err := w.admin.BrokerMetadata(ctx)
	must(t, err)
	for _, known := range meta.Brokers {
		for _, b := range list {
			if b.AdvertisedAddr() == fmt.Sprintf("%s:%d", known.Host, known.Port) {
				ids[known.NodeID] = b
			}
		}
	}
	old := list[0].state(t).Controller
	cut := ids[old]
	if cut == nil {
		t.Fatalf("no broker is node %d", old)
	}
	cut.door.shut(true)
	wait(t, "another controller", func() bool {
		for _, b := range list {
			if s := b.state(t); s.Controller == old || s.Controller < 0 {
				return false
			}
		}
		return strings.HasPrefix(cut.state(t).Rendezvous, "away")
	})
	w.more(20)
	w.create("meanwhile")
	if now := w.leaders(); now != before {
		t.Errorf("before:\n%safter the controller was cut off:\n%s", before, now)
	}
	cut.door.shut(false)
	wait(t, "all to be well", func() bool { return cut.state(t).Rendezvous == "ok" })
	w.create("after")
	w.more(20)
	if now := w.leaders(); now != before {
		t.Errorf("before:\n%safter it was back:\n%s", before, now)
	}
	w.end()
}
