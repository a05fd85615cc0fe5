package kafka

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/actors/partition"
	"understudy/kafka/server"
	"understudy/messages"
	"understudy/messages/producer"
)

// nullPartition takes everything and keeps nothing; it is read from a file of
// the same batch over and over.
type nullPartition struct {
	next  int64
	log   nullLog
	epoch int32
}

func (p *nullPartition) Append(a *partition.Append) {
	base := p.next
	for _, b := range a.Batches {
		b.Stamp(p.next, 0)
		p.next = b.NextOffset()
	}
	a.Reply.Appended(a.Slot, partition.Result{Base: base, LogAppendTime: -1})
}

func (p *nullPartition) View() View {
	return View{Leader: self, Epoch: p.epoch, HighWatermark: 1 << 40, End: 1 << 40, Log: &p.log}
}

func (p *nullPartition) Wait(*Waiter)   {}
func (p *nullPartition) Cancel(*Waiter) {}
func (p *nullPartition) DeleteRecords(context.Context, messages.Offset) (messages.Offset, error) {
	return 0, nil
}
func (p *nullPartition) Producers(context.Context) ([]producer.Info, error) { return nil, nil }
func (p *nullPartition) ReadFailed(error)                                   {}
func (p *nullPartition) Size() int64                                        { return 0 }

type nullLog struct {
	file   *os.File
	fd     uintptr
	size   int
	slices sync.Pool
}

func (l *nullLog) Read(_ messages.Offset, maxBytes int, _ bool) (Slice, error) {
	s, ok := l.slices.Get().(*nullSlice)
	if !ok {
		s = &nullSlice{log: l}
	}
	s.n = min(maxBytes, l.size)
	return s, nil
}

func (l *nullLog) OffsetForTime(int64) (int64, int64, int32, error) { return 0, 0, 0, nil }
func (l *nullLog) MaxTimestamp() (int64, int64, int32, error)       { return 0, 0, 0, nil }

type nullSlice struct {
	log *nullLog
	n   int
}

func (s *nullSlice) Len() int { return s.n }
func (s *nullSlice) AppendTo(dst []byte) ([]byte, error) {
	at := len(dst)
	dst = dst[:at+s.n]
	_, err := s.log.file.ReadAt(dst[at:], 0)
	return dst, err
}
func (s *nullSlice) File() (uintptr, int64, bool) { return s.log.fd, 0, true }
func (s *nullSlice) FirstWhole() bool             { return true }
func (s *nullSlice) More() bool                   { return false }
func (s *nullSlice) Release()                     { s.log.slices.Put(s) }

type nullPartitions [6]nullPartition

func (p *nullPartitions) Lookup(tp messages.TopicPartition) Partition { return &p[tp.Partition] }

func benchBroker(b testing.TB, fetchSize int) *harness {
	f := newFakeCluster(b)
	f.create("bench", 6, map[string]string{"max.message.bytes": "100000000"})
	parts := new(nullPartitions)
	if fetchSize > 0 {
		file, err := os.Create(filepath.Join(b.TempDir(), "log"))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { file.Close() })
		if _, err := file.Write(make([]byte, fetchSize)); err != nil {
			b.Fatal(err)
		}
		for i := range parts {
			parts[i].log.file, parts[i].log.fd, parts[i].log.size = file, file.Fd(), fetchSize
		}
	}
	return serve(b, f, func(d *Deps, _ *server.Options) { d.Partitions = parts })
}

// exchange sends the same frame again and again, depth of them under way, and
// reads the answers; nothing is allocated on this side.
func exchange(b *testing.B, h *harness, req kmsg.Request, depth, bytes int) {
	send, receive := conversation(b, h, req)
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	for range depth {
		send()
	}
	cpu := cpuTime()
	for b.Loop() {
		receive()
		send()
	}
	b.ReportMetric((cpuTime()-cpu)/(float64(b.N)*float64(bytes)/1e9), "cpu-s/GB")
	for range depth {
		receive()
	}
}

