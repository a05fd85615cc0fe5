package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"testing"
)

func TestPicturesAreSVG(t *testing.T) {
	t.Parallel()
	p := Picture{
		Title: "throughput", Unit: "MB/s", Categories: []string{"1 KiB", "16 KiB", "1 MiB"},
		Series: []Series{{"ours", []float64{10, 200, 400}}, {"theirs", []float64{1, math.NaN(), 150}}},
	}
	for name, draw := range map[string]func() ([]byte, error){"lines": p.Lines, "bars": p.Bars} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			svg, err := draw()
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"throughput", "ours", "theirs", "16 KiB"} {
				if !bytes.Contains(svg, []byte(text)) {
					t.Errorf("%q is not in the picture", text)
				}
			}
			decoder := xml.NewDecoder(bytes.NewReader(svg))
			for {
				if _, err := decoder.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("the picture is no XML: %v", err)
				}
			}
		})
	}
}

func TestWhatCannotBeDrawnIsRefused(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]Picture{
		"nothing":    {Title: "x"},
		"no values":  {Title: "x", Categories: []string{"a"}},
		"one is off": {Title: "x", Categories: []string{"a", "b"}, Series: []Series{{"s", []float64{1}}}},
	} {
		if _, err := p.Lines(); err == nil {
			t.Errorf("%s: curves were drawn", name)
		}
		if _, err := p.Bars(); err == nil {
			t.Errorf("%s: bars were drawn", name)
		}
	}
}
