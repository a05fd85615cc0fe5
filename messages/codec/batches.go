package codec

import (
	"fmt"
	"iter"
	"sync"

	"understudy/messages"
	"understudy/messages/batch"
)

// keepBuffer is the largest scratch buffer that is kept for the next use, in
// bytes: twice the batches that clients send by default at most.
const keepBuffer = 2 << 20

// scratch holds buffers for what is unpacked and looked at, but not handed out.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// withPayload calls f with the records section of b, unpacked. The bytes are
// valid only until f returns.
func withPayload(b batch.Batch, limit int, f func(payload []byte) error) error {
	if b.Codec() == batch.None {
		return f(b.Payload())
	}
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	payload, err := Decompress((*buf)[:0], b.Codec(), b.Payload(), limit)
	keep(buf, payload)
	if err != nil {
		return err
	}
	return f(payload)
}

// Records decodes the records of b, which may be compressed, to at most limit
// bytes. They stay valid after the loop. Errors are those of Decompress and
// batch.Records, and come last.
func Records(b batch.Batch, limit int) iter.Seq2[batch.Record, error] {
	return func(yield func(batch.Record, error) bool) {
		payload := b.Payload()
		if b.Codec() != batch.None {
			var err error
			if payload, err = Decompress(nil, b.Codec(), payload, limit); err != nil {
				yield(batch.Record{}, err)
				return
			}
		}
		batch.Records(b, payload)(yield)
	}
}

// Visit calls f for each record of b, which may be compressed, to at most limit
// bytes. A record is valid only until f returns; the first error of f ends it.
// Other errors are those of Decompress and batch.Records.
func Visit(b batch.Batch, limit int, f func(r *batch.Record) error) error {
	return withPayload(b, limit, func(payload []byte) error {
		for r, err := range batch.Records(b, payload) {
			if err != nil {
				return err
			}
			if err := f(&r); err != nil {
				return err
			}
		}
		return nil
	})
}

// CheckRecords is batch.CheckRecords for batches that may be compressed, to at
// most limit bytes.
func CheckRecords(b batch.Batch, limit int) (newest int64, err error) {
	err = withPayload(b, limit, func(payload []byte) error {
		newest, err = batch.CheckRecords(b, payload)
		return err
	})
	return newest, err
}

// RepairMaxTimestamp writes the true max timestamp into a batch that was
// validated but whose header NeedsMaxTimestamp, and recomputes its CRC. It reads
// every record to that end; the errors are those of CheckRecords.
func RepairMaxTimestamp(b batch.Batch, limit int) error {
	newest, err := CheckRecords(b, limit)
	if err != nil {
		return err
	}
	b.SetMaxTimestamp(newest)
	return nil
}

// Recompress gives the same batch in another codec: records, offsets, producer
// and timestamps are unchanged. The records unpack to at most limit bytes. A
// batch that has the codec already is returned as it is, whatever its level.
func Recompress(b batch.Batch, to batch.Codec, level, limit int) (batch.Batch, error) {
	if b.Codec() == to {
		return b, nil
	}
	var again batch.Batch
	err := withPayload(b, limit, func(payload []byte) (err error) {
		again, err = assemble(nil, b.Fields(), to, level, payload)
		return err
	})
	return again, err
}

// Build appends the batch that bu holds, compressed, to dst and returns it.
func Build(dst []byte, bu *batch.Builder, c batch.Codec, level int) (batch.Batch, error) {
	return assemble(dst, bu.Fields(), c, level, bu.Payload())
}

// Assemble appends a batch of f, with the records section payload packed by f's
// codec, to dst and returns it. The error is of kind MessageTooLarge if no batch
// can be so large.
func Assemble(dst []byte, f batch.Fields, payload []byte, level int) (batch.Batch, error) {
	return assemble(dst, f, batch.Codec(f.Attributes&batch.AttrCodec), level, payload)
}

// assemble packs payload and makes a batch of it and f. The error is of kind
// MessageTooLarge if no batch can be so large.
func assemble(dst []byte, f batch.Fields, c batch.Codec, level int, payload []byte) (batch.Batch, error) {
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	if c != batch.None {
		packed, err := Compress((*buf)[:0], c, payload, level)
		if err != nil {
			return nil, err
		}
		keep(buf, packed)
		payload = packed
	}
	if len(payload) > batch.MaxSize-batch.HeaderSize {
		return nil, messages.E("compress", messages.MessageTooLarge, c.String(), fmt.Errorf("%d bytes", len(payload)))
	}
	return batch.Assemble(dst, f.WithCodec(c), payload), nil
}

// keep makes buf the buffer that was grown out of it, unless it grew too large.
func keep(buf *[]byte, grown []byte) {
	if cap(grown) <= keepBuffer {
		*buf = grown
	}
}
