package client

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func record(offset int64) *item { return newItem(nil, &kgo.Record{Offset: offset, LeaderEpoch: 7}) }

func TestTheFrontStopsAtTheFirstGap(t *testing.T) {
	f := front{next: 4}
	items := make([]*item, 7)
	for i := range items {
		items[i] = record(int64(4 + i))
		f.add(items[i])
	}
	ack := func(i int) {
		items[i].done.Store(true)
		f.advance()
	}
	ack(3)
	ack(4)
	if f.offset() != 4 || !slices.Equal(f.beyond(), []span{{7, 8}}) {
		t.Errorf("%d %v", f.offset(), f.beyond())
	}
	ack(0)
	ack(1)
	if f.offset() != 6 || f.epoch != 7 {
		t.Errorf("%d, epoch %d", f.offset(), f.epoch)
	}
	ack(2)
	if f.offset() != 9 || len(f.beyond()) != 0 {
		t.Errorf("%d %v", f.offset(), f.beyond())
	}
	ack(6)
	ack(5)
	if f.offset() != 11 {
		t.Errorf("%d", f.offset())
	}
}

func TestWhatWasAcknowledgedBeforeIsNotFresh(t *testing.T) {
	f := front{next: 10, skip: []span{{12, 13}, {15, 15}}}
	var fresh []int64
	for offset := int64(10); offset < 17; offset++ {
		if f.add(record(offset)) {
			fresh = append(fresh, offset)
		}
	}
	if !slices.Equal(fresh, []int64{10, 11, 14, 16}) {
		t.Errorf("fresh are %v", fresh)
	}
	if f.offset() != 10 || !slices.Equal(f.beyond(), []span{{12, 13}, {15, 15}}) {
		t.Errorf("%d %v", f.offset(), f.beyond())
	}
}

// TestWhatIsBeyondSurvives has random sets of acknowledgements go through the text
// and back: the next life delivers exactly what was not acknowledged.
func TestWhatIsBeyondSurvives(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		f := front{next: int64(r.IntN(1000))}
		var all []*item
		for offset := f.next; len(all) < 200; offset += 1 + int64(r.IntN(3)) {
			all = append(all, record(offset))
			f.add(all[len(all)-1])
		}
		for range r.IntN(300) {
			all[r.IntN(len(all))].done.Store(true)
			f.advance()
		}
		text := encodeBeyond(f.offset(), f.beyond())
		spans, err := decodeBeyond(f.offset(), text)
		if err != nil || !slices.Equal(spans, f.beyond()) {
			t.Fatalf("seed %d: %v, %v instead of %v", seed, err, spans, f.beyond())
		}
		next := front{next: f.offset(), skip: spans}
		for _, it := range all {
			if it.offset >= f.offset() && next.add(record(it.offset)) == it.done.Load() {
				t.Fatalf("seed %d: offset %d, done %v", seed, it.offset, it.done.Load())
			}
			if r.IntN(50) > 0 {
				continue
			}
			if _, err := decodeBeyond(next.offset(), encodeBeyond(next.offset(), next.beyond())); err != nil { // a life that ends here
				t.Fatalf("seed %d: offset %d: %v", seed, it.offset, err)
			}
		}
	}
}

// TestWhatIsComingToWhatWasAcknowledgedBeforeSurvives ends a life in the midst of records
// that an earlier one had acknowledged.
func TestWhatIsComingToWhatWasAcknowledgedBeforeSurvives(t *testing.T) {
	f := front{next: 10, skip: []span{{12, 16}, {20, 21}}}
	for offset := int64(10); offset < 14; offset++ {
		f.add(record(offset))
	}
	want := []span{{12, 16}, {20, 21}}
	spans, err := decodeBeyond(f.offset(), encodeBeyond(f.offset(), f.beyond()))
	if err != nil || !slices.Equal(spans, want) {
		t.Errorf("%v, %v", spans, err)
	}
}

// TestOneOpenRecordKeepsFewEntries acknowledges all but one of many records.
func TestOneOpenRecordKeepsFewEntries(t *testing.T) {
	f := front{next: 0}
	first := record(0)
	f.add(first)
	const last = 200_000
	for offset := int64(1); offset <= last; offset++ {
		it := record(offset)
		f.add(it)
		it.done.Store(true)
		f.advance()
		if len(f.entries) > mergeFrom+1 {
			t.Fatalf("%d entries", len(f.entries))
		}
	}
	if f.offset() != 0 || !slices.Equal(f.beyond(), []span{{1, last}}) {
		t.Errorf("%d %v", f.offset(), f.beyond())
	}
	first.done.Store(true)
	if f.advance(); f.offset() != last+1 || f.epoch != 7 || len(f.left()) != 0 {
		t.Errorf("%d, epoch %d", f.offset(), f.epoch)
	}
}

