package kafka

import (
	"sync/atomic"
	"time"
)

// fetchWait is what keeps a fetch waiting: one registration with all of its
// partitions, one timer, and no goroutine. Whichever event comes first starts
// one that looks again.
//
//	running ──nothing to answer──▶ parked ──event──▶ running ...
//	   │  └──event meanwhile──▶ again ──▶ running
//	   └──enough, expired or abandoned──▶ done
//
// Late events find it done. It is not pooled, so that none finds another fetch.
type fetchWait struct {
	f      *fetching // the runner's
	waiter *Waiter   // the runner's
	timer  *time.Timer
	state  atomic.Int32
	over   atomic.Bool // time is up or the client has gone
}

const (
	running int32 = iota
	parked
	again
	done
)

// wait leaves the fetch waiting. It returns false, and nothing has happened, if
// the fetch is to be answered now: its client has gone, or memory is short.
func (f *fetching) wait() bool {
	budget := f.broker.deps.Pool.Budget()
	if budget.Used() > budget.Limit()/4*3 {
		return false
	}
	f.dropSlices()
	f.r.FreeBody() // every topic is known, or there would have been an error: names are the image's
	w := &fetchWait{f: f}
	if !f.r.Wait(w) {
		return false
	}
	w.timer = time.AfterFunc(time.Duration(f.maxWait)*time.Millisecond, w.expire)
	w.run()
	return true
}

// run looks whether there is enough now, until there is or nothing has happened
// since it looked. At most one goroutine is in it.
func (w *fetchWait) run() {
	f := w.f
	for {
		w.unregister()
		w.register()
		f.evaluate()
		if f.enough() || w.over.Load() {
			w.unregister()
			w.state.Store(done)
			w.timer.Stop()
			f.finish()
			return
		}
		f.dropSlices()
		if w.state.CompareAndSwap(running, parked) {
			return
		}
		w.state.Store(running)
	}
}

func (w *fetchWait) register() {
	w.waiter = NewWaiter(w.kick)
	for i := range w.f.parts {
		if target := w.f.parts[i].target; target != nil {
			target.Wait(w.waiter)
		}
	}
}

func (w *fetchWait) unregister() {
	if w.waiter == nil {
		return
	}
	for i := range w.f.parts {
		if target := w.f.parts[i].target; target != nil {
			target.Cancel(w.waiter)
		}
	}
	w.waiter = nil
}

// kick has somebody look again. It does not block.
func (w *fetchWait) kick() {
	for {
		switch s := w.state.Load(); s {
		case parked:
			if w.state.CompareAndSwap(parked, running) {
				go w.run()
				return
			}
		case running:
			if w.state.CompareAndSwap(running, again) {
				return
			}
		default:
			return
		}
	}
}

func (w *fetchWait) expire() {
	w.over.Store(true)
	w.kick()
}

// Abandon implements server.Abandoner.
func (w *fetchWait) Abandon(bool) { w.expire() }
