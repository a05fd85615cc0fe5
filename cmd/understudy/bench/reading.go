package bench

import (
	"fmt"
	"strings"

	"understudy/cmd/understudy/bench/chart"
)

// Reading says in a sentence what a lever's figures say.
func (l *Lever) Reading() string {
	if len(l.Points) < 2 {
		return ""
	}
	first, last := l.Points[0], l.Points[len(l.Points)-1]
	best := l.best(func(r Result) float64 { return r.RecordsPerSecond })
	switch l.Name {
	case "batch":
		return fmt.Sprintf("Batches of %s carry %s times as much as batches of %s%s: each costs about the same, however full.",
			best.Label, ratio(best.Result.MBPerSecond, first.Result.MBPerSecond), first.Label, cpuClause(best, first))
	case "linger":
		return fmt.Sprintf("From %s to %s the median acknowledgement goes from %.2f to %.2f ms%s: waiting buys fuller batches, and is only worth it where CPU is short.",
			first.Label, last.Label, p50(first), p50(last), cpuClause(last, first))
	case "compression":
		return fmt.Sprintf("%s takes the most records, %s times as many as without compression%s: the client pays for what brokers, disks and network save.",
			best.Label, ratio(best.Result.RecordsPerSecond, first.Result.RecordsPerSecond), cpuClause(best, first))
	case "partitions":
		return fmt.Sprintf("The most is carried with %s; %s partitions carry %s of that: more partitions than cores and consumers need make batches smaller and syncs more.",
			best.Label, last.Label, percent(last.Result.MBPerSecond, best.Result.MBPerSecond))
	case "replicas":
		return fmt.Sprintf("With %s %s of what %s takes is carried%s: copies are paid for in CPU, and waiting for them in latency more than in throughput.",
			last.Label, percent(last.Result.MBPerSecond, first.Result.MBPerSecond), first.Label, cpuClause(last, first))
	}
	return ""
}

func (l *Lever) best(of func(Result) float64) Point {
	best := l.Points[0]
	for _, p := range l.Points {
		if of(p.Result) > of(best.Result) {
			best = p
		}
	}
	return best
}

func p50(p Point) float64 {
	if p.Result.Acknowledged == nil {
		return 0
	}
	return p.Result.Acknowledged.P50
}

// cpuClause compares the brokers' CPU of two points, if it is known.
func cpuClause(a, b Point) string {
	if a.Result.Broker == nil || b.Result.Broker == nil || b.Result.Broker.PerGB == 0 {
		return ""
	}
	return fmt.Sprintf(", at %s times the broker's CPU for a gigabyte", ratio(a.Result.Broker.PerGB, b.Result.Broker.PerGB))
}

func ratio(a, b float64) string {
	if b == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2g", a/b)
}

func percent(a, b float64) string {
	if b == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f%%", 100*a/b)
}

// Pictures are a lever's curves, by file name: throughput, the brokers' CPU, and
// the latency.
func (l *Lever) Pictures() (map[string][]byte, error) {
	var categories []string
	for _, p := range l.Points {
		categories = append(categories, p.Label)
	}
	files := map[string][]byte{}
	for _, c := range []struct {
		suffix, title, unit string
		of                  func(Result) (float64, bool)
	}{
		{"", "throughput", "MB/s", func(r Result) (float64, bool) { return r.MBPerSecond, true }},
		{"-cpu", "broker CPU", "s/GB", func(r Result) (float64, bool) {
			if r.Broker == nil {
				return 0, false
			}
			return r.Broker.PerGB, true
		}},
		{"-latency", "p50 until acknowledged", "ms", func(r Result) (float64, bool) {
			if r.Acknowledged == nil {
				return 0, false
			}
			return r.Acknowledged.P50, true
		}},
	} {
		values, all := make([]float64, 0, len(l.Points)), true
		for _, p := range l.Points {
			v, known := c.of(p.Result)
			values, all = append(values, v), all && known
		}
		if !all {
			continue
		}
		picture := chart.Picture{
			Title: strings.ToUpper(l.Name[:1]) + l.Name[1:] + ": " + c.title, Unit: c.unit, Categories: categories,
			Series: []chart.Series{{Name: c.title, Values: values}},
		}
		svg, err := picture.Lines()
		if err != nil {
			return nil, err
		}
		files["levers-"+l.Name+c.suffix+".svg"] = svg
	}
	return files, nil
}
