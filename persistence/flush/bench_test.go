package flush

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"understudy/persistence/vfs"
)

// BenchmarkDisk writes pieces to preallocated files, each of which waits until
// its piece is durable before the next: through the Scheduler, and with a sync of
// its own for each.
func BenchmarkDisk(b *testing.B) {
	for _, piece := range []int{16 << 10, 256 << 10} {
		for _, files := range []int{1, 6, 256} {
			for _, way := range []string{"scheduler", "own"} {
				b.Run(fmt.Sprintf("%dKiB/%dfiles/%s", piece>>10, files, way), func(b *testing.B) {
					benchmarkDisk(b, piece, files, way == "scheduler")
				})
			}
		}
	}
}

// region is how much of each file is written before beginning anew, in bytes.
const region = 4 << 20

func benchmarkDisk(b *testing.B, piece, files int, scheduled bool) {
	fsys := vfs.OS(b.TempDir())
	s := New(Options{})
	defer s.Close()
	syncOne := func(f vfs.File, answer chan error) error {
		if !scheduled {
			return f.Sync()
		}
		s.Flush(f, func(err error) { answer <- err })
		return <-answer
	}
	var opened []vfs.File
	for i := range files {
		f, err := fsys.Create(fmt.Sprint(i))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		f.Allocate(0, region)
		opened = append(opened, f)
	}
	data := make([]byte, piece)
	b.SetBytes(int64(piece) * int64(files))
	used := cpuTime()
	for i := int64(0); b.Loop(); i++ {
		var wg sync.WaitGroup
		for _, f := range opened {
			wg.Go(func() {
				f.WriteAt(data, i*int64(piece)%region)
				if err := syncOne(f, make(chan error, 1)); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
	gigabytes := float64(b.N) * float64(piece*files) / 1e9
	b.ReportMetric((cpuTime()-used).Seconds()/gigabytes, "cpu-s/GB")
}

// cpuTime is what this process has used of all cores.
func cpuTime() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkFlush is what the scheduler itself costs: one request of one file.
func BenchmarkFlush(b *testing.B) {
	s := New(Options{})
	defer s.Close()
	f, answer := &fake{}, make(chan error, 1)
	done := func(err error) { answer <- err }
	b.ReportAllocs()
	for b.Loop() {
		s.Flush(f, done)
		<-answer
	}
}
