package log

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/batch"
	"understudy/messages/producer"
	"understudy/persistence/vfs"
)

// history is what a log should hold: the model that recovery is compared with.
type history struct {
	batches []batch.Batch // since the log was last empty, deleted ones too
	start   messages.Offset
	origin  messages.Offset // where the first batch begins
}

func (h history) end() messages.Offset {
	if n := len(h.batches); n > 0 {
		return h.batches[n-1].NextOffset()
	}
	return h.origin
}

// upTo is the history without what lies at or after an offset.
func (h history) upTo(end messages.Offset) history {
	n := 0
	for n < len(h.batches) && h.batches[n].NextOffset() <= end {
		n++
	}
	h.batches = slices.Clip(h.batches[:n])
	return h
}

func (h history) producers() []byte {
	s := producer.New()
	for _, b := range h.batches {
		s.Apply(b)
	}
	content, _ := s.MarshalBinary()
	return content
}

func (h history) epochs() (epochs []replica.EpochStart) {
	for _, b := range h.batches {
		epochs = addEpoch(epochs, b.LeaderEpoch(), b.BaseOffset())
	}
	return trimEpochs(epochs, h.start)
}

// workload drives a log through everything that changes files, and knows at any
// moment what must survive.
type workload struct {
	fs  vfs.FS
	log *Log
	m   *maker
	rnd *rand.Rand

	segment int64 // bytes

	compacts  bool            // the log is compacted now and then
	committed messages.Offset // then: nothing below is truncated, and nothing above compacted
	cleanings [][2]int64      // between which numbers of operations

	now outcome   // what the log should hold
	may []outcome // what it may hold instead while an operation is under way
}

// outcome is what a log may hold after a loss of power: a history that may lack
// the end of what was not reported durable.
type outcome struct {
	history
	acked messages.Offset // below this everything was
}

const checkpointFile = "recovery-checkpoint"

func newWorkload(fs vfs.FS, seed uint64) *workload {
	w := &workload{fs: fs, m: newMaker(), rnd: rand.New(rand.NewPCG(seed, 1))}
	w.segment = []int64{3000, 20_000}[seed%2] // less than a page, and several
	w.m.rnd = rand.New(rand.NewPCG(seed, 2))
	return w
}

func (w *workload) options() Options {
	o := quiet(w.fs)
	o.Settings.SegmentBytes = w.segment
	o.Settings.IndexIntervalBytes = 300
	o.Settings.RetentionBytes = 2 * w.segment
	o.Settings.RetentionMs = 1_000_000
	o.Settings.Compact = w.compacts
	if w.compacts {
		o.Settings.RetentionBytes = 6 * w.segment
	}
	return o
}

