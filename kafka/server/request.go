package server

import (
	"sync"
	"time"

	"understudy/kafka/wire"
)

// Request is one request of a connection, from its arrival until its answer has
// been written. It is reused afterwards: nobody may touch it once its Reply,
// Skip or Abort has been called.
type Request struct {
	Key         int16
	Version     int16
	Correlation int32
	Frame       *wire.Buffer // the whole request; Retain it to keep Body's memory after answering
	Body        []byte       // what follows key, version and correlation id
	Arrived     time.Time

	conn     *Conn
	next     *Request
	charged  int // bytes counted against the connection's bound
	state    state
	flexible bool // the answer's header ends with tags
	reply    Reply
	waiting  Abandoner
	crashed  bool // its handler panicked: somebody may still hold it, so it is not reused
}

// state of a request in its connection's queue:
//
//	pending ──Reply──▶ answered ──drain──▶ written, recycled
//	   │ ├────Skip───▶ skipped  ──drain──▶ recycled
//	   │ └────Abort──▶ aborted  ──drain──▶ connection closed, recycled
type state uint8

const (
	pending state = iota
	answered
	skipped
	aborted
)

// Reply is an answer's body.
type Reply interface {
	// AppendTo writes the body. It is called at most once, when all earlier
	// answers have been written.
	AppendTo(w *Writer)
	// Release is called exactly once, when the answer has been written or will
	// never be.
	Release()
}

// Abandoner is told that a request that waits is to wait no longer: its client has
// gone, or the server ends.
type Abandoner interface {
	// Abandon is called with the connection locked: it must not answer the
	// request itself but have somebody else do so soon. gone says that it is the
	// client that has gone; it may come after the end of the server.
	Abandon(gone bool)
}

var requests = sync.Pool{New: func() any { return new(Request) }}

// Conn is the connection that the request came from.
func (r *Request) Conn() *Conn { return r.conn }

// MayBlock must be called before a handler waits for something: answers that are
// ready are written first.
func (r *Request) MayBlock() { r.conn.uncork() }

// Beside goes on with a request beside the connection's reader, which takes what comes
// next, and notices when the client goes. It is for requests that may wait for long;
// answers still go out in the order of the requests.
func (r *Request) Beside(handle func()) {
	c, key, version := r.conn, r.Key, r.Version
	go func() {
		defer c.catch(r, key, version)
		handle()
	}()
}

// Charge counts n more bytes, those of a large answer, against what the
// connection may have in flight.
func (r *Request) Charge(n int) {
	c := r.conn
	c.mu.Lock()
	c.inFlight += n
	r.charged += n
	c.mu.Unlock()
}

// FreeBody gives the request's bytes back before it is answered. Nothing that
// points into Body may be used any more.
func (r *Request) FreeBody() {
	frame, c := r.Frame, r.conn
	if frame == nil {
		return
	}
	r.Frame, r.Body = nil, nil
	c.mu.Lock()
	c.inFlight -= r.charged
	r.charged = 0
	c.room.Signal()
	c.mu.Unlock()
	frame.Release()
}

// Wait names who is to be told when the client goes, or the server ends, before
// the answer is there. It reports whether neither has happened yet; if one has, a
// is told already.
func (r *Request) Wait(a Abandoner) bool {
	c := r.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	r.waiting = a
	if c.gone || c.leaving.Load() {
		a.Abandon(c.gone)
		return false
	}
	return true
}

// Reply answers the request. flexible says that the answer's header has tagged
// fields (response header v1).
func (r *Request) Reply(reply Reply, flexible bool) { r.conn.complete(r, answered, reply, flexible) }

// Skip ends a request that gets no answer.
func (r *Request) Skip() { r.conn.complete(r, skipped, nil, false) }

// Abort ends a request by closing its connection, after all answers before it.
func (r *Request) Abort() { r.conn.complete(r, aborted, nil, false) }
