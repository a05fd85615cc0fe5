package sim

import (
	"iter"
	"slices"
)

// routine is what would be a goroutine of a node: code that waits. It runs in
// turn with everything else, and gives its turn away by waiting.
type routine struct {
	p     *process
	yield func(int64) bool
	next  func() (int64, bool)
	stop  func()
	gen   uint64 // number of the wait; a wake of an earlier one is void
	ended bool   // it must not go on: every wait returns at once
}

// begin starts a routine. It ends with its process.
func (p *process) begin(f func(r *routine)) {
	r := &routine{p: p}
	r.next, r.stop = iter.Pull(func(yield func(int64) bool) {
		r.yield = yield
		f(r)
		r.ended = true
	})
	if len(p.routines) == cap(p.routines) {
		p.routines = slices.DeleteFunc(p.routines, func(r *routine) bool { return r.ended })
	}
	p.routines = append(p.routines, r)
	p.s.after(0, func() { p.do(func() { r.resume(r.gen) }) })
}

// resume runs the routine until it waits again.
func (r *routine) resume(gen uint64) {
	if r.ended || gen != r.gen {
		return
	}
	r.gen++
	s := r.p.s
	outer := s.current
	s.current = r
	until, more := r.next()
	s.current = outer
	if !more {
		r.ended = true
		return
	}
	next := r.gen
	s.plan(max(until, s.now), 0, func() { r.p.do(func() { r.resume(next) }) })
}

// park waits until a time, or until poke, and reports whether the routine goes on.
func (r *routine) park(until int64) bool {
	if r.ended || !r.yield(until) {
		r.ended = true
	}
	return !r.ended
}

// sleep waits for so long, and reports whether the routine goes on.
func (r *routine) sleep(d int64) bool { return r.park(r.p.s.now + d) }

// poke ends the present wait.
func (r *routine) poke() {
	gen := r.gen
	r.p.s.after(0, func() { r.p.do(func() { r.resume(gen) }) })
}

// await waits until something holds, or for at most so long, and reports whether
// it does.
func (r *routine) await(within int64, ready func() bool) bool {
	deadline := r.p.s.now + within
	for !ready() {
		if r.p.s.now >= deadline || !r.sleep(min(millisecond, deadline-r.p.s.now)) {
			return false
		}
	}
	return true
}

// pause is what a caller of an actor does instead of waiting on a channel.
func (s *Sim) pause(ready func() bool) {
	r := s.current
	if r == nil {
		panic("sim: something waits that is no routine")
	}
	for !ready() && r.sleep(300) {
	}
}

// alive reports whether the routine goes on.
func (r *routine) alive() bool { return !r.ended }
