//go:build linux

package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What goals and pictures name must be there, or they would be left out in silence.
func TestGoalsNameWhatIsMeasured(t *testing.T) {
	for _, g := range goals {
		for _, side := range [][2]string{{g.scenario, g.ours}, {g.otherOrSame(), g.theirs}} {
			s, err := find(side[0])
			if err != nil {
				t.Errorf("%s: %v", g.what, err)
			} else if side[1] != "" && !slices.Contains(s.on, side[1]) {
				t.Errorf("%s: %s is not measured on %s", g.what, side[0], side[1])
			}
		}
		if !slices.Contains(columns, g.figure) || (g.atLeast > 0) == (g.atMost > 0) {
			t.Errorf("%s: figure %q, bounds %v and %v", g.what, g.figure, g.atLeast, g.atMost)
		}
	}
	for _, p := range pictures {
		for _, s := range p.scenarios {
			if _, err := find(s); err != nil {
				t.Errorf("picture %s: %v", p.file, err)
			}
		}
	}
	for i, s := range scenarios {
		if i > 0 && scenarios[i-1].ruins && !s.ruins {
			t.Errorf("%s comes after one that ruins the system, and would be given one that has not been warmed up", s.name)
		}
		for _, name := range s.on {
			if _, err := kindOf(name); err != nil {
				t.Errorf("%s: %v", s.name, err)
			}
		}
	}
}

func TestResultsAreWritten(t *testing.T) {
	r := &results{}
	for round, v := range []float64{300, 100, 200} {
		r.Samples = append(r.Samples,
			sample{round, "produce-1k", understudy, figures{throughput: v, brokerCPU: 2}},
			sample{round, "produce-1k", kafka, figures{throughput: v / 4, brokerCPU: 8}})
	}
	if m, ok := r.median("produce-1k", understudy, throughput); !ok || m != 200 {
		t.Errorf("the median is %v", m)
	}
	if m, ok := r.median("produce-1k", natsDefault, throughput); ok || !math.IsNaN(m) {
		t.Errorf("the median of nothing is %v", m)
	}
	dir := t.TempDir()
	if err := r.write(dir); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile(filepath.Join(dir, "results.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"200 (100 to 300)", "| produce 1 KiB, on disk, against Kafka in memory | 4 | ≥ 1.5 | reached |"} {
		if !strings.Contains(string(table), text) {
			t.Errorf("%q is not in the table:\n%s", text, table)
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var back results
	if err := json.Unmarshal(raw, &back); err != nil || len(back.Samples) != len(r.Samples) {
		t.Errorf("read back %d samples, error %v", len(back.Samples), err)
	}
	for _, file := range []string{"produce.svg", "produce-cpu.svg"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "consume.svg")); err == nil {
		t.Error("a picture was drawn of what was not measured")
	}
}
