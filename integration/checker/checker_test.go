package checker

import (
	"slices"
	"testing"
)

var p0 = Partition{"t", 0}

func ok(process, value string, offset int64) Send {
	return Send{Process: process, Partition: p0, Value: value, Outcome: OK, Offset: offset}
}

func poll(process string, records ...Record) Poll {
	return Poll{Process: process, Partition: p0, Records: records}
}

// Each planted fault is found under its name, and nothing else is.
func TestPlantedFaultsAreFound(t *testing.T) {
	sends := []Send{ok("p", "a", 0), ok("p", "b", 1), ok("p", "c", 2)}
	all := poll("c", Record{0, "a"}, Record{1, "b"}, Record{2, "c"})
	for _, test := range []struct {
		name string
		h    History
		want []Kind
	}{
		{"nothing", History{sends, []Poll{all}}, nil},
		{"a gap in the offsets is no skip", History{[]Send{ok("p", "a", 0), ok("p", "b", 5)}, []Poll{poll("c", Record{0, "a"}, Record{5, "b"})}}, nil},
		{"unknown and there", History{[]Send{{Process: "p", Partition: p0, Value: "a"}}, []Poll{poll("c", Record{0, "a"})}}, nil},
		{"unknown and not there", History{append(slices.Clone(sends), Send{Process: "p", Partition: p0, Value: "d"}), []Poll{all}}, nil},
		{"lost", History{sends, []Poll{poll("c", Record{0, "a"}, Record{2, "c"})}}, []Kind{LostWrite, IntPollSkip}},
		{"lost at the end", History{sends, []Poll{poll("c", Record{0, "a"}, Record{1, "b"})}}, []Kind{Unseen}},
		{"nobody read", History{sends, nil}, []Kind{Unseen, Unseen, Unseen}},
		{"twice", History{sends, []Poll{all, poll("c", Record{3, "a"})}}, []Kind{Duplicate}},
		{"two at one offset", History{sends, []Poll{all, poll("d", Record{1, "c"})}}, []Kind{InconsistentOffsets}},
		{"acknowledged at one offset twice", History{[]Send{ok("p", "a", 0), ok("q", "b", 0)}, []Poll{poll("c", Record{0, "a"})}}, []Kind{InconsistentOffsets}},
		{"from nowhere", History{sends, []Poll{all, poll("c", Record{3, "x"})}}, []Kind{Phantom}},
		{"failed and there", History{[]Send{{Process: "p", Partition: p0, Value: "a", Outcome: Failed}}, []Poll{poll("c", Record{0, "a"})}}, []Kind{AbortedRead}},
		{"skipped between polls", History{sends, []Poll{all, poll("d", Record{0, "a"}), poll("d", Record{2, "c"})}}, []Kind{PollSkip}},
		{"skipped within a poll", History{sends, []Poll{all, poll("d", Record{0, "a"}, Record{2, "c"})}}, []Kind{IntPollSkip}},
		{"back between polls", History{sends, []Poll{all, all}}, []Kind{NonmonotonicPoll}},
		{"back within a poll", History{sends, []Poll{all, poll("d", Record{1, "b"}, Record{0, "a"})}}, []Kind{IntNonmonotonicPoll}},
		{"moved back", History{sends, []Poll{all, {Process: "c", Partition: p0, Records: all.Records, Seek: true}}}, nil},
		{"sent out of order", History{[]Send{ok("p", "b", 1), ok("p", "a", 0)}, []Poll{poll("c", Record{0, "a"}, Record{1, "b"})}}, []Kind{NonmonotonicSend}},
	} {
		var have []Kind
		for _, f := range Check(&test.h) {
			have = append(have, f.Kind)
		}
		slices.Sort(have)
		slices.Sort(test.want)
		if !slices.Equal(have, test.want) {
			t.Errorf("%s: have %v, want %v", test.name, have, test.want)
		}
	}
}
