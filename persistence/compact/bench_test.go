package compact_test

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/messages/codec"
	"understudy/persistence/compact"
	"understudy/persistence/vfs"
)

// benchLog writes segments of about size bytes in all: records of a size, several
// to a batch, of random keys. Half of a value is text, so that codecs have
// something to do.
func benchLog(b *testing.B, s *shop, size, segmentSize, record, perBatch, keys int, c batch.Codec) (unpacked int) {
	rnd := rand.New(rand.NewPCG(1, 1))
	value := make([]byte, record)
	var batches []batch.Batch
	var bytes int64
	for unpacked < size {
		bu := batch.NewBuilder(batch.NoProducer)
		for range perBatch {
			for i := range value {
				value[i] = byte(rnd.Uint32())
				if i%2 == 0 {
					value[i] = "click, /item/"[i/2%13]
				}
			}
			bu.Add(1_700_000_000_000, fmt.Appendf(nil, "user-%08d", rnd.IntN(keys)), value)
		}
		one, err := codec.Build(nil, bu, c, codec.DefaultLevel)
		if err != nil {
			b.Fatal(err)
		}
		unpacked += bu.Size()
		batches, bytes = append(batches, one), bytes+int64(len(one))
		if bytes >= int64(segmentSize) {
			s.put(batches...)
			batches, bytes = nil, 0
		}
	}
	if len(batches) > 0 {
		s.put(batches...)
	}
	b.SetBytes(int64(unpacked))
	return unpacked
}

// processorTime is what this process has used, in user and kernel mode: what else
// runs on the machine does not change it much.
func processorTime(b *testing.B) time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// BenchmarkCompact compacts logs on a disk, from the first record to the last, as
// when a topic is compacted for the first time: the bytes are those of the records,
// unpacked, and each is read twice. The new segments are synced.
func BenchmarkCompact(b *testing.B) {
	for _, w := range []struct {
		what                   string
		record, perBatch, keys int
		codec                  batch.Codec
	}{
		{"1KiB/a-fifth-stays", 1 << 10, 60, 60_000, batch.None},
		{"1KiB/all-stays", 1 << 10, 60, 1 << 40, batch.None},
		{"1KiB/alone/a-fifth-stays", 1 << 10, 1, 60_000, batch.None},
		{"100B/a-fifth-stays", 100, 600, 500_000, batch.None},
		{"1KiB/lz4/a-fifth-stays", 1 << 10, 60, 60_000, batch.LZ4},
		{"1KiB/zstd/a-fifth-stays", 1 << 10, 60, 60_000, batch.Zstd},
	} {
		b.Run(w.what, func(b *testing.B) {
			s := newShop(b)
			s.dir.FS = vfs.OS(b.TempDir())
			if err := s.dir.FS.MkdirAll(s.dir.Path); err != nil {
				b.Fatal(err)
			}
			unpacked := benchLog(b, s, 256<<20, 64<<20, w.record, w.perBatch, w.keys, w.codec)
			worker := compact.Worker{Map: compact.NewMap(128 << 20), Pace: func(int) error { return nil }}
			j := s.job()
			j.Limit = 1 << 30
			var stats compact.Stats
			b.ReportAllocs()
			before := processorTime(b)
			for b.Loop() {
				var err error
				_, stats, err = worker.Run(&j, func(r compact.Replacement) error { return r.New.Discard() })
				if err != nil {
					b.Fatal(err)
				}
			}
			used := processorTime(b) - before
			b.ReportMetric(float64(stats.Stayed)/float64(stats.Records), "stayed")
			b.ReportMetric(float64(unpacked)*float64(b.N)/1e6/used.Seconds(), "MB/cpu-s")
		})
	}
}

// BenchmarkMap is what the map costs for each record: once when it is filled, once
// when it is asked.
func BenchmarkMap(b *testing.B) {
	const keys = 1 << 20
	names := make([][]byte, keys)
	for i := range names {
		names[i] = fmt.Appendf(nil, "user-%08d", i*7919%keys)
	}
	m := compact.NewMap(keys * compact.EntrySize * 4 / 3)
	m.Reset(1 << 40)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		m.Put(names[i%keys], messages.Offset(i))
		i++
	}
}
