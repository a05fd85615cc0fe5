package sim

import (
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestSeeds runs the histories of some seeds; `make sim` runs more.
func TestSeeds(t *testing.T) {
	n := 200
	if slow || testing.Short() {
		n = 16
	}
	report := Many{From: 1, Seeds: n, Workers: runtime.GOMAXPROCS(0), Each: func(r Result) bool { return r.Violation == nil }}.Run()
	for _, r := range report.Failed {
		var text strings.Builder
		Explain(&text, r, "of this test", 200)
		t.Error(text.String())
	}
	if t.Failed() || n < 200 {
		return
	}
	for k := range faultKinds {
		if what := "fault: " + k.String(); report.Counts[what] == 0 {
			t.Errorf("no history came to: %s", what)
		}
	}
	if report.Counts["returned alone"] == 0 {
		t.Error("no node has come back alone")
	}
	if report.Faults < 10*n {
		t.Errorf("%d faults in %d histories", report.Faults, n)
	}
}

// TestASeedIsTheSameEveryTime runs seeds twice, once of them in detail, and
// compares all that happened.
func TestASeedIsTheSameEveryTime(t *testing.T) {
	n := uint64(12)
	if slow || testing.Short() {
		n = 2
	}
	for seed := uint64(1); seed <= n; seed++ {
		first, second := Run(seed, Options{}), Run(seed, Options{Lines: 1000})
		third := Run(seed, Options{Lines: 1000})
		if first.Hash != second.Hash || first.Steps != second.Steps || !slices.Equal(second.Lines, third.Lines) {
			t.Errorf("seed %d went otherwise: %d steps, %016x, and %d steps, %016x", seed, first.Steps, first.Hash, second.Steps, second.Hash)
		}
	}
}

// TestAHistoryWithoutFaults keeps the tests of faults from testing nothing but faults.
func TestAHistoryWithoutFaults(t *testing.T) {
	r := Run(5, Options{Keep: func(int) bool { return false }})
	if r.Violation != nil || r.Struck != 0 || r.Counts["acknowledged"] == 0 || r.Counts["consumed"] == 0 {
		t.Errorf("%v, %d faults, %d acknowledged, %d consumed", r.Violation, r.Struck, r.Counts["acknowledged"], r.Counts["consumed"])
	}
}
