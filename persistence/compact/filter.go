package compact

import (
	"math"

	"understudy/messages/batch"
	"understudy/messages/codec"
)

// payload gives a batch's records, unpacked. ok is false for a batch that is not
// looked into and stays as it is: one of a transaction, of which it is not known
// how that ended, or one whose records cannot be read or have offsets that are not
// the batch's, which is between those who wrote and read them.
func (w *Worker) payload(j *Job, b batch.Batch) (payload []byte, ok bool) {
	if b.IsTransactional() || b.IsControl() {
		return nil, false
	}
	payload = b.Payload()
	if b.Codec() != batch.None {
		var err error
		w.unpacked, err = codec.Decompress(w.unpacked[:0], b.Codec(), payload, j.MaxUnpacked)
		if err != nil {
			return nil, false
		}
		payload = w.unpacked
	}
	next := int32(0)
	for r, err := range batch.Records(b, payload) {
		if err != nil || r.OffsetDelta < next || r.OffsetDelta > b.LastOffsetDelta() {
			return nil, false
		}
		next = r.OffsetDelta + 1
	}
	return payload, true
}

// verdict is what becomes of a batch.
type verdict uint8

const (
	stays   verdict = iota // as it is
	changed                // with fewer records, or another base timestamp
	emptied                // without records, for its producer's sake
	gone                   // only its offsets stay
)

// picked is what is to be kept of a batch.
type picked struct {
	count  int32 // records
	newest int64 // of their timestamps, ms
	shift  int64 // of the base timestamp, to write the delete horizon there, ms
}

// filter decides what becomes of a batch. payload is what rebuild needs of one
// that is changed.
func (c *cleaning) filter(b batch.Batch) (what verdict, p picked, payload []byte) {
	if b.IsGap() {
		return gone, p, nil
	}
	payload, ok := c.w.payload(c.j, b)
	if !ok {
		c.opaque = true
		return stays, p, nil
	}
	p = c.pick(b, payload)
	c.w.stats.Records += int64(b.NumRecords())
	c.w.stats.Stayed += int64(p.count)
	switch {
	case p.count == b.NumRecords() && p.shift == 0 && p.count > 0:
		return stays, p, nil
	case p.count > 0:
		return changed, p, payload
	case !c.j.remembers(b):
		return gone, p, nil
	case b.IsEmpty():
		return stays, p, nil
	}
	return emptied, p, nil
}

// remembers reports whether a batch is one of the last of its producer.
func (j *Job) remembers(b batch.Batch) bool {
	if !b.HasProducer() {
		return false
	}
	first, known := j.Last[b.ProducerID()]
	return known && first <= b.LastOffset()
}

// pick goes through a batch's records and notes in w.keep which of them stay.
func (c *cleaning) pick(b batch.Batch, payload []byte) picked {
	p := picked{newest: math.MinInt64}
	_, dated := b.DeleteHorizon()
	tombstones := false
	c.w.keep = c.w.keep[:0]
	for r := range batch.Records(b, payload) {
		keep := c.keeps(b, &r)
		c.w.keep = append(c.w.keep, keep)
		if !keep {
			continue
		}
		p.count++
		p.newest = max(p.newest, r.Timestamp(b))
		tombstones = tombstones || r.Value == nil && r.Offset(b) < c.mapped
	}
	if tombstones && !dated {
		horizon := c.j.Now + min(c.j.TombstonesFor, math.MaxInt64-max(c.j.Now, 0))
		p.shift = b.BaseTimestamp() - horizon
	}
	return p
}

// keeps reports whether a record stays.
func (c *cleaning) keeps(b batch.Batch, r *batch.Record) bool {
	offset := r.Offset(b)
	switch {
	case offset >= c.mapped || offset == c.j.Keep:
		return true
	case r.Key == nil: // the topic was not compacted when this was written
		return false
	case c.w.Map.Last(r.Key) > offset:
		return false
	case r.Value != nil || c.opaque || c.j.KeepTombstones:
		return true
	}
	horizon, dated := b.DeleteHorizon()
	return !dated || c.j.Now < horizon
}

// rebuild makes a batch of the records that pick has chosen, in the codec that it
// had, and appends it to dst.
func (c *cleaning) rebuild(dst []byte, b batch.Batch, p picked, payload []byte) (batch.Batch, error) {
	w := c.w
	w.kept = w.kept[:0]
	i := 0
	for r := range batch.Records(b, payload) {
		if w.keep[i] {
			w.kept = r.AppendTo(w.kept, p.shift)
		}
		i++
	}
	f := b.Fields()
	f.NumRecords = p.count
	if b.TimestampType() == batch.CreateTime {
		f.MaxTimestamp = p.newest
	}
	if p.shift != 0 {
		f.Attributes |= batch.AttrDeleteHorizon
		f.BaseTimestamp -= p.shift
	}
	return codec.Assemble(dst, f, w.kept, codec.DefaultLevel)
}

// withoutRecords appends what is left of a batch that has lost its records to dst.
func withoutRecords(dst []byte, b batch.Batch) batch.Batch {
	f := b.Fields().WithCodec(batch.None)
	if _, dated := b.DeleteHorizon(); dated {
		f.Attributes &^= batch.AttrDeleteHorizon
		f.BaseTimestamp = f.MaxTimestamp
	}
	f.NumRecords = 0
	return batch.Assemble(dst, f, nil)
}
