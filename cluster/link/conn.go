package link

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"understudy/cluster/replica"
	"understudy/messages"
)

// shares is how many counters the partitions of a connection are spread over,
// to see which of them hold memory. Two that meet on one counter share what one
// may hold.
const shares = 1024

// conn is one established connection. Its reader delivers, its writer sends; the
// keeper of the peer starts it and hears of its end.
type conn struct {
	link    *Link
	nc      net.Conn
	id      uint64
	from    replica.Member
	version uint8 // of the protocol
	maxSend int   // the largest payload that the other side takes
	stats   *counters

	out    outbox
	round  round  // the writer's
	vector vector // the writer's

	frames   frameReader // the reader's
	received int64       // the reader's: cost of all messages so far
	returned atomic.Int64
	freed    atomic.Int64 // released and not yet given back
	share    [shares]atomic.Int64

	heard   atomic.Uint64 // counts reads that brought something
	writing atomic.Uint64 // odd while a write is under way
	leaving atomic.Bool   // the goodbye is being written, or is

	requests requests

	once   sync.Once
	cause  error           // why it ended; set before ctx is
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	wait   sync.WaitGroup // reader and writer
}

func (l *Link) newConn(nc net.Conn, a agreement, stats *counters) *conn {
	c := &conn{
		link: l, nc: nc, id: a.id, from: a.peer, version: a.version, maxSend: a.maxPayload, stats: stats,
	}
	c.ctx, c.cancel = context.WithCancel(context.Background()) // not the link's: that ends before the goodbye
	c.out.wake = make(chan struct{}, 1)
	c.out.limit, c.out.window = l.options.Queue, a.window
	c.frames.src = c
	c.requests.pending = make(map[uint64]chan response)
	return c
}

// start lets reader and writer begin.
func (c *conn) start() {
	c.wait.Go(func() {
		err := c.read()
		if c.leaving.Load() && endedByPeer(err) {
			err = ErrClosed // it has heard the goodbye before the writer could say that it is written
		}
		c.close(err)
	})
	c.wait.Go(func() {
		c.write()
		c.out.drain(&c.round)
	})
}

// Read reads from the network, for the frame reader.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.nc.Read(b)
	if n > 0 {
		c.heard.Add(1)
		c.stats.BytesIn.Add(uint64(n))
	}
	return n, err
}

// close ends the connection. The first cause counts.
func (c *conn) close(cause error) {
	c.once.Do(func() {
		c.cause = cause
		c.cancel()
		c.out.close()
		_ = c.nc.Close() // there is nobody to tell
	})
}

func (c *conn) ended() bool { return c.ctx.Err() != nil }

// endedByPeer reports whether the other side's process or kernel ended the connection.
func endedByPeer(cause error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, syscall.ECONNRESET, syscall.EPIPE, ErrBye} {
		if errors.Is(cause, end) {
			return true
		}
	}
	return false
}

// grantStep is how many bytes are given back at a time.
func (c *conn) grantStep() int64 { return c.link.options.Window / 8 }

// giveBack takes note that memory which a message took is free again.
func (c *conn) giveBack(n int64) {
	step := c.grantStep()
	if freed := c.freed.Add(n); freed >= step && freed-n < step {
		c.out.rouseNow()
	}
}

// shareOf is the counter of what a partition holds.
func (c *conn) shareOf(topic messages.TopicID, partition int32) *atomic.Int64 {
	h := uint64(partition)
	for i := range 8 {
		h = h<<8 | h>>56
		h ^= uint64(topic[i]) ^ uint64(topic[i+8])<<32
	}
	return &c.share[h*0x9E3779B97F4A7C15>>54]
}

// counters are what is counted for one peer, over all its connections.
type counters struct {
	BytesIn, BytesOut, MessagesIn, MessagesOut, Writes, Dropped, Overrun atomic.Uint64
}