// start opens the log as a broker does: the checkpoints are made unclean before
// anything else is written.
func (w *workload) start() error {
	_, checkpoints, err := ReadCheckpoints(w.fs, checkpointFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c, known := checkpoints[orders.String()]
	var opened *Checkpoint
	if known {
		opened = &c
		begun := c
		begun.Clean = false
		if err := WriteCheckpoints(w.fs, checkpointFile, 1, map[string]Checkpoint{orders.String(): begun}); err != nil {
			return err
		}
	}
	w.log, err = Open(w.options(), opened)
	return err
}

func (w *workload) checkpoint() error {
	return WriteCheckpoints(w.fs, checkpointFile, 1, map[string]Checkpoint{orders.String(): w.log.Checkpoint()})
}

func (w *workload) append() error {
	if w.rnd.IntN(6) == 0 {
		w.m.epoch++
	}
	var some []batch.Batch
	for range 1 + w.rnd.IntN(4) {
		w.m.producer = int64(w.rnd.IntN(4)) - 1
		w.m.sequence = int32(w.m.next) // each producer's rise
		w.m.size = w.rnd.IntN(int(w.segment / 15))
		some = append(some, w.m.batch(1+w.rnd.IntN(4)))
	}
	w.now.batches = append(slices.Clip(w.now.batches), some...)
	return w.log.Append(some)
}

func (w *workload) flush() error {
	var result error
	w.log.Flush(func(end messages.Offset, err error) {
		if result = err; err == nil {
			w.now.acked = max(w.now.acked, end)
		}
	})
	return result
}

func (w *workload) setStart() error {
	if w.now.end() == w.now.start {
		return nil
	}
	start := w.now.start + w.rnd.Int64N(w.now.end()-w.now.start)/2
	w.begin()
	w.now.start = start
	return w.done(w.log.SetStart(start))
}

func (w *workload) retain() error {
	w.begin()
	now := w.m.timestamp
	if w.rnd.IntN(4) == 0 {
		now += 2_000_000 // everything is too old
	}
	_, err := w.log.Retain(now, w.log.End())
	w.now.start = w.log.Start()
	return w.done(err)
}

func (w *workload) truncate() error {
	if w.now.end() == w.now.start {
		return nil
	}
	to := w.now.end() - w.rnd.Int64N(w.now.end()-w.now.start+1)/3
	shorter := w.now.upTo(to)
	if shorter.end() < max(shorter.start, w.committed) {
		return nil
	}
	w.now.acked = min(w.now.acked, shorter.end()) // it is gone bit by bit
	w.begin()
	w.now.history = shorter
	w.m.next, w.m.epoch = w.now.end(), w.m.epoch+1
	return w.done(w.log.Truncate(to))
}

func (w *workload) truncateAll() error {
	start := w.rnd.Int64N(w.now.end() + 50)
	w.committed = 0
	w.now.acked = messages.NoOffset // it is gone bit by bit
	w.begin()
	empty := w.now.start
	w.now = outcome{history{start: empty, origin: empty}, empty}
	w.begin()
	w.now = outcome{history{start: start, origin: start}, start}
	w.m.next, w.m.epoch = start, w.m.epoch+1
	return w.done(w.log.TruncateAll(start))
}

// begin keeps what the log may hold while an operation is under way.
func (w *workload) begin() { w.may = append(w.may, w.now) }

// done ends an operation that is durable when it returns.
func (w *workload) done(err error) error {
	if err == nil {
		w.may = nil
	}
	return err
}

func (w *workload) restart() error {
	if err := w.log.Close(true); err != nil {
		return err
	}
	w.now.acked = w.now.end()
	if err := w.checkpoint(); err != nil {
		return err
	}
	return w.start()
}

// run does n steps, or as many as it can until the power goes.
func (w *workload) run(n int) error {
	if err := w.start(); err != nil {
		return err
	}
	for range n {
		if err := w.step(); err != nil {
			return err
		}
	}
	return w.restart()
}

func (w *workload) step() error {
	if w.compacts && w.rnd.IntN(8) == 0 {
		return w.clean()
	}
	switch k := w.rnd.IntN(40); {
	case k < 20:
		return w.append()
	case k < 30:
		return w.flush()
	case k < 33:
		return w.checkpoint()
	case k < 34:
		return w.setStart()
	case k < 36:
		return w.retain()
	case k < 38:
		return w.truncate()
	case k < 39 && w.rnd.IntN(3) == 0:
		return w.truncateAll()
	}
	return w.restart()
}

// matches compares a log with an outcome.
func matches(l *Log, h outcome) error {
	switch {
	case l.Start() < h.start:
		return fmt.Errorf("starts at %d, and everything below %d was deleted", l.Start(), h.start)
	case l.End() < min(h.acked, h.end()):
		return fmt.Errorf("ends at %d, and %d was durable", l.End(), h.acked)
	case l.End() > h.end():
		return fmt.Errorf("ends at %d, and only %d was appended", l.End(), h.end())
	case l.Durable() != l.End():
		return fmt.Errorf("durable up to %d, and ends at %d", l.Durable(), l.End())
	}
	kept := h.upTo(l.End())
	if kept.end() != l.End() && l.End() != l.Start() {
		return fmt.Errorf("ends at %d, within a batch", l.End())
	}
	v := l.Publish(l.End())
	i := slices.IndexFunc(kept.batches, func(b batch.Batch) bool { return b.LastOffset() >= v.LogStart })
	for from := v.LogStart; from < v.HighWatermark; i++ {
		s, err := v.Read(from, 1, true)
		if err != nil {
			return err
		}
		got, err := s.Bytes(nil)
		s.Release()
		if err != nil {
			return err
		}
		if !bytes.Equal(got, kept.batches[i]) {
			return fmt.Errorf("another batch at %d", from)
		}
		from = kept.batches[i].NextOffset()
	}
	kept.start = l.Start()
	if !slices.Equal(trimEpochs(l.Epochs(), l.Start()), kept.epochs()) {
		return fmt.Errorf("epochs %v, want %v", l.Epochs(), kept.epochs())
	}
	state, err := l.Producers().MarshalBinary()
	if err != nil || l.Err() != nil {
		return errors.Join(err, l.Err())
	}
	if !bytes.Equal(state, kept.producers()) {
		return fmt.Errorf("producers are others: %d, from snapshot %d", l.Producers().Len(), l.snapshot)
	}
	return nil
}

// check compares a recovered log with what it may hold, which then is settled.
func (w *workload) check(l *Log) error {
	var failed []error
	compare := matches
	if w.compacts {
		compare = matchesCompacted
	}
	for _, o := range append([]outcome{w.now}, w.may...) {
		err := compare(l, o)
		if err == nil {
			w.now, w.may = o, nil
			w.now.history = w.now.upTo(l.End())
			w.now.start, w.now.acked = l.Start(), l.End()
			if len(w.now.batches) == 0 {
				w.now.origin = l.End()
			}
			return nil
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

var losses = []vfs.Loss{vfs.LoseAll, vfs.LoseNone, vfs.LoseTorn, vfs.LosePages, vfs.LoseMixed}

// crashSeeds is how many workloads are tried; LOG_CRASH_SEEDS says otherwise.
func crashSeeds() int {
	if n, err := strconv.Atoi(os.Getenv("LOG_CRASH_SEEDS")); err == nil {
		return n
	}
	if testing.Short() {
		return 1
	}
	return 4
}

// TestPowerCutAtEveryOperation runs a workload, cutting the power during each
// call that changes the disk, recovers what is left and compares.
func TestPowerCutAtEveryOperation(t *testing.T) {
	seeds := crashSeeds()
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			whole := newWorkload(vfs.NewMem(vfs.MemOptions{PowerCuts: true}), seed)
			if err := whole.run(60); err != nil {
				t.Fatal(err)
			}
			if err := whole.check(whole.log); err != nil {
				t.Fatal(err)
			}
			ops := whole.fs.(*vfs.Mem).Ops()
			for n := int64(1); n <= ops; n++ {
				disk := vfs.NewMem(vfs.MemOptions{PowerCuts: true})
				disk.StopAt(n)
				w := newWorkload(disk, seed)
				if err := w.run(60); err != nil && !errors.Is(err, vfs.ErrCut) {
					t.Fatalf("cut at %d: %v", n, err)
				}
				for _, loss := range losses {
					if err := w.recover(disk.Cut(loss, rand.New(rand.NewPCG(seed, uint64(n))))); err != nil {
						t.Fatalf("seed %d, cut at operation %d, loss %d: %v", seed, n, loss, err)
					}
				}
			}
		})
	}
}

// recover opens the log on what a power cut left, and compares; then cuts again,
// and goes on.
func (w *workload) recover(left *vfs.Mem) error {
	after := newWorkload(left, 1)
	after.segment, after.now, after.may = w.segment, w.now, w.may
	after.compacts, after.committed = w.compacts, w.committed
	if err := after.start(); err != nil {
		return err
	}
	if err := after.check(after.log); err != nil {
		return err
	}
	// What Open found counts as durable. The power goes again at once.
	again := *after
	again.fs = left.Cut(vfs.LoseAll, nil)
	if err := again.start(); err != nil {
		return fmt.Errorf("second start: %w", err)
	}
	if err := again.check(again.log); err != nil {
		return fmt.Errorf("second start: %w", err)
	}
	return after.goOn()
}

// goOn appends to a recovered log, until the power goes, until the process dies, and
// again, until the power goes, and closes it in order at last.
func (w *workload) goOn() error {
	w.m.next, w.m.epoch = w.log.End(), 1000
	for i, end := range []func() error{w.cut, w.die, w.cut, w.restart} {
		for range 1 + 4*min(i, 1) { // at first no more than goes to what recovery found
			if err := w.append(); err != nil {
				return fmt.Errorf("going on: %w", err)
			}
		}
		if err := w.flush(); err != nil {
			return fmt.Errorf("going on: %w", err)
		}
		if err := end(); err != nil {
			return fmt.Errorf("going on: %w", err)
		}
		if err := w.check(w.log); err != nil {
			return fmt.Errorf("going on: %w", err)
		}
		w.m.next = w.log.End()
	}
	return nil
}

// die starts again after the process was killed: nothing is lost, and nothing
// more is durable.
func (w *workload) die() error { return w.start() }

// cut starts again after the power went.
func (w *workload) cut() error {
	w.fs = w.fs.(*vfs.Mem).Cut(vfs.LoseAll, nil)
	return w.start()
}

// TestPowerCutAfterAKill kills the process after any number of steps. What the
// next one finds counts as durable and must survive a power cut, although it was
// the first process that wrote it.
func TestPowerCutAfterAKill(t *testing.T) {
	for seed := range uint64(6 * crashSeeds()) {
		for steps := range 30 {
			w := newWorkload(vfs.NewMem(vfs.MemOptions{PowerCuts: true}), seed)
			if err := w.start(); err != nil {
				t.Fatal(err)
			}
			for range steps {
				if err := w.step(); err != nil {
					t.Fatal(err)
				}
			}
			for _, next := range []func() error{w.die, w.cut} {
				if err := next(); err != nil {
					t.Fatalf("seed %d, %d steps: %v", seed, steps, err)
				}
				if err := w.check(w.log); err != nil {
					t.Fatalf("seed %d, %d steps: %v", seed, steps, err)
				}
			}
			if err := w.goOn(); err != nil {
				t.Fatalf("seed %d, %d steps: %v", seed, steps, err)
			}
		}
	}
}
