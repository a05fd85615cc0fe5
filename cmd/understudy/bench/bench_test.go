package bench

import (
	"bytes"
	"context"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Random payloads must not be made smaller by a codec, text must.
func TestPayload(t *testing.T) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed := func(text bool) float64 {
		p := newPayload(1000, text, 1)
		var b bytes.Buffer
		for range 1000 {
			b.Write(p.next())
		}
		return float64(len(enc.EncodeAll(b.Bytes(), nil))) / float64(b.Len())
	}
	if share := packed(true); share > 0.7 {
		t.Errorf("text is packed to %.2f only", share)
	}
	p := newPayload(100, false, 1)
	seen := make(map[string]bool)
	for range 100_000 {
		v := p.next()
		if len(v) != 100 {
			t.Fatalf("%d bytes", len(v))
		}
		seen[string(v[:16])] = true
	}
	if len(seen) < 16_000 {
		t.Errorf("only %d different values", len(seen))
	}
	if len(enc.EncodeAll(p.block[:1<<20], nil)) < 1<<20 {
		t.Error("random bytes were packed")
	}
}

// A send that blocks delays those after it, but not when they were due.
func TestPaceCountsFromWhenRecordsWereDue(t *testing.T) {
	began := time.Now()
	var due []time.Duration
	n := Pace(t.Context(), 1_000_000, 1000, func(at time.Time) { due = append(due, at.Sub(began)) })
	if n != 1000 || len(due) != 1000 {
		t.Fatalf("sent %d", n)
	}
	for i := 1; i < len(due); i++ {
		if d := due[i] - due[i-1]; d < time.Microsecond-1 || d > time.Microsecond+1 {
			t.Fatalf("record %d was due %v after the one before", i, d)
		}
	}
}

func TestPaceEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n := Pace(ctx, 0, math.MaxInt64, func(time.Time) {}); n != 0 {
		t.Errorf("sent %d", n)
	}
	if n := Pace(ctx, 1, math.MaxInt64, func(time.Time) {}); n != 0 {
		t.Errorf("sent %d", n)
	}
}

func TestEveryStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		stop := every(time.Second, func() { calls++ })
		time.Sleep(3500 * time.Millisecond) // of the bubble's clock
		stop()
		if calls != 3 {
			t.Errorf("called %d times", calls)
		}
	})
}

func TestQuantiles(t *testing.T) {
	h := newHistogram()
	if quantiles(h) != nil {
		t.Error("nothing has quantiles")
	}
	for i := range 1000 {
		record(h, time.Duration(i+1)*time.Millisecond)
	}
	record(h, time.Hour) // counts as the bound
	record(h, -1)
	q := quantiles(h)
	if math.Abs(q.P50-500) > 2 || math.Abs(q.P99-990) > 2 || q.Max < 119_000 {
		t.Errorf("have %+v", q)
	}
}

func TestParseUsage(t *testing.T) {
	u, err := parseUsage(strings.NewReader("# TYPE x\nprocess_cpu_seconds_total 1.5\nprocess_resident_memory_bytes 2e+06\n"))
	if err != nil || u.cpu != 1.5 || u.rss != 2_000_000 {
		t.Errorf("%+v, %v", u, err)
	}
	if _, err := parseUsage(strings.NewReader("<html>\n")); err == nil {
		t.Error("something else was taken for metrics")
	}
}
