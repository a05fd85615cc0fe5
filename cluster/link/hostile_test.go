package link

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"understudy/cluster/replica"
	"understudy/messages"
)

// impostor is a connection to a node by somebody who knows the protocol and
// whatever secrets there are, and then does what it likes.
func impostor(t *testing.T, n *node, id messages.BrokerID) net.Conn {
	t.Helper()
	return impostorOf(t, n, id, Known)
}

// impostorOf speaks some versions of the protocol.
func impostorOf(t *testing.T, n *node, id messages.BrokerID, v Versions) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", n.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	o := who(id, func(o *Options) { o.ClusterID, o.Window, o.Versions = "test", 1<<20, v })
	h := handshake{options: &o, nc: nc}
	if _, err := h.dial(n.options.Self.ID, toLink, 0, func(hello) *Refusal { return nil }); err != nil {
		t.Fatal(err)
	}
	return nc
}

func messageFrame(m replica.Message) []byte {
	size := 0
	for _, b := range m.Batches {
		size += len(b)
	}
	var head [messagePrefix]byte
	putMessage(&head, topic, 0, &m, size)
	out := head[:]
	for _, b := range m.Batches {
		out = append(out, b...)
	}
	return out
}

// sealed is b with a CRC that is right for its first 12 bytes and what follows.
func sealed(b []byte) []byte {
	sum := crc32.Checksum(b[:8], castagnoli)
	binary.BigEndian.PutUint32(b[8:], crc32.Update(sum, castagnoli, b[prefixSize:]))
	return b
}

func TestBadFramesEndTheConnectionAndSayWhy(t *testing.T) {
	flip := func(b []byte, at int) []byte { b[at] ^= 4; return b }
	message := func() []byte { return messageFrame(appendOf(5, records(2000, 5))) }
	unknown := sealed(appendFrame(nil, frameCredit, make([]byte, 8), nil))
	unknown[4] = 77
	length := func(b []byte, n uint32) []byte { binary.BigEndian.PutUint32(b, n); return b }
	kind := func(b []byte, k byte) []byte { b[prefixSize+20] = k; return sealed(b[:messagePrefix]) }
	for _, c := range []struct {
		name  string
		bytes []byte
		why   string
	}{
		{"garbage", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "kind 47"},
		{"unknown kind", unknown, "kind 77"},
		{"length shorter than the header", length(message(), 10), "header of 96 bytes, length 10"},
		{"length that cannot be", length(message(), math.MaxUint32), "CRC"},
		{"flipped bit in the header", flip(message(), 50), "CRC"},
		{"flipped bit in the length", flip(message(), 3), "CRC"},
		{"flipped bit in the records", flip(message(), 500), "batch at byte 0"},
		{"batch cut off", messageFrame(replica.Message{Type: replica.TypeAppend, Batches: appendOf(0, records(100, 0)[:90]).Batches}), "batch at byte 0"},
		{"not a batch", messageFrame(appendOf(0, make([]byte, 100))), "batch at byte 0"},
		{"unknown message", kind(messageFrame(replica.Message{Type: replica.TypeAck}), 9), "type(9)"},
		{"acknowledgement with records", messageFrame(replica.Message{Type: replica.TypeAck, Batches: appendOf(0, records(100, 0)).Batches}), "ack with a payload"},
		{"credit for nothing", appendCredit(nil, 100), "credit of 100"},
		{"credit below nothing", appendCredit(nil, -100), "credit of -100"},
		{"heartbeat of another start", appendHeartbeat(nil, 5, nil), "epoch 5"},
		{"heartbeat with too much", appendHeartbeat(nil, 102, make([]byte, maxState+1)), "payload of 1025"},
		{"request too large", appendRequest(nil, 1, 0, 0, make([]byte, MaxBody+1)), "payload of 1048577"},
		{"request with a flipped bit", flip(appendRequest(nil, 1, 0, 0, []byte("hello")), 30), "CRC"},
		{"half a frame", message()[:1000], "EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, 9, 1, nil)
			n.SetPeers(map[messages.BrokerID]Peer{2: {Addr: "127.0.0.1:1"}})
			nc := impostor(t, n, 2)
			go func() { _, _ = io.Copy(io.Discard, nc) }()
			n.until(Up)
			_, _ = nc.Write(c.bytes)
			if c.why == "EOF" {
				_ = nc.(*net.TCPConn).CloseWrite()
			}
			e := n.until(Lost)
			wantCause(t, e.Cause, c.why)
			if c.why != "EOF" && (!errors.Is(e.Cause, errBadFrame) || messages.KindOf(e.Cause) != messages.CorruptMessage) {
				t.Errorf("cause is %v", e.Cause)
			}
		})
	}
}

