package server

import (
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"understudy/kafka/wire"
)

func TestAnnouncementsCostNothing(t *testing.T) {
	const clients = 1000
	h := &echo{}
	s, addr := start(t, h, nil)
	before := heap()
	for range clients {
		c := dial(t, addr)
		write(t, c, []byte{6, 64, 0, 0, 0, 0}) // 100 MiB of Produce
	}
	for s.Connections() < clients {
		runtime.Gosched()
	}
	if used := s.pool.Budget().Used(); used != 0 {
		t.Errorf("%d bytes of the budget are in use", used)
	}
	if grown := heap() - before; grown > clients*32<<10 {
		t.Errorf("%d connections took %d bytes each", clients, grown/clients)
	}
	c := dial(t, addr)
	write(t, c, frame(0, 1, strings.Repeat("x", 10<<20)))
	if _, body := readAnswer(t, c); len(body) != 10<<20 {
		t.Fatalf("%d bytes", len(body))
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

func TestIdleConnectionsAreCheap(t *testing.T) {
	const clients = 1000
	h := &echo{}
	s, addr := start(t, h, nil)
	conns := make([]net.Conn, clients)
	for i := range conns { // the clients' ends exist before the measurement
		conns[i] = dial(t, addr)
	}
	for s.Connections() < clients {
		runtime.Gosched()
	}
	for i, c := range conns {
		write(t, c, frame(0, int32(i), "warm"))
		readAnswer(t, c)
	}
	with := heap()
	for _, c := range conns {
		c.Close()
	}
	for s.Connections() > 0 {
		runtime.Gosched()
	}
	each := (with - heap()) / clients
	t.Logf("an idle connection takes %d bytes, its client's end included", each)
	if each > 20<<10 {
		t.Errorf("an idle connection takes %d bytes", each)
	}
}

func TestReadingAheadIsBounded(t *testing.T) {
	h := &echo{later: make(chan *Request, 100)}
	_, addr := start(t, h, func(o *Options) { o.Limits.InFlightRequests = 4 })
	c := dial(t, addr)
	var frames [][]byte
	for i := range 10 {
		frames = append(frames, frame(1, int32(i), "x"))
	}
	write(t, c, frames...)
	for i := range 10 {
		r := <-h.later
		if ahead := int(h.handled.Load()) - i; ahead > 4 {
			t.Fatalf("%d requests are in flight", ahead)
		}
		r.Reply(&echoed{}, false)
		if corr, _ := readAnswer(t, c); int(corr) != i {
			t.Fatalf("answer %d in place of %d", corr, i)
		}
	}
}

func TestBytesInFlightAreBounded(t *testing.T) {
	h := &echo{later: make(chan *Request, 100)}
	_, addr := start(t, h, func(o *Options) { o.Limits.InFlightBytes = 1000 })
	c := dial(t, addr)
	body := strings.Repeat("x", 600)
	write(t, c, frame(1, 1, body), frame(1, 2, body), frame(1, 3, body))
	first, second := <-h.later, <-h.later
	if h.handled.Load() != 2 {
		t.Fatal("a third request was read although two take more than the bound")
	}
	first.FreeBody() // a request that only waits makes room
	third := <-h.later
	for _, r := range []*Request{first, second, third} {
		r.Reply(&echoed{}, false)
	}
	for want := range int32(3) {
		if corr, _ := readAnswer(t, c); corr != want+1 {
			t.Fatalf("answer %d", corr)
		}
	}
}

func TestMemoryPressureEndsOnlyWhoCausesIt(t *testing.T) {
	h := &echo{}
	s, addr := start(t, h, func(o *Options) { o.Pool = wire.NewPool(wire.NewBudget(4 << 20)) })
	hogs := make([]net.Conn, 8)
	half := frame(0, 1, strings.Repeat("x", 1<<20))[:600<<10] // each holds 1 MiB for it
	for i := range hogs {
		hogs[i] = dial(t, addr)
		_, _ = hogs[i].Write(half)
	}
	c := dial(t, addr)
	for i := range 20 {
		write(t, c, frame(0, int32(i), strings.Repeat("y", 200<<10)))
		if corr, body := readAnswer(t, c); int(corr) != i || len(body) != 200<<10 {
			t.Fatalf("answer %d has %d bytes", corr, len(body))
		}
	}
	if s.pool.Budget().Used() > 4<<20 {
		t.Error("the budget was exceeded")
	}
}

func TestAWaitingRequestIsAbandonedWithItsClient(t *testing.T) {
	h := &echo{gone: make(chan struct{})}
	_, addr := start(t, h, nil)
	c := dial(t, addr)
	write(t, c, frame(6, 1, "wait"))
	for h.handled.Load() == 0 {
		runtime.Gosched()
	}
	c.Close()
	<-h.gone
}

func TestConnectionLimits(t *testing.T) {
	h := &echo{}
	_, addr := start(t, h, func(o *Options) { o.Limits.ConnectionsPerAddress = 2 })
	first, second := dial(t, addr), dial(t, addr)
	for i, c := range []net.Conn{first, second} {
		write(t, c, frame(0, int32(i), ""))
		readAnswer(t, c)
	}
	ended(t, dial(t, addr))
	first.Close()
	for { // until the broker has noticed
		c := dial(t, addr)
		if _, err := c.Write(frame(0, 7, "")); err != nil {
			continue
		}
		if _, err := io.ReadFull(c, make([]byte, 8)); err == nil {
			return
		}
	}
}

// Time limits run on a clock of their own.
func TestTimeLimits(t *testing.T) {
	for name, c := range map[string]struct {
		send  []byte
		after time.Duration
	}{
		"idle from the start": {nil, 10 * time.Minute},
		"idle after requests": {frame(0, 1, "x"), 10 * time.Minute},
		"stopped halfway":     {frame(0, 1, "x")[:10], 30 * time.Second},
		"takes no answers":    {append(frame(0, 1, strings.Repeat("x", 100)), frame(0, 1, "x")...), 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &echo{limit: 1 << 20}
				s := New(h, Options{Limits: DefaultLimits(), Pool: wire.NewPool(wire.NewBudget(1 << 20)), Log: zerolog.Nop()})
				defer s.Close()
				client, broker := net.Pipe()
				defer client.Close()
				begin := time.Now()
				s.Take(broker)
				_, _ = client.Write(c.send)
				if name == "idle after requests" {
					readAnswer(t, client)
				}
				if name == "takes no answers" {
					<-time.After(c.after + time.Second) // of the bubble's time
					synctest.Wait()
				}
				_, _ = io.Copy(io.Discard, client)
				if name == "takes no answers" {
					return
				}
				if lasted := time.Since(begin); lasted < c.after || lasted > c.after+2*tick {
					t.Errorf("it lasted %v, want %v", lasted, c.after)
				}
			})
		})
	}
}

// A client that is slow takes a large answer for as long as it gets on with it.
func TestASlowReaderIsNotStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &echo{limit: 2 << 20}
		s := New(h, Options{Limits: DefaultLimits(), Pool: wire.NewPool(wire.NewBudget(16 << 20)), Log: zerolog.Nop()})
		defer s.Close()
		client, broker := net.Pipe()
		defer client.Close()
		s.Take(broker)
		const size = 1 << 20
		write(t, client, frame(0, 1, strings.Repeat("x", size)))
		begin, part := time.Now(), make([]byte, 16<<10)
		for left := size + 8; left > 0; {
			n, err := io.ReadFull(client, part[:min(left, len(part))])
			if err != nil {
				t.Fatalf("%d bytes were still to come after %v: %v", left, time.Since(begin), err)
			}
			left -= n
			time.Sleep(time.Second)
		}
	})
}
