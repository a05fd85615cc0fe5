//go:build cluster

package cluster

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// The report: what was measured, in the order in which it came.
var report struct {
	mu      sync.Mutex
	rows    []*row
	figures []string
}

// row is one fault as one client felt it.
type row struct {
	fault, client string
	gaps          []gaps
}

func noteGaps(fault, client string, g gaps) {
	report.mu.Lock()
	defer report.mu.Unlock()
	i := slices.IndexFunc(report.rows, func(r *row) bool { return r.fault == fault && r.client == client })
	if i < 0 {
		report.rows = append(report.rows, &row{fault: fault, client: client})
		i = len(report.rows) - 1
	}
	report.rows[i].gaps = append(report.rows[i].gaps, g)
}

// noteFigure adds a line to the report.
func noteFigure(format string, args ...any) {
	report.mu.Lock()
	defer report.mu.Unlock()
	report.figures = append(report.figures, fmt.Sprintf(format, args...))
}

// printReport prints what was measured, to the file that is named for it as well.
func printReport() error {
	report.mu.Lock()
	defer report.mu.Unlock()
	if len(report.rows)+len(report.figures) == 0 {
		return nil
	}
	var b strings.Builder
	if len(report.rows) > 0 {
		fmt.Fprintf(&b, "\nLongest time without an acknowledgement, or a record to read, of any partition, in seconds: median / worst.\n\n")
		fmt.Fprintf(&b, "%-24s %-11s %6s  %16s %16s %16s %16s\n", "", "", "times", "victim leads", "others lead", "consume", "once healed")
		for _, r := range report.rows {
			fmt.Fprintf(&b, "%-24s %-11s %6d  %16s %16s %16s %16s\n", r.fault, r.client, len(r.gaps),
				r.of(func(g gaps) time.Duration { return g.led }), r.of(func(g gaps) time.Duration { return g.followed }),
				r.of(func(g gaps) time.Duration { return g.consume }), r.of(func(g gaps) time.Duration { return g.after }))
		}
	}
	for i, f := range report.figures {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintln(&b, f)
	}
	fmt.Print(b.String())
	if *out == "" {
		return nil
	}
	return os.WriteFile(*out, []byte(b.String()), 0o644)
}

func (r *row) of(which func(gaps) time.Duration) string {
	var all []time.Duration
	for _, g := range r.gaps {
		all = append(all, which(g))
	}
	median, worst := medianAndWorst(all)
	return fmt.Sprintf("%.2f / %.2f", median.Seconds(), worst.Seconds())
}

func medianAndWorst(list []time.Duration) (median, worst time.Duration) {
	slices.Sort(list)
	return list[len(list)/2], list[len(list)-1]
}
