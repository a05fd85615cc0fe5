package commands

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"understudy/cmd/understudy/bench"
)

func TestBenchLevers(t *testing.T) {
	cluster(t)
	dir := filepath.Join(t.TempDir(), "pictures")
	line := []string{"bench", "levers", "--records", "50", "--warmup", "0s", "--admin", adminEndpoint(t), "--pictures", dir}
	var levers []bench.Lever
	decode(t, must(t, "", append(line, "-o", "json")...), &levers)
	if len(levers) != len(bench.LeverNames()) {
		t.Fatalf("%d levers, want %q", len(levers), bench.LeverNames())
	}
	for i, l := range levers {
		if l.Name != bench.LeverNames()[i] || len(l.Points) < 3 || !strings.HasSuffix(l.Reading(), ".") {
			t.Errorf("lever %d: %q with %d points, reading %q", i, l.Name, len(l.Points), l.Reading())
		}
		for _, p := range l.Points {
			if p.Result.Records != 50 || p.Result.Broker == nil {
				t.Errorf("%s %s: %+v", l.Name, p.Label, p.Result)
			}
		}
		for _, suffix := range []string{"", "-cpu", "-latency"} {
			if svg, err := os.ReadFile(filepath.Join(dir, "levers-"+l.Name+suffix+".svg")); err != nil || !strings.HasPrefix(string(svg), "<svg") {
				t.Errorf("picture %s%s: %v", l.Name, suffix, err)
			}
		}
	}
	if have := must(t, "", "topic", "list", "-o", "json"); have != "[]\n" {
		t.Errorf("topics were left behind: %s", have)
	}
	matches(t, must(t, "", append(line, "--only", "compression")...), `compression +none`, `compression +gzip`, `takes the most records`)
}

func TestBenchLeversRefusals(t *testing.T) {
	refuse(t, exitUsage, "it is one of batch, linger", "bench", "levers", "--only", "luck")
	refuse(t, exitUsage, "a topic of its own", "bench", "levers", "--topic", "orders")
}
