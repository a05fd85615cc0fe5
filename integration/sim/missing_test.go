package sim

import (
	"slices"
	"testing"
)

// TestWhatNeverHappenedIsSaid: a fault that never came about is not tested.
func TestWhatNeverHappenedIsSaid(t *testing.T) {
	r := Report{Seeds: enough, Counts: map[string]int{}}
	for k := range faultKinds {
		r.Counts["fault: "+k.String()] = 1
	}
	for _, what := range rare {
		r.Counts[what] = 1
	}
	if list := r.Missing(); list != nil {
		t.Errorf("everything has come about, and missing are %v", list)
	}
	r.Counts["fault: "+crash.String()] = 0
	delete(r.Counts, "node removed")
	if list := r.Missing(); !slices.Equal(list, []string{"fault: crash", "node removed"}) {
		t.Errorf("missing are %v", list)
	}
	if r.Seeds--; r.Missing() != nil {
		t.Error("few histories need not have everything in them")
	}
}
