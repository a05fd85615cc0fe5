package journal

import (
	"context"
	"errors"

	"understudy/messages/batch"
	"understudy/persistence/log"
)

// readBytes is how much is read at a time.
const readBytes = 1 << 20

// Read takes everything that a log holds, from its start to its high watermark.
func (r *Replay) Read(ctx context.Context, v *log.View) error {
	var buf []byte
	for from := v.LogStart; from < v.HighWatermark && ctx.Err() == nil; {
		slice, err := v.Read(from, readBytes, true)
		if slice == nil || err != nil {
			return err
		}
		buf, err = slice.Bytes(buf[:0])
		slice.Release()
		if err != nil {
			return err
		}
		if from, err = r.batches(buf, from); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// batches takes the batches in buf, the last of which may be cut off, and says
// where to go on.
func (r *Replay) batches(buf []byte, from int64) (next int64, err error) {
	for len(buf) > 0 {
		b, rest, err := batch.Next(buf)
		if errors.Is(err, batch.ErrShort) {
			return from, nil
		}
		if err != nil {
			return from, err
		}
		if err := r.Batch(b); err != nil {
			return from, err
		}
		from, buf = b.NextOffset(), rest
	}
	return from, nil
}
