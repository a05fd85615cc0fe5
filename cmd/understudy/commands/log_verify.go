package commands

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"understudy/cmd/understudy/logfile"
)

func newLogVerify(streams Streams) *cobra.Command {
	var (
		out     outputFlag
		options logfile.Options
	)
	cmd := &cobra.Command{
		Use:   "verify PATH...",
		Short: "Check checksums, offsets, epochs and indexes",
		Long: `Check every batch's length and checksum, that offsets follow each other and leader
epochs never fall, and that indexes and epoch file agree with the log. Every
problem is named with its file and byte position. The exit code is 1 if there is
one. Offsets follow each other in compacted logs, too; those that Kafka itself has
compacted need --compacted.
` + logPathHelp,
		Args: args(1, -1, "files or directories"),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := out.json(cmd)
			if err != nil {
				return err
			}
			partitions, err := logfile.Find(args)
			if err != nil {
				return err
			}
			reports, err := verifyAll(cmd, streams, partitions, options)
			if err != nil {
				return err
			}
			problems := 0
			for _, r := range reports {
				problems += len(r.Problems)
			}
			if asJSON {
				err = writeJSON(streams.Out, reports)
			} else {
				err = writeReports(streams, reports)
			}
			if err == nil && problems > 0 {
				err = fmt.Errorf("%s found", plural(problems, "problem"))
			}
			return err
		},
	}
	out.add(cmd)
	cmd.Flags().BoolVar(&options.Records, "records", false, "unpack the batches and read every record, too")
	cmd.Flags().BoolVar(&options.Compacted, "compacted", false, "offsets may be missing, as in a topic that Kafka has compacted")
	return cmd
}

func verifyAll(cmd *cobra.Command, streams Streams, partitions []logfile.Partition, options logfile.Options) ([]logfile.Report, error) {
	total := int64(0)
	for _, p := range partitions {
		total += p.Bytes()
	}
	bar := newProgress(streams, total, "verifying", true)
	defer bar.done()
	options.Progress = bar.add
	reports := make([]logfile.Report, 0, len(partitions))
	for _, p := range partitions {
		if cmd.Context().Err() != nil {
			return nil, errInterrupted
		}
		r, err := logfile.Verify(p, options)
		if err != nil {
			return nil, err
		}
		if r.Dir == "" {
			r.Dir = p.Segments[0].Path
		}
		reports = append(reports, r)
	}
	return reports, nil
}

func writeReports(streams Streams, reports []logfile.Report) error {
	rows := make([][]any, len(reports))
	for i, r := range reports {
		rows[i] = []any{r.Dir, r.Segments, r.Batches, r.Records, bytesText(float64(r.Bytes)), r.Start, r.End, len(r.Problems)}
	}
	err := writeTable(streams.Out, []column{{name: "log"}, {"segments", true}, {"batches", true}, {"records", true}, {"size", true}, {"start", true}, {"end", true}, {"problems", true}}, rows)
	for _, r := range reports {
		for _, note := range r.Notes {
			streams.note("note: %s", note)
		}
		for _, p := range r.Problems {
			_, printErr := fmt.Fprintln(streams.Out, p)
			err = errors.Join(err, printErr)
		}
	}
	return err
}
