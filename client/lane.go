package client

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// maxSent is how many records an actor has in its mailbox ahead of its work.
const maxSent = 64

// lane leads the records of one route to their actor, in order. It belongs to the
// actor of its partition.
//
//	         records                  none for IdleAfter
//	asleep ───────────▶ awake ──────────────────────────▶ stopping
//	  ▲                │  ▲                                  │
//	  │         failure│  │pause over, or dead letter written│
//	  │                ▼  │                                  │
//	  │               paused                                 │
//	  └──────────────────────────────────────────────────────┘
//	                       its actor has stopped
type lane struct {
	flow *flow
	name string
	pid  *actor.PID // nil: asleep
	run  *run

	sent     []*item // to the actor in this run; those that are done are dropped now and then
	queue    []*item // after them
	paused   bool    // for a failed record, the first of queue
	stopping bool
	lastSent time.Time

	got   int // records that have come into queue and were not put aside
	pace  pace
	aside aside
}

// pace is how far a lane had come when its subscription last ran out of room.
type pace struct {
	at   time.Time
	done int
}

// aside is what of a lane was put aside: its records from some offset on are in the
// log, and nowhere else, until they are read again.
type aside struct {
	n      int      // how many
	from   int64    // none of them has a lower offset
	mark   *item    // stands for them in the front
	missed *reading // it has passed some of them
}

// run is the time from one failure of a lane to the next. A delivery belongs to
// one, and means nothing when that has ended.
type run struct {
	lane        *lane
	ended       atomic.Bool
	outstanding atomic.Int32 // delivered and not acknowledged
	wakeAt      atomic.Int32 // the partition's actor wants to know when so few are outstanding; -1: it does not
}

// end ends the run, and reports whether it was going on. From then on its actor
// skips what else it was sent.
func (r *run) end() bool { return !r.ended.Swap(true) }

// finished takes note that a delivery was acknowledged.
func (r *run) finished() {
	if r.outstanding.Add(-1) == r.wakeAt.Load() {
		r.lane.flow.tell(r)
	}
}

// begin starts a new run. What was sent in the last one and is not done is to be
// sent again, first.
func (l *lane) begin() {
	if l.run != nil {
		l.run.end()
	}
	if left := dropDone(l.sent); len(left) > 0 {
		l.queue = append(left, l.queue...)
	}
	l.sent = nil
	l.run = &run{lane: l}
	l.run.wakeAt.Store(-1)
}

// idle reports whether nothing is to be done, or being done.
func (l *lane) idle() bool {
	return len(l.queue) == 0 && l.aside.n == 0 && !l.paused && l.run.outstanding.Load() == 0
}

// slow reports whether the lane's queue would take longer than a second to work off
// as fast as it has been lately. It is asked again and again while there is too little
// room, and has no opinion before it has seen for a while how fast that is.
func (l *lane) slow(now time.Time) bool {
	done := l.got - len(l.queue) - int(l.run.outstanding.Load())
	since, went := now.Sub(l.pace.at), done-l.pace.done
	if since < lookFor {
		return false
	}
	l.pace = pace{now, done}
	return since < 4*lookFor && float64(went) < float64(len(l.queue))*since.Seconds()
}

// add puts a record at the end of the queue.
func (l *lane) add(it *item) {
	it.lane = l
	l.queue = append(l.queue, it)
	l.got++
}

// room is how many records may be sent to the actor now.
func (l *lane) room() int {
	if l.paused || l.stopping {
		return 0
	}
	return maxSent - int(l.run.outstanding.Load())
}

// take gives the next records to send, and sees to it that the partition's actor
// hears when there is room for more.
func (l *lane) take() []*item {
	r := l.run
	for {
		if n := min(l.room(), len(l.queue)); n > 0 {
			r.wakeAt.Store(-1)
			batch := l.queue[:n:n]
			l.queue = l.queue[n:]
			if len(l.queue) == 0 {
				l.queue = nil
			}
			r.outstanding.Add(int32(n))
			l.sent = append(dropDone(l.sent), batch...)
			return batch
		}
		if len(l.queue) == 0 || l.paused || l.stopping {
			return nil
		}
		const half = maxSent / 2
		r.wakeAt.Store(half)
		if r.outstanding.Load() > half {
			return nil // whoever takes it to half tells
		}
	}
}

// dropDone leaves out what is done.
func dropDone(items []*item) []*item {
	return slices.DeleteFunc(items, func(it *item) bool { return it.done.Load() })
}
