package history

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// Numbers of processes and partitions in these tests.
const (
	p, q, c, d, group = 1, 2, 3, 4, 5
	t0                = 1
)

func sent(process uint32, value uint64) Event {
	return Event{Type: Send, Process: process, Partition: t0, Value: value}
}

func acked(process uint32, value uint64, offset int64) []Event {
	return []Event{sent(process, value), {Type: OK, Value: value, Offset: offset}}
}

func polled(process uint32, pairs ...int64) Event {
	e := Event{Type: Poll, Process: process, Partition: t0}
	for i := 0; i < len(pairs); i += 2 {
		e.Records = append(e.Records, Record{pairs[i], uint64(pairs[i+1])})
	}
	return e
}

func committed(e Event) Event {
	e.Flags |= ReadCommitted
	return e
}

func in(txn uint32, e Event) Event {
	e.Txn = txn
	return e
}

func ends(txn uint32, commit uint64) []Event {
	return []Event{{Type: Ending, Txn: txn, Flags: commit}, {Type: Ended, Txn: txn, Flags: 1}}
}

func events(parts ...any) (list []Event) {
	list = []Event{{Type: Process, Process: p, Name: "p"}, {Type: Process, Process: q, Name: "q", Flags: Repeats}, {Type: Partition, Partition: t0, Name: "t"}}
	for _, part := range parts {
		switch part := part.(type) {
		case Event:
			list = append(list, part)
		case []Event:
			list = append(list, part...)
		}
	}
	return list
}

var (
	abc = slices.Concat(acked(p, 0xa, 0), acked(p, 0xb, 1), acked(p, 0xc, 2))
	all = polled(c, 0, 0xa, 1, 0xb, 2, 0xc)
)

