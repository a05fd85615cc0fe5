// Package flush makes what many logs have written durable together. Each log
// asks for its file to be synced and is called back; one Scheduler per broker
// gathers the requests and carries them out in rounds, so that many appends share
// a sync, and many files share a journal commit and the flushes of the disk.
package flush

import (
	"errors"
	"math"
	"sync"
	"time"
)

// File is what the scheduler needs of a file; a vfs.File is one. Its value must
// be usable as a map key: one file, one value.
type File interface {
	StartWriteback(offset, length int64)
	Sync() error
}

// Options of a Scheduler.
type Options struct {
	// Workers is how many files are synced at the same time; 0 is DefaultWorkers.
	// Each takes a thread of the system while it waits for the disk.
	Workers int
	// Observe, unless nil, is told how long each sync took, failed ones too. It
	// is called from several goroutines.
	Observe func(time.Duration)
}

// DefaultWorkers is enough for the flushes of a disk with a latency of
// milliseconds to be merged; more of them only cost threads (16 were a tenth
// slower over 256 files).
const DefaultWorkers = 8

// minPatience is how long a round at least waits for its last files.
const minPatience = time.Millisecond

// Stats counts what a Scheduler has done.
type Stats struct {
	Requests uint64 // calls of Flush
	Rounds   uint64
	Syncs    uint64
	Failures uint64 // syncs that failed
}

// ErrClosed is what a request gets that comes after Close.
var ErrClosed = errors.New("flush: the scheduler is closed")

// Scheduler syncs files on request, in rounds:
//
//	gather ──▶ start writeback of every file ──▶ sync every file ──▶ callbacks
//	  ▲                                                │
//	  └── requests that come meanwhile: next round ◀───┘
//
// Writeback is begun on all files before the first sync, so that the disk has
// all of the work at once, and the first sync's journal commit covers the others;
// unless there are so few that all of them are synced at the same time.
// A round is over when all its files are synced or, so that one slow file does not
// hold back the rest, when the last of them take much longer than usual: then the
// next round begins beside them.
type Scheduler struct {
	workers int
	observe func(time.Duration)
	wg      sync.WaitGroup

	mu     sync.Mutex
	wake   sync.Cond // there may be work, or all work is done and closed is set
	closed bool
	files  map[File]*request // every file that anything waits for
	free   []*request        // for reuse
	stats  Stats

	gathered []*request // files for the next round
	round    []*request // files of this round
	phase    phase
	taken    int // files of the round that this phase has begun with
	done     int // and finished

	patience *time.Timer   // fires when the last syncs of a round take too long
	awaited  uint64        // the round it was set for
	usual    time.Duration // smoothed duration of a sync
}

// phase is what is being done with the files of a round:
//
//	resting ─begin─▶ starting ─all started─▶ syncing ─all synced, or out of patience─▶ resting
type phase uint8

const (
	resting phase = iota
	starting
	syncing
)

// request is a file that somebody waits for. A request that comes while the file
// is being synced may be about bytes that the sync misses: it is kept for the
// next one.
type request struct {
	file    File
	next    []func(error) // wait for a sync that has not begun
	current []func(error) // wait for the sync that runs
	busy    bool          // in gathered, in a round or being synced
}

// New starts a Scheduler. Close ends it.
func New(o Options) *Scheduler {
	s := &Scheduler{workers: o.Workers, observe: o.Observe, files: map[File]*request{}}
	if s.workers <= 0 {
		s.workers = DefaultWorkers
	}
	s.wake.L = &s.mu
	s.patience = time.AfterFunc(time.Hour, s.giveUp)
	s.patience.Stop()
	for range s.workers {
		s.wg.Go(s.work)
	}
	return s
}

// Flush asks that what has been written to f so far be made durable. It returns
// at once; done is called exactly once with the result, from a goroutine of the
// scheduler that it must not block, and may ask for the next flush. f must stay
// open until then.
//
// A failure is handed to everyone who waits for the file by then, also for a
// later sync: nobody can tell what a sync after a failed one is worth, and it is
// not tried. The caller must not flush the file again.
func (s *Scheduler) Flush(f File, done func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Requests++
	if s.closed {
		go done(ErrClosed)
		return
	}
	r := s.files[f]
	if r == nil {
		r = s.newRequest(f)
	}
	r.next = append(r.next, done)
	if !r.busy {
		s.gather(r)
	}
}

