// Command simulate runs simulated histories of clusters, and explains those in
// which a promise is broken. See package sim.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"understudy/integration/history"
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
		first  = flag.Bool("first", false, "only name the first seed that failed, and what was wrong")
		blind  = flag.Bool("blind", false, "have only what clients see count, as the checker of histories judges it")
		record = flag.String("history", "", "with -seed: a file that the history is written to")
		commit = flag.String("commit", "unknown", "what is being tested, for the report")
	)
	flag.Parse()
	debug.SetGCPercent(400)
	switch {
	case *seed != 0:
		os.Exit(one(*seed, *faults, *lines, *record))
	case *first:
		os.Exit(find(*from, *seeds, *blind))
	}
	os.Exit(many(*from, *seeds, *lines, *commit, *all))
}

// find runs seeds until one fails, and names it in one line.
func find(from uint64, seeds int, blind bool) int {
	report := sim.Many{From: from, Seeds: seeds, Workers: runtime.GOMAXPROCS(0), Blind: blind, Each: func(r sim.Result) bool { return r.Violation == nil }}.Run()
	if len(report.Failed) == 0 {
		fmt.Println("none of", report.Seeds)
		return 0
	}
	fmt.Println(report.Failed[0].Seed, report.Failed[0].Violation)
	return 1
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
		return missing(report.Missing())
	}
	sim.Explain(os.Stdout, report.Failed[0], commit, lines)
	return 1
}

// missing says what has not come about, though it should have.
func missing(list []string) int {
	for _, what := range list {
		fmt.Println("in no history:", what)
	}
	return min(len(list), 1)
}

// one runs one seed and prints what happens.
func one(seed uint64, faults string, lines int, record string) int {
	o := sim.Options{Lines: lines}
	var out *history.Writer
	if record != "" {
		f, err := os.Create(record)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
		defer f.Close()
		out = history.NewWriter(f)
		o.History = out
	}
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
	if out != nil {
		if err := out.Flush(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
	}
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
