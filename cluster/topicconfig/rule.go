package topicconfig

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// value is a parsed value; which field counts follows from the type.
type value struct {
	text  string
	num   int64
	float float64
	yes   bool
}

// rule reads a value's text and checks its bounds.
type rule interface {
	parse(text string) (value, error)
}

// between is a whole number from low to high.
type between struct{ low, high int64 }

func (r between) parse(text string) (value, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < r.low || n > r.high {
		return value{}, fmt.Errorf("%s is not a whole number %s", clip(text), r.words())
	}
	return value{text: text, num: n}, nil
}

func (r between) words() string {
	if r.high == math.MaxInt64 {
		return fmt.Sprintf("of %d or more", r.low)
	}
	return fmt.Sprintf("from %d to %d", r.low, r.high)
}

// share is a fraction from 0 to 1.
type share struct{}

func (share) parse(text string) (value, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f >= 0 && f <= 1) {
		return value{}, fmt.Errorf("%s is not a number from 0 to 1", clip(text))
	}
	return value{text: text, float: f}, nil
}

// yesNo is true or false.
type yesNo struct{}

func (yesNo) parse(text string) (value, error) {
	switch strings.ToLower(text) {
	case "true":
		return value{text: text, yes: true}, nil
	case "false":
		return value{text: text}, nil
	}
	return value{}, fmt.Errorf("%s is neither true nor false", clip(text))
}

// oneOf is one of some words.
type oneOf []string

func (r oneOf) parse(text string) (value, error) {
	if !slices.Contains(r, text) {
		return value{}, fmt.Errorf("%s is none of %s", clip(text), strings.Join(r, ", "))
	}
	return value{text: text}, nil
}

// gzipLevel is -1 for the library's choice, or 1 to 9.
type gzipLevel struct{}

func (gzipLevel) parse(text string) (value, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < -1 || n == 0 || n > 9 {
		return value{}, fmt.Errorf("%s is neither -1 nor a whole number from 1 to 9", clip(text))
	}
	return value{text: text, num: n}, nil
}

// cleanup is a list of cleanup policies, at least one.
type cleanup struct{}

// The cleanup policies.
const (
	policyDelete  = "delete"
	policyCompact = "compact"
)

func (cleanup) parse(text string) (value, error) {
	policies := split(text)
	for i, p := range policies {
		if p != policyDelete && p != policyCompact || slices.Contains(policies[:i], p) {
			return value{}, fmt.Errorf("%s is not delete, compact or both", clip(text))
		}
	}
	if len(policies) == 0 {
		return value{}, fmt.Errorf("%s is not delete, compact or both", clip(text))
	}
	return value{text: strings.Join(policies, ",")}, nil
}

// anything is text that is only shown.
type anything struct{}

func (anything) parse(text string) (value, error) { return value{text: text}, nil }

// split takes a list apart; empty items fall out.
func split(text string) []string {
	var items []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
