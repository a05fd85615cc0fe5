//go:build linux

// Command figures measures the real binary on this machine, beside what the
// machine and the client can do without a broker, and prints one table: the
// median of some runs, their range, and the goal. Whatever is compared is
// measured in turn, within one run.
//
//	produce   franz-go, 1 KiB records, six partitions, acks=all on disk, against plain
//	          writes and fdatasyncs of the same bytes, and against a server that drops them
//	consume   the same records, against a server that answers from memory
//	ready     the start with 1,000 partitions and 10 GB, after an orderly stop and after kill -9
//	idle      memory and CPU with 100 and 10,000 partitions
//	groups    joins, and rest, of consumer groups
//	commits   offsets committed through one coordinator of three nodes
//	sdk       the actor SDK, against the Kafka client that it stands on; memory of an idle key
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"understudy/integration/process"
)

// bench is one run of this command.
type bench struct {
	dir    string // for all data
	runs   int
	bytes  int64 // produced and consumed in each run
	stored int64 // in the partitions when the start is measured
	rows   []row
}

// row is a line of the table.
type row struct {
	name    string
	unit    string
	values  []float64
	goal    string
	reached func(median float64) bool // nil: nothing was asked
}

func (b *bench) report(name, unit string, values []float64, goal string, reached func(float64) bool) {
	r := row{name, unit, values, goal, reached}
	b.rows = append(b.rows, r)
	fmt.Fprintf(os.Stderr, "%s: %s %s\n", name, number(r.median()), unit)
}

func (r row) median() float64 {
	sorted := slices.Sorted(slices.Values(r.values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func atLeast(goal float64) func(float64) bool { return func(v float64) bool { return v >= goal } }
func atMost(goal float64) func(float64) bool  { return func(v float64) bool { return v <= goal } }

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	dir := flag.String("dir", os.TempDir(), "where the data is kept meanwhile; it should be on the disk that is meant")
	runs := flag.Int("runs", 5, "runs of which the median is taken")
	mib := flag.Int64("mib", 2048, "MiB to produce and to consume in each run")
	stored := flag.Int64("stored-mib", 10_000, "MiB in the partitions when the start is measured")
	only := flag.String("only", "produce,consume,ready,idle,groups,commits,sdk", "what to measure")
	ceiling := flag.Bool("serve-ceiling", false, "be the server without a log (used by the command itself)")
	flag.Parse()
	if *ceiling {
		return serveCeiling(os.Stdout)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	defer process.Cleanup()
	b := &bench{runs: *runs, bytes: *mib << 20, stored: *stored << 20}
	if b.dir, err = os.MkdirTemp(*dir, "figures-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	parts := map[string]func(context.Context) error{"produce": b.throughput, "ready": b.ready, "idle": b.idle, "groups": b.groups, "commits": b.commits, "sdk": b.sdk}
	for _, name := range strings.Split(*only, ",") {
		if name == "consume" {
			name = "produce" // what is consumed has been produced
		}
		part, ok := parts[name]
		if !ok {
			continue
		}
		delete(parts, name)
		if err := part(ctx); err != nil {
			b.print()
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	b.print()
	return nil
}

func (b *bench) print() {
	t := table.NewWriter()
	t.SetOutputMirror(os.Stdout)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"figure", "median", "from", "to", "unit", "goal", ""})
	for _, r := range b.rows {
		verdict := ""
		if r.reached != nil {
			verdict = map[bool]string{true: "reached", false: "MISSED"}[r.reached(r.median())]
		}
		t.AppendRow(table.Row{r.name, number(r.median()), number(slices.Min(r.values)), number(slices.Max(r.values)), r.unit, r.goal, verdict})
	}
	t.Render()
}

// number prints three digits that matter.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// start starts a broker on a new data directory.
func (b *bench) start(ctx context.Context, name string) (*process.Broker, error) {
	return process.Start(ctx, process.Options{DataDir: filepath.Join(b.dir, name)})
}

// end stops a broker and removes its data.
func end(broker *process.Broker) error {
	broker.Kill()
	return os.RemoveAll(broker.DataDir())
}
