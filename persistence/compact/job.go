package compact

import (
	"errors"

	"understudy/messages"
	"understudy/persistence/segment"
)

// Job is what is to be compacted, and by which rules. The log's owner makes it.
type Job struct {
	Dir      *segment.Dir
	Segments []*segment.Segment // complete, durable, committed, one after the other
	Dirty    messages.Offset    // what lies before was compacted before
	End      messages.Offset    // where the last of the segments ends

	// Keep is a record that stays whatever its key: the last of the log, or
	// else a consumer could not come to the log's end.
	Keep messages.Offset
	// Last is, of each producer, the last offset of the first of the batches that stay.
	Last map[messages.ProducerID]messages.Offset
	// EpochOf tells the leader epoch of the record at an offset, NoEpoch if it is not
	// known, as below the log start.
	EpochOf func(messages.Offset) messages.LeaderEpoch

	Now            int64 // ms
	TombstonesFor  int64 // ms that tombstones stay from now on (delete.retention.ms)
	KeepTombstones bool  // even those whose time has come

	Limit         int64 // largest size of a new segment in bytes, unless an old one is larger
	IndexInterval int64
	MaxUnpacked   int // bytes that a batch may unpack to
}

// Replacement is a new segment and those whose place it is to take. It has all of
// their offsets.
type Replacement struct {
	Old []*segment.Segment
	New *segment.Segment
}

// ErrStopped says that a job was ended before it was done, or that its log has
// changed so that what was written does not fit any more.
var ErrStopped = errors.New("compaction was stopped")

// Stats tell what a worker did.
type Stats struct {
	Read, Written   int64 // bytes
	Records, Stayed int64 // that were read in the second pass, and that stayed
	Segments, Made  int   // that were read, and that took their place
	Keys            int   // in the map
}

// base is where segment i begins, or the job's end.
func (j *Job) base(i int) messages.Offset {
	if i < len(j.Segments) {
		return j.Segments[i].Base()
	}
	return j.End
}
