package kafka

import (
	"net"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"understudy/cluster/metadata"
	"understudy/kafka/server"
	"understudy/kafka/wire"
)

// harness is a broker over a fake cluster, listening.
type harness struct {
	*fakeCluster
	broker *Broker
	server *server.Server
	addr   string
}

// serve starts a broker; change may change what it depends on.
func serve(t testing.TB, f *fakeCluster, change func(*Deps, *server.Options)) *harness {
	t.Helper()
	pool := wire.NewPool(wire.NewBudget(256 << 20))
	d := Deps{
		Self: self, Image: f.image.Load, Defaults: f.defaults, Partitions: f, Admin: f, Groups: f.groups, Pool: pool,
		Now: f.clock.Load, LogDir: "/data", Space: func() (int64, int64) { return 1000, 600 },
		Log: zerolog.Nop(), Limits: DefaultLimits(),
	}
	o := server.Options{Limits: server.DefaultLimits(), Pool: pool, Metrics: server.NewMetrics(APINames()), Log: zerolog.Nop()}
	if change != nil {
		change(&d, &o)
	}
	h := &harness{fakeCluster: f, broker: New(d)}
	h.server = server.New(h.broker, o)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr = ln.Addr().String()
	host, port, _ := net.SplitHostPort(h.addr)
	number, _ := strconv.Atoi(port)
	f.edit(func(e *metadata.Edit) {
		e.SetBroker(metadata.Broker{ID: self, Epoch: 2, Host: host, Port: int32(number), Rack: "here"})
	})
	served := make(chan error, 1)
	go func() { served <- h.server.Serve(ln) }()
	t.Cleanup(func() {
		h.broker.Close()
		h.server.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
		// Fetches that were waiting when their connection was closed end in
		// goroutines of their own, which Close does not wait for.
		used, patience := d.Pool.Budget().Used(), time.Now().Add(10*time.Second)
		for used != 0 && time.Now().Before(patience) {
			runtime.Gosched()
			used = d.Pool.Budget().Used()
		}
		if used != 0 {
			t.Errorf("%d bytes of the budget are left over", used)
		}
	})
	return h
}

// pipe is a broker whose clients, at least one, come through pipes in memory, for tests
// with a clock of their own.
type pipe struct {
	*fakeCluster
	t      testing.TB // the bubble's
	broker *Broker
	server *server.Server
	client *client
	conns  []net.Conn
}

func servePipe(t testing.TB, f *fakeCluster) *pipe { return servePipeWith(t, f, func(*Deps) {}) }

func servePipeWith(t testing.TB, f *fakeCluster, change func(*Deps)) *pipe {
	pool := wire.NewPool(wire.NewBudget(64 << 20))
	d := Deps{
		Self: self, Image: f.image.Load, Defaults: f.defaults, Partitions: f, Admin: f, Groups: f.groups, Pool: pool,
		Now: f.clock.Load, Space: func() (int64, int64) { return -1, -1 }, Log: zerolog.Nop(), Limits: DefaultLimits(),
	}
	change(&d)
	b := New(d)
	s := server.New(b, server.Options{Limits: server.DefaultLimits(), Pool: pool, Log: zerolog.Nop()})
	h := &pipe{fakeCluster: f, t: t, broker: b, server: s}
	h.client = h.dial()
	return h
}

// dial gives one more client.
func (h *pipe) dial() *client {
	near, far := net.Pipe()
	h.server.Take(far)
	h.conns = append(h.conns, near)
	return &client{t: h.t, conn: near}
}

func (h *pipe) close() {
	for _, conn := range h.conns {
		conn.Close()
	}
	h.broker.Close()
	h.server.Close()
}
