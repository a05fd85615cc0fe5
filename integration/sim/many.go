package sim

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"understudy/integration/history"
)

// Many runs the histories of seeds, some beside each other.
type Many struct {
	From    uint64 // the first seed
	Seeds   int
	Workers int
	// Blind has histories judged by what clients saw alone; see Options.
	Blind bool
	// Each is told of every history that has ended, one at a time, in no order; may
	// be nil. It returns false to end the run.
	Each func(Result) bool
}

// Report is what became of many histories.
type Report struct {
	Seeds  int // that were run
	Length int64
	Steps  int
	Faults int
	Counts map[string]int
	Failed []Result // by seed
}

// Run runs them. The report is the same whoever was faster.
func (m Many) Run() Report {
	r := Report{Counts: map[string]int{}}
	var mu sync.Mutex
	next, ended := m.From, false
	take := func() (seed uint64, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		seed = next
		next++
		return seed, !ended && seed < m.From+uint64(m.Seeds)
	}
	var workers sync.WaitGroup
	for range max(m.Workers, 1) {
		workers.Go(func() {
			for seed, ok := take(); ok; seed, ok = take() {
				result := m.one(seed)
				mu.Lock()
				r.add(result)
				if m.Each != nil && !m.Each(result) {
					ended = true
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	slices.SortFunc(r.Failed, func(a, b Result) int { return int(a.Seed) - int(b.Seed) })
	return r
}

// told is which of the histories are told in detail, though nobody listens: what is
// printed when one fails must be in order, too.
const told = 20

// one runs a seed's history. It is judged twice: by the model that looks into
// replicas, and by the checker of histories, which knows no more than clients.
func (m Many) one(seed uint64) Result {
	checker := history.NewChecker()
	lines := 0
	if seed%told == 0 {
		lines = 1
	}
	r := Run(seed, Options{Blind: m.Blind, History: checker, Lines: lines})
	if r.Violation != nil || !r.Done {
		return r
	}
	if v := checker.Verdict(); !v.Good() {
		f := v.Findings[0]
		r.Violation = &Violation{Name: string(f.Kind), Text: f.String(), At: r.Length}
	}
	return r
}

func (r *Report) add(one Result) {
	r.Seeds++
	r.Length += one.Length
	r.Steps += one.Steps
	r.Faults += one.Struck
	for what, n := range one.Counts {
		r.Counts[what] += n
	}
	if one.Violation != nil {
		r.Failed = append(r.Failed, one)
	}
}

// Write writes the report, with how often everything was come to: also the faults
// that never happened.
func (r *Report) Write(w io.Writer) {
	for k := range faultKinds {
		r.Counts["fault: "+k.String()] += 0
	}
	for _, what := range slices.Sorted(maps.Keys(r.Counts)) {
		fmt.Fprintf(w, "%10d  %s\n", r.Counts[what], what)
	}
	fmt.Fprintf(w, "%d histories of %.0f simulated seconds, %d faults, %d steps: %d broke a promise\n",
		r.Seeds, float64(r.Length)/float64(second), r.Faults, r.Steps, len(r.Failed))
}

// enough is from how many histories on each fault, and each of what is rare, must have
// come about: what never happened is not tested.
const enough = 1000

// rare is what has to come about now and then, beside the faults.
var rare = []string{
	"returned alone", "node added", "node removed", "logs compacted", "unclean election",
	"told that what is committed is not there", "commit whose answer was lost", "read that the store refused",
	"power cut in the middle of a call", "power cut of a disk that lied", "damage: an epoch turned in .log",
	"controller: broker-drained", "controller: move-cancelled", "controller: partition-offline",
	"replica: Failed", "replica: Isolated", "replica: Resigned", "replica: Truncated", "replica: ISRRefused",
	"group: settled", "group: commit refused", "group: member started twice",
}

// Missing is what should have come about in so many histories, and has not.
func (r *Report) Missing() (list []string) {
	if r.Seeds < enough {
		return nil
	}
	for k := range faultKinds {
		if what := "fault: " + k.String(); r.Counts[what] == 0 {
			list = append(list, what)
		}
	}
	for _, what := range rare {
		if r.Counts[what] == 0 {
			list = append(list, what)
		}
	}
	return list
}

// Explain tells what went wrong in a history: how to run it again, which of its
// faults are needed for it, and what happened in the end. lines bounds the last.
func Explain(w io.Writer, r Result, commit string, lines int) {
	fmt.Fprintf(w, "seed %d, commit %s: %v\n", r.Seed, commit, r.Violation)
	fmt.Fprintf(w, "run it again:  make sim SEED=%d\n", r.Seed)
	kept := Shrink(r.Seed, r.Violation.Name)
	if len(kept) < len(r.Plan) {
		fmt.Fprintf(w, "a shorter one: make sim SEED=%d FAULTS=%s\n", r.Seed, list(kept))
	}
	again := Run(r.Seed, Options{Lines: lines, Keep: only(kept)})
	fmt.Fprintf(w, "with these %d of its %d faults: %v\n", len(kept), len(r.Plan), again.Violation)
	for _, n := range kept {
		fmt.Fprintf(w, "  %3d %v\n", n, r.Plan[n])
	}
	fmt.Fprintln(w, "the last that happened:")
	for _, line := range again.Lines {
		fmt.Fprintln(w, line)
	}
}

func list(numbers []int) string {
	if len(numbers) == 0 {
		return "none"
	}
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(numbers), "[]"), " ", ",")
}

// only keeps the faults of these numbers.
func only(kept []int) func(int) bool {
	return func(n int) bool { return slices.Contains(kept, n) }
}
