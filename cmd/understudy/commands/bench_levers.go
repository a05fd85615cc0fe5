package commands

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"understudy/cmd/understudy/bench"
)

func newBenchLevers(streams Streams) *cobra.Command {
	var f benchFlags
	var pictures string
	var only []string
	cmd := &cobra.Command{
		Use:   "levers",
		Short: "Measure what batching, linger, compression, partitions and replicas do",
		Long: `Measure what a user can turn: the size of batches and how long they wait, the codec,
the number of partitions, replicas and acknowledgements. One is turned at a time, the
others are as the flags say. The result is one table with a sentence of reading for
each lever and, with --pictures, curves.`,
		Example: `  understudy bench levers --pictures .
  understudy bench levers --only batch,compression --duration 5s`,
		Args: args(0, 0, ""),
	}
	f.add(cmd)
	f.addProducing(cmd, 5*time.Millisecond, 0, "records a second, all producers together; 0: as fast as they go")
	cmd.Flags().StringVar(&pictures, "pictures", "", "write curves to this folder, as SVG")
	cmd.Flags().StringSliceVar(&only, "only", nil, "turn these alone: "+strings.Join(bench.LeverNames(), ", "))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for _, name := range only {
			if !slices.Contains(bench.LeverNames(), name) {
				return wrongUsage(cmd, "--only %s: it is one of %s", name, strings.Join(bench.LeverNames(), ", "))
			}
		}
		if f.options.Topic != "" {
			return wrongUsage(cmd, "--topic: every position of a lever has a topic of its own")
		}
		return f.runLevers(cmd, streams, pictures, func(lever string) bool { return len(only) == 0 || slices.Contains(only, lever) })
	}
	return cmd
}

func (f *benchFlags) runLevers(cmd *cobra.Command, streams Streams, pictures string, only func(string) bool) error {
	asJSON, err := f.out.json(cmd)
	if err != nil {
		return err
	}
	if err := f.prepare(cmd, streams); err != nil {
		return err
	}
	f.options.Progress = func(int64, int64) {}
	levers, err := bench.Levers(cmd.Context(), f.options, only)
	if err != nil {
		return f.explain(cmd, err)
	}
	if pictures != "" {
		if err := writePictures(pictures, levers); err != nil {
			return err
		}
	}
	if asJSON {
		return writeJSON(streams.Out, levers)
	}
	return writeLevers(streams, levers)
}

func writePictures(dir string, levers []bench.Lever) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i := range levers {
		files, err := levers[i].Pictures()
		if err != nil {
			return err
		}
		for name, svg := range files {
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), svg, 0o644))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func writeLevers(streams Streams, levers []bench.Lever) error {
	columns := []column{{name: "lever"}, {name: "position"}, {name: "MB/s", number: true}, {name: "records/s", number: true},
		{name: "p50", number: true}, {name: "p99", number: true}, {name: "broker CPU s/GB", number: true}, {name: "client CPU s/GB", number: true}}
	var rows [][]any
	for _, l := range levers {
		for _, p := range l.Points {
			r := p.Result
			row := []any{l.Name, p.Label, fmt.Sprintf("%.1f", r.MBPerSecond), fmt.Sprintf("%.0f", r.RecordsPerSecond), "–", "–", "–", "–"}
			if q := r.Acknowledged; q != nil {
				row[4], row[5] = msText(q.P50), msText(q.P99)
			}
			if r.Broker != nil {
				row[6] = fmt.Sprintf("%.2f", r.Broker.PerGB)
			}
			if r.Client != nil {
				row[7] = fmt.Sprintf("%.2f", r.Client.PerGB)
			}
			rows = append(rows, row)
		}
	}
	if err := writeTable(streams.Out, columns, rows); err != nil {
		return err
	}
	for i := range levers {
		if _, err := fmt.Fprintf(streams.Out, "\n%s: %s.\n%s\n", levers[i].Name, levers[i].About, levers[i].Reading()); err != nil {
			return err
		}
	}
	return nil
}
