package link

import (
	"net"
	"time"

	"understudy/internal/beat"
)

const (
	// smallPart is up to which size a part of a payload is copied to go out with
	// the headers around it, which costs less than an entry in a writev.
	smallPart = 4 << 10
	// flatSize is how much is gathered for a connection that has no writev.
	flatSize = 64 << 10
	// byeTime bounds how long a connection that is ended in order may take.
	byeTime = 200 * time.Millisecond
)

// vector gathers pieces for one write: small ones are copied together, large
// ones stay where they are.
type vector struct {
	scratch []byte
	from    int // of scratch: what is before is among pieces
	pieces  [][]byte
	bufs    net.Buffers // consumed by the write
	flat    []byte      // for connections without writev
}

func (v *vector) add(b []byte) {
	if len(b) <= smallPart {
		v.scratch = append(v.scratch, b...)
		return
	}
	v.seal()
	v.pieces = append(v.pieces, b)
}

// seal makes a piece of what was gathered. If scratch moves later, the piece
// stays in the old memory, which nobody writes to.
func (v *vector) seal() {
	if v.from < len(v.scratch) {
		v.pieces = append(v.pieces, v.scratch[v.from:len(v.scratch):len(v.scratch)])
		v.from = len(v.scratch)
	}
}

func (v *vector) reset() {
	clear(v.pieces)
	v.pieces, v.scratch, v.from = v.pieces[:0], v.scratch[:0], 0
}

// writeTo writes the pieces: by one writev, or, to what is not plain TCP, in as
// few writes as the size allows.
func (v *vector) writeTo(nc net.Conn) (n int64, err error) {
	v.seal()
	if tcp, ok := nc.(*net.TCPConn); ok {
		v.bufs = v.pieces
		return v.bufs.WriteTo(tcp)
	}
	v.flat = v.flat[:0]
	for i, p := range v.pieces {
		for len(p) > 0 {
			used := min(len(p), flatSize-len(v.flat))
			v.flat = append(v.flat, p[:used]...)
			p = p[used:]
			if len(v.flat) == flatSize || i == len(v.pieces)-1 && len(p) == 0 {
				m, err := nc.Write(v.flat)
				n += int64(m)
				if err != nil {
					return n, err
				}
				v.flat = v.flat[:0]
			}
		}
	}
	return n, nil
}

// write is the connection's writer. It takes what has gathered, writes it at
// once, and begins again; a heartbeat goes out now and then.
func (c *conn) write() {
	beats := beat.NewTicker(c.link.options.Heartbeat)
	defer beats.Stop()
	due, busy := true, false // busy: something has gone out since the last heartbeat
	for {
		any := c.out.take(&c.round)
		grant := c.grant(due)
		if !any && !due && grant == 0 && !c.round.bye {
			select {
			case <-c.out.wake:
			case <-beats.C:
				due = true
			}
			if c.ended() {
				return
			}
			continue
		}
		busy = busy || any
		if due {
			if !busy {
				c.out.rest()
				c.round, c.vector = round{bye: c.round.bye}, vector{}
			}
			busy = any
		}
		c.leaving.Store(c.round.bye)
		if err := c.writeRound(due, grant); err != nil {
			c.hearOut()
			c.close(err)
			return
		}
		if c.round.bye {
			c.close(ErrClosed)
			return
		}
		select {
		case <-beats.C:
			due = true
		default:
			due = false
		}
	}
}

// hearOut lets the reader find out first why the other side has ended the
// connection: a goodbye may have come that it has not read yet.
func (c *conn) hearOut() {
	select {
	case <-c.ctx.Done():
	case <-time.After(byeTime):
	}
}

// grant is how many bytes to give back to the other side now: many at a time, or
// what there is with a heartbeat.
func (c *conn) grant(due bool) int64 {
	freed := c.freed.Load()
	if freed == 0 || freed < c.grantStep() && !due {
		return 0
	}
	c.freed.Add(-freed)
	return freed
}

func (c *conn) writeRound(due bool, grant int64) error {
	v, r := &c.vector, &c.round
	v.reset()
	if due {
		v.scratch = appendHeartbeat(v.scratch, c.link.options.Self.Epoch, c.link.state())
	}
	if grant > 0 {
		v.scratch = appendCredit(v.scratch, grant)
	}
	for i := range r.urgent {
		v.add(r.urgent[i].frame)
	}
	part := 0
	for i := range r.messages {
		v.add(r.messages[i].head[:])
		for range r.messages[i].parts {
			v.add(r.parts[part])
			part++
		}
	}
	if r.bye {
		v.scratch = appendFrame(v.scratch, frameBye, nil, nil)
	}
	if grant > 0 {
		c.returned.Add(grant) // before the other side can make use of it
	}
	c.writing.Add(1)
	n, err := v.writeTo(c.nc)
	c.writing.Add(1)
	c.stats.BytesOut.Add(uint64(n))
	c.stats.Writes.Add(1)
	c.stats.MessagesOut.Add(uint64(len(r.messages)))
	return err
}
