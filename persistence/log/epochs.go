package log

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/persistence/vfs"
)

// epochsName is Kafka's file with the start of each leader epoch. Kafka's format:
//
//	0          version
//	2          number of entries
//	1 0        epoch, start offset; both rising
//	4 40
const (
	epochsName = "leader-epoch-checkpoint"
	maxEpochs  = 64 << 20 // bytes that the file may have
)

// Epochs are the leader epochs of the log and where each began, oldest first. The
// slice must not be changed.
func (l *Log) Epochs() []replica.EpochStart {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epochs
}

func (l *Log) lastEpoch() messages.LeaderEpoch {
	if len(l.epochs) == 0 {
		return messages.NoEpoch
	}
	return l.epochs[len(l.epochs)-1].Epoch
}

// EndOffsetFor tells where an epoch ended in this log, as OffsetForLeaderEpoch
// asks (KIP-101, KIP-279): the largest epoch that is not above it, and the offset
// after that one's last record. Both are -1 if the log knows no epoch as new as
// the one asked for; if it knows only newer ones, their start is the answer.
func (l *Log) EndOffsetFor(epoch messages.LeaderEpoch) (messages.LeaderEpoch, messages.Offset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, found := slices.BinarySearchFunc(l.epochs, epoch, func(e replica.EpochStart, epoch messages.LeaderEpoch) int {
		return int(e.Epoch) - int(epoch)
	})
	last := len(l.epochs) - 1
	switch {
	case epoch == messages.NoEpoch || last < 0:
		return messages.NoEpoch, messages.NoOffset
	case found && i == last:
		return epoch, l.end
	case found:
		return epoch, l.epochs[i+1].Start
	case i > last:
		return messages.NoEpoch, messages.NoOffset
	case i == 0:
		return epoch, l.epochs[0].Start
	}
	return l.epochs[i-1].Epoch, l.epochs[i].Start
}

// addEpoch notes that the record at an offset, the next one, is of an epoch. It
// returns another slice if that is a new one.
func addEpoch(epochs []replica.EpochStart, epoch messages.LeaderEpoch, at messages.Offset) []replica.EpochStart {
	if epoch == messages.NoEpoch || len(epochs) > 0 && epochs[len(epochs)-1].Epoch >= epoch {
		return epochs
	}
	return append(slices.Clip(epochs), replica.EpochStart{Epoch: epoch, Start: at})
}

// cutEpochs forgets the epochs that begin at or after a new log end.
func cutEpochs(epochs []replica.EpochStart, end messages.Offset) []replica.EpochStart {
	for len(epochs) > 0 && epochs[len(epochs)-1].Start >= end {
		epochs = epochs[:len(epochs)-1]
	}
	return epochs
}

// trimEpochs forgets the epochs that have no record at or after a new log start,
// save the last.
func trimEpochs(epochs []replica.EpochStart, start messages.Offset) []replica.EpochStart {
	for len(epochs) > 1 && epochs[1].Start <= start {
		epochs = epochs[1:]
	}
	return epochs
}

func encodeEpochs(epochs []replica.EpochStart) []byte {
	b := fmt.Appendf(nil, "0\n%d\n", len(epochs))
	for _, e := range epochs {
		b = fmt.Appendf(b, "%d %d\n", e.Epoch, e.Start)
	}
	return b
}

func decodeEpochs(content []byte) ([]replica.EpochStart, error) {
	all := lines(content)
	if len(all) < 2 || all[0] != "0" {
		return nil, errors.New("is no leader epoch checkpoint of version 0")
	}
	count, err := strconv.Atoi(all[1])
	if err != nil || count != len(all)-2 {
		return nil, fmt.Errorf("says %q entries and has %d", all[1], len(all)-2)
	}
	epochs := make([]replica.EpochStart, 0, count)
	for _, line := range all[2:] {
		first, second, _ := strings.Cut(line, " ")
		epoch, err1 := strconv.ParseInt(first, 10, 32)
		start, err2 := strconv.ParseInt(second, 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		e := replica.EpochStart{Epoch: int32(epoch), Start: start}
		if n := len(epochs); e.Epoch < 0 || e.Start < 0 || n > 0 && (e.Epoch <= epochs[n-1].Epoch || e.Start <= epochs[n-1].Start) {
			return nil, fmt.Errorf("entry %q does not follow", line)
		}
		epochs = append(epochs, e)
	}
	return epochs, nil
}

// writeEpochs replaces the file, durably.
func (l *Log) writeEpochs(epochs []replica.EpochStart) error {
	return vfs.ReplaceFile(l.dir.FS, l.dir.Join(epochsName), encodeEpochs(epochs))
}

// readEpochs reads the file.
func (l *Log) readEpochs() ([]replica.EpochStart, error) {
	content, err := vfs.ReadFile(l.dir.FS, l.dir.Join(epochsName), maxEpochs)
	if err != nil {
		return nil, err
	}
	return decodeEpochs(content)
}
