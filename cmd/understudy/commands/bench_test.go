package commands

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"understudy/cmd/understudy/bench"
)

// adminEndpoint is a broker's, whose CPU grows by 2 s with each look.
func adminEndpoint(t *testing.T) string {
	t.Helper()
	var looks atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "# HELP process_cpu_seconds_total CPU.\nother 1\nprocess_cpu_seconds_total %d\nprocess_resident_memory_bytes 1.048576e+06\n", 2*looks.Add(1))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestBench(t *testing.T) { withBrokers(t, testBench) }

func testBench(t *testing.T) {
	admin := adminEndpoint(t)
	for _, c := range []struct {
		line    []string
		records int64
	}{
		{[]string{"produce", "--records", "2000", "--warmup", "20ms", "--producers", "2"}, 2000},
		{[]string{"produce", "--records", "5000", "--warmup", "0s", "--record-size", "100", "--compressible", "--compression", "zstd"}, 5000},
		{[]string{"consume", "--records", "1000", "--duration", "0s", "--consumers", "2"}, 1000},
		{[]string{"latency", "--records", "100", "--rate", "2000", "--warmup", "10ms", "--record-size", "64"}, 100},
	} {
		var r bench.Result
		decode(t, must(t, "", append([]string{"bench", "-o", "json", "--admin", admin}, c.line...)...), &r)
		if r.Test != c.line[0] || r.Records != c.records || r.MBPerSecond <= 0 || r.Bytes != r.Records*int64(r.RecordSize) {
			t.Errorf("%v: %+v", c.line, r)
		}
		if r.Broker == nil || r.Broker.CPUSeconds != 2 || r.Broker.RSS != 1<<20 {
			t.Errorf("%v: broker %+v", c.line, r.Broker)
		}
		if r.Test != "consume" && (r.Acknowledged == nil || r.Acknowledged.Max < r.Acknowledged.P50) {
			t.Errorf("%v: acknowledged %+v", c.line, r.Acknowledged)
		}
		if r.Test == "latency" && (r.Consumed == nil || r.Lateness == nil) {
			t.Errorf("%v: %+v", c.line, r)
		}
	}
	must(t, "", "bench", "produce", "--duration", "20ms", "--warmup", "0s", "--rate", "100") // how much it does is the machine's affair
	if have := must(t, "", "topic", "list", "-o", "json"); have != "[]\n" {
		t.Errorf("topics were left behind: %s", have)
	}
}

func TestBenchOnATopicThatIsThere(t *testing.T) {
	cluster(t)
	must(t, "a\nb\n", "produce", "orders")
	have := run(t, nil, "bench", "consume", "--topic", "orders", "--duration", "0s", "--warmup", "0s", "--admin", "127.0.0.1:1")
	if have.code != exitOK || !strings.Contains(have.err, "the brokers' CPU is left out") {
		t.Errorf("exit code %d: %s", have.code, have.err)
	}
	matches(t, have.out, `BENCH CONSUME`, `load +2 records of`, `throughput +\d`, `broker CPU +not known`)
	matches(t, must(t, "", "topic", "list"), "orders")
}

func TestBenchRefusals(t *testing.T) {
	refuse(t, exitUsage, "a latency is measured at a rate", "bench", "latency", "--rate", "0")
	refuse(t, exitUsage, "a number is too small", "bench", "produce", "--producers", "0")
	refuse(t, exitUsage, "--record-size 0", "bench", "produce", "--record-size", "0")
	refuse(t, exitUsage, "is not a size", "bench", "produce", "--batch-bytes", "much")
	refuse(t, exitFailed, "start one with: understudy server", "bench", "produce", "--brokers", "127.0.0.1:1")
}
