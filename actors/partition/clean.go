package partition

import (
	"errors"
	"sync/atomic"

	"understudy/messages"
	"understudy/persistence/compact"
	"understudy/persistence/log"
)

// What the cleaner and a replica say to each other. The cleaner works on segments
// that are complete, beside the actor; the actor says what is to be compacted, and
// puts what comes of it in its place.
//
//	cleaner                               actor
//	   │ dirtAsk                            │
//	   │───────────────────────────────────▶│ how much is there to do?
//	   │ cleanAsk                           │
//	   │───────────────────────────────────▶│ log.BeginClean
//	   │ reads, writes, syncs               │ goes on
//	   │ swapAsk, for each new segment      │
//	   │───────────────────────────────────▶│ log.Swap
//	   │ endClean                           │
//	   │───────────────────────────────────▶│ log.EndClean
type (
	dirtQuestion struct{}
	swapQuestion struct {
		cleaning    *log.Cleaning
		replacement compact.Replacement
	}

	dirtAsk = ask[dirtQuestion, dirt]
	swapAsk = ask[swapQuestion, struct{}]

	// endClean says that a compaction has come up to an offset, and is over.
	endClean struct {
		cleaning *log.Cleaning
		to       messages.Offset
	}
)

// dirt is how much there is to compact.
type dirt struct {
	wanted bool    // it is time to
	due    bool    // has waited too long
	ratio  float64 // share of what could be compacted that has not been
}

// cleanAsk asks a replica to begin a compaction. Whoever asked may withdraw as
// long as the replica has not taken it: what was begun must be ended.
type cleanAsk struct {
	ask[struct{}, *log.Cleaning]
	taken atomic.Bool
}

func newCleanAsk() *cleanAsk {
	return &cleanAsk{ask: ask[struct{}, *log.Cleaning]{reply: make(chan answer[*log.Cleaning], 1)}}
}

// take is true for the first who calls it: the replica, or who withdraws.
func (a *cleanAsk) take() bool { return a.taken.CompareAndSwap(false, true) }

// begin answers the question.
func (a *cleanAsk) begin(m *Machine) {
	if !a.take() {
		return
	}
	answered := false
	defer func() {
		if !answered {
			a.refuse(errors.New("the replica failed"))
		}
	}()
	cleaning, err := m.BeginClean()
	answered = true
	a.answer(cleaning, err)
}

// Dirt tells how much of the log is to be compacted.
func (m *Machine) Dirt() (dirt, error) {
	f, err := m.log.Filth(m.world.Now(), m.core.Status().HighWatermark)
	if err != nil {
		return dirt{}, err
	}
	d := dirt{due: f.Due, ratio: f.Ratio()}
	d.wanted = f.Dirty > 0 && (d.due || d.ratio > m.settings.MinDirtyRatio)
	return d, nil
}

// BeginClean begins a compaction; nil if there is nothing to do. See log.BeginClean.
//
// Tombstones are kept as long as a replica is missing from the in-sync set. One
// that is away for longer than delete.retention.ms would otherwise never see them,
// and have again what they have removed. The others know it is away: they were told
// long before the tombstones' time came.
func (m *Machine) BeginClean() (*log.Cleaning, error) {
	s := m.core.Status()
	cleaning, err := m.log.BeginClean(m.world.Now(), s.HighWatermark, len(s.ISR) < len(s.Replicas))
	m.noteFailure()
	return cleaning, err
}

// Swap puts a compacted segment in the place of others. See log.Swap.
func (m *Machine) Swap(c *log.Cleaning, r compact.Replacement) error {
	err := m.log.Swap(c, r)
	m.noteFailure()
	if err == nil {
		m.dirty, m.swapped = true, true
	}
	return err
}

// EndClean ends a compaction. See log.EndClean.
func (m *Machine) EndClean(c *log.Cleaning, to messages.Offset) {
	m.log.EndClean(c, to)
	m.dirty = true
}

// noteFailure makes the next Settle fail if the log has.
func (m *Machine) noteFailure() {
	if err := m.log.Err(); err != nil && m.failure == nil {
		m.failure = err
	}
}