// conversation is how to send a request, always the same, and to read its answer.
func conversation(b testing.TB, h *harness, req kmsg.Request) (send, receive func()) {
	c := h.dial(b)
	frame := kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)
	answer := make([]byte, 1<<20)
	send = func() {
		if _, err := c.conn.Write(frame); err != nil {
			b.Fatal(err)
		}
	}
	receive = func() {
		if _, err := io.ReadFull(c.conn, answer[:4]); err != nil {
			b.Fatal(err)
		}
		for left := int(binary.BigEndian.Uint32(answer)); left > 0; {
			n, err := c.conn.Read(answer[:min(left, len(answer))])
			if err != nil {
				b.Fatal(err)
			}
			left -= n
		}
	}
	return send, receive
}

// TestProduceAndFetchDoNotAllocate: what a request needs is there from the ones
// before it, however many partitions it has. Times say little on a machine that does
// other things too; allocations are exact.
func TestProduceAndFetchDoNotAllocate(t *testing.T) {
	if poolsForget {
		t.Skip("the race detector has pools drop some of what they get")
	}
	many := produceReq(9, -1, "bench", 0, makeBatch(16, 1000))
	for i := 1; i < 6; i++ {
		many.Topics[0].Partitions = append(many.Topics[0].Partitions, kmsg.ProduceRequestTopicPartition{Partition: int32(i), Records: makeBatch(16, 1000)})
	}
	producing, small, large := benchBroker(t, 0), benchBroker(t, 1<<10), benchBroker(t, 64<<10)
	for name, c := range map[string]struct {
		h   *harness
		req kmsg.Request
	}{
		"produce to one partition":  {producing, produceReq(9, -1, "bench", 0, makeBatch(16, 1000))},
		"produce to six partitions": {producing, many},
		"fetch little":              {small, small.fetchReq(12, "bench", 0, 0, 1, 2, 3, 4, 5)},
		"fetch by sendfile":         {large, large.fetchReq(12, "bench", 0, 0, 1, 2, 3, 4, 5)},
	} {
		send, receive := conversation(t, c.h, c.req)
		if n := testing.AllocsPerRun(1000, func() { send(); receive() }); n > 0 {
			t.Errorf("%s: %v allocations for each request", name, n)
		}
	}
}

// cpuTime is the CPU time that the process has used, in seconds.
func cpuTime() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// The client's CPU time is part of what is reported.
func BenchmarkProduce(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10, 1 << 20} {
		for _, parts := range []int{1, 6} {
			b.Run(fmt.Sprintf("%dKiB/%d", size>>10, parts), func(b *testing.B) {
				h := benchBroker(b, 0)
				records := makeBatch(max(size>>10, 1), 1000)
				req := produceReq(9, -1, "bench", 0, records)
				for i := 1; i < parts; i++ {
					req.Topics[0].Partitions = append(req.Topics[0].Partitions, kmsg.ProduceRequestTopicPartition{Partition: int32(i), Records: records})
				}
				exchange(b, h, req, 4, parts*len(records))
			})
		}
	}
}

func BenchmarkFetch(b *testing.B) {
	for _, size := range []int{1 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			h := benchBroker(b, size)
			exchange(b, h, h.fetchReq(12, "bench", 0, 0, 1, 2, 3, 4, 5), 2, 6*size)
		})
	}
}

func BenchmarkIncrementalFetch(b *testing.B) {
	h := benchBroker(b, 1<<10)
	c := h.dial(b)
	req := h.fetchReq(12, "bench", 0, 0, 1, 2, 3, 4, 5)
	req.SessionEpoch = 0
	id := ask[*kmsg.FetchResponse](c, req).SessionID
	req.Topics, req.SessionID = nil, id
	answer := make([]byte, 1<<20)
	b.ReportAllocs()
	for b.Loop() {
		req.SessionEpoch++
		if _, err := c.conn.Write(kmsg.NewRequestFormatter().AppendRequest(answer[:0], req, 1)); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c.conn, answer[:4]); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c.conn, answer[:binary.BigEndian.Uint32(answer)]); err != nil {
			b.Fatal(err)
		}
	}
}