// cases are small histories with what is to be found in them, and nothing else.
var cases = []struct {
	name   string
	events []Event
	want   []Kind
}{
	{"nothing", events(abc, all), nil},
	{"a gap in the offsets is no skip", events(acked(p, 0xa, 0), acked(p, 0xb, 5), polled(c, 0, 0xa, 5, 0xb)), nil},
	{"unknown and there", events(sent(p, 0xa), polled(c, 0, 0xa)), nil},
	{"unknown and not there", events(abc, sent(p, 0xd), all), nil},
	{"lost", events(abc, polled(c, 0, 0xa, 2, 0xc)), []Kind{IntPollSkip, LostWrite}},
	{"lost at the end", events(abc, polled(c, 0, 0xa, 1, 0xb)), []Kind{Unseen}},
	{"nobody read", events(abc), []Kind{Unseen, Unseen, Unseen}},
	{"deleted", events(abc, Event{Type: Start, Partition: t0, Offset: 2}, polled(c, 0, 0xa, 2, 0xc)), nil},
	{"twice", events(abc, all, polled(d, 3, 0xa)), []Kind{Duplicate}},
	{"twice by who may", events(acked(q, 0xa, 0), polled(c, 0, 0xa, 1, 0xa)), nil},
	{"two at one offset", events(abc, all, polled(d, 1, 0xc)), []Kind{InconsistentOffsets}},
	{"acknowledged at one offset twice", events(acked(p, 0xa, 0), acked(q, 0xb, 0), polled(c, 0, 0xa)), []Kind{InconsistentOffsets}},
	{"from nowhere", events(abc, all, polled(d, 3, 0xf)), []Kind{Phantom}},
	{"failed and there", events(sent(p, 0xa), Event{Type: Fail, Value: 0xa}, polled(c, 0, 0xa)), []Kind{G1a}},
	{"skipped between polls", events(abc, all, polled(d, 0, 0xa), polled(d, 2, 0xc)), []Kind{PollSkip}},
	{"skipped within a poll", events(abc, all, polled(d, 0, 0xa, 2, 0xc)), []Kind{IntPollSkip}},
	{"back between polls", events(abc, all, polled(c, 1, 0xb)), []Kind{NonmonotonicPoll}},
	{"back within a poll", events(abc, all, polled(d, 1, 0xb, 0, 0xa)), []Kind{IntNonmonotonicPoll}},
	{"assigned anew", events(abc, all, Event{Type: Place, Process: c, Partition: t0}, polled(c, 0, 0xa)), nil},
	{"sent out of order", events(acked(p, 0xb, 1), acked(p, 0xa, 0), polled(c, 0, 0xa, 1, 0xb)), []Kind{NonmonotonicSend}},
	{"sent together out of order", events(
		Event{Type: Send, Process: p, Partition: t0, Value: 0xb, Call: 7}, Event{Type: Send, Process: p, Partition: t0, Value: 0xa, Call: 7},
		Event{Type: OK, Value: 0xb, Offset: 1}, Event{Type: OK, Value: 0xa, Offset: 0}, polled(c, 0, 0xa, 1, 0xb)), []Kind{IntNonmonotonicSend}},
	{"of a transaction that goes on", events(in(1, sent(p, 0xa)), committed(polled(c, 0, 0xa))), []Kind{PrecommittedRead}},
	{"of a transaction that goes on, by who may", events(in(1, sent(p, 0xa)), polled(c, 0, 0xa)), nil},
	{"of a transaction that is to commit", events(in(1, sent(p, 0xa)), Event{Type: Ending, Txn: 1, Flags: 1}, committed(polled(c, 0, 0xa))), nil},
	{"aborted", events(in(1, sent(p, 0xa)), ends(1, 0), committed(polled(c, 0, 0xa))), []Kind{G1a}},
	{"aborted, by who may", events(in(1, sent(p, 0xa)), ends(1, 0), polled(c, 0, 0xa)), nil},
	{"over what was aborted", events(acked(p, 0xa, 0), in(1, sent(p, 0xb)), Event{Type: OK, Value: 0xb, Offset: 1}, ends(1, 0), acked(p, 0xc, 3),
		committed(polled(c, 0, 0xa, 3, 0xc))), nil},
	{"over what was committed", events(acked(p, 0xa, 0), in(1, sent(p, 0xb)), Event{Type: OK, Value: 0xb, Offset: 1}, ends(1, 1), acked(p, 0xc, 3),
		committed(polled(c, 0, 0xa, 3, 0xc))), []Kind{IntPollSkip, LostWrite}},
	{"in a circle", events(in(1, sent(p, 0xa)), in(2, sent(q, 0xb)), in(1, polled(c, 1, 0xb)), in(2, polled(d, 0, 0xa)), ends(1, 1), ends(2, 1)), []Kind{G1c}},
	{"one after the other", events(in(1, sent(p, 0xa)), ends(1, 1), in(2, sent(q, 0xb)), in(2, polled(d, 0, 0xa)), ends(2, 1), polled(c, 0, 0xa, 1, 0xb)), nil},
	{"committed and gone", events(abc, all, commits(1, 3), fetched(2)), []Kind{CommitRegression}},
	{"committed and there", events(abc, all, commits(1, 2), commits(2, 3), fetched(3)), nil},
	{"perhaps set back", events(abc, all, commits(1, 3), commits(2, 1)[:1], fetched(1)), nil},
	{"committed while it was read", events(abc, all, commits(1, 2), fetched(2)[:1], commits(2, 3), fetched(2)[1]), nil},
	{"beyond the end", events(abc, all, commits(1, 4)), []Kind{CommitPastEnd}},
}

func commits(call uint32, offset int64) []Event {
	return []Event{{Type: Commit, Process: group, Partition: t0, Offset: offset, Call: call}, {Type: Committed, Call: call}}
}

func fetched(offset int64) []Event {
	return []Event{{Type: Fetching, Process: group, Partition: t0, Call: 9}, {Type: Fetched, Call: 9, Offset: offset}}
}

func kinds(v *Verdict) (list []Kind) {
	for k, n := range v.Counts {
		for range n {
			list = append(list, k)
		}
	}
	slices.Sort(list)
	return list
}

// TestPlanted has each contradiction found under its name, and nothing else.
func TestPlanted(t *testing.T) {
	for _, test := range cases {
		checker := NewChecker()
		for _, e := range test.events {
			checker.Add(e)
		}
		v := checker.Verdict()
		slices.Sort(test.want)
		if have := kinds(v); !slices.Equal(have, test.want) {
			t.Errorf("%s: have %v, want %v: %v", test.name, have, test.want, v.Findings)
		}
	}
}

