package sim

import (
	"math"

	"github.com/asynkron/protoactor-go/actor"
)

// turns is the dispatcher of one actor: each run of its mailbox is an event.
type turns struct {
	p     *process
	key   uint64
	n     uint64
	slow  int64  // µs that a run may have to wait, now and then
	after func() // called after each run; may be nil
}

var _ actor.Dispatcher = (*turns)(nil)

func (p *process) turns(name string, after func()) *turns {
	return &turns{p: p, key: mix(uint64(p.run), mixName(name)) | 1, slow: p.s.cfg.slowTurn, after: after}
}

// Schedule plans a run of the mailbox. How long it takes until then follows from
// whose run it is alone: actors may be woken in the order of a map.
func (t *turns) Schedule(run func()) {
	p := t.p
	if p.dead {
		return
	}
	t.n++
	draw := mix(p.s.seed, t.key, t.n)
	delay := int64(draw % 40)
	if draw>>32%64 == 0 {
		delay = int64(draw>>8) % t.slow
	}
	p.s.plan(p.s.now+delay, t.key, func() {
		p.do(func() {
			run()
			if t.after != nil {
				t.after()
			}
		})
	})
}

// Throughput is part of the library's interface.
func (t *turns) Throughput() int { return math.MaxInt }
