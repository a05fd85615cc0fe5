package nearest

import (
	"slices"
	"strings"
	"testing"
)

func TestName(t *testing.T) {
	known := []string{"retention.ms", "retention.bytes", "segment.ms"}
	for name, want := range map[string]string{
		"retntion.ms":            "retention.ms",
		"retention.byte":         "retention.bytes",
		"segment_ms":             "segment.ms",
		"colour":                 "",
		"":                       "",
		strings.Repeat("a", 100): "",
	} {
		if got := Name(name, slices.Values(known)); got != want {
			t.Errorf("%q is like %q, want %q", name, got, want)
		}
	}
}