// TestPlantedInMany has each of them found in a long history of others, read from a file.
func TestPlantedInMany(t *testing.T) {
	for _, test := range cases {
		var file bytes.Buffer
		w := NewWriter(&file)
		long(w, 20_000, 1)
		for _, e := range test.events {
			e.Process, e.Partition, e.Value = shift(e.Process), shift(e.Partition), shift(e.Value)
			e.Records = slices.Clone(e.Records)
			for i := range e.Records {
				e.Records[i].Value = shift(e.Records[i].Value)
			}
			w.Add(e)
		}
		long(w, 20_000, 50)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		v, err := Check(&file)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(test.want)
		if have := kinds(v); !slices.Equal(have, test.want) {
			t.Errorf("%s: have %v, want %v: %v", test.name, have, test.want, v.Findings)
		}
	}
}

// shift keeps the names of a small history apart from those of a long one.
func shift[T uint32 | uint64](n T) T {
	if n == 0 {
		return 0
	}
	return n + 1<<20
}

// long writes a history of n records in which nothing is wrong, with ids from some
// number on.
func long(sink Sink, n int, ids uint32) {
	const partitions, polls = 8, 100
	ends := make([]int64, partitions)
	for at := uint32(0); at < partitions; at++ {
		sink.Add(Event{Type: Partition, Partition: ids + at, Name: "long", Number: int32(ids + at)})
	}
	sink.Add(Event{Type: Process, Process: ids, Name: fmt.Sprint("producer ", ids)})
	records := make([][]Record, partitions)
	for i := range n {
		at := i % partitions
		value := uint64(ids)<<40 + uint64(i) + 1
		sink.Add(Event{Type: Send, Process: ids, Partition: ids + uint32(at), Value: value})
		sink.Add(Event{Type: OK, Value: value, Offset: ends[at]})
		records[at] = append(records[at], Record{ends[at], value})
		ends[at]++
		if len(records[at]) == polls || i >= n-partitions {
			sink.Add(Event{Type: Poll, Process: ids + 1, Partition: ids + uint32(at), Records: records[at]})
			records[at] = records[at][:0]
		}
	}
}

// TestFile has what was written read again, and what is damaged refused.
func TestFile(t *testing.T) {
	var list []Event
	for _, test := range cases {
		list = append(list, test.events...)
	}
	list = append(list, Event{Type: Note, Name: "a fault"}, Event{Type: End, Partition: 1, Offset: 7})
	var file bytes.Buffer
	w := NewWriter(&file)
	for _, e := range list {
		w.Add(e)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	whole := file.Bytes()
	read, err := readAll(whole)
	if err != io.EOF || len(read) != len(list) {
		t.Fatalf("%d of %d events: %v", len(read), len(list), err)
	}
	for i := range list {
		if list[i].Type != Poll {
			list[i].Records = nil
		}
		if !reflect.DeepEqual(read[i], list[i]) {
			t.Errorf("event %d: %v, want %v", i, read[i], list[i])
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 { // nothing panics, whatever stands there
		damaged := slices.Clone(whole[:r.IntN(len(whole))])
		for range 3 {
			if len(damaged) > len(magic) {
				damaged[len(magic)+r.IntN(len(damaged)-len(magic))] = byte(r.Uint32())
			}
		}
		_, _ = Check(bytes.NewReader(damaged))
	}
}

func readAll(file []byte) (list []Event, err error) {
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	for {
		var e Event
		if err := r.Next(&e); err != nil {
			return list, err
		}
		if len(e.Records) == 0 {
			e.Records = nil
		}
		list = append(list, e)
	}
}

// BenchmarkCheck judges histories of a million records, each sent, acknowledged
// and read.
func BenchmarkCheck(b *testing.B) {
	var file bytes.Buffer
	w := NewWriter(&file)
	long(w, 1_000_000, 1)
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(file.Len())/1e6, "B/record")
	for b.Loop() {
		v, err := Check(bytes.NewReader(file.Bytes()))
		if err != nil || !v.Good() {
			b.Fatal(v, err)
		}
	}
	b.ReportMetric(2e6*float64(b.N)/b.Elapsed().Seconds(), "operations/s")
}
