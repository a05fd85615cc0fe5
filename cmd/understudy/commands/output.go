package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
)

// outputFlag is -o: how a command writes what it found.
type outputFlag struct {
	format string
}

func (f *outputFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.format, "output", "o", "text", "text or json")
}

// json reports whether JSON is wanted.
func (f *outputFlag) json(cmd *cobra.Command) (bool, error) {
	switch f.format {
	case "text":
		return false, nil
	case "json":
		return true, nil
	}
	return false, wrongUsage(cmd, "--output %s: it is text or json", f.format)
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// column is a table's column; numbers stand to the right.
type column struct {
	name   string
	number bool
}

// writeTable writes rows under a heading, without lines between.
func writeTable(w io.Writer, columns []column, rows [][]any) error {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Options = table.OptionsNoBordersAndSeparators
	t.Style().Box.PaddingLeft, t.Style().Box.PaddingRight = "", "  "
	header := make(table.Row, len(columns))
	configs := make([]table.ColumnConfig, len(columns))
	for i, c := range columns {
		header[i] = c.name
		configs[i] = table.ColumnConfig{Number: i + 1}
		if c.number {
			configs[i].Align, configs[i].AlignHeader = text.AlignRight, text.AlignRight
		}
	}
	t.AppendHeader(header)
	t.SetColumnConfigs(configs)
	t.SuppressTrailingSpaces()
	for _, row := range rows {
		t.AppendRow(table.Row(row))
	}
	_, err := fmt.Fprintln(w, t.Render())
	return err
}

func itoa[T ~int | ~int16 | ~int32 | ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }

// plural is "1 line", "2 lines".
func plural[T ~int | ~int16 | ~int32 | ~int64](n T, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return itoa(n) + " " + one + "s"
}

// bytesText is a number of bytes for people: "1.4 MiB".
func bytesText(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n >= 1024 && i < len(units)-1 {
		n /= 1024
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%.0f B", n)
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}

// rate is how many per second; 0 for no time at all.
func rate(n float64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return n / d.Seconds()
}

func secondsText(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}

// shows has a command ask a cluster for what get gets, and show that: as text by write,
// or for programs.
func shows[T any](cmd *cobra.Command, streams Streams, write func(Streams, T) error, get func(context.Context, *client, []string) (T, error)) {
	var (
		conn clientFlags
		out  outputFlag
	)
	conn.add(cmd)
	out.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		asJSON, err := out.json(cmd)
		if err != nil {
			return err
		}
		c, err := conn.connect(cmd.Context(), streams)
		if err != nil {
			return err
		}
		defer c.Close()
		got, err := get(cmd.Context(), c, args)
		switch {
		case err != nil:
			return err
		case asJSON:
			return writeJSON(streams.Out, got)
		}
		return write(streams, got)
	}
}

// writeEach writes one after the other, with an empty line between two.
func writeEach[T any](streams Streams, all []T, write func(T) error) error {
	for i, v := range all {
		if i > 0 {
			fmt.Fprintln(streams.Out)
		}
		if err := write(v); err != nil {
			return err
		}
	}
	return nil
}
