package kafka

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/messages/batch"
)

// client speaks to a broker frame by frame.
type client struct {
	t    testing.TB
	conn net.Conn
	next int32
}

func (h *harness) dial(t testing.TB) *client {
	t.Helper()
	conn, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t: t, conn: conn}
}

// send sends a request and returns its correlation id.
func (c *client) send(req kmsg.Request) int32 {
	c.t.Helper()
	c.next++
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID("test"))
	if _, err := c.conn.Write(f.AppendRequest(nil, req, c.next)); err != nil {
		c.t.Fatal(err)
	}
	return c.next
}

// receive reads the answer to a request and checks that encoding it again gives
// the very same bytes, so that nothing in it was misread.
func (c *client) receive(req kmsg.Request, correlation int32) kmsg.Response {
	c.t.Helper()
	body, err := c.readFrame()
	if err != nil {
		c.t.Fatalf("%T version %d: %v", req, req.GetVersion(), err)
	}
	if got := int32(binary.BigEndian.Uint32(body)); got != correlation {
		c.t.Fatalf("answer %d, want %d", got, correlation)
	}
	body = body[4:]
	if req.IsFlexible() && req.Key() != 18 {
		if body[0] != 0 {
			c.t.Fatalf("tags in the header of %T", req)
		}
		body = body[1:]
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if err := resp.ReadFrom(body); err != nil {
		c.t.Fatalf("%T version %d: %v", resp, req.GetVersion(), err)
	}
	if again := resp.AppendTo(nil); !bytes.Equal(again, body) {
		c.t.Fatalf("%T version %d:\nhave %x\nread %x", resp, req.GetVersion(), body, again)
	}
	return resp
}

func (c *client) readFrame() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(c.conn, size[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(c.conn, body)
	return body, err
}

// ask sends a request and receives its answer.
func ask[A kmsg.Response](c *client, req kmsg.Request) A {
	c.t.Helper()
	return c.receive(req, c.send(req)).(A)
}

// closed checks that the broker has closed the connection.
func (c *client) closed() {
	c.t.Helper()
	if body, err := c.readFrame(); err == nil {
		c.t.Fatalf("there is an answer: %x", body)
	}
}

// makeBatch makes a batch of n records with values of size bytes.
func makeBatch(n, size int) batch.Batch {
	bu := batch.NewBuilder(batch.NoProducer)
	for i := range n {
		bu.Add(startTime+int64(i), nil, bytes.Repeat([]byte{byte('a' + i%26)}, size))
	}
	return bu.Build(nil)
}

// produceReq makes a Produce of one batch.
func produceReq(version int16, acks int16, topic string, part int32, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, acks, 1000
	t, p := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	t.Topic, p.Partition, p.Records = topic, part, records
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// fetchReq makes a Fetch of partitions of one topic, from one offset.
func (f *fakeCluster) fetchReq(version int16, topic string, offset int64, parts ...int32) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = version, 0, 1, 1<<30, -1
	req.ReplicaID = -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic = topic
	if known := f.image.Load().Topic(topic); known != nil {
		t.TopicID = known.ID
	}
	for _, n := range parts {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch, p.LastFetchedEpoch = n, offset, 1<<20, -1, -1
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	return req
}

func batchOf(b []byte) batch.Batch { return batch.Batch(b) }

func join(s []string) string { return strings.Join(s, " ") }
