package log

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"understudy/messages/batch"
	"understudy/persistence/flush"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// rawBatch makes a batch of a size with as many records of 1 KiB as fit.
func rawBatch(size int) batch.Batch {
	value := make([]byte, 1<<10)
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range value {
		value[i] = byte(rnd.Uint32())
	}
	bu := batch.NewBuilder(batch.NoProducer)
	for bu.Size()+len(value)+20 < size {
		bu.Add(1_700_000_000_000, nil, value)
	}
	return bu.Build(nil)
}

const benchFile = 512 << 20 // bytes that are written before the file is begun anew

// BenchmarkAppend compares appending batches, validated as they would come from a
// client, with writing the same bytes to a file.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{16 << 10, 64 << 10, 1 << 20} {
		one := rawBatch(size)
		b.Run(fmt.Sprintf("size=%dK/plain", size>>10), func(b *testing.B) { benchPlain(b, one) })
		b.Run(fmt.Sprintf("size=%dK/log", size>>10), func(b *testing.B) { benchLog(b, one, 0) })
		b.Run(fmt.Sprintf("size=%dK/log-without-preallocation", size>>10), func(b *testing.B) { benchLog(b, one, -1) })
	}
}

func benchPlain(b *testing.B, one batch.Batch) {
	fs := vfs.OS(b.TempDir())
	f, err := fs.Create("plain")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.SetBytes(int64(len(one)))
	b.ReportAllocs()
	at := int64(0)
	for b.Loop() {
		if _, err := f.WriteAt(one, at); err != nil {
			b.Fatal(err)
		}
		if at += int64(len(one)); at > benchFile {
			b.StopTimer()
			f.Truncate(0)
			at = 0
			b.StartTimer()
		}
	}
}

func benchLog(b *testing.B, one batch.Batch, preallocate int64) {
	o := quiet(vfs.OS(b.TempDir()))
	o.Settings.Preallocate = preallocate
	l := open(b, o, nil)
	defer l.Close(false)
	batches := []batch.Batch{one}
	b.SetBytes(int64(len(one)))
	b.ReportAllocs()
	for b.Loop() {
		if err := batch.Validate(one, batch.Limits{}); err != nil {
			b.Fatal(err)
		}
		one.Stamp(l.End(), 0)
		if err := l.Append(batches); err != nil {
			b.Fatal(err)
		}
		if l.Size() > benchFile {
			b.StopTimer()
			l.TruncateAll(0)
			b.StartTimer()
		}
	}
}

// BenchmarkAppendFlush appends 1 MiB in batches and waits until it is on disk.
func BenchmarkAppendFlush(b *testing.B) {
	for _, preallocate := range []int64{0, -1} {
		b.Run(fmt.Sprint("preallocate=", preallocate >= 0), func(b *testing.B) {
			scheduler := flush.New(flush.Options{})
			defer scheduler.Close()
			o := quiet(vfs.OS(b.TempDir()))
			o.Flush = scheduler
			o.Settings.Preallocate = preallocate
			l := open(b, o, nil)
			defer l.Close(false)
			one := rawBatch(64 << 10)
			many := make([]batch.Batch, 16)
			for i := range many {
				many[i] = append(batch.Batch(nil), one...)
			}
			b.SetBytes(16 * int64(len(one)))
			b.ReportAllocs()
			for b.Loop() {
				next := l.End()
				for _, m := range many {
					m.Stamp(next, 0)
					next = m.NextOffset()
				}
				appendAll(b, l, many...)
				flushed(b, l)
				if l.Size() > benchFile {
					b.StopTimer()
					l.TruncateAll(0)
					b.StartTimer()
				}
			}
		})
	}
}

func BenchmarkPublish(b *testing.B) {
	l := open(b, quiet(vfs.NewMem(vfs.MemOptions{})), nil)
	m := newMaker()
	appendAll(b, l, m.batches(100, 3)...)
	b.ReportAllocs()
	hw := l.End()
	for b.Loop() {
		hw = l.End() - (l.End()-hw+3)%90
		l.Publish(hw)
	}
}

// BenchmarkRead reads ranges by offset: what a fetch costs besides the bytes.
func BenchmarkRead(b *testing.B) {
	o := quiet(vfs.OS(b.TempDir()))
	o.Settings.SegmentBytes = 64 << 20
	l := open(b, o, nil)
	defer l.Close(false)
	one := rawBatch(16 << 10)
	for l.Size() < 256<<20 {
		one.Stamp(l.End(), 0)
		appendAll(b, l, one)
	}
	v := l.Publish(l.End())
	for _, place := range []string{"end", "anywhere"} {
		for _, size := range []int{64 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%s/%dK", place, size>>10), func(b *testing.B) {
				rnd := rand.New(rand.NewPCG(1, 1))
				b.ReportAllocs()
				for b.Loop() {
					from := rnd.Int64N(v.HighWatermark)
					if place == "end" {
						from = v.HighWatermark - 1 - rnd.Int64N(100)
					}
					s, err := v.Read(from, size, true)
					if err != nil {
						b.Fatal(err)
					}
					s.Release()
				}
			})
		}
	}
}

