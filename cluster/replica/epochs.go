package replica

import (
	"understudy/messages"
)

// EpochStart is where an epoch began: the offset of its first record (KIP-101).
type EpochStart struct {
	Epoch messages.LeaderEpoch
	Start messages.Offset
}

// history is the epochs that have records in a log, rising in epoch and start.
// The last entry stays even when all of its records are deleted.
//
//	offset   0         40        70     100 (log end)
//	         │ epoch 1 │ epoch 4 │ epoch 5
//	history  {1,0}     {4,40}    {5,70}
type history []EpochStart

// last is the epoch of the last record.
func (h history) last() messages.LeaderEpoch {
	if len(h) == 0 {
		return messages.NoEpoch
	}
	return h[len(h)-1].Epoch
}

// at is the epoch of the record at the offset, NoEpoch if the history does not
// go back so far. The offset must lie below the log's end.
func (h history) at(o messages.Offset) messages.LeaderEpoch {
	for i := len(h) - 1; i >= 0; i-- {
		if h[i].Start <= o {
			return h[i].Epoch
		}
	}
	return messages.NoEpoch
}

// upTo is the newest epoch that is not newer than e, and the offset after its
// last record, in a log that ends at end; NoEpoch and start if there is none.
func (h history) upTo(e messages.LeaderEpoch, start, end messages.Offset) (messages.LeaderEpoch, messages.Offset) {
	for i := len(h) - 1; i >= 0; i-- {
		if h[i].Epoch <= e {
			return h[i].Epoch, end
		}
		end = h[i].Start
	}
	return messages.NoEpoch, start
}

// add notes that the record at o, the next one, is of epoch e.
func (h history) add(e messages.LeaderEpoch, o messages.Offset) history {
	if h.last() < e {
		return append(h, EpochStart{e, o})
	}
	return h
}

// truncate forgets the epochs that begin at or after end, the new log end.
func (h history) truncate(end messages.Offset) history {
	for len(h) > 0 && h[len(h)-1].Start >= end {
		h = h[:len(h)-1]
	}
	return h
}

// trim forgets the epochs that have no record at or after start, save the last.
func (h history) trim(start messages.Offset) history {
	n := 0
	for n+1 < len(h) && h[n+1].Start <= start {
		n++
	}
	if n == 0 {
		return h
	}
	return append(h[:0], h[n:]...)
}
