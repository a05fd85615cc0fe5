//go:build cluster

package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/messages"
	"understudy/messages/batch"
)

// prober is an idempotent producer that waits for nobody: it asks all nodes at
// once who leads, and gives up on an answer after probeWithin. What it feels is
// how soon the cluster goes on; what it waits for itself is probeWithin at most.
type prober struct {
	topic  string
	nodes  []*kgo.Client // one for each node
	reader client        // whose consumer is the prober's

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

	mu    sync.Mutex
	queue []queued
	wake  chan struct{}
}

type queued struct {
	record record
	done   func(int64, error)
}

// probeWithin is how long the prober waits for any answer.
const probeWithin = 300 * time.Millisecond

func newProber(topic string, partitions int, seeds []string) (client, error) {
	p := &prober{topic: topic}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	for _, seed := range seeds {
		cl, err := kgo.NewClient(kgo.SeedBrokers(seed), kgo.RequestRetries(0), kgo.DialTimeout(probeWithin), kgo.RequestTimeoutOverhead(patience))
		if err != nil {
			return nil, err
		}
		p.nodes = append(p.nodes, cl)
	}
	if err := await(p.ctx, "a producer id", func(ctx context.Context) error {
		resp, err := p.nodes[0].SeedBrokers()[0].Request(ctx, kmsg.NewPtrInitProducerIDRequest())
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
	for _, cl := range p.nodes {
		cl.Close()
	}
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
	for p.ctx.Err() == nil {
		select {
		case <-p.ctx.Done():
			return
		case <-l.wake:
		}
		for {
			l.mu.Lock()
			batch := l.queue[:min(len(l.queue), maxProbe)]
			l.queue = l.queue[len(batch):]
			l.mu.Unlock()
			if len(batch) == 0 || !p.send(l, batch) {
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
		if !p.find(l) && !sleep(p.ctx, 20*time.Millisecond) {
			return false
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
	ctx, cancel := context.WithTimeout(p.ctx, probeWithin)
	defer cancel()
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = messages.AcksAll, int32(patience.Milliseconds())
	t, part := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	t.Topic, part.Partition, part.Records = p.topic, l.partition, data
	t.Partitions = append(t.Partitions, part)
	req.Topics = append(req.Topics, t)
	answer, err := p.nodes[l.node].SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		return 0, err
	}
	got := answer.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	return got.BaseOffset, kerr.ErrorForCode(got.ErrorCode)
}

// find asks all nodes who leads, and believes who knows of the newest epoch. It
// reports whether that is another than before.
func (p *prober) find(l *lane) bool {
	ctx, cancel := context.WithTimeout(p.ctx, probeWithin)
	defer cancel()
	var mu sync.Mutex
	leader, newest := int32(-1), int32(-1)
	_ = every(p.nodes, func(cl *kgo.Client) error { // who does not answer does not count
		req := kmsg.NewPtrMetadataRequest()
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(p.topic)
		req.Topics = append(req.Topics, t)
		resp, err := cl.SeedBrokers()[0].Request(ctx, req)
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
	l.node = node
	return true
}
