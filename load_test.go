package understudy_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/persistence/vfs"
)

// load is a producer that writes numbered records to every partition, with
// acks=all and idempotence, as fast as a few outstanding ones allow.
type load struct {
	c          *cluster
	topic      string
	partitions int
	client     *kgo.Client
	cancel     context.CancelFunc
	done       sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{}
	acked   []int       // by partition: how many
	last    []time.Time // by partition: when the last was acknowledged
	gap     time.Duration
	failed  error
}

func (c *cluster) load(topic string, partitions int) *load {
	c.t.Helper()
	l := &load{c: c, topic: topic, partitions: partitions, changed: make(chan struct{}), acked: make([]int, partitions), last: make([]time.Time, partitions)}
	l.client = c.client(kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	for p := range partitions {
		l.done.Go(func() { l.produce(ctx, p) })
	}
	c.t.Cleanup(cancel)
	return l
}

// outstanding is how many records of a partition may wait for their acknowledgement.
const outstanding = 20

func (l *load) produce(ctx context.Context, partition int) {
	room := make(chan struct{}, outstanding)
	for i := 0; ; i++ {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			for range outstanding { // those on their way
				room <- struct{}{}
			}
			return
		}
		l.client.Produce(context.Background(), &kgo.Record{Partition: int32(partition), Value: fmt.Appendf(nil, "%d", i)}, func(r *kgo.Record, err error) {
			l.acknowledged(partition, err)
			<-room
		})
	}
}

func (l *load) acknowledged(partition int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = err
		return
	}
	now := time.Now()
	if before := l.last[partition]; !before.IsZero() {
		l.gap = max(l.gap, now.Sub(before))
	}
	l.last[partition] = now
	l.acked[partition]++
	close(l.changed)
	l.changed = make(chan struct{})
}

// await waits until every partition has so many more acknowledged records.
func (l *load) await(more int) {
	l.c.t.Helper()
	l.mu.Lock()
	var goal []int
	for _, n := range l.acked {
		goal = append(goal, n+more)
	}
	l.mu.Unlock()
	timeout := time.After(2 * time.Minute)
	for {
		l.mu.Lock()
		missing, changed := -1, l.changed
		for p, n := range l.acked {
			if n < goal[p] {
				missing = p
			}
		}
		acked := l.acked
		l.mu.Unlock()
		if missing < 0 {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			l.c.t.Fatalf("partition %d takes no more records: %v acknowledged", missing, acked)
		}
	}
}

// takeGap is the longest time without an acknowledgement on any partition since
// the last call.
func (l *load) takeGap() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	gap := l.gap
	l.gap = 0
	return gap
}

// end stops the load and reads everything: each record is there once, in order.
func (l *load) end() {
	l.c.t.Helper()
	l.cancel()
	l.done.Wait()
	if l.failed != nil {
		l.c.t.Errorf("a record failed: %v", l.failed)
	}
	client := l.c.client(kgo.ConsumeTopics(l.topic))
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	total := 0
	for _, n := range l.acked {
		total += n
	}
	next := make([]int, l.partitions)
	for seen := 0; seen < total; seen++ {
		fetches := client.PollRecords(ctx, 1)
		if ctx.Err() != nil {
			l.c.t.Fatalf("%d of %d acknowledged records were read: %v of %v", seen, total, next, l.acked)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if want := fmt.Sprint(next[r.Partition]); string(r.Value) != want {
				l.c.t.Fatalf("partition %d has %q at offset %d, want %s", r.Partition, r.Value, r.Offset, want)
			}
			next[r.Partition]++
		})
	}
}

// compare checks that all copies of a topic's partitions are the same bytes.
func (c *cluster) compare(topic string, partitions int) {
	c.t.Helper()
	c.awaitInSync(topic, 3)
	ends, err := kadm.NewClient(c.client()).ListEndOffsets(c.t.Context(), topic)
	if err != nil {
		c.t.Fatal(err)
	}
	for p := range partitions {
		dir := fmt.Sprintf("%s-%d", topic, p)
		end, _ := ends.Lookup(topic, int32(p))
		var want []byte
		for i, disk := range c.disks {
			got := logBytes(c.t, disk, dir)
			if i == 0 {
				want = got
			}
			if len(got) == 0 || !bytes.Equal(got, want) {
				c.t.Errorf("%s: node %d has %d bytes that differ from node 1's %d, end offset %d", dir, i+1, len(got), len(want), end.Offset)
			}
		}
	}
}

// logBytes are the bytes of a partition's only segment, without what is reserved.
func logBytes(t *testing.T, disk *vfs.Mem, dir string) []byte {
	t.Helper()
	f, err := disk.Open(dir + "/00000000000000000000.log")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, size)
	if _, err := f.ReadAt(buf, 0); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimRight(buf, "\x00")
}
