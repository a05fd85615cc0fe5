package commands

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestLineReader(t *testing.T) {
	long := strings.Repeat("x", 200_000) // more than the reader's buffer and than half a block
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"", nil},
		{"\n", []string{""}},
		{"a", []string{"a"}},
		{"a\n\nb\r\n", []string{"a", "", "b\r"}},
		{long + "\n" + long + "\n" + long, []string{long, long, long}},
	} {
		for _, in := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
			r := newLineReader(in, len(long))
			var have []string
			var lines [][]byte
			for {
				line, err := r.next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				lines = append(lines, line)
			}
			for _, line := range lines { // none was overwritten by a later one
				have = append(have, string(line))
			}
			if !slices.Equal(have, c.want) {
				t.Errorf("%.20q: have %d lines, want %d", c.in, len(have), len(c.want))
			}
		}
	}
}

func TestLineReaderBoundsLines(t *testing.T) {
	for _, in := range []string{"12345678901\n", "12345678901", strings.Repeat("x", 1<<20)} {
		r := newLineReader(strings.NewReader("1234567890\n"+in), 10)
		if line, err := r.next(); err != nil || string(line) != "1234567890" {
			t.Errorf("%q, %v", line, err)
		}
		var long *longLineError
		if _, err := r.next(); !errors.As(err, &long) {
			t.Errorf("have %v", err)
		}
	}
	broken := errors.New("broken")
	if _, err := newLineReader(iotest.ErrReader(broken), 10).next(); !errors.Is(err, broken) {
		t.Errorf("have %v", err)
	}
}
