package link

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/batch"
)

// Incoming is a message for a local replica. It and all it refers to are valid
// until Release, which must be called exactly once, from any goroutine: the
// sender gets no more room than is released.
//
// The batches' lengths and checksums are right. Whether what the message says
// makes sense is the replica's to judge.
type Incoming struct {
	From      replica.Member // its epoch is also in Message.BrokerEpoch
	Topic     messages.TopicID
	Partition int32
	Message   replica.Message

	conn  *conn
	buf   *buffer // of the batches; nil if there are none
	cost  int64
	share *atomic.Int64

	released func() // instead of all these: see NewIncoming
}

// NewIncoming makes an Incoming of a message that no connection has brought, as
// in a simulator. released is called when its memory is no longer in use.
func NewIncoming(from replica.Member, topic messages.TopicID, partition int32, m replica.Message, released func()) *Incoming {
	m.BrokerEpoch = from.Epoch
	return &Incoming{From: from, Topic: topic, Partition: partition, Message: m, released: released}
}

var incomings = sync.Pool{New: func() any { return new(Incoming) }}

// Release ends the use of the message.
func (in *Incoming) Release() {
	if released := in.released; released != nil {
		*in = Incoming{}
		released()
		return
	}
	c, cost := in.conn, in.cost
	if c == nil {
		panic("link: a message was released twice")
	}
	in.share.Add(-cost)
	if in.buf != nil {
		c.link.pool.put(in.buf)
	}
	batches := in.Message.Batches
	clear(batches)
	*in = Incoming{Message: replica.Message{Batches: batches[:0]}}
	incomings.Put(in)
	c.giveBack(cost)
}

// read is the connection's reader: it delivers frames until the end.
func (c *conn) read() error {
	for {
		f, err := c.frames.next()
		if err != nil {
			return err
		}
		switch f.kind {
		case frameMessage:
			err = c.readMessage(&f)
		case frameHeartbeat:
			err = c.readHeartbeat(&f)
		case frameCredit:
			if n := int64(binary.BigEndian.Uint64(f.header)); !c.out.credit(n) {
				err = badFrame("credit of %d bytes that were not taken", n)
			}
		case frameRequest:
			err = c.readRequest(&f)
		case frameResponse:
			err = c.readResponse(&f)
		case frameBye:
			err = ErrBye
		}
		if err != nil {
			return err
		}
	}
}

// readMessage reads a message within the room that the sender has, and delivers
// it. A partition that holds its share already gets nothing more: the message is
// lost to it, and its leader finds out as with any other loss.
func (c *conn) readMessage(f *frame) error {
	in := incomings.Get().(*Incoming)
	in.Message.Batches = in.Message.Batches[:0]
	var err error
	in.Topic, in.Partition, err = parseMessage(c.version, f.header, &in.Message)
	if err != nil {
		return err
	}
	o := &c.link.options
	in.cost = frameCost + int64(f.payload)
	held := c.received - c.returned.Load()
	switch {
	case f.payload > o.MaxPayload:
		return badFrame("payload of %d bytes, at most %d are taken", f.payload, o.MaxPayload)
	case held > 0 && held+in.cost > o.Window:
		return badFrame("%d bytes more than there was room for", held+in.cost-o.Window)
	case f.payload > 0 && in.Message.Type != replica.TypeAppend:
		return badFrame("%v with a payload", in.Message.Type)
	}
	c.received += in.cost
	c.stats.MessagesIn.Add(1)
	in.share = c.shareOf(in.Topic, in.Partition)
	if now := in.share.Add(in.cost); now > o.Window/4 && now > in.cost {
		in.share.Add(-in.cost)
		c.stats.Overrun.Add(1)
		c.giveBack(in.cost)
		incomings.Put(in)
		return c.frames.discard(f.payload)
	}
	if f.payload > 0 {
		in.buf = c.link.pool.get(f.payload)
		if err := c.readBatches(f, in); err != nil {
			return err // its memory goes with the connection
		}
	}
	in.From, in.Message.BrokerEpoch, in.conn = c.from, c.from.Epoch, c
	o.OnMessage(in)
	return nil
}

// readBatches reads and checks a message's batches.
func (c *conn) readBatches(f *frame, in *Incoming) error {
	if err := c.frames.payload(f, in.buf.b); err != nil {
		return err
	}
	for rest := in.buf.b; len(rest) > 0; {
		var b batch.Batch
		var err error
		at := len(in.buf.b) - len(rest)
		if b, rest, err = batch.Next(rest); err == nil {
			err = b.CheckCRC()
		}
		if err != nil {
			return badFrame("batch at byte %d of the payload for partition %d of topic %v: %w", at, in.Partition, in.Topic, err)
		}
		in.Message.Batches = append(in.Message.Batches, b)
	}
	return nil
}

func (c *conn) readHeartbeat(f *frame) error {
	epoch := int64(binary.BigEndian.Uint64(f.header))
	if epoch != c.from.Epoch {
		return badFrame("heartbeat of epoch %d over a connection of epoch %d", epoch, c.from.Epoch)
	}
	var state [maxState]byte
	if err := c.frames.payload(f, state[:f.payload]); err != nil {
		return err
	}
	if on := c.link.options.OnHeartbeat; on != nil {
		on(c.from, state[:f.payload])
	}
	return nil
}

// String names the receiver in errors and tests.
func (in *Incoming) String() string {
	return fmt.Sprintf("%v/%d from node %d: %v", in.Topic, in.Partition, in.From.ID, in.Message.String())
}
