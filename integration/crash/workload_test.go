//go:build crash

package crash

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/integration/history"
	"understudy/integration/process"
)

const (
	kills        = 16              // of which every fourth is an orderly stop
	acksPerKill  = 20_000          // acknowledgements between two kills
	drainTimeout = 2 * time.Minute // before a test gives up; no test passes by waiting for it
)

// workload is several producers and one consumer, and what they were told.
type workload struct {
	topic string
	addr  string

	mu      sync.Mutex
	checker *history.Checker
	history *history.Recorder
	acked   int
	wake    chan struct{} // gets one token for each acksPerKill acknowledgements

	consumed int
	end      int           // when the consumer has read so many it has come to the end; 0: not known
	reached  chan struct{} // closed when it has

	stop      context.CancelFunc
	reader    *kgo.Client
	producers sync.WaitGroup
	consumer  sync.WaitGroup
}

// TestKillsUnderLoad kills the broker again and again while producers with
// acks=all and a consumer are at work, and checks what they were told.
func TestKillsUnderLoad(t *testing.T) {
	for _, test := range []struct {
		name     string
		opts     []kgo.Opt
		tolerate []history.Kind // what the way of producing does not exclude
	}{
		{"idempotent", idempotentOpts, nil},
		{"at-least-once", []kgo.Opt{kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1)},
			[]history.Kind{history.Duplicate}},
	} {
		t.Run(test.name, func(t *testing.T) {
			broker := process.Test(t, process.Options{})
			w := newWorkload(broker.Addr())
			createTopic(t, broker.Addr(), w.topic, partitions, map[string]string{"segment.bytes": "4194304"})
			w.start(t, 4, test.opts)
			for i := range kills {
				w.awaitAcks(t)
				if i%4 == 3 {
					broker.MustStop(t) // an orderly stop is to lose nothing either, and to be quick under load
				} else {
					broker.Kill()
				}
				broker.MustRestart(t)
			}
			w.awaitAcks(t)
			w.finish(t)
			w.judge(t, test.tolerate)
		})
	}
}

// idempotentOpts are for producers that must see each record exactly once in the log.
var idempotentOpts = []kgo.Opt{kgo.StopProducerOnDataLossDetected()}

func newWorkload(addr string) *workload {
	w := &workload{topic: "load", addr: addr, wake: make(chan struct{}, 1), reached: make(chan struct{}), checker: history.NewChecker()}
	w.history = history.NewRecorder(w.checker)
	return w
}

func (w *workload) start(t *testing.T, producers int, opts []kgo.Opt) {
	ctx, cancel := context.WithCancel(t.Context())
	w.stop = cancel
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(), kgo.SnappyCompression()}
	for i := range producers {
		cl := newClient(t, w.addr, append([]kgo.Opt{
			kgo.RequiredAcks(kgo.AllISRAcks()),
			kgo.RecordPartitioner(kgo.ManualPartitioner()),
			kgo.ProducerBatchCompression(codecs[i%len(codecs)]),
			kgo.MaxBufferedRecords(2000),
			kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		}, opts...)...)
		w.producers.Go(func() { w.produce(t, ctx, cl, fmt.Sprintf("producer-%d", i)) })
	}
	w.reader = newClient(t, w.addr, fromStart(w.topic, partitions), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }))
	w.consumer.Go(func() { w.consume(t, w.reader, "consumer") })
}

