// Command simulate runs simulated histories of clusters, and explains those in
// which a promise is broken. See package sim.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"understudy/integration/sim"
)

func main() {
	var (
		seeds  = flag.Int("seeds", 2000, "how many seeds")
		from   = flag.Uint64("from", 1, "the first of them")
		seed   = flag.Uint64("seed", 0, "run the history of this seed alone, and print it")
		faults = flag.String("faults", "", "with -seed: only these of its faults, by number; none")
		lines  = flag.Int("lines", 400, "how much of a history is printed at most")
		all    = flag.Bool("all", false, "go on after a failure, and name all that failed")
		commit = flag.String("commit", "unknown", "what is being tested, for the report")
	)
	flag.Parse()
	if *seed != 0 {
		os.Exit(one(*seed, *faults, *lines))
	}
	os.Exit(many(*from, *seeds, *lines, *commit, *all))
}

// many runs seeds, until one fails unless all are wanted, and explains the first.
func many(from uint64, seeds, lines int, commit string, all bool) int {
	done := 0
	report := sim.Many{From: from, Seeds: seeds, Workers: runtime.GOMAXPROCS(0), Each: func(r sim.Result) bool {
		if done++; done%100 == 0 {
			fmt.Fprintf(os.Stderr, "%d of %d\n", done, seeds)
		}
		if all && r.Violation != nil {
			fmt.Printf("seed %d: %v\n", r.Seed, r.Violation)
		}
		return all || r.Violation == nil
	}}.Run()
	report.Write(os.Stdout)
	if len(report.Failed) == 0 {
		return 0
	}
	sim.Explain(os.Stdout, report.Failed[0], commit, lines)
	return 1
}

// one runs one seed and prints what happens.
func one(seed uint64, faults string, lines int) int {
	o := sim.Options{Lines: lines}
	if faults != "" {
		kept := map[int]bool{}
		for word := range strings.SplitSeq(faults, ",") {
			n, err := strconv.Atoi(word)
			if err != nil && faults != "none" {
				fmt.Fprintln(os.Stderr, err)
				return 2
			}
			kept[n] = err == nil
		}
		o.Keep = func(n int) bool { return kept[n] }
	}
	r := sim.Run(seed, o)
	for _, line := range r.Lines {
		fmt.Println(line)
	}
	fmt.Printf("seed %d: %d steps, trace %016x\n", seed, r.Steps, r.Hash)
	if r.Violation != nil {
		fmt.Println(r.Violation)
		return 1
	}
	fmt.Println("all promises were kept")
	return 0
}
