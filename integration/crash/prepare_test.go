//go:build crash

package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/integration/process"
	"understudy/messages/batch"
)

// The data that is damaged: a topic of three partitions with several segments
// each, whose records tell where they belong and have times 10 ms apart.
const (
	damagedTopic      = "damaged"
	damagedPartitions = 3
	recordsEach       = 3000 // per partition
	firstTime         = 1_700_000_000_000
	timeStep          = 10
)

func damagedValue(partition int32, offset int64) string {
	return fmt.Sprintf("%d/%d/%s", partition, offset, strings.Repeat(string(rune('a'+offset%26)), 300))
}

// prepared are two data directories with the same records: one of a broker that
// was stopped in order, one of a broker that was killed.
type prepared struct {
	clean, killed string
	old           string // recovery checkpoint from when half of the records were there
}

func prepare(t *testing.T) prepared {
	t.Helper()
	p := prepared{clean: t.TempDir(), killed: t.TempDir(), old: filepath.Join(t.TempDir(), "old")}
	b := process.Test(t, process.Options{DataDir: p.killed})
	createTopic(t, b.Addr(), damagedTopic, damagedPartitions, map[string]string{"segment.bytes": "200000", "retention.ms": "-1"})
	writeDamaged(t, b.Addr(), 0, recordsEach/2)
	b.MustStop(t)
	copyFile(t, filepath.Join(p.killed, checkpointFile), p.old)
	b.MustRestart(t)
	writeDamaged(t, b.Addr(), recordsEach/2, recordsEach)
	b.Kill()
	copyDir(t, p.killed, p.clean)
	b, err := process.Start(t.Context(), process.Options{DataDir: p.clean})
	if err != nil {
		t.Fatal(err)
	}
	b.MustStop(t)
	return p
}

const checkpointFile = "recovery-checkpoint"

// writeDamaged writes records [from, to) of each partition, ten to a batch.
func writeDamaged(t *testing.T, addr string, from, to int) {
	t.Helper()
	cl := newClient(t, addr, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer cl.Close()
	for offset := int64(from); offset < int64(to); {
		var ten []*kgo.Record
		for end := min(offset+10, int64(to)); offset < end; offset++ {
			for p := range int32(damagedPartitions) {
				ten = append(ten, &kgo.Record{Topic: damagedTopic, Partition: p, Value: []byte(damagedValue(p, offset)), Timestamp: time.UnixMilli(firstTime + timeStep*offset)})
			}
		}
		results := cl.ProduceSync(t.Context(), ten...)
		if err := results.FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, content, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// reader asks a broker directly, one request at a time, so that each answer is
// seen as it is and nothing is tried again behind the test's back.
type reader struct {
	cl *kgo.Client
	id kadm.TopicID
}

func newReader(t *testing.T, addr string) *reader {
	t.Helper()
	cl := newClient(t, addr)
	topics, err := kadm.NewClient(cl).ListTopics(t.Context(), damagedTopic)
	if err != nil {
		t.Fatal(err)
	}
	return &reader{cl, topics[damagedTopic].ID}
}

// fetch reads from an offset. It returns the batches as they came and the high
// watermark, or the broker's error.
func (r *reader) fetch(ctx context.Context, partition int32, offset int64) (batches []batch.Batch, hw int64, err error) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 10, 1, 1<<20
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID = damagedTopic, r.id
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, 64<<10
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, r.cl.Broker(1))
	if err != nil {
		return nil, 0, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, 0, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, 0, fmt.Errorf("an answer about %d topics", len(resp.Topics))
	}
	answer := resp.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(answer.ErrorCode); err != nil {
		return nil, 0, err
	}
	for rest := answer.RecordBatches; ; {
		b, more, err := batch.Next(rest)
		if errors.Is(err, batch.ErrShort) {
			return batches, answer.HighWatermark, nil // the last batch may be cut off
		}
		if err != nil {
			return batches, 0, fmt.Errorf("served: %w", err)
		}
		batches, rest = append(batches, b), more
	}
}

// errServed is what no broker may do: give a client bytes that are not what was acknowledged.
var errServed = errors.New("the broker serves what was never written")

// readAll reads a partition from an offset to its end and holds every record
// against what was written. It returns how far it came and what stopped it: nil
// at the end, otherwise the broker's refusal, or errServed.
func (r *reader) readAll(ctx context.Context, partition int32, from int64) (next int64, err error) {
	for next = from; ; {
		batches, hw, err := r.fetch(ctx, partition, next)
		if err != nil {
			return next, err
		}
		if next >= hw {
			return next, nil
		}
		before := next
		for _, b := range batches {
			if next, err = r.hold(b, partition, next); err != nil {
				return next, err
			}
		}
		if next == before {
			return next, fmt.Errorf("no record at offset %d below the high watermark %d", next, hw)
		}
	}
}

// hold compares one batch with what was written and returns the offset after it.
func (r *reader) hold(b batch.Batch, partition int32, next int64) (int64, error) {
	if err := b.CheckCRC(); err != nil {
		return next, fmt.Errorf("%w: %w", errServed, err)
	}
	if b.BaseOffset() > next {
		return next, fmt.Errorf("%w: offsets %d to %d are skipped", errServed, next, b.BaseOffset())
	}
	// Neither offset nor epoch is covered by the checksum.
	if b.LeaderEpoch() < 0 || b.LeaderEpoch() > 10 {
		return next, fmt.Errorf("%w: offset %d has leader epoch %d", errServed, next, b.LeaderEpoch())
	}
	for record, err := range batch.Records(b, b.Payload()) {
		offset := record.Offset(b)
		if err != nil || string(record.Value) != damagedValue(partition, offset) || record.Timestamp(b) != firstTime+timeStep*offset {
			return next, fmt.Errorf("%w: at offset %d: %.30q (%v)", errServed, offset, record.Value, err)
		}
	}
	return b.NextOffset(), nil
}

// complaints is all that the broker says about its troubles: its log and why it is not ready.
func complaints(t *testing.T, b *process.Broker) string {
	t.Helper()
	said := b.Log()
	if admin := b.Ready().Admin; admin != "" {
		ctx, cancel := context.WithTimeout(t.Context(), drainTimeout)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, admin+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		said += "\n/readyz: " + string(body)
	}
	return said
}

// files are the files of a partition with an ending, in the order of their offsets.
func files(t *testing.T, dir, ending string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"+ending))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}
