// Package chart draws what was measured: curves and bars, as SVG.
package chart

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/go-analyze/charts"
)

// Picture is a diagram with one or more series over the same categories.
type Picture struct {
	Title      string
	Unit       string // of the values
	Categories []string
	Series     []Series
}

// Series is one curve, or one colour of bars.
type Series struct {
	Name   string
	Values []float64 // one for each category; NaN where there is none
}

// Sizes of pictures, in pixels.
const (
	width  = 900
	height = 450
)

// Lines draws curves.
func (p *Picture) Lines() ([]byte, error) {
	data, err := p.data()
	if err != nil {
		return nil, err
	}
	o := charts.NewLineChartOptionWithData(data)
	o.Title, o.Legend, o.ValueFormatter = p.title(), p.legend(), number
	o.XAxis.Labels = p.Categories
	for i := range o.YAxis {
		o.YAxis[i].Min, o.YAxis[i].Title = charts.Ptr(0.0), p.Unit
	}
	if len(o.YAxis) == 0 {
		o.YAxis = []charts.YAxisOption{{Min: charts.Ptr(0.0), Title: p.Unit}}
	}
	painter := p.painter()
	if err := painter.LineChart(o); err != nil {
		return nil, fmt.Errorf("draw %q: %w", p.Title, err)
	}
	return painter.Bytes()
}

// Bars draws bars, those of a category beside each other.
func (p *Picture) Bars() ([]byte, error) {
	data, err := p.data()
	if err != nil {
		return nil, err
	}
	o := charts.NewBarChartOptionWithData(data)
	o.Title, o.Legend, o.ValueFormatter = p.title(), p.legend(), number
	o.CategoryAxis.Labels = p.Categories
	o.ValueAxis = []charts.ValueAxisOption{{Min: charts.Ptr(0.0), Title: p.Unit}}
	painter := p.painter()
	if err := painter.BarChart(o); err != nil {
		return nil, fmt.Errorf("draw %q: %w", p.Title, err)
	}
	return painter.Bytes()
}

func (p *Picture) painter() *charts.Painter {
	return charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: width, Height: height})
}

func (p *Picture) title() charts.TitleOption { return charts.TitleOption{Text: p.Title} }

// legend stands below the title, which may be long.
func (p *Picture) legend() charts.LegendOption {
	var names []string
	for _, s := range p.Series {
		names = append(names, s.Name)
	}
	return charts.LegendOption{SeriesNames: names, Offset: charts.OffsetStr{Left: "center", Top: "24"}}
}

// data are the values in the library's form.
func (p *Picture) data() ([][]float64, error) {
	if len(p.Series) == 0 || len(p.Categories) == 0 {
		return nil, fmt.Errorf("draw %q: %w", p.Title, errors.New("there is nothing to draw"))
	}
	var data [][]float64
	for _, s := range p.Series {
		if len(s.Values) != len(p.Categories) {
			return nil, fmt.Errorf("draw %q: %d values of %s for %d categories", p.Title, len(s.Values), s.Name, len(p.Categories))
		}
		row := make([]float64, len(s.Values))
		for i, v := range s.Values {
			if row[i] = v; math.IsNaN(v) || math.IsInf(v, 0) {
				row[i] = charts.GetNullValue()
			}
		}
		data = append(data, row)
	}
	return data, nil
}

// number is a value in three digits.
func number(v float64) string {
	if math.Abs(v) >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
