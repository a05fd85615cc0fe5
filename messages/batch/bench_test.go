package batch

import (
	"fmt"
	"testing"
)

// typical is a batch of about 16 KiB, what Java's client sends by default, in
// records of size bytes.
func typical(size int) Batch {
	bu := NewBuilder(Fields{ProducerID: 1})
	for i := 0; bu.Size() < 16<<10; i++ {
		bu.Add(1_700_000_000_000+int64(i), []byte("key"), make([]byte, size))
	}
	return bu.Build(nil)
}

func BenchmarkNext(b *testing.B) {
	one := typical(100)
	buf := append(append([]byte{}, one...), one...)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Next(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	one := typical(100)
	b.SetBytes(int64(len(one)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Validate(one, Limits{MaxBytes: 1 << 20}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStamp(b *testing.B) {
	one := typical(100)
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		one.Stamp(i, 3)
	}
}

func BenchmarkSetLogAppendTime(b *testing.B) {
	one := typical(100)
	b.SetBytes(int64(len(one)))
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		one.SetLogAppendTime(i)
	}
}

func BenchmarkRecords(b *testing.B) {
	for _, size := range []int{10, 100, 1000} {
		one := typical(size)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.SetBytes(int64(len(one)))
			b.ReportAllocs()
			for b.Loop() {
				for r, err := range Records(one, one.Payload()) {
					if err != nil || len(r.Value) != size {
						b.Fatal(r, err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(one.NumRecords()), "ns/record")
		})
	}
}

func BenchmarkCheckRecords(b *testing.B) {
	for _, size := range []int{10, 100, 1000} {
		one := typical(size)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.SetBytes(int64(len(one)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := CheckRecords(one, one.Payload()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(one.NumRecords()), "ns/record")
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	bu, value, dst := &Builder{}, make([]byte, 100), []byte{}
	b.ReportAllocs()
	for b.Loop() {
		bu.Reset(NoProducer)
		for i := range 140 {
			bu.Add(int64(i), nil, value)
		}
		dst = bu.Build(dst[:0])
	}
	b.SetBytes(int64(len(dst)))
}
