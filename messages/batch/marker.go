package batch

import (
	"encoding/binary"

	"understudy/messages"
)

// Marker is what the one record of a control batch says: a transaction of the
// batch's producer has ended.
//
//	key:    | version 2 | type 2: 0 abort, 1 commit |
//	value:  | version 2 | coordinator epoch 4       |
type Marker struct {
	Commit           bool
	CoordinatorEpoch int32 // of the transaction coordinator that decided
}

// Types of control record. Others exist, for Kafka's own metadata log.
const (
	markerAbort  = 0
	markerCommit = 1
)

// ParseMarker reads the record of a control batch. Newer versions may add
// fields at the end. The error is of kind InvalidRecord.
func ParseMarker(r Record) (Marker, error) {
	if len(r.Key) < 4 || len(r.Value) < 6 {
		return Marker{}, invalid("control record with %d bytes of key and %d of value", len(r.Key), len(r.Value))
	}
	kind := binary.BigEndian.Uint16(r.Key[2:])
	if kind != markerAbort && kind != markerCommit {
		return Marker{}, invalid("control record of type %d", kind)
	}
	return Marker{Commit: kind == markerCommit, CoordinatorEpoch: int32(binary.BigEndian.Uint32(r.Value[2:]))}, nil
}

// Marker reads the marker of a control batch; ok is false for other batches and
// for markers that are none of a transaction's.
func (b Batch) Marker() (m Marker, ok bool) {
	if !b.IsControl() || b.Codec() != None {
		return Marker{}, false
	}
	for r, err := range Records(b, b.Payload()) {
		if err != nil {
			return Marker{}, false
		}
		m, err = ParseMarker(r)
		return m, err == nil
	}
	return Marker{}, false
}

// BuildMarker appends a control batch with m to dst and returns it. timestamp
// is in ms.
func BuildMarker(dst []byte, id messages.ProducerID, epoch messages.ProducerEpoch, timestamp int64, m Marker) Batch {
	f := NoProducer
	f.Attributes = AttrControl | AttrTransactional
	f.ProducerID, f.ProducerEpoch = id, epoch
	kind := uint16(markerAbort)
	if m.Commit {
		kind = markerCommit
	}
	key := binary.BigEndian.AppendUint16([]byte{0, 0}, kind)
	value := binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(m.CoordinatorEpoch))
	bu := NewBuilder(f)
	bu.Add(timestamp, key, value)
	return bu.Build(dst)
}
