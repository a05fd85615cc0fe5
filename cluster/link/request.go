package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"understudy/messages"
)

// The statuses of a response.
const (
	statusOK byte = iota
	statusUnsupported
	statusFailed
	statusBusy
)

const (
	defaultPatience = 5 * time.Second
	maxAsked        = 256     // requests without an answer, to one node
	maxHandled      = 64      // requests of one node being handled
	maxHandledBytes = 8 << 20 // and their bodies
)

// requests are those of one connection, in both directions.
type requests struct {
	mu      sync.Mutex
	last    uint64
	pending map[uint64]chan response // asked here, each with room for the answer

	handled      int // asked there
	handledBytes int64
}

type response struct {
	status byte
	body   []byte
}

// Request asks another node, and waits for the answer until the context ends, or
// for 5 s if it has no deadline. It is sent at most once. An error of the other
// node's handler keeps its kind; a request that kind of which the other node does
// not know fails with UnsupportedVersion. BrokerNotAvailable means that there is
// no connection or that it was lost, and RequestTimedOut that there was no answer:
// with these two, whether the request was carried out is not known. Sending it
// again is the caller's to decide.
//
// The body, at most MaxBody bytes, must not be changed afterwards.
func (l *Link) Request(ctx context.Context, to messages.BrokerID, kind byte, body []byte) ([]byte, error) {
	subject := fmt.Sprintf("kind %d to node %d", kind, to)
	if len(body) > MaxBody {
		return nil, messages.E("link request", messages.MessageTooLarge, subject, ErrTooLarge)
	}
	c := l.connTo(to)
	if c == nil {
		return nil, messages.E("link request", messages.BrokerNotAvailable, subject, ErrNotConnected)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultPatience)
		defer cancel()
	}
	number, reply, err := c.ask(ctx, kind, body)
	if err != nil {
		return nil, messages.E("link request", messages.BrokerNotAvailable, subject, err)
	}
	defer c.requests.forget(number)
	select {
	case r := <-reply:
		return r.read(subject)
	case <-ctx.Done():
		return nil, messages.E("link request", messages.RequestTimedOut, subject, ctx.Err())
	case <-c.ctx.Done():
		return nil, messages.E("link request", messages.BrokerNotAvailable, subject, c.cause)
	}
}

// pingKind is a request that the link answers itself, with nothing.
const pingKind = 0xff

// Ping asks whether a node is there, and waits until the context ends, or for 5 s.
// Any answer says that it was when it was asked. If there is none, that says
// nothing, unless the connection was lost meanwhile: see State.
func (l *Link) Ping(ctx context.Context, id messages.BrokerID) bool {
	_, err := l.Request(ctx, id, pingKind, nil)
	kind := messages.KindOf(err)
	return err == nil || kind != messages.BrokerNotAvailable && kind != messages.RequestTimedOut
}

// ask sends a request.
func (c *conn) ask(ctx context.Context, kind byte, body []byte) (number uint64, reply chan response, err error) {
	deadline, _ := ctx.Deadline()
	ms := min(max(time.Until(deadline).Milliseconds(), 1), 1<<31)
	reply = make(chan response, 1)
	if number = c.requests.expect(reply); number == 0 {
		return 0, nil, ErrQueueFull
	}
	frame := appendRequest(nil, number, kind, uint32(ms), body)
	if err := c.out.putUrgent(urgent{frame: frame}); err != nil {
		c.requests.forget(number)
		return 0, nil, err
	}
	return number, reply, nil
}

// expect gives a request its number; 0: too many are waiting.
func (r *requests) expect(reply chan response) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pending) == maxAsked {
		return 0
	}
	r.last++
	r.pending[r.last] = reply
	return r.last
}

// forget takes a request out of those that wait.
func (r *requests) forget(number uint64) chan response {
	r.mu.Lock()
	defer r.mu.Unlock()
	reply := r.pending[number]
	delete(r.pending, number)
	return reply
}

// readResponse hands an answer to who waits for it. One that nobody waits for
// any more is passed over.
func (c *conn) readResponse(f *frame) error {
	number, status := binary.BigEndian.Uint64(f.header), f.header[8]
	reply := c.requests.forget(number)
	if reply == nil {
		return c.frames.discard(f.payload)
	}
	body := make([]byte, f.payload)
	if err := c.frames.payload(f, body); err != nil {
		return err
	}
	reply <- response{status, body}
	return nil
}