// Stats tells what was done so far.
func (s *Scheduler) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Close carries out what was asked for, and returns when every callback has
// returned. It must not be called from a callback.
func (s *Scheduler) Close() {
	s.mu.Lock()
	s.closed = true
	s.wake.Broadcast()
	s.mu.Unlock()
	s.wg.Wait()
	s.patience.Stop()
}

func (s *Scheduler) newRequest(f File) *request {
	var r *request
	if n := len(s.free); n > 0 {
		r, s.free = s.free[n-1], s.free[:n-1]
	} else {
		r = &request{}
	}
	r.file = f
	s.files[f] = r
	return r
}

// gather puts a file into the next round.
func (s *Scheduler) gather(r *request) {
	r.busy = true
	s.gathered = append(s.gathered, r)
	if s.phase == resting {
		s.wake.Signal()
	}
}

// work is what each worker does: a step of the round if there is one to take,
// else the beginning of the next round, else wait.
func (s *Scheduler) work() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.phase != resting && s.taken < len(s.round):
			r := s.round[s.taken]
			s.taken++
			if s.phase == starting {
				s.start(r)
			} else {
				s.sync(r)
			}
		case s.phase == resting && len(s.gathered) > 0:
			s.begin()
		case s.closed && len(s.files) == 0:
			s.wake.Broadcast()
			return
		default:
			s.wake.Wait()
		}
	}
}

// begin begins a round with what has gathered. If every file finds a worker, their
// syncs come at once, and the writeback needs no start of its own.
func (s *Scheduler) begin() {
	s.stats.Rounds++
	s.round, s.gathered = s.gathered, s.round[:0]
	if len(s.round) <= s.workers {
		s.enter(syncing)
	} else {
		s.enter(starting)
	}
}

// enter begins a phase and wakes as many workers as it has work for.
func (s *Scheduler) enter(p phase) {
	s.phase, s.taken, s.done = p, 0, 0
	for range min(len(s.round), s.workers) - 1 {
		s.wake.Signal()
	}
}

// start begins the writeback of one file.
func (s *Scheduler) start(r *request) {
	f := r.file
	s.mu.Unlock()
	f.StartWriteback(0, math.MaxInt64)
	s.mu.Lock()
	s.done++
	if s.done == len(s.round) {
		s.enter(syncing)
	}
}

// sync syncs one file, and tells everyone who waited for it.
func (s *Scheduler) sync(r *request) {
	round := s.stats.Rounds
	s.stats.Syncs++
	r.current, r.next = r.next, r.current[:0]
	if s.taken == len(s.round) {
		s.awaited = round
		s.patience.Reset(max(minPatience, 2*s.usual))
	}
	s.mu.Unlock()

	began := time.Now()
	err := r.file.Sync()
	took := time.Since(began)
	if s.observe != nil {
		s.observe(took)
	}
	r.answer(err)

	s.mu.Lock()
	s.usual += (took - s.usual) / 8
	if err != nil {
		s.fail(r, err)
	}
	if len(r.next) > 0 {
		s.gather(r)
	} else {
		s.forget(r)
	}
	if s.phase == syncing && round == s.stats.Rounds {
		s.done++
		if s.done == len(s.round) {
			s.phase = resting
		}
	}
}

// answer calls everyone who waited for the sync that ran.
func (r *request) answer(err error) {
	for _, done := range r.current {
		done(err)
	}
	clear(r.current)
}

// fail hands the error of a sync also to those who came while it ran.
func (s *Scheduler) fail(r *request, err error) {
	s.stats.Failures++
	for len(r.next) > 0 {
		r.current, r.next = r.next, r.current[:0]
		s.mu.Unlock()
		r.answer(err)
		s.mu.Lock()
	}
}

// forget keeps the memory of a request that nobody waits for.
func (s *Scheduler) forget(r *request) {
	delete(s.files, r.file)
	r.file, r.busy = nil, false
	s.free = append(s.free, r)
}

// giveUp ends a round without its last files. Their syncs go on, and whoever
// waits for them waits.
func (s *Scheduler) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != syncing || s.taken < len(s.round) || s.awaited != s.stats.Rounds {
		return
	}
	s.phase = resting
	s.wake.Signal()
}
