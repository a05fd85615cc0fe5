//go:build cluster

package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/messages"
	"understudy/messages/batch"
)

// prober is an idempotent producer that waits for nobody: it asks all nodes at
// once who leads, believes who knows of the newest epoch, and gives up on a node,
// and its connection, that does not answer for a moment. What it feels is how soon
// the cluster goes on.
type prober struct {
	topic  string
	nodes  []string
	reader client // whose consumer is the prober's

	id    int64
	epoch int16

	ctx    context.Context
	cancel context.CancelFunc
	lanes  []*lane
	done   sync.WaitGroup
}

// lane is what is sent to one partition, one batch at a time.
type lane struct {
	partition int32
	sequence  int32 // of the next batch
	node      int   // the leader was there
	conn      net.Conn

	mu    sync.Mutex
	queue []queued
	wake  chan struct{}
}

type queued struct {
	record record
	done   func(int64, error)
}

// probeWithin is how long the prober waits for an answer: that is long for
// anything but a leader that waits for its followers, which gets askAgain.
const (
	probeWithin = 250 * time.Millisecond
	askAgain    = 500 * time.Millisecond
)

func newProber(topic string, partitions int, seeds []string) (client, error) {
	p := &prober{topic: topic, nodes: seeds}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if err := await(p.ctx, "a producer id", func(ctx context.Context) error {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.Version = 4
		resp, err := p.askOnce(0, req)
		if err != nil {
			return err
		}
		got := resp.(*kmsg.InitProducerIDResponse)
		p.id, p.epoch = got.ProducerID, got.ProducerEpoch
		return kerr.ErrorForCode(got.ErrorCode)
	}); err != nil {
		return nil, err
	}
	var err error
	if p.reader, err = newFranz(topic, seeds, quickly...); err != nil {
		return nil, err
	}
	for i := range int32(partitions) {
		l := &lane{partition: i, wake: make(chan struct{}, 1)}
		p.lanes = append(p.lanes, l)
		p.done.Go(func() { p.run(l) })
	}
	return p, nil
}

func (p *prober) consume(seen func(int32, []read)) error { return p.reader.consume(seen) }

func (p *prober) close() {
	p.cancel()
	p.done.Wait()
	p.reader.close()
}

func (p *prober) produce(r record, done func(int64, error)) {
	l := p.lanes[r.partition]
	l.mu.Lock()
	l.queue = append(l.queue, queued{r, done})
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// maxProbe bounds the records of a batch.
const maxProbe = 100

func (p *prober) run(l *lane) {
	defer l.hangUp()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-l.wake:
		}
		for {
			l.mu.Lock()
			list := l.queue[:min(len(l.queue), maxProbe)]
			l.queue = l.queue[len(list):]
			l.mu.Unlock()
			if len(list) == 0 || !p.send(l, list) {
				break
			}
		}
	}
}

// send has a batch written, however often that takes, and reports whether it was.
func (p *prober) send(l *lane, list []queued) bool {
	data := p.encode(l, list)
	for p.ctx.Err() == nil {
		base, err := p.attempt(l, data)
		if err == nil {
			l.sequence = batch.AddSequence(l.sequence, int32(len(list)))
			for i, q := range list {
				q.done(base+int64(i), nil)
			}
			return true
		}
		if known := (*kerr.Error)(nil); errors.As(err, &known) && !known.Retriable {
			for _, q := range list {
				q.done(0, err)
			}
			return false
		}
		if !p.find(l) {
			sleep(p.ctx, 20*time.Millisecond)
		}
	}
	return false
}

func (p *prober) encode(l *lane, list []queued) []byte {
	f := batch.NoProducer
	f.ProducerID, f.ProducerEpoch, f.BaseSequence = p.id, p.epoch, l.sequence
	b := batch.NewBuilder(f)
	for _, q := range list {
		b.Add(time.Now().UnixMilli(), q.record.key, q.record.value)
	}
	return b.Build(nil)
}

// attempt sends a batch once, to where the leader is thought to be.
func (p *prober) attempt(l *lane, data []byte) (base int64, err error) {
	if l.conn == nil {
		if l.conn, err = p.dial(l.node); err != nil {
			return 0, err
		}
	}
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 9, messages.AcksAll, int32(patience.Milliseconds())
	t, part := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	t.Topic, part.Partition, part.Records = p.topic, l.partition, data
	t.Partitions = append(t.Partitions, part)
	req.Topics = append(req.Topics, t)
	answer, err := ask(l.conn, req, askAgain)
	if err != nil {
		l.hangUp()
		return 0, err
	}
	got := answer.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	return got.BaseOffset, kerr.ErrorForCode(got.ErrorCode)
}

func (l *lane) hangUp() {
	if l.conn != nil {
		_ = l.conn.Close() // what was not written is written again
		l.conn = nil
	}
}

// find asks all nodes who leads. It reports whether that is another than before.
func (p *prober) find(l *lane) bool {
	var mu sync.Mutex
	leader, newest := int32(-1), int32(-1)
	indices := make([]int, len(p.nodes))
	for i := range indices {
		indices[i] = i
	}
	_ = every(indices, func(i int) error { // who does not answer does not count
		req := kmsg.NewPtrMetadataRequest()
		req.Version = 9
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(p.topic)
		req.Topics = append(req.Topics, t)
		resp, err := p.askOnce(i, req)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, part := range resp.(*kmsg.MetadataResponse).Topics[0].Partitions {
			if part.Partition == l.partition && part.LeaderEpoch > newest {
				leader, newest = part.Leader, part.LeaderEpoch
			}
		}
		return nil
	})
	node := int(leader) - 1
	if node < 0 || node >= len(p.nodes) || node == l.node {
		return false
	}
	l.hangUp()
	l.node = node
	return true
}

func (p *prober) dial(node int) (net.Conn, error) {
	return net.DialTimeout("tcp", p.nodes[node], probeWithin)
}

// askOnce asks a node on a connection of its own.
func (p *prober) askOnce(node int, req kmsg.Request) (kmsg.Response, error) {
	conn, err := p.dial(node)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return ask(conn, req, probeWithin)
}

// ask sends a request and reads its answer. Requests must be of versions whose
// header is flexible.
func ask(conn net.Conn, req kmsg.Request, within time.Duration) (kmsg.Response, error) {
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("probe")).AppendRequest(nil, req, 1)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	body := make([]byte, min(binary.BigEndian.Uint32(size[:]), 1<<20))
	if _, err := io.ReadFull(conn, body); err != nil {
		return nil, err
	}
	r := kbin.Reader{Src: body}
	r.Int32() // the correlation
	kmsg.SkipTags(&r)
	resp := req.ResponseKind()
	return resp, errors.Join(r.Complete(), resp.ReadFrom(r.Src))
}
