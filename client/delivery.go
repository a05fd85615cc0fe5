package client

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Delivery is one record for an actor, which calls exactly one of Ack, Fail, Retry
// and Reject, during its turn or later, from any goroutine. Further calls do
// nothing.
type Delivery struct {
	Record  *kgo.Record
	Attempt int // from 1

	item *item
	run  *run
	over atomic.Bool // no longer outstanding
}

// Assignment is one time for which a subscription has a partition. Of two assignments
// of a partition within a group the later has the higher generation, or the same if a
// static member was replaced, as long as the group is not deleted. So what an actor
// writes somewhere can be told from what comes late from a member that has lost the
// partition, and does not know it yet.
type Assignment struct {
	Group      string
	Generation int32
	ID         uint64 // by chance; no two assignments share it
}

// Assignment gives the assignment for which the record is delivered.
func (d *Delivery) Assignment() Assignment { return d.item.flow.assignment }

// item is a record on its way through a subscription.
type item struct {
	offset int64
	epoch  int32 // of the leader that wrote it
	size   int64 // bytes that it takes in the room

	record   atomic.Pointer[kgo.Record] // nil once it is done, so that nothing keeps it in memory
	flow     *flow
	lane     *lane
	attempts int         // deliveries so far; the lane's
	done     atomic.Bool // acknowledged, or among the dead letters
	freed    atomic.Bool // takes no room any more
	stands   bool        // it is its lane's mark, which stands for those that were put aside
}

func newItem(f *flow, r *kgo.Record) *item {
	it := &item{flow: f, offset: r.Offset, epoch: r.LeaderEpoch, size: int64(len(r.Key) + len(r.Value))}
	for _, h := range r.Headers {
		it.size += int64(len(h.Key) + len(h.Value))
	}
	it.record.Store(r)
	return it
}

// settle takes note that the item is done, and reports whether that is news.
func (it *item) settle() bool {
	if it.done.Swap(true) {
		return false
	}
	it.record.Store(nil)
	it.free()
	it.flow.advance()
	return true
}

// free gives back the room that the item takes.
func (it *item) free() {
	if !it.freed.Swap(true) {
		it.flow.s.room.give(1, it.size)
	}
}

// Ack says that the record has been processed.
func (d *Delivery) Ack() {
	d.item.settle()
	d.finish()
}

// finish takes note that nothing more is to be expected of the delivery.
func (d *Delivery) finish() {
	if !d.over.Swap(true) {
		d.run.finished()
	}
}

// Fail says that the record could not be processed: it comes again after a pause
// that grows with each attempt, and goes to the dead letters after the last.
func (d *Delivery) Fail(cause error) { d.verdict(verdict{cause: cause, after: -1}) }

// Retry has the record come again after a pause. It counts as an attempt.
func (d *Delivery) Retry(after time.Duration, cause error) {
	d.verdict(verdict{cause: cause, after: max(after, 0)})
}

// Reject has the record go to the dead letters at once.
func (d *Delivery) Reject(cause error) { d.verdict(verdict{cause: cause, reject: true}) }

// verdict tells the actor of the partition what became of a delivery.
type verdict struct {
	delivery *Delivery
	cause    error
	after    time.Duration // -1: as the retry policy says
	reject   bool
}

func (d *Delivery) verdict(v verdict) {
	if d.item.done.Load() || !d.run.end() {
		return
	}
	v.delivery = d
	d.item.flow.tell(v)
}

// stale reports whether the record has been, or will be, delivered anew.
func (d *Delivery) stale() bool { return d.run.ended.Load() }

// Handler makes the simplest kind of actor: a function that is called with each
// record, and acknowledges it by returning nil. An error, or a panic, is a failure.
func Handler(handle func(ctx actor.Context, r *kgo.Record) error) *actor.Props {
	return actor.PropsFromFunc(func(ctx actor.Context) {
		d, ok := ctx.Message().(*Delivery)
		if !ok {
			return
		}
		if err := handle(ctx, d.Record); err != nil {
			d.Fail(err)
			return
		}
		d.Ack()
	})
}

// guard stands before an actor. It keeps deliveries from one that will get their
// records anew: those that were in its mailbox when an earlier one failed. One that
// panics as it ends, ends all the same: Proto.Actor would leave it half-way.
func (s *subscriber) guard(next actor.ReceiverFunc) actor.ReceiverFunc {
	return func(ctx actor.ReceiverContext, envelope *actor.MessageEnvelope) {
		switch m := envelope.Message.(type) {
		case *Delivery:
			if m.stale() || m.item.done.Load() {
				m.finish()
				return
			}
		case *actor.Restarting, *actor.Stopping, *actor.Stopped:
			defer func() {
				if reason := recover(); reason != nil {
					s.metrics.panics.Inc()
					s.o.Log.Warn().Err(panicked(reason)).Msgf("at %T", m)
				}
			}()
		}
		next(ctx, envelope)
	}
}

// panicked is what an actor that failed is said to have failed with.
func panicked(reason any) error {
	if err, ok := reason.(error); ok {
		return fmt.Errorf("the actor failed: %w", err)
	}
	return fmt.Errorf("the actor failed: %v", reason)
}
