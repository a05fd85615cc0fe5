package flush

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fake is a file whose syncs take a while of a test's own time.
type fake struct {
	name string
	took time.Duration
	err  error
	log  *journal

	written, durable atomic.Int64
	syncs            atomic.Int64
	running          atomic.Bool
}

// journal is what fakes did, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (f *fake) StartWriteback(off, length int64) {
	if f.log != nil {
		f.log.add("start " + f.name)
	}
}

func (f *fake) Sync() error {
	if f.running.Swap(true) {
		panic("two syncs of one file at a time")
	}
	defer f.running.Store(false)
	f.syncs.Add(1)
	if f.log != nil {
		f.log.add("sync " + f.name)
	}
	covered := f.written.Load() // what is written from here on, this sync may miss
	if f.took > 0 {
		time.Sleep(f.took)
	}
	f.durable.Store(covered)
	return f.err
}

// each runs a test in a bubble, where time passes only when all wait.
func each(t *testing.T, o Options, test func(t *testing.T, s *Scheduler)) {
	synctest.Test(t, func(t *testing.T) {
		s := New(o)
		test(t, s)
		s.Close()
	})
}

func ignore(error) {}

func TestFlushIsAnsweredOnce(t *testing.T) {
	each(t, Options{}, func(t *testing.T, s *Scheduler) {
		bad := errors.New("bad sector")
		answers := map[string][]error{}
		for _, f := range []*fake{{name: "good", took: 1 * time.Microsecond}, {name: "bad", took: 2 * time.Microsecond, err: bad}} {
			s.Flush(f, func(err error) { answers[f.name] = append(answers[f.name], err) })
			synctest.Wait()
			time.Sleep(5 * time.Microsecond)
			synctest.Wait()
		}
		if !slices.Equal(answers["good"], []error{nil}) || !slices.Equal(answers["bad"], []error{bad}) {
			t.Errorf("answered %v", answers)
		}
		if want := (Stats{Requests: 2, Rounds: 2, Syncs: 2, Failures: 1}); s.Stats() != want {
			t.Errorf("stats are %+v, want %+v", s.Stats(), want)
		}
	})
}

func TestWritebackOfARoundPrecedesItsSyncs(t *testing.T) {
	each(t, Options{Workers: 3}, func(t *testing.T, s *Scheduler) {
		var log journal
		s.Flush(&fake{name: "first", took: 10 * time.Microsecond, log: &log}, ignore)
		synctest.Wait()
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			s.Flush(&fake{name: name, took: 10 * time.Microsecond, log: &log}, ignore)
		}
		time.Sleep(100 * time.Microsecond)
		synctest.Wait()
		if len(log.lines) != 1+2*5 || log.lines[0] != "sync first" {
			t.Fatalf("did %q", log.lines)
		}
		for i, line := range log.lines[1:] {
			if starts := line[:5] == "start"; starts != (i < 5) {
				t.Fatalf("did %q", log.lines)
			}
		}
		if got := s.Stats().Rounds; got != 2 {
			t.Errorf("%d rounds, want 2", got)
		}
	})
}

func TestFilesThatAllFindAWorkerNeedNoStart(t *testing.T) {
	each(t, Options{Workers: 3}, func(t *testing.T, s *Scheduler) {
		var log journal
		s.Flush(&fake{name: "first", took: 10 * time.Microsecond, log: &log}, ignore)
		synctest.Wait()
		for _, name := range []string{"a", "b", "c"} {
			s.Flush(&fake{name: name, took: 10 * time.Microsecond, log: &log}, ignore)
		}
		time.Sleep(100 * time.Microsecond)
		synctest.Wait()
		for _, line := range log.lines {
			if line[:4] != "sync" {
				t.Fatalf("did %q", log.lines)
			}
		}
		if got := s.Stats(); got.Syncs != 4 || got.Rounds != 2 {
			t.Errorf("%d syncs in %d rounds, want 4 in 2", got.Syncs, got.Rounds)
		}
	})
}

func TestRequestsDuringASyncShareALaterOne(t *testing.T) {
	each(t, Options{}, func(t *testing.T, s *Scheduler) {
		f := &fake{took: 10 * time.Microsecond}
		answered := 0
		for range 5 {
			for range 3 {
				promised := f.written.Add(1)
				s.Flush(f, func(err error) {
					answered++
					if f.durable.Load() < promised {
						t.Errorf("%d is durable, %d was promised", f.durable.Load(), promised)
					}
				})
			}
			time.Sleep(3 * time.Microsecond) // the first request's sync takes 10
		}
		time.Sleep(100 * time.Microsecond)
		synctest.Wait()
		if answered != 15 || f.syncs.Load() > 3 {
			t.Errorf("%d answers by %d syncs, want 15 by 3", answered, f.syncs.Load())
		}
	})
}

