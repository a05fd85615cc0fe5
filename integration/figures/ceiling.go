//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"strings"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/messages/batch"
)

// The ceiling is a server that speaks just enough of the protocol for one
// client: it drops what is produced, and answers every fetch with the same
// prepared batch. What the client reaches with it, it cannot exceed with any
// broker on this machine. It is a process of its own, as the broker is.

// ceilingProcess is the running server.
type ceilingProcess struct {
	addr string
	cmd  *exec.Cmd
}

func startCeiling(ctx context.Context) (*ceilingProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-serve-ceiling")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	c := &ceilingProcess{strings.TrimSpace(addr), cmd}
	if err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

func (c *ceilingProcess) stop() {
	_ = c.cmd.Process.Kill() // fails only when it is gone
	_ = c.cmd.Wait()
}

// ceilingServer is what the connections share.
type ceilingServer struct {
	host string
	port int32
	rest []byte // the prepared batch behind its base offset
	each int64  // records in it
}

func serveCeiling(ready io.Writer) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	at := listener.Addr().(*net.TCPAddr)
	s := &ceilingServer{host: at.IP.String(), port: int32(at.Port)}
	if err := s.prepare(); err != nil {
		return err
	}
	fmt.Fprintln(ready, at)
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go s.serve(conn)
	}
}

// prepare builds a batch as full as the client's own.
func (s *ceilingServer) prepare() error {
	value := make([]byte, recordSize)
	if _, err := rand.Read(value); err != nil {
		return err
	}
	builder := batch.NewBuilder(batch.Fields{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1})
	for ; builder.Size()+recordSize < 1_000_000; s.each++ {
		builder.Add(1_700_000_000_000, nil, value)
	}
	s.rest = builder.Build(nil)[8:]
	return nil
}

// serve answers one connection's requests one after the other.
func (s *ceilingServer) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 256<<10)
	var frame []byte
	for {
		var size [4]byte
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(size[:]))
		if cap(frame) < n {
			frame = make([]byte, n)
		}
		frame = frame[:n]
		if _, err := io.ReadFull(in, frame); err != nil {
			return
		}
		if err := s.answer(conn, frame); err != nil {
			fmt.Fprintln(os.Stderr, "ceiling:", err)
			return
		}
	}
}

// ceilingVersions are the requests that are understood. Fetch stays below the
// versions that are written in the flexible way, so that fetched can write it.
var ceilingVersions = map[int16]int16{0: 9, 1: 11, 2: 5, 3: 9, 18: 3, 22: 4}

func (s *ceilingServer) answer(conn net.Conn, frame []byte) error {
	r := kbin.Reader{Src: frame}
	key, version, correlation := r.Int16(), r.Int16(), r.Int32()
	r.NullableString() // client id
	req := kmsg.RequestForKey(key)
	if req == nil {
		return fmt.Errorf("request %d", key)
	}
	if highest, known := ceilingVersions[key]; !known || version > highest {
		if key != int16(kmsg.ApiVersions) {
			return fmt.Errorf("version %d of request %d", version, key)
		}
		version = 0 // what the client asked in, it must be told in version 0
		resp := s.apiVersions(kmsg.NewPtrApiVersionsResponse())
		resp.ErrorCode = 35
		return send(conn, correlation, false, resp)
	}
	req.SetVersion(version)
	if req.IsFlexible() {
		kmsg.SkipTags(&r)
	}
	if err := req.ReadFrom(r.Src); err != nil {
		return err
	}
	if fetch, ok := req.(*kmsg.FetchRequest); ok {
		return s.fetched(conn, correlation, fetch)
	}
	resp := s.respond(req)
	resp.SetVersion(version)
	return send(conn, correlation, req.IsFlexible() && key != int16(kmsg.ApiVersions), resp)
}

func send(conn net.Conn, correlation int32, flexible bool, resp kmsg.Response) error {
	out := binary.BigEndian.AppendUint32(make([]byte, 4, 256), uint32(correlation))
	if flexible {
		out = append(out, 0) // no tags in the header
	}
	out = resp.AppendTo(out)
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	_, err := conn.Write(out)
	return err
}

