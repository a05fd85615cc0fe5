package logfile

import (
	"fmt"
	"path/filepath"
	"slices"

	"understudy/messages"
	"understudy/messages/codec"
)

// maxUnpacked bounds what the records of one batch may unpack to.
const maxUnpacked = 1 << 30

// Options say how much is checked.
type Options struct {
	Records   bool        // unpack and read every record, too
	Compacted bool        // offsets may be missing, as in a log that Kafka has compacted
	Progress  func(int64) // told of bytes that were read; may be nil
}

// Report is what was found in one partition.
type Report struct {
	Dir      string          `json:"dir,omitempty"`
	Segments int             `json:"segments"`
	Batches  int64           `json:"batches"`
	Records  int64           `json:"records"`
	Gaps     int64           `json:"gaps,omitempty"` // batches that hold the place of what compaction has removed
	Bytes    int64           `json:"bytes"`
	Start    messages.Offset `json:"start_offset"`
	End      messages.Offset `json:"end_offset"`
	Problems []Problem       `json:"problems"`
	Notes    []string        `json:"notes,omitempty"` // what is odd but does no harm
}

// Verify checks the batches of a partition (lengths, checksums, offsets without
// gaps, epochs that never fall) and that indexes and epoch file agree with them.
// The error is about files that cannot be read at all.
func Verify(p Partition, o Options) (Report, error) {
	v := &verifier{options: o, report: Report{Dir: p.Dir, Segments: len(p.Segments), Problems: []Problem{}}, next: -1, epoch: messages.NoEpoch}
	for i, f := range p.Segments {
		if i == 0 {
			v.report.Start = f.Base
		}
		if f.Base < v.next && meets(p.Segments[i:], v.next) {
			v.report.Notes = append(v.report.Notes, f.Path+" was replaced when the log was compacted; a broker that opens the log will remove it")
			continue
		}
		if err := v.segment(f); err != nil {
			return v.report, err
		}
	}
	v.report.End = max(v.next, v.report.Start)
	if p.Dir != "" {
		v.epochFile(filepath.Join(p.Dir, epochFileName))
	}
	return v.report, nil
}

// meets reports whether one of the segments begins at an offset.
func meets(segments []File, offset messages.Offset) bool {
	return slices.ContainsFunc(segments, func(f File) bool { return f.Base == offset })
}

// verifier goes through one partition in order.
type verifier struct {
	options Options
	report  Report
	next    messages.Offset // that the next batch must have; -1: any
	epoch   messages.LeaderEpoch
	epochs  []epochStart // as the batches have them
}

func (v *verifier) problem(file string, position int64, format string, args ...any) {
	v.report.Problems = append(v.report.Problems, Problem{file, position, fmt.Sprintf(format, args...)})
}

func (v *verifier) segment(f File) error {
	if v.next >= 0 && f.Base != v.next && (!v.options.Compacted || f.Base < v.next) {
		v.problem(f.Path, -1, "begins at offset %d, but the segment before ends at %d", f.Base, v.next)
	}
	v.next = f.Base
	index, times := v.openIndexes(f)
	done := int64(0)
	err := Walk(f, func(b Batch) error {
		v.batch(b)
		index.batch(v, b)
		times.batch(v, b)
		if v.options.Progress != nil {
			v.options.Progress(b.Position + int64(b.Size()) - done)
			done = b.Position + int64(b.Size())
		}
		return nil
	}, func(p Problem) {
		v.report.Problems = append(v.report.Problems, p)
		v.next = -1 // what comes after cannot be held against it
		index.blind, times.blind = true, true
	})
	if err != nil {
		return err
	}
	index.end(v)
	times.end(v)
	v.report.Bytes += f.Size
	if v.options.Progress != nil {
		v.options.Progress(f.Size - done)
	}
	return nil
}

func (v *verifier) batch(b Batch) {
	switch {
	case v.next >= 0 && b.BaseOffset() < v.next:
		v.problem(b.File, b.Position, "offset %d comes again: the batch before ends at %d", b.BaseOffset(), v.next)
	case v.next >= 0 && b.BaseOffset() > v.next && !v.options.Compacted:
		v.problem(b.File, b.Position, "offsets %d to %d are missing", v.next, b.BaseOffset()-1)
	}
	v.next = b.NextOffset()
	if b.LeaderEpoch() < v.epoch {
		v.problem(b.File, b.Position, "offset %d: leader epoch %d after %d", b.BaseOffset(), b.LeaderEpoch(), v.epoch)
	} else if b.LeaderEpoch() > v.epoch {
		v.epoch = b.LeaderEpoch()
		v.epochs = append(v.epochs, epochStart{v.epoch, b.BaseOffset()})
	}
	v.report.Batches++
	v.report.Records += int64(b.NumRecords())
	if b.IsGap() {
		v.report.Gaps++
	}
	if b.NumRecords() < 0 || b.NumRecords() > b.LastOffsetDelta()+1 { // compaction leaves fewer
		v.problem(b.File, b.Position, "offset %d: %d records for %d offsets", b.BaseOffset(), b.NumRecords(), b.LastOffsetDelta()+1)
	}
	if v.options.Records {
		v.records(b)
	}
}

// records reads every record of a batch.
func (v *verifier) records(b Batch) {
	for _, err := range codec.Records(b.Batch, maxUnpacked) {
		if err != nil {
			v.problem(b.File, b.Position, "offset %d: %v", b.BaseOffset(), cause(err))
			return
		}
	}
}
