package commands

import (
	"math"
	"testing"
)

func TestShiftsStayWithinThePartition(t *testing.T) {
	s := span{start: 10, end: 100}
	for _, c := range []struct{ from, by, want int64 }{
		{50, 5, 55}, {50, -5, 45}, {50, 0, 50}, {50, 60, 100}, {50, -60, 10},
		{50, math.MaxInt64, 100}, {50, math.MinInt64, 10}, {0, math.MinInt64, 10}, {0, 5, 10}, {500, -5, 100},
		{math.MaxInt64, math.MaxInt64, 100},
	} {
		if have := s.shifted(c.from, c.by); have != c.want {
			t.Errorf("%d shifted by %d is %d", c.from, c.by, have)
		}
	}
}
