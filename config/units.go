package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// sizeUnits are the units that a size can be given in, largest first. Those with
// an i count in 1024s, the others in 1000s.
var sizeUnits = []struct {
	name  string
	bytes float64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// ParseSize reads a number of bytes: "1048576", "64MiB", "1.5 GiB", "10MB".
func ParseSize(s string) (int64, error) {
	s = strings.TrimSpace(s)
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, nil
	}
	for _, u := range sizeUnits {
		number, ok := cutSuffixFold(s, u.name)
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		bytes := f * u.bytes
		if err != nil || f < 0 || bytes >= math.MaxInt64 || bytes != math.Trunc(bytes) {
			break
		}
		return int64(bytes), nil
	}
	return 0, fmt.Errorf("%q is not a size: write a whole number of bytes, or one with kB, MB, GB, KiB, MiB, GiB", s)
}

func cutSuffixFold(s, suffix string) (string, bool) {
	cut := len(s) - len(suffix)
	if cut < 0 || !strings.EqualFold(s[cut:], suffix) {
		return s, false
	}
	return s[:cut], true
}

// FormatSize writes a number of bytes exactly, in the largest unit of 1024s that
// gives a whole number: "64MiB", "1000".
func FormatSize(n int64) string {
	for _, u := range sizeUnits[:4] {
		if unit := int64(u.bytes); n >= unit && n%unit == 0 {
			return strconv.FormatInt(n/unit, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// day and week complete time's units, which end at the hour.
const (
	day  = 24 * time.Hour
	week = 7 * day
)

var errNoDuration = errors.New("write it like 250ms, 10s, 5m, 12h, 7d or 2w, or as a number of milliseconds")

// ParseDuration reads a length of time: "250ms", "1h30m", "7d", "2w". A bare
// number counts milliseconds, as in Kafka's settings; -1 is Unlimited.
func ParseDuration(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	bad := fmt.Errorf("%q is not a duration: %w", s, errNoDuration)
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n == Unlimited {
			return Unlimited, nil
		}
		if n < 0 {
			return 0, bad
		}
		if n > math.MaxInt64/int64(time.Millisecond) { // Kafka writes its largest number for "never"
			return Unlimited, nil
		}
		return time.Duration(n) * time.Millisecond, nil
	}
	var total time.Duration
	rest := s
	for _, u := range []struct {
		letter string
		length time.Duration
	}{{"w", week}, {"d", day}} {
		number, after, ok := strings.Cut(rest, u.letter)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n < 0 || n > int64(100*365*day/u.length) {
			return 0, bad
		}
		total += time.Duration(n) * u.length
		rest = after
	}
	if rest == "" && rest != s {
		return total, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || total+d < 0 {
		return 0, bad
	}
	return total + d, nil
}

// FormatDuration writes a length of time exactly and briefly: "7d", "90s" as
// "1m30s", Unlimited as "-1".
func FormatDuration(d time.Duration) string {
	switch {
	case d == Unlimited:
		return "-1"
	case d == 0:
		return "0"
	case d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Millis is a duration as Kafka's protocol and settings count it; Unlimited stays -1.
func Millis(d time.Duration) int64 {
	if d == Unlimited {
		return Unlimited
	}
	return d.Milliseconds()
}
