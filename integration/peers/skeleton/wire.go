package skeleton

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"
)

// Topic is the only topic that there is.
const Topic = "skeleton"

// The APIs of which the skeleton knows one version each.
var supported = []kmsg.ApiVersionsResponseApiKey{
	{ApiKey: 0, MinVersion: 9, MaxVersion: 9},
	{ApiKey: 3, MinVersion: 12, MaxVersion: 12},
	{ApiKey: 18, MinVersion: 0, MaxVersion: 3},
	{ApiKey: 22, MinVersion: 4, MaxVersion: 4},
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var producers atomic.Int64

// serve answers one client's requests, in order.
func (n *Node) serve(nc net.Conn) {
	defer nc.Close()
	answers := make(chan chan []byte, 64)
	defer close(answers)
	go func() {
		for a := range answers {
			if answer := <-a; answer != nil {
				_, _ = nc.Write(answer) // the reader finds out
			}
		}
	}()
	in := newReader(nc)
	for {
		h, err := in.take(4)
		if err != nil {
			return
		}
		size := int(binary.BigEndian.Uint32(h))
		if size < 8 || size > 128<<20 {
			return
		}
		body, err := in.copy(size)
		if err != nil {
			return
		}
		answer := make(chan []byte, 1)
		answers <- answer
		if !n.handle(body, answer) {
			answer <- nil
			return
		}
	}
}

// handle answers one request, now or later; false: it is not understood.
func (n *Node) handle(b []byte, answer chan<- []byte) bool {
	key, version := int16(binary.BigEndian.Uint16(b)), int16(binary.BigEndian.Uint16(b[2:]))
	correlation, rest := b[4:8], b[8:]
	if len(rest) < 2 {
		return false
	}
	if client := int16(binary.BigEndian.Uint16(rest)); client > 0 {
		rest = rest[client:]
	}
	rest = rest[2:]
	flexible := key != 18 || version >= 3
	if flexible {
		rest = rest[1:] // no tags
	}
	reply := func(r kmsg.Response) []byte {
		r.SetVersion(version)
		out := append(make([]byte, 4, 256), correlation...)
		if flexible && key != 18 {
			out = append(out, 0)
		}
		out = r.AppendTo(out)
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		return out
	}
	switch key {
	case 0:
		return n.produce(rest, version, func(r kmsg.Response) { answer <- reply(r) })
	case 3:
		answer <- reply(n.metadata())
	case 18:
		r := kmsg.NewPtrApiVersionsResponse()
		r.ApiKeys = supported
		answer <- reply(r)
	case 22:
		r := kmsg.NewPtrInitProducerIDResponse()
		r.ProducerID = producers.Add(1)*100 + int64(n.options.ID)
		answer <- reply(r)
	default:
		return false
	}
	return true
}

func (n *Node) metadata() kmsg.Response {
	r := kmsg.NewPtrMetadataResponse()
	for i, addr := range n.options.Kafka {
		host, port, _ := net.SplitHostPort(addr)
		number, _ := strconv.Atoi(port)
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port = int32(i), host, int32(number)
		r.Brokers = append(r.Brokers, b)
	}
	t := kmsg.NewMetadataResponseTopic()
	t.Topic, t.TopicID = kmsg.StringPtr(Topic), [16]byte{1}
	for i := range n.options.Partitions {
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Partition, p.Leader = int32(i), int32(i%len(n.options.Kafka))
		for node := range n.options.Kafka {
			p.Replicas, p.ISR = append(p.Replicas, int32(node)), append(p.ISR, int32(node))
		}
		t.Partitions = append(t.Partitions, p)
	}
	r.Topics = append(r.Topics, t)
	return r
}

// produce checks each partition's batch and queues it. The last to be written
// everywhere answers.
func (n *Node) produce(b []byte, version int16, answer func(kmsg.Response)) bool {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(version)
	if req.ReadFrom(b) != nil {
		return false
	}
	r := kmsg.NewPtrProduceResponse()
	var entries []*entry
	var left atomic.Int32
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.Partitions = t.Topic, make([]kmsg.ProduceResponseTopicPartition, len(t.Partitions))
		for i, p := range t.Partitions {
			rp := &rt.Partitions[i]
			rp.Default()
			rp.Partition = p.Partition
			if len(p.Records) < 61 || int(p.Partition) >= len(n.parts) ||
				crc32.Checksum(p.Records[21:], castagnoli) != binary.BigEndian.Uint32(p.Records[17:]) {
				return false
			}
			e := &entry{batch: p.Records}
			e.done = func() {
				rp.BaseOffset = e.base
				if left.Add(-1) == 0 {
					answer(r)
				}
			}
			entries = append(entries, e)
		}
		r.Topics = append(r.Topics, rt)
	}
	left.Store(int32(len(entries)))
	at := 0
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			e := entries[at]
			at++
			if n.options.Sink {
				e.done()
			} else {
				n.parts[p.Partition].queue <- e
			}
		}
	}
	return true
}

// reader reads frames.
type reader struct{ buf *bufio.Reader }

func newReader(nc net.Conn) reader { return reader{bufio.NewReaderSize(nc, 64<<10)} }

// take gives n bytes that are valid until the next call.
func (r reader) take(n int) ([]byte, error) {
	b, err := r.buf.Peek(n)
	if err == nil {
		_, err = r.buf.Discard(n)
	}
	return b, err
}

// copy gives n bytes of their own.
func (r reader) copy(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(r.buf, b)
	return b, err
}

// writeAll appends to a file, a quarter of a megabyte at a time.
func writeAll(file *os.File, vector [][]byte, size int) error {
	const piece = 256 << 10
	if size <= piece {
		n, err := unix.Writev(int(file.Fd()), vector)
		if err == nil && n != size {
			err = io.ErrShortWrite
		}
		return err
	}
	for _, b := range vector {
		for len(b) > 0 {
			n, err := file.Write(b[:min(len(b), piece)])
			if err != nil {
				return err
			}
			b = b[n:]
		}
	}
	return nil
}

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
