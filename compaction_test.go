package understudy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy"
	"understudy/config"
	"understudy/persistence/vfs"
)

// table is what was written to a compacted topic of one partition.
type table struct {
	t     *testing.T
	coins *rand.Rand
	all   map[int64]*kgo.Record // by offset
	last  map[string]int64      // offset of each key's last record
	end   int64                 // offset of the last of all
}

func newTable(t *testing.T) *table {
	return &table{t: t, coins: rand.New(rand.NewPCG(1, 1)), all: map[int64]*kgo.Record{}, last: map[string]int64{}}
}

// write produces n records of few keys, some of them tombstones.
func (w *table) write(client *kgo.Client, n int) {
	w.t.Helper()
	records := make([]*kgo.Record, n)
	for i := range records {
		r := &kgo.Record{Topic: "state", Key: fmt.Appendf(nil, "key %d", w.coins.IntN(50)), Value: make([]byte, 50+w.coins.IntN(200))}
		for j := range r.Value {
			r.Value[j] = byte('a' + w.coins.IntN(4))
		}
		if w.coins.IntN(10) == 0 {
			r.Value = nil
		}
		r.Headers = []kgo.RecordHeader{{Key: "n", Value: fmt.Append(nil, i)}}
		records[i] = r
	}
	for some := range slices.Chunk(records, 20) { // several to a batch
		for _, result := range client.ProduceSync(w.t.Context(), some...) {
			if result.Err != nil {
				w.t.Fatal(result.Err)
			}
			r := result.Record
			w.all[r.Offset] = r
			w.last[string(r.Key)] = max(w.last[string(r.Key)], r.Offset)
			w.end = max(w.end, r.Offset)
		}
	}
}

// read consumes the topic from an offset to its end, compares every record with
// what was written, and tells how many there are. Of each key the last must be there.
func (w *table) read(connect func(...kgo.Opt) *kgo.Client, from int64) (n int) {
	w.t.Helper()
	client := connect(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"state": {0: kgo.NewOffset().At(from)}}))
	defer client.Close()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	seen := map[int64]bool{}
	for at := from - 1; at < w.end; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			w.t.Fatalf("at %d of %d: %v", at, w.end, err)
		}
		for _, r := range fetches.Records() {
			was := w.all[r.Offset]
			if r.Offset <= at || was == nil || !bytes.Equal(was.Key, r.Key) || !bytes.Equal(was.Value, r.Value) || (was.Value == nil) != (r.Value == nil) ||
				len(r.Headers) != 1 || !bytes.Equal(was.Headers[0].Value, r.Headers[0].Value) || was.Timestamp.UnixMilli() != r.Timestamp.UnixMilli() {
				w.t.Fatalf("after offset %d there is %+v, and %+v was written", at, r, was)
			}
			at = r.Offset
			seen[at] = true
			n++
		}
	}
	for key, at := range w.last {
		if at >= from && !seen[at] {
			w.t.Errorf("the last record of %s, at %d, is gone", key, at)
		}
	}
	return n
}

func text(s string) *string { return &s }

var compactedTopic = map[string]*string{"cleanup.policy": text("compact"), "segment.bytes": text("16384"), "min.cleanable.dirty.ratio": text("0.01")}

// TestACompactedTopicThroughAClient writes with every codec and compacts in
// between, and reads the last value of every key at its own offset.
func TestACompactedTopicThroughAClient(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.Storage.CleanerBackoff = 24 * time.Hour
	b := start(t, cfg)
	createTopic(t, b, "state", 1, compactedTopic)
	w := newTable(t)
	client := func(options ...kgo.Opt) *kgo.Client { return connect(t, b, options...) }
	compacted := 0
	for _, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		w.write(client(kgo.ProducerBatchCompression(codec)), 600)
		compacted += b.Compact(t.Context())
		w.read(client, 0)
		w.read(client, w.coins.Int64N(w.end))
	}
	if n := w.read(client, 0); compacted < 4 || n > 1000 {
		t.Errorf("compacted %d times, %d records of %d are left", compacted, n, w.end+1)
	}
	err := client().ProduceSync(t.Context(), &kgo.Record{Topic: "state", Value: []byte("no key")}).FirstErr()
	if !errors.Is(err, kerr.InvalidRecord) {
		t.Errorf("a record without a key: %v", err)
	}
	stop(t, b)
	b = start(t, cfg)
	w.read(client, 0)
	w.write(client(), 600)
	b.Compact(t.Context())
	w.read(client, 0)
}

// TestTheCleanerRunsByItself: nobody has to ask for it.
func TestTheCleanerRunsByItself(t *testing.T) {
	cfg := testConfig("")
	cfg.InMemory = true
	cfg.Storage.CleanerBackoff = time.Millisecond
	b := start(t, cfg)
	createTopic(t, b, "state", 1, compactedTopic)
	w := newTable(t)
	client := func(options ...kgo.Opt) *kgo.Client { return connect(t, b, options...) }
	w.write(client(), 2000)
	for deadline := time.Now().Add(2 * time.Minute); w.read(client, 0) > 1000; {
		if time.Now().After(deadline) {
			t.Fatal("it is never compacted")
		}
	}
}

// TestCompactedReplicas compacts on every node for itself, fills an empty disk from
// a leader that has compacted, and lets each node lead: all tell consumers the same.
func TestCompactedReplicas(t *testing.T) {
	c := newClusterWith(t, func(_ int, cfg *config.Config) []understudy.Option {
		cfg.Storage.CleanerBackoff = 24 * time.Hour
		return nil
	})
	c.createTopic("state", 1, compactedTopic)
	c.awaitInSync("state", 3)
	w := newTable(t)
	client := func(options ...kgo.Opt) *kgo.Client { return c.client(options...) }
	w.write(client(), 1500)
	for i, b := range c.brokers {
		if b.Compact(t.Context()) != 1 {
			t.Errorf("node %d has compacted nothing", i+1)
		}
	}
	compacted := w.read(client, 0)
	if compacted > 500 {
		t.Errorf("%d records are left", compacted)
	}

	leader := int(c.awaitInSync("state", 3)[0].Leader) - 1
	empty := (leader + 1) % 3
	c.kill(empty, vfs.LoseNone)
	c.awaitInSync("state", 2)
	w.write(client(), 300)
	c.disks[empty] = vfs.NewMem(vfs.MemOptions{PowerCuts: true})
	c.start(empty)
	c.awaitInSync("state", 3)

	for _, i := range []int{leader, (leader + 2) % 3} { // until only the one that was filled is left
		c.kill(i, vfs.LoseAll)
		w.read(client, 0)
		w.write(client(), 100)
		c.brokers[empty].Compact(t.Context())
		w.read(client, 0)
	}
	c.startAll()
	c.awaitInSync("state", 3)
	w.read(client, 0)
}
