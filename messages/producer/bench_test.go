package producer

import (
	"encoding/binary"
	"testing"

	"understudy/messages/batch"
)

// fleet is a state that knows n producers, and the next batch of each.
func fleet(n int) (*State, []batch.Batch) {
	s, next := New(), []batch.Batch{}
	for i := range n {
		s.Apply(build(int64(i), 0, 0, 10, int64(i*10), 0))
		next = append(next, build(int64(i), 0, 10, 10, int64((n+i)*10), 0))
	}
	return s, next
}

func BenchmarkCheck(b *testing.B) {
	s, next := fleet(1000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := s.Check(next[i%len(next)]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckDuplicate(b *testing.B) {
	s, _ := fleet(1000)
	again := build(500, 0, 0, 10, 0, 0)
	b.ReportAllocs()
	for b.Loop() {
		if v, _ := s.Check(again); !v.Duplicate {
			b.Fatal("not recognised")
		}
	}
}

// BenchmarkAdmitAndApply is what each batch of a producer costs. Eight batches
// of 2^28 records go round the sequence numbers once.
func BenchmarkAdmitAndApply(b *testing.B) {
	s, batches, offset := New(), []batch.Batch{}, int64(0)
	for i := range 8 {
		f := batch.Fields{ProducerID: 7, BaseSequence: int32(i) << 28, NumRecords: 1 << 28, LastOffsetDelta: 1<<28 - 1}
		batches = append(batches, batch.Assemble(nil, f, nil))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		next := batches[i%len(batches)]
		next.Stamp(offset, 1)
		offset = next.NextOffset()
		if v, err := s.Admit(next); err != nil || v.Duplicate {
			b.Fatal(v, err)
		}
		s.Apply(next)
	}
}

// BenchmarkNewProducers is what a batch costs of a client that has another producer id
// for each, when there is room for no more.
func BenchmarkNewProducers(b *testing.B) {
	s, next := New(), build(0, 0, 0, 1, 0, 0)
	offset := int64(0)
	write := func() {
		binary.BigEndian.PutUint64(next[43:], uint64(offset)) // the producer id
		next.Stamp(offset, 1)
		offset++
		if v, err := s.Admit(next); err != nil || v.Duplicate {
			b.Fatal(v, err)
		}
		s.Apply(next)
	}
	for range Most + 1 {
		write()
	}
	b.ReportAllocs()
	for b.Loop() {
		write()
	}
	if s.Len() != Most {
		b.Errorf("%d producers are known", s.Len())
	}
}

func BenchmarkSnapshot(b *testing.B) {
	s, _ := fleet(1000)
	buf, _ := s.MarshalBinary()
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf, _ = s.AppendBinary(buf[:0])
		}
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := New().UnmarshalBinary(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}
