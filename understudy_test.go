package understudy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy"
	"understudy/config"
	"understudy/persistence/vfs"
)

// testConfig is a broker on free ports that keeps its data where a test says.
func testConfig(dir string) config.Config {
	cfg := config.Default()
	cfg.DataDir = dir
	cfg.Listen = "127.0.0.1:0"
	cfg.AdminListen = "127.0.0.1:0"
	cfg.MemoryLimit = 256 << 20
	return cfg
}

func start(t *testing.T, cfg config.Config, options ...understudy.Option) *understudy.Broker {
	t.Helper()
	b, err := understudy.Start(t.Context(), cfg, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, b) })
	return b
}

func stop(t *testing.T, b *understudy.Broker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := b.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// unhurried has a client wait for answers also while the machine stands still: many tests
// ask once, and a request that is given up and sent again may have been carried out.
var unhurried = kgo.RequestTimeoutOverhead(2 * time.Minute)

func connect(t *testing.T, b *understudy.Broker, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(b.Addr().String()), unhurried,
		// A client that meets an error asks again at once, and not in seconds.
		kgo.MetadataMinAge(10 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func createTopic(t *testing.T, b *understudy.Broker, topic string, partitions int32, settings map[string]*string) {
	t.Helper()
	admin := kadm.NewClient(connect(t, b))
	admin.SetTimeoutMillis(int32(probeTime.Milliseconds()))
	if _, err := admin.CreateTopic(t.Context(), partitions, 1, settings, topic); err != nil {
		t.Fatal(err)
	}
}

// produce sends n records to each partition, numbered from first, and waits for all.
func produce(t *testing.T, b *understudy.Broker, topic string, partitions, first, n int) {
	t.Helper()
	client := connect(t, b, kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	var failed sync.Map
	for p := range partitions {
		for i := first; i < first+n; i++ {
			client.Produce(t.Context(), &kgo.Record{Partition: int32(p), Value: fmt.Appendf(nil, "%d", i)}, func(r *kgo.Record, err error) {
				if err != nil {
					failed.Store(r.Partition, err)
				}
			})
		}
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	failed.Range(func(p, err any) bool { t.Fatalf("partition %v: %v", p, err); return false })
}

// expect reads records 0 to n-1 of each partition, in order and nothing else before them.
func expect(t *testing.T, b *understudy.Broker, topic string, partitions, n int) {
	t.Helper()
	client := connect(t, b, kgo.ConsumeTopics(topic))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	next := make([]int, partitions)
	for seen := 0; seen < partitions*n; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d records: %v", seen, err)
		}
		for _, r := range fetches.Records() {
			if want := fmt.Sprint(next[r.Partition]); string(r.Value) != want || r.Offset != int64(next[r.Partition]) {
				t.Fatalf("partition %d has %q at offset %d, want %s", r.Partition, r.Value, r.Offset, want)
			}
			next[r.Partition]++
			seen++
		}
	}
}

func TestWhatWasProducedSurvivesAStop(t *testing.T) {
	cfg := testConfig(t.TempDir())
	b := start(t, cfg)
	createTopic(t, b, "orders", 3, nil)
	produce(t, b, "orders", 3, 0, 1000)
	expect(t, b, "orders", 3, 1000)
	stop(t, b)

	b = start(t, cfg)
	produce(t, b, "orders", 3, 1000, 500)
	expect(t, b, "orders", 3, 1500)
}

// TestWhatWasAcknowledgedSurvivesAPowerCut cuts the power under a broker, again
// and again, each time with another kind of loss: what was acknowledged is there
// afterwards.
func TestWhatWasAcknowledgedSurvivesAPowerCut(t *testing.T) {
	coins := rand.New(rand.NewPCG(1, 2))
	disk := vfs.NewMem(vfs.MemOptions{PowerCuts: true})
	acknowledged := 0
	for _, loss := range []vfs.Loss{vfs.LoseAll, vfs.LoseTorn, vfs.LosePages, vfs.LoseMixed, vfs.LoseNone} {
		b, err := understudy.Start(t.Context(), testConfig("mem"), understudy.WithFS(disk))
		if err != nil {
			t.Fatalf("after %d records: %v", acknowledged, err)
		}
		if acknowledged == 0 {
			createTopic(t, b, "orders", 2, nil)
		}
		expect(t, b, "orders", 2, acknowledged)
		produce(t, b, "orders", 2, acknowledged, 300)
		acknowledged += 300
		disk.Stop()
		if err := b.Stop(context.Background()); err == nil {
			t.Error("a broker without power stopped in order")
		}
		disk = disk.Cut(loss, coins)
	}
}

func TestASecondBrokerInTheSameDirectoryIsRefused(t *testing.T) {
	cfg := testConfig(t.TempDir())
	start(t, cfg)
	if b, err := understudy.Start(t.Context(), cfg); err == nil {
		stop(t, b)
		t.Fatal("two brokers share a data directory")
	}
}

func TestATopicMadeAnewIsEmpty(t *testing.T) {
	b := start(t, testConfig(t.TempDir()))
	admin := kadm.NewClient(connect(t, b))
	for range 3 {
		createTopic(t, b, "again", 1, nil)
		expect(t, b, "again", 1, 0)
		produce(t, b, "again", 1, 0, 10)
		expect(t, b, "again", 1, 10)
		if _, err := admin.DeleteTopic(t.Context(), "again"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAFailingDiskFailsOnePartitionAlone makes one partition's writes fail: its
// producer is told, the sibling does not notice, and when the disk works again
// so does the partition.
func TestAFailingDiskFailsOnePartitionAlone(t *testing.T) {
	disk := vfs.NewFaulty(vfs.NewMem(vfs.MemOptions{}), nil)
	b := start(t, testConfig("mem"), understudy.WithFS(disk))
	createTopic(t, b, "orders", 2, nil)
	produce(t, b, "orders", 2, 0, 10)

	broken := disk.Add(vfs.Rule{Ops: vfs.OpWrite, Path: "orders-0/*", Err: errors.New("input/output error")})
	client := connect(t, b, kgo.DefaultProduceTopic("orders"), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RecordRetries(1), kgo.DisableIdempotentWrite())
	err := client.ProduceSync(t.Context(), &kgo.Record{Partition: 0, Value: []byte("lost")}).FirstErr()
	if !errors.Is(err, kerr.KafkaStorageError) {
		t.Errorf("the failed partition answered %v", err)
	}
	if err := client.ProduceSync(t.Context(), &kgo.Record{Partition: 1, Value: []byte("10")}).FirstErr(); err != nil {
		t.Errorf("its sibling answered %v", err)
	}
	broken.Remove()
	healed := connect(t, b, kgo.DefaultProduceTopic("orders"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := healed.ProduceSync(t.Context(), &kgo.Record{Partition: 0, Value: []byte("10")}).FirstErr(); err != nil {
		t.Errorf("after the disk was mended: %v", err)
	}
	expect(t, b, "orders", 2, 11)
}

// TestSettingsAreLive shortens a topic's retention while it is used: its records
// go without a restart.
func TestSettingsAreLive(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.Storage.RetentionInterval = 100 * time.Millisecond
	b := start(t, cfg)
	createTopic(t, b, "orders", 1, nil)
	produce(t, b, "orders", 1, 0, 10)
	admin := kadm.NewClient(connect(t, b))
	short := "1"
	if _, err := admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "retention.ms", Value: &short}}, "orders"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		offsets, err := admin.ListStartOffsets(ctx, "orders")
		if err != nil {
			t.Fatal(err)
		}
		if first, _ := offsets.Lookup("orders", 0); first.Offset == 10 {
			return
		}
	}
}

func TestPartitionsAreAddedWhileTheTopicIsUsed(t *testing.T) {
	b := start(t, testConfig(t.TempDir()))
	createTopic(t, b, "orders", 1, nil)
	produce(t, b, "orders", 1, 0, 10)
	if _, err := kadm.NewClient(connect(t, b)).UpdatePartitions(t.Context(), 3, "orders"); err != nil {
		t.Fatal(err)
	}
	client := connect(t, b, kgo.DefaultProduceTopic("orders"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := client.ProduceSync(t.Context(), &kgo.Record{Partition: 2, Value: []byte("0")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func TestTheAdminEndpointTellsHowItIs(t *testing.T) {
	b := start(t, testConfig(t.TempDir()))
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/debug/pprof/"} {
		resp, err := http.Get("http://" + b.AdminAddr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s answers %s", path, resp.Status)
		}
	}
}

// TestTheAdminEndpointReadsNoBodies: a form with a file in it would be put aside on the disk.
func TestTheAdminEndpointReadsNoBodies(t *testing.T) {
	aside := t.TempDir()
	t.Setenv("TMPDIR", aside)
	b := start(t, testConfig(t.TempDir()))
	form := io.MultiReader(
		strings.NewReader("--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n"),
		io.LimitReader(forever{}, 48<<20), strings.NewReader("\r\n--x--\r\n"))
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+b.AdminAddr().String()+"/events?wait=2s&since=1000000", form)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	stop := make(chan struct{})
	most := make(chan int)
	go func() {
		n := 0
		for {
			if files, _ := os.ReadDir(aside); len(files) > n {
				n = len(files)
			}
			select {
			case <-stop:
				most <- n
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
	}
	close(stop)
	if n := <-most; n > 0 {
		t.Errorf("%d files were written", n)
	}
}

// forever is as many bytes as one wants.
type forever struct{}

func (forever) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestTheAdminEndpointObeysNoPages: a page in an operator's browser can send requests
// to wherever that browser can.
func TestTheAdminEndpointObeysNoPages(t *testing.T) {
	b := start(t, testConfig(t.TempDir()))
	for origin, want := range map[string]int{"": http.StatusConflict, "http://pages.example": http.StatusForbidden} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+b.AdminAddr().String()+"/cluster/brokers/1/drain", nil)
		if err != nil {
			t.Fatal(err)
		}
		if origin != "" {
			req.Header.Set("Origin", origin)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("from %q: %s", origin, resp.Status)
		}
	}
}
