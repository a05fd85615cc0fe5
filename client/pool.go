package client

import (
	"runtime"
	"slices"
	"sync"
	"time"
)

// pool is a dispatcher for many actors with little to do each. The actor system's
// own starts a goroutine for every actor that has got something; with an actor for
// each key that is one for almost every record, and it costs more than the record
// does. Here a few goroutines go from actor to actor. Actors may block: when things
// do not go on for a while, more goroutines come.
//
//	Schedule ──▶ queue ──▶ a few goroutines, which end when it is empty
//	               │
//	               └─ look, while it is not: are they stuck? then others go on
type pool struct {
	mu       sync.Mutex
	queue    []func()
	head     int // of queue; what is before has been taken
	active   int // goroutines that take from the queue; those that are stuck do not count
	life     int // grows when all are stuck: goroutines of earlier lives have been replaced
	taken    int // from the queue, ever
	looking  bool
	lookedAt int // taken, at the last look
}

const (
	// lookAfter is how long what is in the queue waits before it is asked why.
	lookAfter = time.Millisecond
	// slow is how many actors a goroutine has its turn with between two looks if it
	// waits for something else than the processor.
	slow = 4
)

// Schedule is of actor.Dispatcher.
func (p *pool) Schedule(do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.queue); n == cap(p.queue) && p.head > n/2 { // more has been taken than waits: no need for more memory
		p.queue = slices.Delete(p.queue, 0, p.head)
		p.head = 0
	}
	p.queue = append(p.queue, do)
	if p.active < runtime.GOMAXPROCS(0) {
		p.start(1)
	} else if !p.looking {
		p.looking, p.lookedAt = true, p.taken
		time.AfterFunc(lookAfter, p.look)
	}
}

// Throughput is of actor.Dispatcher: how many messages an actor may handle before
// other goroutines have a turn.
func (p *pool) Throughput() int { return 300 }

// start starts goroutines. The lock is held.
func (p *pool) start(n int) {
	p.active += n
	for range n {
		go p.work(p.life)
	}
}

// work takes from the queue until it is empty.
func (p *pool) work(life int) {
	for {
		p.mu.Lock()
		if life != p.life { // it was stuck, and others have come
			if p.active >= runtime.GOMAXPROCS(0) {
				p.mu.Unlock()
				return
			}
			p.active++
			life = p.life
		}
		if p.head == len(p.queue) {
			p.active--
			p.queue, p.head = p.queue[:0], 0
			if cap(p.queue) > 1<<12 {
				p.queue = nil
			}
			p.mu.Unlock()
			return
		}
		do := p.queue[p.head]
		p.queue[p.head] = nil
		p.head++
		p.taken++
		p.mu.Unlock()
		do()
	}
}

// look sees to it that what is in the queue has its turn even if all goroutines are
// held up by actors that block.
func (p *pool) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	waiting := len(p.queue) - p.head
	if waiting == 0 {
		p.looking = false
		return
	}
	switch went := p.taken - p.lookedAt; {
	case went == 0:
		p.life++
		p.active = 0
		p.start(runtime.GOMAXPROCS(0))
	case went < slow*p.active:
		p.start(min(p.active, waiting))
	}
	p.lookedAt = p.taken
	time.AfterFunc(lookAfter, p.look)
}