// BenchmarkOpenClean opens a thousand logs by their checkpoints.
func BenchmarkOpenClean(b *testing.B) {
	const logs = 1000
	fs := vfs.NewMem(vfs.MemOptions{})
	files := segment.NewFiles(100)
	checkpoints := map[string]Checkpoint{}
	for i := range logs {
		o := quiet(fs)
		o.Files = files
		o.Dir = fmt.Sprint("t-", i)
		l := open(b, o, nil)
		m := newMaker()
		appendAll(b, l, m.batches(3, 10)...)
		if err := l.Close(true); err != nil {
			b.Fatal(err)
		}
		checkpoints[o.Dir] = l.Checkpoint()
	}
	b.Run("1000 logs", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for dir, c := range checkpoints {
				o := quiet(fs)
				o.Dir, o.Files = dir, files
				l := open(b, o, &c)
				l.Publish(l.End())
			}
		}
	})
	all := map[string]Checkpoint{}
	for i := range 10_000 {
		all[strings.Repeat("x", 30)+fmt.Sprint(i)] = checkpoints[fmt.Sprint("t-", i%logs)]
	}
	if err := WriteCheckpoints(fs, "checkpoints", 1, all); err != nil {
		b.Fatal(err)
	}
	b.Run("read 10000 checkpoints", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := ReadCheckpoints(fs, "checkpoints"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkOpenKilled opens a thousand logs of a broker that was killed, of which
// 1 MiB each came after the last checkpoint.
func BenchmarkOpenKilled(b *testing.B) {
	const logs, bytes = 1000, 1 << 20
	fs := vfs.OS(b.TempDir())
	files := segment.NewFiles(100)
	var checkpoints [logs]Checkpoint
	one := rawBatch(64 << 10)
	options := func(i int) Options {
		o := quiet(fs)
		o.Files, o.Dir = files, fmt.Sprint("t-", i)
		return o
	}
	for i := range logs {
		l := open(b, options(i), nil)
		checkpoints[i] = l.Checkpoint()
		for l.Size() < bytes {
			one.Stamp(l.End(), 0)
			appendAll(b, l, one)
		}
		flushed(b, l)
		l.Close(false)
	}
	b.ReportAllocs()
	for b.Loop() {
		for i := range checkpoints {
			l := open(b, options(i), &checkpoints[i])
			l.Publish(l.End())
			l.Close(false)
		}
	}
}

// BenchmarkRecover scans a log of which nothing is known.
func BenchmarkRecover(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("batches=%dK", size>>10), func(b *testing.B) {
			o := quiet(vfs.OS(b.TempDir()))
			l := open(b, o, nil)
			one := rawBatch(size + 1100)
			for l.Size() < 128<<20 {
				one.Stamp(l.End(), 0)
				appendAll(b, l, one)
			}
			flushed(b, l)
			l.Close(false)
			b.SetBytes(l.Size())
			for b.Loop() {
				l := open(b, o, nil)
				if l.Report().Scanned != l.Size() {
					b.Fatal(l.Report())
				}
				l.Close(false)
			}
		})
	}
}

// BenchmarkFlushMany appends a batch to each of many logs and waits for all of
// them: the rounds of a busy broker.
func BenchmarkFlushMany(b *testing.B) {
	const logs = 128
	for _, preallocate := range []int64{0, -1} {
		b.Run(fmt.Sprint("preallocate=", preallocate >= 0), func(b *testing.B) {
			scheduler := flush.New(flush.Options{})
			defer scheduler.Close()
			fs := vfs.OS(b.TempDir())
			var all [logs]*Log
			var batches [logs]batch.Batch
			for i := range all {
				o := quiet(fs)
				o.Dir, o.Flush, o.Settings.Preallocate = fmt.Sprint("t-", i), scheduler, preallocate
				all[i] = open(b, o, nil)
				batches[i] = rawBatch(32 << 10)
				for all[i].Size() < 2<<20 {
					batches[i].Stamp(all[i].End(), 0)
					appendAll(b, all[i], batches[i])
				}
			}
			b.SetBytes(logs * int64(len(batches[0])))
			done := make(chan error, logs)
			for b.Loop() {
				for i, l := range all {
					batches[i].Stamp(l.End(), 0)
					appendAll(b, l, batches[i])
					l.Flush(func(_ int64, err error) { done <- err })
				}
				for range all {
					if err := <-done; err != nil {
						b.Fatal(err)
					}
				}
			}
			for _, l := range all {
				l.Close(false)
			}
		})
	}
}