// produce sends values that say who sent them, padded with text that nobody can
// take for another's, until it is told to stop, and waits for all answers.
func (w *workload) produce(t *testing.T, ctx context.Context, cl *kgo.Client, name string) {
	for i := 0; ctx.Err() == nil; i++ {
		p := int32(i % partitions)
		value := fmt.Sprintf("%s/%d/%s", name, i, rand.Text())
		w.history.Add(history.Event{
			Type: history.Send, Process: w.history.Process(name, 0), Partition: w.history.Partition(w.topic, p), Value: history.Value(value),
		})
		record := &kgo.Record{Topic: w.topic, Partition: p, Value: []byte(value)}
		cl.Produce(context.WithoutCancel(ctx), record, func(r *kgo.Record, err error) { w.answered(t, r, err) })
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := cl.Flush(drain); err != nil {
		t.Errorf("%s: not all records were answered: %v", name, err)
	}
}

func (w *workload) answered(t *testing.T, r *kgo.Record, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		t.Errorf("a record of partition %d failed: %v", r.Partition, err)
		return
	}
	w.history.Add(history.Event{Type: history.OK, Value: history.Value(string(r.Value)), Offset: r.Offset})
	if w.acked++; w.acked%acksPerKill == 0 {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// awaitAcks waits until some more records have been acknowledged.
func (w *workload) awaitAcks(t *testing.T) {
	t.Helper()
	select {
	case <-w.wake:
	case <-time.After(drainTimeout):
		w.mu.Lock()
		defer w.mu.Unlock()
		t.Fatalf("%d records were acknowledged so far, and not %d more in %v", w.acked, acksPerKill, drainTimeout)
	}
}

// consume reads from the first record on, through all kills, until it has read
// as many records as it is told to, or its client is closed.
func (w *workload) consume(t *testing.T, cl *kgo.Client, name string) {
	for {
		fetches := cl.PollFetches(context.Background())
		if fetches.IsClientClosed() {
			return
		}
		fetches.EachError(func(topic string, p int32, err error) {
			if closed := (*kgo.ErrFirstReadEOF)(nil); !errors.As(err, &closed) { // killed during a connection's first request
				t.Errorf("%s reading %s-%d: %v", name, topic, p, err)
			}
		})
		w.polled(name, fetches)
		w.mu.Lock()
		w.consumed += fetches.NumRecords()
		w.noticeEnd()
		w.mu.Unlock()
	}
}

// polled writes down what a client returned.
func (w *workload) polled(name string, fetches kgo.Fetches) {
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		poll := history.Event{Type: history.Poll, Process: w.history.Process(name, 0), Partition: w.history.Partition(p.Topic, p.Partition)}
		for _, r := range p.Records {
			poll.Records = append(poll.Records, history.Record{Offset: r.Offset, Value: history.Value(string(r.Value))})
		}
		w.history.Add(poll)
	})
}

// noticeEnd tells finish, once, that the consumer has come to the end.
func (w *workload) noticeEnd() {
	if w.end > 0 && w.consumed >= w.end {
		w.end = 0
		close(w.reached)
	}
}

// finish lets the producers come to their end, the consumer to the end of the
// log, and another consumer read all of it.
func (w *workload) finish(t *testing.T) {
	t.Helper()
	w.stop()
	w.producers.Wait()
	total := 0
	for _, end := range endOffsets(t, w.addr, w.topic) {
		total += int(end)
	}
	w.mu.Lock()
	w.end = total
	w.noticeEnd()
	w.mu.Unlock()
	select {
	case <-w.reached:
	case <-time.After(drainTimeout):
		t.Errorf("the consumer has read %d of %d records and gets no further", w.consumed, total)
	}
	w.reader.Close()
	w.consumer.Wait()
	w.readAll(t, total)
}

// readAll has another client read a number of records from the start of the topic.
func (w *workload) readAll(t *testing.T, records int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), drainTimeout)
	defer cancel()
	cl := newClient(t, w.addr, fromStart(w.topic, partitions))
	defer cl.Close()
	for records > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Errorf("%d records are left to read: %v", records, err)
			break
		}
		records -= fetches.NumRecords()
		w.polled("reader", fetches)
	}
}

// judge fails the test for every contradiction that is not tolerated.
func (w *workload) judge(t *testing.T, tolerate []history.Kind) {
	t.Helper()
	v := w.checker.Verdict()
	bad := slices.DeleteFunc(slices.Clone(v.Findings), func(f history.Finding) bool { return slices.Contains(tolerate, f.Kind) })
	for _, f := range bad[:min(len(bad), 20)] {
		t.Error(f)
	}
	t.Log(v)
}