func (s *ceilingServer) respond(req kmsg.Request) kmsg.Response {
	switch req := req.(type) {
	case *kmsg.ApiVersionsRequest:
		return s.apiVersions(req.ResponseKind().(*kmsg.ApiVersionsResponse))
	case *kmsg.MetadataRequest:
		return s.metadata(req)
	case *kmsg.ListOffsetsRequest:
		return listed(req)
	case *kmsg.ProduceRequest:
		return produced(req)
	}
	resp := kmsg.NewPtrInitProducerIDResponse() // all that is left
	resp.ProducerID, resp.ProducerEpoch = 1, 0
	return resp
}

func (s *ceilingServer) apiVersions(resp *kmsg.ApiVersionsResponse) *kmsg.ApiVersionsResponse {
	for key, highest := range ceilingVersions {
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MaxVersion = key, highest
		resp.ApiKeys = append(resp.ApiKeys, k)
	}
	return resp
}

func (s *ceilingServer) metadata(req *kmsg.MetadataRequest) kmsg.Response {
	resp := kmsg.NewPtrMetadataResponse()
	b := kmsg.NewMetadataResponseBroker()
	b.NodeID, b.Host, b.Port = 1, s.host, s.port
	resp.Brokers, resp.ControllerID = append(resp.Brokers, b), 1
	for _, asked := range req.Topics {
		t := kmsg.NewMetadataResponseTopic()
		t.Topic = asked.Topic
		for number := range int32(partitions) {
			p := kmsg.NewMetadataResponseTopicPartition()
			p.Partition, p.Leader, p.Replicas, p.ISR = number, 1, []int32{1}, []int32{1}
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

func listed(req *kmsg.ListOffsetsRequest) kmsg.Response {
	resp := kmsg.NewPtrListOffsetsResponse()
	for _, asked := range req.Topics {
		t := kmsg.NewListOffsetsResponseTopic()
		t.Topic = asked.Topic
		for _, a := range asked.Partitions {
			p := kmsg.NewListOffsetsResponseTopicPartition()
			p.Partition, p.Offset = a.Partition, 0
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

func produced(req *kmsg.ProduceRequest) kmsg.Response {
	resp := kmsg.NewPtrProduceResponse()
	for _, sent := range req.Topics {
		t := kmsg.NewProduceResponseTopic()
		t.Topic = sent.Topic
		for _, a := range sent.Partitions {
			p := kmsg.NewProduceResponseTopicPartition()
			p.Partition = a.Partition
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

// fetched answers each partition that is asked for with one batch, which is
// written from where it lies. The response is version 4 to 11's:
//
//	throttle i32 │ error i16, session i32 (from 7) │ topics [ name │ partitions [ number i32 │ error i16 │
//	high watermark i64 │ last stable i64 │ log start i64 (from 5) │ aborted i32 = -1 │ read from i32 (11) │ size i32 │ batch ] ]
func (s *ceilingServer) fetched(conn net.Conn, correlation int32, req *kmsg.FetchRequest) error {
	if req.Version != 11 {
		return errors.New("fetch of another version than 11")
	}
	head := kbin.AppendInt32(make([]byte, 4, 512), correlation)
	head = kbin.AppendInt32(head, 0)
	head = kbin.AppendInt16(head, 0)
	head = kbin.AppendInt32(head, 0)
	head = kbin.AppendArrayLen(head, len(req.Topics))
	out := net.Buffers{nil}
	first, size := 0, 0
	for _, t := range req.Topics {
		head = kbin.AppendString(head, t.Topic)
		head = kbin.AppendArrayLen(head, len(t.Partitions))
		for _, p := range t.Partitions {
			head = kbin.AppendInt32(head, p.Partition)
			head = kbin.AppendInt16(head, 0)
			head = kbin.AppendInt64(head, math.MaxInt64/2)
			head = kbin.AppendInt64(head, math.MaxInt64/2)
			head = kbin.AppendInt64(head, 0)
			head = kbin.AppendInt32(head, -1)
			head = kbin.AppendInt32(head, -1)
			head = kbin.AppendInt32(head, int32(8+len(s.rest)))
			head = kbin.AppendInt64(head, p.FetchOffset-p.FetchOffset%s.each)
			out = append(out, head[first:len(head):len(head)], s.rest)
			size += len(s.rest)
			first = len(head)
		}
	}
	if first == 0 {
		out = append(out, head)
	}
	return sendBuffers(conn, out[1:], size+len(head))
}

// sendBuffers sends a frame whose first buffer begins with room for its size.
func sendBuffers(conn net.Conn, out net.Buffers, size int) error {
	binary.BigEndian.PutUint32(out[0], uint32(size-4))
	_, err := out.WriteTo(conn)
	return err
}
