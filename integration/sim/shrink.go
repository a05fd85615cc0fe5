package sim

import "slices"

// shrinkRuns is how many histories are run at most to make one shorter.
const shrinkRuns = 150

// Shrink finds a small part of a seed's faults with which the same promise is
// still broken: it leaves out parts of them, first half, then quarters and so on,
// as long as that helps. It returns the numbers of those that are needed.
func Shrink(seed uint64, violation string) []int {
	fails := func(kept []int) bool {
		r := Run(seed, Options{Keep: only(kept)})
		return r.Violation != nil && r.Violation.Name == violation
	}
	all := Run(seed, Options{})
	kept := make([]int, len(all.Plan))
	for n := range kept {
		kept[n] = n
	}
	struck := slices.DeleteFunc(slices.Clone(kept), func(n int) bool {
		return all.Violation != nil && all.Plan[n].At > all.Violation.At
	})
	runs := 1
	if fails(struck) {
		kept = struck
	}
	for part := (len(kept) + 1) / 2; part > 0; part /= 2 {
		for at := 0; at < len(kept) && runs < shrinkRuns; runs++ {
			fewer := slices.Delete(slices.Clone(kept), at, min(at+part, len(kept)))
			if fails(fewer) {
				kept = fewer
			} else {
				at += part
			}
		}
	}
	return kept
}
