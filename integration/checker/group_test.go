package checker

import (
	"slices"
	"testing"
)

func event(at int64, kind GroupEventKind, member string) GroupEvent {
	return GroupEvent{At: at, Kind: kind, Member: member, Partition: p0}
}

func span(at int64, kind GroupEventKind, member string, from, to int64) GroupEvent {
	e := event(at, kind, member)
	e.From, e.To = from, to
	return e
}

// Each planted fault in a group is found under its name, and nothing else is.
func TestPlantedFaultsInGroupsAreFound(t *testing.T) {
	whole := []GroupEvent{
		event(1, Assigned, "a"), span(2, Processed, "a", 0, 5), span(3, Committed, "", 0, 5), event(4, Revoked, "a"),
		event(4, Assigned, "b"), span(5, Processed, "b", 5, 10), span(6, Committed, "", 0, 10),
	}
	with := func(more ...GroupEvent) []GroupEvent { return append(slices.Clone(whole), more...) }
	for _, test := range []struct {
		name   string
		events []GroupEvent
		want   []Kind
	}{
		{"nothing", whole, nil},
		{"in whatever order it was noted", []GroupEvent{whole[6], whole[4], whole[3], whole[5], whole[0], whole[2], whole[1]}, nil},
		{"processed twice", with(span(7, Processed, "b", 3, 7)), nil},
		{"two at once", with(event(7, Assigned, "c")), []Kind{OverlappingClaims}},
		{"two at once, the first of which has learned it too late", with(event(7, Assigned, "c"), event(8, Lost, "b")), nil},
		{"two at once, the first of which was silent", with(event(7, Silent, "b"), event(8, Assigned, "c"), event(9, Revoked, "b")), nil},
		{"silence excuses nothing that is assigned afterwards", with(event(7, Silent, "b"), event(8, Revoked, "b"), event(9, Assigned, "b"), event(10, Assigned, "c")), []Kind{OverlappingClaims}},
		{"after the other has ended", with(event(7, Gone, "b"), event(7, Assigned, "c")), nil},
		{"another's end", with(event(7, Gone, "a"), event(7, Assigned, "c")), []Kind{OverlappingClaims}},
		{"assigned again", with(event(7, Assigned, "b")), nil},
		{"processed what was another's", with(span(7, Processed, "a", 9, 10)), []Kind{Unclaimed}},
		{"committed back", with(span(7, Committed, "", 0, 9)), []Kind{CommittedBack}},
		{"a record in the middle", slices.Delete(slices.Clone(whole), 1, 2), []Kind{Unprocessed}},
		{"the last records", slices.Delete(slices.Clone(whole), 5, 6), []Kind{Unprocessed}},
		{"all records", []GroupEvent{}, []Kind{Unprocessed}},
	} {
		var have []Kind
		for _, f := range CheckGroup(test.events, map[Partition]int64{p0: 10}) {
			have = append(have, f.Kind)
		}
		if !slices.Equal(have, test.want) {
			t.Errorf("%s: have %v, want %v", test.name, have, test.want)
		}
	}
}
