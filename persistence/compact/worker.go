package compact

import (
	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/segment"
)

// Worker compacts, one job at a time. It holds the map, a piece of what it reads
// and one of what it writes, and a batch unpacked; nothing that grows with the log.
type Worker struct {
	Map *Map
	// Pace is told of bytes that were read or written, and waits as long as it
	// takes to keep to a rate. An error ends the job.
	Pace func(bytes int) error

	stats    Stats
	reading  []byte // memory of pieces
	unpacked []byte // of a batch's records
	kept     []byte // of those that stay
	keep     []bool // which these are
	making   []byte // of batches made anew, of one piece
}

// pieceSize is about how much is read at a time, in bytes; see segment.Pieces.
const pieceSize = 1 << 20

// keepMemory is the largest piece of memory that is kept for the next job, in bytes.
const keepMemory = 4 << 20

// Run does a job. swap is called with each new segment, and must have put it in
// the place of the old ones when it returns, or else fail. Run returns up to where
// the log was compacted; if it fails half-way, that is Job.Dirty.
//
// The error is a *Damage, wrapped with the file's name, if a batch is not what was
// appended: nothing is copied from then on.
func (w *Worker) Run(j *Job, swap func(Replacement) error) (to messages.Offset, s Stats, err error) {
	w.stats = Stats{}
	if w.making == nil {
		w.making = make([]byte, 0, 2*pieceSize)
	}
	defer w.trim()
	if to, err = w.mapKeys(j); err != nil {
		return j.Dirty, w.stats, err
	}
	w.stats.Keys = w.Map.Len()
	c := cleaning{w: w, j: j, mapped: to}
	for next := 0; next < len(j.Segments) && j.Segments[next].Base() < to; {
		if next, err = c.group(next, len(j.Segments), swap); err != nil {
			return j.Dirty, w.stats, err
		}
	}
	return to, w.stats, nil
}

// trim lets go of memory that an uncommonly large batch has taken.
func (w *Worker) trim() {
	for _, buf := range [...]*[]byte{&w.reading, &w.unpacked, &w.kept} {
		if cap(*buf) > keepMemory {
			*buf = nil
		}
	}
	if cap(w.keep) > keepMemory {
		w.keep = nil
	}
}

// mapKeys fills the map with the keys of what was not compacted before, and tells
// how far it has come.
func (w *Worker) mapKeys(j *Job) (to messages.Offset, err error) {
	w.Map.Reset(j.End - j.Dirty)
	for i := range j.Segments {
		if j.base(i+1) <= j.Dirty {
			continue
		}
		full := messages.NoOffset
		err := w.read(j, i, j.Dirty, func(batches []batch.Batch) (more bool, err error) {
			for _, b := range batches {
				if full = w.mapBatch(j, b); full != messages.NoOffset {
					return false, nil
				}
			}
			return true, nil
		})
		if err != nil || full != messages.NoOffset {
			return full, err
		}
	}
	return j.End, nil
}

// mapBatch puts a batch's keys into the map. When that is full, it returns the
// offset of the first record that did not get in, otherwise NoOffset.
func (w *Worker) mapBatch(j *Job, b batch.Batch) (full messages.Offset) {
	payload, ok := w.payload(j, b)
	if !ok {
		return messages.NoOffset
	}
	for r := range batch.Records(b, payload) {
		offset := r.Offset(b)
		if r.Key != nil && offset >= j.Dirty && !w.Map.Put(r.Key, offset) {
			return offset
		}
	}
	return messages.NoOffset
}

// read calls see for the batches of segment i that have offsets at or after from,
// a piece of them at a time, as long as it returns true. They are valid until it
// returns. The segment must end where the next one begins.
func (w *Worker) read(j *Job, i int, from messages.Offset, see func([]batch.Batch) (more bool, err error)) error {
	s := j.Segments[i]
	f, err := s.Pin()
	if err != nil {
		return segment.Explain("compact", s.Path(), err)
	}
	defer s.Unpin()
	first, err := s.Find(f, s.Peek(), from, s.Size())
	if err != nil {
		return segment.Explain("compact", s.Path(), err)
	}
	p := segment.NewPieces(f, first, s.Size(), j.EpochOf, w.reading)
	defer func() { w.reading = p.Buffer() }()
	for {
		batches, err := p.Next()
		if err != nil {
			return segment.Explain("compact", s.Path(), err)
		}
		if len(batches) == 0 {
			return p.EndsAt(j.base(i+1), s.Path())
		}
		if more, err := see(batches); err != nil || !more {
			return err
		}
		size := 0
		for _, b := range batches {
			size += len(b)
		}
		w.stats.Read += int64(size)
		if err := w.Pace(size); err != nil {
			return err
		}
	}
}
