//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"understudy/cmd/understudy/bench/chart"
)

// results are all that was measured, as they are kept in results.json.
type results struct {
	Machine machine  `json:"machine"`
	Samples []sample `json:"samples"`
}

// sample is one scenario on one system in one round.
type sample struct {
	Round    int     `json:"round"`
	Scenario string  `json:"scenario"`
	System   string  `json:"system"`
	Figures  figures `json:"figures"`
}

// values are a figure's values of all rounds, in rising order.
func (r *results) values(scenario, system, figure string) (list []float64) {
	for _, s := range r.Samples {
		if v, ok := s.Figures[figure]; ok && s.Scenario == scenario && s.System == system {
			list = append(list, v)
		}
	}
	slices.Sort(list)
	return list
}

func (r *results) median(scenario, system, figure string) (float64, bool) {
	list := r.values(scenario, system, figure)
	n := len(list)
	if n == 0 {
		return math.NaN(), false
	}
	return (list[(n-1)/2] + list[n/2]) / 2, true
}

// write writes the tables, the raw figures and the pictures to a folder.
func (r *results) write(dir string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "results.json"), raw, 0o644),
		os.WriteFile(filepath.Join(dir, "results.md"), []byte(r.markdown()), 0o644))
	for _, p := range pictures {
		picture, any := r.picture(p)
		if !any {
			continue
		}
		svg, drawErr := picture.Bars()
		if drawErr == nil {
			drawErr = os.WriteFile(filepath.Join(dir, p.file+".svg"), svg, 0o644)
		}
		err = errors.Join(err, drawErr)
	}
	return err
}

// columns are the figures in the order in which they stand in tables.
var columns = []string{throughput, perSecond, brokerCPU, clientCPU, resident, ackP50, ackP99, seenP50, seenP99, seconds, idleCPU, idleMiB, gapSeconds}

func (r *results) markdown() string {
	var b strings.Builder
	r.Machine.write(&b)
	r.writeGoals(&b)
	for _, s := range scenarios {
		var have []string
		for _, c := range columns {
			if slices.ContainsFunc(s.on, func(system string) bool { return len(r.values(s.name, system, c)) > 0 }) {
				have = append(have, c)
			}
		}
		if len(have) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n| | %s |\n|---%s|\n", s.name, capital(s.about), strings.Join(have, " | "), strings.Repeat("|---:", len(have)))
		for _, k := range kinds {
			if !slices.Contains(s.on, k.name) || !r.has(s.name, k.name) {
				continue
			}
			fmt.Fprintf(&b, "| %s: %s", k.name, k.about)
			for _, c := range have {
				fmt.Fprintf(&b, " | %s", cell(r.values(s.name, k.name, c)))
			}
			b.WriteString(" |\n")
		}
	}
	return b.String()
}

func (r *results) has(scenario, system string) bool {
	return slices.ContainsFunc(r.Samples, func(s sample) bool { return s.Scenario == scenario && s.System == system })
}

func (r *results) writeGoals(b *strings.Builder) {
	header := false
	for _, g := range goals {
		v, ok := g.value(r)
		if !ok {
			continue
		}
		if !header {
			header = true
			b.WriteString("\n## Goals\n\nRatios of the medians below.\n\n| | measured | goal | |\n|---|---:|---:|---|\n")
		}
		bound := "≥ " + number(g.atLeast)
		if g.atLeast == 0 {
			bound = "≤ " + number(g.atMost)
		}
		verdict := "missed"
		if g.reached(v) {
			verdict = "reached"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", g.what, number(v), bound, verdict)
	}
}

// cell is a median with its range.
func cell(list []float64) string {
	n := len(list)
	if n == 0 {
		return "–"
	}
	median := number((list[(n-1)/2] + list[n/2]) / 2)
	if n == 1 {
		return median
	}
	return fmt.Sprintf("%s (%s to %s)", median, number(list[0]), number(list[n-1]))
}

// number is a value in three digits.
func number(v float64) string {
	if math.Abs(v) >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// plan is a picture to be drawn of a figure.
type plan struct {
	file, title, figure string
	scenarios           []string
}

var pictures = []plan{
	{"produce", "Produce: three replicas, six partitions, acks=all", throughput, []string{"produce-100", "produce-1k", "produce-10k", "produce-1k-16k", "produce-1k-64k"}},
	{"produce-cpu", "Broker CPU for a gigabyte produced", brokerCPU, []string{"produce-100", "produce-1k", "produce-10k", "produce-1k-16k", "produce-1k-64k"}},
	{"consume", "Consume from the start", throughput, []string{"consume-100", "consume-1k", "consume-10k"}},
	{"sync-p50", "One record at a time, p50", ackP50, []string{"sync-1k"}},
	{"sync-p99", "One record at a time, p99", ackP99, []string{"sync-1k"}},
	{"latency-p99", "1,000 records a second: due to consumed, p99", seenP99, []string{"latency-1k"}},
}

// picture is a plan's picture of the medians that there are.
func (r *results) picture(p plan) (picture chart.Picture, any bool) {
	picture = chart.Picture{Title: p.title, Unit: p.figure}
	for _, s := range p.scenarios {
		if slices.ContainsFunc(r.Samples, func(x sample) bool { return x.Scenario == s }) {
			picture.Categories = append(picture.Categories, s)
		}
	}
	for _, k := range kinds {
		values := make([]float64, len(picture.Categories))
		found := false
		for i, s := range picture.Categories {
			v, ok := r.median(s, k.name, p.figure)
			values[i], found = v, found || ok
		}
		if found && k.name != sink {
			picture.Series = append(picture.Series, chart.Series{Name: k.name, Values: values})
		}
	}
	return picture, len(picture.Series) > 0
}

// names are a map's keys in order.
func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
