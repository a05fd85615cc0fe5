package server

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// patience is for what must happen; no test passes by waiting for it.
const patience = time.Minute

// shutdown begins to end the server, and gives what ends the time for clients to
// become quiet, and what is closed when it has ended.
func shutdown(t *testing.T, s *Server, quiet time.Duration) (hurry func(), ended <-chan struct{}) {
	t.Helper()
	ctx, hurry := context.WithTimeout(t.Context(), patience)
	t.Cleanup(hurry)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Shutdown(ctx, quiet)
	}()
	return hurry, done
}

// connOf is the server's side of its only connection, once it is as wanted.
func connOf(s *Server, wanted func(*Conn) bool) *Conn {
	for {
		for _, c := range s.snapshot(nil) {
			if wanted(c) {
				return c
			}
		}
		runtime.Gosched()
	}
}

func await(t *testing.T, what string, happened <-chan struct{}) {
	t.Helper()
	select {
	case <-happened:
	case <-time.After(patience):
		t.Fatalf("never: %s", what)
	}
}

func endsWithReset(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 64)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("%d bytes, %v; want a reset", n, err)
	}
}

// endsInOrder checks that there is nothing more to read but the end.
func endsInOrder(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 64)); err != io.EOF {
		t.Fatalf("%d bytes, %v; want the end", n, err)
	}
}

func TestShutdownAnswersWhatIsInFlight(t *testing.T) {
	h := &echo{later: make(chan *Request, 2)}
	s, addr := start(t, h, nil)
	s.lastAnswers = patience
	c, idle := dial(t, addr), dial(t, addr)
	write(t, idle, frame(0, 1, "x"))
	readAnswer(t, idle)
	connOf(s, func(c *Conn) bool { return c.greeted.Load() && c.quiet(0) })
	write(t, c, frame(1, 1, ""), frame(1, 2, ""))
	first, second := <-h.later, <-h.later
	hurry, ended := shutdown(t, s, 0)
	hurry()
	endsWithReset(t, idle)
	if late, err := net.Dial("tcp", addr); err == nil {
		late.Close()
		t.Error("another client was let in")
	}
	second.Reply(&echoed{body: []byte("two")}, false)
	first.Reply(&echoed{body: []byte("one")}, false)
	for want := range int32(2) {
		if corr, _ := readAnswer(t, c); corr != want+1 {
			t.Fatalf("answer %d", corr)
		}
	}
	endsInOrder(t, c)
	await(t, "the server's end", ended)
}

// TestShutdownServesUntilItIsQuiet sends requests while the server waits for
// clients to have no more, and lets that time end.
func TestShutdownServesUntilItIsQuiet(t *testing.T) {
	h := &echo{later: make(chan *Request, 1)}
	s, addr := start(t, h, nil)
	s.lastAnswers = patience
	c := dial(t, addr)
	write(t, c, frame(0, 1, "before"))
	readAnswer(t, c)
	hurry, ended := shutdown(t, s, time.Hour)
	for i := range int32(20) {
		if i == 10 {
			c = dial(t, addr) // as some clients do
		}
		write(t, c, frame(0, i, "who leads now?"))
		if corr, _ := readAnswer(t, c); corr != i {
			t.Fatalf("answer %d", corr)
		}
	}
	write(t, c, frame(1, 100, ""))
	last := <-h.later
	hurry()
	last.Reply(&echoed{body: []byte("last")}, false)
	if corr, _ := readAnswer(t, c); corr != 100 {
		t.Fatalf("answer %d", corr)
	}
	endsInOrder(t, c)
	await(t, "the server's end", ended)
}

// TestShutdownResetsWhoWasNeverAnswered: what clients take an end in order for
// when they have just come is that they are not wanted.
func TestShutdownResetsWhoWasNeverAnswered(t *testing.T) {
	for _, end := range []func(*Server){(*Server).Close, func(s *Server) { s.Shutdown(t.Context(), 0) }} {
		s, addr := start(t, &echo{}, nil)
		c := dial(t, addr)
		connOf(s, func(*Conn) bool { return true })
		end(s)
		endsWithReset(t, c)
	}
}

func TestShutdownEndsWaits(t *testing.T) {
	h := &echo{gone: make(chan struct{})}
	s, addr := start(t, h, nil)
	s.lastAnswers = patience
	c := dial(t, addr)
	write(t, c, frame(0, 0, "x"))
	readAnswer(t, c)
	write(t, c, frame(6, 1, "waits"))
	connOf(s, func(c *Conn) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.head != nil && c.head.waiting != nil
	})
	hurry, ended := shutdown(t, s, 0)
	hurry()
	await(t, "the waiting request was told", h.gone)
	endsInOrder(t, c)
	await(t, "the server's end", ended)
}

// TestShutdownReadsARequestToItsEnd has one arrive in pieces.
func TestShutdownReadsARequestToItsEnd(t *testing.T) {
	for _, size := range []int{100, 5000, 300_000} {
		h := &echo{}
		s, addr := start(t, h, nil)
		c := dial(t, addr)
		f := frame(0, 1, string(make([]byte, size)))
		write(t, c, f[:50])
		conn := connOf(s, func(c *Conn) bool { return c.partial.Load() })
		conn.leave(0) // which Shutdown does once time is up
		write(t, c, f[50:])
		if corr, body := readAnswer(t, c); corr != 1 || len(body) != size {
			t.Fatalf("answer %d of %d bytes", corr, len(body))
		}
		endsInOrder(t, c)
	}
}

// TestShutdownDoesNotWaitForEver has a request that is never answered.
func TestShutdownDoesNotWaitForEver(t *testing.T) {
	h := &echo{later: make(chan *Request, 1)}
	s, addr := start(t, h, nil)
	c := dial(t, addr)
	write(t, c, frame(1, 1, ""))
	stuck := <-h.later
	hurry, ended := shutdown(t, s, 0)
	hurry()
	// Its connection ends; the reader waits for nothing else.
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("there is an answer")
	}
	await(t, "the server's end", ended)
	stuck.Skip()
	for s.pool.Budget().Used() > 0 { // it is settled by whoever writes answers
		runtime.Gosched()
	}
}
