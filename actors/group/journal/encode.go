package journal

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/actors/group/core"
	"understudy/messages"
	"understudy/messages/batch"
)

// Versions of the formats that are written.
const (
	offsetKey   = 1
	groupKey    = 2
	offsetValue = 3
	groupValue  = 3

	// expiringValue is of an offset that says until when it is to be kept. It has no
	// leader epoch: clients that say the one do not know of the other.
	expiringValue = 1
)

// batchBytes is how large a batch becomes before the next one is begun.
const batchBytes = 512 << 10

// Encoder makes batches of what groups write.
type Encoder struct {
	builder    *batch.Builder
	full       []batch.Batch
	bytes      int // of those
	key, value []byte
}

// NewEncoder makes an encoder without any records.
func NewEncoder() *Encoder { return &Encoder{builder: batch.NewBuilder(batch.NoProducer)} }

// Size is how many bytes have been added since Batches was called last.
func (e *Encoder) Size() int { return e.bytes + len(e.builder.Payload()) }

// Batches gives what was added as batches, and begins anew.
func (e *Encoder) Batches() []batch.Batch {
	e.next()
	all := e.full
	e.full, e.bytes = nil, 0
	return all
}

// next begins another batch.
func (e *Encoder) next() {
	if e.builder.Len() == 0 {
		return
	}
	b := e.builder.Build(make([]byte, 0, e.builder.Size()))
	e.full, e.bytes = append(e.full, b), e.bytes+len(b)
	e.builder.Reset(batch.NoProducer)
}

// Add adds the records of one group's write.
func (e *Encoder) Add(group string, w core.Write) {
	for _, tp := range w.Dropped {
		e.offsetKey(group, tp)
		e.record(w.Wall, nil)
	}
	for i := range w.Offsets {
		e.offsetKey(group, w.Offsets[i].TopicPartition)
		e.offset(&w.Offsets[i])
		e.record(w.Wall, e.value)
	}
	if w.Forget || w.Metadata != nil {
		key := kmsg.GroupMetadataKey{Version: groupKey, Group: group}
		e.key = key.AppendTo(e.key[:0])
	}
	if w.Forget {
		e.record(w.Wall, nil)
	}
	if w.Metadata != nil {
		e.metadata(w.Metadata)
		e.record(w.Wall, e.value)
	}
}

func (e *Encoder) record(wall int64, value []byte) {
	e.builder.Add(wall, e.key, value)
	if e.builder.Size() >= batchBytes {
		e.next()
	}
}

func (e *Encoder) offsetKey(group string, tp messages.TopicPartition) {
	key := kmsg.OffsetCommitKey{Version: offsetKey, Group: group, Topic: tp.Topic, Partition: tp.Partition}
	e.key = key.AppendTo(e.key[:0])
}

func (e *Encoder) offset(o *core.Offset) {
	value := kmsg.OffsetCommitValue{
		Version: offsetValue, Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata, CommitTimestamp: o.Time,
	}
	if o.Expires > 0 {
		value.Version, value.ExpireTimestamp = expiringValue, o.Expires
	}
	e.value = value.AppendTo(e.value[:0])
}

func (e *Encoder) metadata(m *core.Metadata) {
	value := kmsg.GroupMetadataValue{
		Version: groupValue, ProtocolType: m.ProtocolType, Generation: m.Generation,
		Protocol: orNull(m.Protocol), Leader: orNull(m.Leader), CurrentStateTimestamp: m.Since,
		Members: make([]kmsg.GroupMetadataValueMember, len(m.Members)),
	}
	for i, r := range m.Members {
		value.Members[i] = kmsg.GroupMetadataValueMember{
			MemberID: r.MemberID, InstanceID: orNull(r.InstanceID), ClientID: r.Client.ID, ClientHost: r.Client.Host,
			RebalanceTimeoutMillis: int32(r.RebalanceTimeout), SessionTimeoutMillis: int32(r.SessionTimeout),
			Subscription: r.Subscription, Assignment: r.Assignment,
		}
	}
	e.value = value.AppendTo(e.value[:0])
}

// orNull is a string, or null in place of an empty one.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
