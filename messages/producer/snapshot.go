package producer

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"understudy/messages"
)

// A snapshot is the state after all batches below some offset, which its file's
// name tells. Integers are big-endian.
//
//	+-----------+------------------+---------+-----------
//	| version 2 | CRC32C of what   | count 4 | producers, by rising id
//	|           | follows it     4 |         |
//	+-----------+------------------+---------+-----------
//
//	producer:  | id 8 | epoch 2 | coordinator epoch 4 | last offset 8 | last timestamp 8 |
//	           | transaction start 8 | idle 8 | number of batches 1 | batches |
//	batch:     | base sequence 4 | last sequence 4 | last offset 8 | timestamp 8 |
//
// Idle is in ms, or -1. In version 1 it was the time of day since when, which tells
// nothing on a clock that stepped: who is read from one begins anew.
const (
	snapshotVersion = 2
	oldestSnapshot  = 1
	snapshotHead    = 2 + 4 + 4
	producerSize    = 8 + 2 + 4 + 8 + 8 + 8 + 8 + 1
	writtenSize     = 4 + 4 + 8 + 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// MarshalBinary writes a snapshot. What is admitted but not applied is no part
// of it. The error is always nil.
func (s *State) MarshalBinary() ([]byte, error) {
	size := snapshotHead + len(s.entries)*producerSize
	for _, e := range s.entries {
		size += e.recent * writtenSize
	}
	return s.AppendBinary(make([]byte, 0, size))
}

// AppendBinary appends a snapshot to dst. The error is always nil.
func (s *State) AppendBinary(dst []byte) ([]byte, error) {
	start, be := len(dst), binary.BigEndian
	dst = be.AppendUint16(dst, snapshotVersion)
	dst = be.AppendUint32(dst, 0)
	dst = be.AppendUint32(dst, uint32(len(s.entries)))
	for _, id := range slices.Sorted(maps.Keys(s.entries)) {
		e := s.entries[id]
		dst = be.AppendUint64(dst, uint64(id))
		dst = be.AppendUint16(dst, uint16(e.epoch))
		dst = be.AppendUint32(dst, uint32(e.coordinatorEpoch))
		dst = be.AppendUint64(dst, uint64(e.lastOffset))
		dst = be.AppendUint64(dst, uint64(e.lastTimestamp))
		dst = be.AppendUint64(dst, uint64(e.txnStart))
		dst = be.AppendUint64(dst, uint64(e.idle))
		dst = append(dst, byte(e.recent))
		for _, w := range e.batches[:e.recent] {
			dst = be.AppendUint32(dst, uint32(w.baseSequence))
			dst = be.AppendUint32(dst, uint32(w.lastSequence))
			dst = be.AppendUint64(dst, uint64(w.lastOffset))
			dst = be.AppendUint64(dst, uint64(w.timestamp))
		}
	}
	be.PutUint32(dst[start+2:], crc32.Checksum(dst[start+6:], castagnoli))
	return dst, nil
}

// UnmarshalBinary replaces the state by a snapshot's. If the snapshot is
// damaged or of another version, the error is of kind CorruptMessage and the
// state is unchanged. Of more producers than Most, which were written before there
// was that bound, the newest are taken.
func (s *State) UnmarshalBinary(snapshot []byte) error {
	be := binary.BigEndian
	if len(snapshot) < snapshotHead {
		return damaged("%d bytes", len(snapshot))
	}
	version := be.Uint16(snapshot)
	if version < oldestSnapshot || version > snapshotVersion {
		return damaged("version %d, want %d to %d", version, oldestSnapshot, snapshotVersion)
	}
	if have, want := crc32.Checksum(snapshot[6:], castagnoli), be.Uint32(snapshot[2:]); have != want {
		return damaged("CRC is %08x, the snapshot says %08x", have, want)
	}
	count, rest := int(be.Uint32(snapshot[6:])), snapshot[snapshotHead:]
	if count > len(rest)/producerSize {
		return damaged("%d producers cannot be in %d bytes", count, len(rest))
	}
	loaded := New()
	loaded.most = s.most
	loaded.entries = make(map[messages.ProducerID]*entry, min(count, loaded.most))
	last, room := messages.NoProducerID, 2*loaded.most
	for range count {
		id, e, after, err := readEntry(rest)
		if err != nil {
			return err
		}
		if id <= last {
			return damaged("producer %d after %d", id, last)
		}
		if version == 1 {
			e.idle = active
		}
		loaded.entries[id], last, rest = e, id, after
		if len(loaded.entries) == room { // so that the others are not all in memory at once
			loaded.sort()
			room = len(loaded.entries) + loaded.most
		}
	}
	if len(rest) > 0 {
		return damaged("%d bytes too many", len(rest))
	}
	loaded.sort()
	*s = *loaded
	return nil
}

// readEntry reads the producer at the beginning of src.
func readEntry(src []byte) (id messages.ProducerID, e *entry, rest []byte, err error) {
	if len(src) < producerSize {
		return 0, nil, nil, damaged("cut off")
	}
	be := binary.BigEndian
	id = int64(be.Uint64(src))
	e = &entry{
		id:               id,
		epoch:            int16(be.Uint16(src[8:])),
		coordinatorEpoch: int32(be.Uint32(src[10:])),
		lastOffset:       int64(be.Uint64(src[14:])),
		lastTimestamp:    int64(be.Uint64(src[22:])),
		txnStart:         int64(be.Uint64(src[30:])),
		idle:             int64(be.Uint64(src[38:])),
		recent:           int(src[46]),
	}
	rest = src[producerSize:]
	if e.recent > Remembered || e.recent*writtenSize > len(rest) {
		return 0, nil, nil, damaged("%d batches in %d bytes", e.recent, len(rest))
	}
	for i := range e.recent {
		e.batches[i] = written{
			baseSequence: int32(be.Uint32(rest)),
			lastSequence: int32(be.Uint32(rest[4:])),
			lastOffset:   int64(be.Uint64(rest[8:])),
			timestamp:    int64(be.Uint64(rest[16:])),
		}
		rest = rest[writtenSize:]
	}
	return id, e, rest, nil
}

func damaged(format string, args ...any) error {
	return messages.E("producer snapshot", messages.CorruptMessage, "", fmt.Errorf(format, args...))
}
