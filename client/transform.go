package client

import (
	"errors"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Transform makes an actor that makes records of records: what transform gives for
// a record is written by the producer, and the record is acknowledged when all of
// it is. Records are transformed while what came of those before is being written;
// if that fails, they come again. An error, or a panic, is a failure of the record.
//
// When the producer is full, the actor waits.
func Transform(to *Producer, transform func(ctx actor.Context, r *kgo.Record) ([]*kgo.Record, error)) *actor.Props {
	return actor.PropsFromFunc(func(ctx actor.Context) {
		d, ok := ctx.Message().(*Delivery)
		if !ok {
			return
		}
		records, err := transform(ctx, d.Record)
		switch {
		case err != nil:
			d.Fail(err)
		case len(records) == 0:
			d.Ack()
		default:
			to.writeFor(d, records)
		}
	})
}

// writeFor writes what came of a delivery, and says what became of that.
func (p *Producer) writeFor(d *Delivery, records []*kgo.Record) {
	var left, failed atomic.Int64
	left.Store(int64(len(records))) // to be written
	for _, r := range records {
		p.cl.Produce(d.item.flow.ctx, r, func(_ *kgo.Record, err error) {
			if errors.Is(err, kgo.ErrClientClosed) {
				err = ErrStopped
			}
			if err != nil && failed.Add(1) == 1 {
				d.Fail(err)
			}
			if left.Add(-1) == 0 && failed.Load() == 0 {
				d.Ack()
			}
		})
	}
}