func TestSlowFileDoesNotHoldBackOthers(t *testing.T) {
	each(t, Options{Workers: 4}, func(t *testing.T, s *Scheduler) {
		slow := &fake{took: time.Hour}
		s.Flush(slow, ignore)
		quick := [2]*fake{{took: 100 * time.Microsecond}, {took: 100 * time.Microsecond}}
		answered := [2]int{}
		for i, f := range quick {
			var again func(error)
			again = func(error) {
				if answered[i]++; answered[i] < 100 {
					s.Flush(f, again)
				}
			}
			s.Flush(f, again)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if answered != [2]int{100, 100} || slow.syncs.Load() != 1 {
			t.Errorf("%v answers beside a slow file, want 100 each", answered)
		}
	})
}

func TestFailureReachesAllWaiters(t *testing.T) {
	each(t, Options{}, func(t *testing.T, s *Scheduler) {
		bad := errors.New("bad sector")
		f, other := &fake{took: 10 * time.Microsecond, err: bad}, &fake{took: 10 * time.Microsecond}
		var got []error
		collect := func(err error) { got = append(got, err) }
		s.Flush(f, collect)
		synctest.Wait()
		s.Flush(f, collect) // waits for a later sync, which must not be tried
		s.Flush(f, collect)
		healthy := false
		s.Flush(other, func(err error) { healthy = err == nil })
		time.Sleep(100 * time.Microsecond)
		synctest.Wait()
		if !slices.Equal(got, []error{bad, bad, bad}) || f.syncs.Load() != 1 {
			t.Errorf("answered %v by %d syncs, want the error three times by one", got, f.syncs.Load())
		}
		if !healthy {
			t.Error("another file failed too")
		}
	})
}

func TestCloseDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Workers: 2})
		var answered atomic.Int64
		for range 10 {
			f := &fake{took: 10 * time.Microsecond}
			for range 2 {
				s.Flush(f, func(error) { answered.Add(1) })
			}
		}
		s.Close()
		if answered.Load() != 20 {
			t.Errorf("%d answers when Close returned, want 20", answered.Load())
		}
		late := make(chan error)
		s.Flush(&fake{}, func(err error) { late <- err })
		if err := <-late; err != ErrClosed {
			t.Errorf("got error %v after Close", err)
		}
	})
}

func TestObserve(t *testing.T) {
	var seen []time.Duration
	each(t, Options{Workers: 1, Observe: func(d time.Duration) { seen = append(seen, d) }}, func(t *testing.T, s *Scheduler) {
		s.Flush(&fake{took: 5 * time.Microsecond}, ignore)
		s.Flush(&fake{took: 7 * time.Microsecond}, ignore)
	})
	slices.Sort(seen)
	if !slices.Equal(seen, []time.Duration{5 * time.Microsecond, 7 * time.Microsecond}) {
		t.Errorf("observed %v, want 5 and 7", seen)
	}
}

// TestManyFilesAtOnce has writers at random, and checks every promise.
func TestManyFilesAtOnce(t *testing.T) {
	s := New(Options{Workers: 4})
	files := make([]*fake, 50)
	for i := range files {
		files[i] = &fake{}
	}
	var answered, asked atomic.Int64
	var wg sync.WaitGroup
	for w := range uint64(8) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(w, 0))
			for range 2000 {
				f := files[rnd.IntN(len(files))]
				promised := f.written.Add(1)
				asked.Add(1)
				s.Flush(f, func(err error) {
					answered.Add(1)
					if err != nil || f.durable.Load() < promised {
						t.Errorf("answered %v with %d durable, %d promised", err, f.durable.Load(), promised)
					}
				})
			}
		})
	}
	wg.Wait()
	s.Close()
	if answered.Load() != asked.Load() {
		t.Errorf("%d answers to %d requests", answered.Load(), asked.Load())
	}
	if len(s.files) != 0 || len(s.free) > len(files) {
		t.Errorf("%d files are left, %d requests kept", len(s.files), len(s.free))
	}
}

func TestFlushDoesNotAllocate(t *testing.T) {
	s := New(Options{Workers: 2})
	defer s.Close()
	a, b := &fake{}, &fake{}
	answers := make(chan error, 2)
	done := func(err error) { answers <- err }
	flush := func() {
		s.Flush(a, done)
		s.Flush(b, done)
		<-answers
		<-answers
	}
	flush()
	if n := testing.AllocsPerRun(1000, flush); n > 0 {
		t.Errorf("%v allocations for each flush", n)
	}
}