// TestMoreThanThereIsRoomFor sends on without credit.
func TestMoreThanThereIsRoomFor(t *testing.T) {
	n := newNode(t, 9, 1, func(o *Options) {
		o.Window = 1 << 20
		o.OnMessage = func(*Incoming) {} // keeps everything
	})
	n.SetPeers(map[messages.BrokerID]Peer{2: {Addr: "127.0.0.1:1"}})
	nc := impostor(t, n, 2)
	go func() { _, _ = io.Copy(io.Discard, nc) }()
	var head [messagePrefix]byte
	batch := records(64<<10, 0)
	m := appendOf(0, batch)
	go func() {
		for i := range int32(100) {
			putMessage(&head, topic, i, &m, len(batch))
			_, _ = nc.Write(append(head[:], batch...))
		}
	}()
	wantCause(t, n.until(Lost).Cause, "more than there was room for")
	if s := n.Peers()[0]; s.MessagesIn > 16 {
		t.Errorf("%d messages were taken", s.MessagesIn)
	}
}

// TestAHostilePeerTakesBoundedMemory announces as much as it can and sends
// nothing of it, sends requests and never reads an answer.
func TestAHostilePeerTakesBoundedMemory(t *testing.T) {
	n := newNode(t, 9, 1, serving)
	peers := map[messages.BrokerID]Peer{}
	for id := range messages.BrokerID(8) {
		peers[id] = Peer{Addr: "127.0.0.1:1"}
	}
	n.SetPeers(peers)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var wg sync.WaitGroup
	for id := range messages.BrokerID(8) {
		nc := impostor(t, n, id)
		n.until(Up)
		if id%2 == 0 {
			var head [messagePrefix]byte
			m := appendOf(0)
			putMessage(&head, topic, 0, &m, 8<<20)
			if _, err := nc.Write(head[:]); err != nil {
				t.Fatal(err)
			}
			continue
		}
		wg.Go(func() {
			_ = nc.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
			frame := appendRequest(nil, 1, kindEcho, 1000, make([]byte, MaxBody))
			for range 1000 {
				if _, err := nc.Write(frame); err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4*16<<20+4*32<<20 {
		t.Errorf("%d MiB", grown>>20)
	}
}

// FuzzFrames gives a connection's reader anything, and holds it to its promises.
func FuzzFrames(f *testing.F) {
	f.Add(messageFrame(appendOf(5, records(100, 5), records(80, 6))))
	f.Add(messageFrame(replica.Message{Type: replica.TypeAck, End: 5}))
	f.Add(messageFrame(replica.Message{Type: replica.TypeFailed, Epoch: 4}))
	f.Add(slices.Concat(appendHeartbeat(nil, 3, []byte("state")), appendCredit(nil, 50), appendRequest(nil, 1, 2, 3, []byte("body")), appendResponse(nil, 1, statusFailed, appendError(nil, io.EOF)), appendFrame(nil, frameBye, nil, nil)))
	f.Fuzz(func(t *testing.T, bytes []byte) {
		for version := Known.Oldest; version <= Known.Newest; version++ {
			readAnything(t, version, bytes)
		}
	})
}

func readAnything(t *testing.T, version uint8, bytes []byte) {
	l := &Link{options: Options{Window: 1 << 16, MaxPayload: 1 << 16, Queue: 1 << 16}}
	taken := int64(0)
	l.options.OnMessage = func(in *Incoming) {
		if taken += in.cost; taken > 1<<16 {
			t.Errorf("%d bytes were delivered and not released", taken)
		}
		if in.Message.Type > newestType(version) {
			t.Errorf("version %d was told %v", version, in.Message.Type)
		}
		for _, b := range in.Message.Batches {
			if b.CheckCRC() != nil {
				t.Error("a batch with a wrong CRC was delivered")
			}
		}
		if in.Partition%2 == 0 {
			taken -= in.cost
			in.Release()
		}
	}
	var stats counters
	c := l.newConn(&script{in: bytes}, agreement{peer: replica.Member{ID: 1, Epoch: 3}, version: version, window: 1 << 16}, &stats)
	c.out.used = 60
	reply := make(chan response, 1)
	c.requests.expect(reply)
	err := c.read()
	if err == nil {
		t.Error("the reader ended without an error")
	}
	c.close(err)
	l.wait.Wait()
	select {
	case r := <-reply:
		_, _ = r.read("x")
	default:
	}
}