// TestMergingChangesNothing has one front merge all the time, and another never.
func TestMergingChangesNothing(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 2))
		var merging, plain front
		var items []*item
		for offset := int64(0); len(items) < 300; offset += 1 + int64(r.IntN(2)) {
			it := record(offset)
			items = append(items, it)
			merging.add(it)
			plain.add(it)
			items[r.IntN(len(items))].done.Store(true)
			merging.merge()
			merging.advance()
			plain.advance()
			if merging.offset() != plain.offset() || !slices.Equal(merging.left(), plain.left()) {
				t.Fatalf("seed %d: %d instead of %d", seed, merging.offset(), plain.offset())
			}
			if have, want := merging.beyond(), plain.beyond(); !slices.Equal(have, want) {
				t.Fatalf("seed %d: %v instead of %v", seed, have, want)
			}
		}
	}
}

func TestTheMetadataIsBounded(t *testing.T) {
	var spans []span
	for i := range int64(10_000) {
		spans = append(spans, span{3 * i, 3*i + 1})
	}
	text := encodeBeyond(0, spans)
	kept, err := decodeBeyond(0, text)
	if len(text) > maxMetadata || err != nil || len(kept) < 1000 || !slices.Equal(kept, spans[:len(kept)]) {
		t.Errorf("%d bytes, %v, %d ranges", len(text), err, len(kept))
	}
}

func FuzzDecodeBeyond(f *testing.F) {
	f.Add(int64(5), encodeBeyond(5, []span{{7, 9}, {11, 11}}))
	f.Add(int64(0), "somebody else's")
	f.Add(int64(0), frontVersion+strings.Repeat("/", 40))
	f.Fuzz(func(t *testing.T, committed int64, text string) {
		if committed < 0 {
			return
		}
		spans, err := decodeBeyond(committed, text)
		if err != nil {
			return
		}
		at := committed
		for _, s := range spans {
			if s.first < at || s.last < s.first {
				t.Errorf("%v from %d", spans, committed)
			}
			at = s.last + 1
		}
	})
}

// TestWhatIsAsideKeepsItsPlace puts records aside, merges, and takes some back; others
// turn out not to be there any more.
func TestWhatIsAsideKeepsItsPlace(t *testing.T) {
	f := front{next: 0}
	l := &lane{}
	mark := &item{lane: l, stands: true}
	var items []*item
	for offset := int64(0); offset < 20; offset += 2 { // 0, 2, … 18
		items = append(items, record(offset))
		f.add(items[len(items)-1])
	}
	for _, i := range []int{1, 3, 4, 8} { // 2, 6, 8, 16
		f.putAside(items[i], mark)
	}
	for _, i := range []int{0, 2, 5, 6} { // 0, 4, 10, 12
		items[i].done.Store(true)
	}
	f.advance()
	f.merge()
	if f.offset() != 2 || !slices.Equal(f.beyond(), []span{{4, 4}, {10, 12}}) || len(f.left()) != 2 {
		t.Errorf("%d %v, left %d", f.offset(), f.beyond(), len(f.left()))
	}
	for offset, want := range map[int64]bool{1: false, 2: true, 4: false, 8: true, 11: false, 14: false, 16: true, 99: false} {
		if have := f.takeBack(offset) != nil; have != want {
			t.Errorf("%d is aside: %v", offset, have)
		}
	}
	back := record(8)
	f.takeBack(8).item = back
	if lanes := f.lost(2, 8); !slices.Equal(lanes, []*lane{l, l}) || f.offset() != 8 {
		t.Errorf("%d lost, %d", len(lanes), f.offset())
	}
	back.done.Store(true)
	if f.advance(); f.offset() != 14 {
		t.Errorf("%d", f.offset())
	}
	if lanes := f.lost(9, 30); len(lanes) != 1 || len(f.left()) != 2 {
		t.Errorf("%d lost, %d left", len(lanes), len(f.left()))
	}
}
