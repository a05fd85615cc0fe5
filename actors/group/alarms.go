package group

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"understudy/actors/mailbox"
)

// alarms tell those who wait for a time that it has come: one clock for all of
// them, so that a thousand groups at rest cost nothing.
type alarms struct {
	mu   sync.Mutex
	heap alarmHeap
	poke chan struct{} // the first alarm is another one
}

// alarm is somebody's, who gets a tick when it goes off. It may go off early.
type alarm struct {
	mail *mailbox.Batching
	at   int64 // on core.Time.Clock
	pos  int   // in the heap; -1: not set
}

// tick says that the time has come that an alarm was set to.
type tick struct{}

func newAlarms() *alarms { return &alarms{poke: make(chan struct{}, 1)} }

func newAlarm(mail *mailbox.Batching) *alarm { return &alarm{mail: mail, pos: -1} }

// set sets an alarm to a time, unless it goes off before that anyway; 0: there is
// nothing to wait for, and it may go off or not.
func (as *alarms) set(a *alarm, at int64) {
	if at == 0 {
		return
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	switch {
	case a.pos < 0:
		a.at = at
		heap.Push(&as.heap, a)
	case at < a.at:
		a.at = at
		heap.Fix(&as.heap, a.pos)
	default:
		return
	}
	if a.pos == 0 {
		select {
		case as.poke <- struct{}{}:
		default:
		}
	}
}

// unset has an alarm not go off any more.
func (as *alarms) unset(a *alarm) {
	as.mu.Lock()
	defer as.mu.Unlock()
	if a.pos >= 0 {
		heap.Remove(&as.heap, a.pos)
	}
}

// ring lets the alarms go off whose time has come, and says how long it is until
// the next, ms; -1: there is none.
func (as *alarms) ring(now int64) (next int64) {
	as.mu.Lock()
	defer as.mu.Unlock()
	for len(as.heap) > 0 {
		first := as.heap[0]
		if first.at > now {
			return first.at - now
		}
		heap.Pop(&as.heap)
		first.mail.PostUserMessage(tick{})
	}
	return -1
}

// run works until the context ends.
func (as *alarms) run(ctx context.Context, clock func() int64) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if next := as.ring(clock()); next >= 0 {
			timer.Reset(time.Duration(next) * time.Millisecond)
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return
		case <-as.poke:
		case <-timer.C:
		}
	}
}

// alarmHeap has the alarm that goes off next at the front.
type alarmHeap []*alarm

func (h alarmHeap) Len() int           { return len(h) }
func (h alarmHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h alarmHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}

func (h *alarmHeap) Push(x any) {
	a := x.(*alarm)
	a.pos = len(*h)
	*h = append(*h, a)
}

func (h *alarmHeap) Pop() any {
	last := len(*h) - 1
	a := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	a.pos = -1
	return a
}