// read is what a response means to who asked.
func (r response) read(subject string) ([]byte, error) {
	switch r.status {
	case statusOK:
		return r.body, nil
	case statusUnsupported:
		return nil, messages.E("link request", messages.UnsupportedVersion, subject, ErrUnsupported)
	case statusBusy:
		return nil, messages.E("link request", messages.BrokerNotAvailable, subject, errors.New("the node is handling too many requests"))
	case statusFailed:
		kind, text := readError(r.body)
		return nil, messages.E("link request", kind, subject, errors.New(text))
	}
	return nil, messages.E("link request", messages.Unknown, subject, fmt.Errorf("answered with status %d", r.status))
}

// appendError and readError carry an error from node to node. Its kind goes by
// name, since the numbers of kinds change from one version to the next.
func appendError(dst []byte, err error) []byte {
	words := messages.KindOf(err).String()
	dst = append(dst, byte(len(words)))
	dst = append(dst, words...)
	text := err.Error()
	return append(dst, text[:min(len(text), 4<<10)]...)
}

func readError(b []byte) (messages.Kind, string) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return messages.Unknown, "an error that cannot be read"
	}
	words, text := b[1:1+int(b[0])], b[1+int(b[0]):]
	return kindNames()[string(words)], string(text)
}

var kindNames = sync.OnceValue(func() map[string]messages.Kind {
	names := make(map[string]messages.Kind)
	for k := messages.Kind(1); k.String() != messages.Unknown.String(); k++ {
		names[k.String()] = k
	}
	return names
})

// readRequest begins to handle a request, unless too many are being handled.
func (c *conn) readRequest(f *frame) error {
	number, kind := binary.BigEndian.Uint64(f.header), f.header[8]
	patience := time.Duration(binary.BigEndian.Uint32(f.header[12:])) * time.Millisecond
	if !c.requests.admit(f.payload) {
		if err := c.frames.discard(f.payload); err != nil {
			return err
		}
		return c.answer(number, statusBusy, nil, nil)
	}
	size := f.payload
	body := make([]byte, size)
	if err := c.frames.payload(f, body); err != nil {
		return err
	}
	c.link.wait.Go(func() { // not the connection's: a slow handler does not hold up the next connection
		status, reply := c.handle(kind, body, patience)
		done := func() { c.requests.leave(size) }
		if c.answer(number, status, reply, done) != nil {
			done()
		}
	})
	return nil
}

// answer queues a response. A connection whose other side does not even read
// refusals is not worth keeping.
func (c *conn) answer(number uint64, status byte, body []byte, written func()) error {
	return c.out.putUrgent(urgent{frame: appendResponse(nil, number, status, body), written: written})
}

func (r *requests) admit(size int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.handled == maxHandled || r.handledBytes+int64(size) > maxHandledBytes {
		return false
	}
	r.handled++
	r.handledBytes += int64(size)
	return true
}

func (r *requests) leave(size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handled--
	r.handledBytes -= int64(size)
}

// handle carries out a request. A handler that panics has failed, and no more.
func (c *conn) handle(kind byte, body []byte, patience time.Duration) (status byte, reply []byte) {
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	reply, err := c.call(ctx, kind, body)
	switch {
	case errors.Is(err, ErrUnsupported):
		return statusUnsupported, nil
	case errors.Is(err, context.DeadlineExceeded) && messages.KindOf(err) == messages.Unknown:
		err = messages.E("link request", messages.RequestTimedOut, "", err)
	case err == nil && len(reply) > MaxBody:
		err = messages.E("link request", messages.MessageTooLarge, "the answer", ErrTooLarge)
	}
	if err != nil {
		return statusFailed, appendError(nil, err)
	}
	return statusOK, reply
}

func (c *conn) call(ctx context.Context, kind byte, body []byte) (reply []byte, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("the handler of requests of kind %d panicked: %v", kind, reason)
		}
	}()
	if kind == pingKind {
		return nil, nil
	}
	if c.link.options.OnRequest == nil {
		return nil, ErrUnsupported
	}
	return c.link.options.OnRequest(ctx, c.from, kind, body)
}
