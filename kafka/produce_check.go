package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"

	"understudy/cluster/metadata"
	"understudy/cluster/topicconfig"
	"understudy/kafka/wire"
	"understudy/messages"
	"understudy/messages/batch"
	"understudy/messages/codec"
)

// topicTarget is a topic that batches are to be appended to.
type topicTarget struct {
	name     string // shares a request's memory
	topic    *metadata.Topic
	settings *topicconfig.Settings
	limits   batch.Limits
	err      error // why nothing can be appended
}

func (p *producing) topicTarget(name string) topicTarget {
	t := topicTarget{name: name}
	switch {
	case p.acks < messages.AcksAll || p.acks > messages.AcksLeader:
		t.err = errAcks
		return t
	case p.version < 3:
		t.err = errOldProduce
		return t
	case p.txn:
		t.err = errTransactions
		return t
	}
	if t.topic = p.image.Topic(name); t.topic == nil {
		t.err = errNoTopic
		return t
	}
	if t.topic.Internal && !p.admin {
		t.err = errInternal
		return t
	}
	t.settings, t.err = p.broker.topicSettings(p.image, t.topic)
	t.limits = batchLimits(t.settings, p.broker.deps.Now())
	return t
}

// batchLimits are a topic's bounds for batches that arrive now (ms).
func batchLimits(s *topicconfig.Settings, now int64) batch.Limits {
	l := batch.Limits{MaxBytes: int(s.MaxMessageBytes)}
	if s.TimestampType == batch.CreateTime {
		l.OldestTimestamp = max(now-s.TimestampBeforeMax, 0)
		if l.NewestTimestamp = now + s.TimestampAfterMax; l.NewestTimestamp < now {
			l.NewestTimestamp = 0 // there is no bound
		}
	}
	return l
}

// Errors that every partition of a request may get. They name no topic: the
// answer says which partition it is about, and nothing is built for a client
// that repeats its mistake.
var (
	errAcks         = messages.E("produce", messages.InvalidRequiredAcks, "", errors.New("acks must be 0, 1 or all (-1)"))
	errOldProduce   = messages.E("produce", messages.UnsupportedForMessageFormat, "", errors.New("message formats before v2 are not stored; use a client of Kafka 0.11 or later"))
	errTransactions = messages.E("produce", messages.InvalidRequest, "", errors.New("transactions are not supported yet"))
	errNoTopic      = messages.E("", messages.UnknownTopicOrPartition, "", nil)
	errInternal     = messages.E("produce", messages.InvalidTopic, "", errors.New("the cluster alone writes to its internal topics"))
	errElsewhere    = messages.E("", messages.NotLeader, "", nil)
	errNoBatch      = messages.E("produce", messages.InvalidRecord, "", errors.New("a request must hold one record batch for each partition"))
	errManyBatches  = messages.E("produce", messages.InvalidRecord, "", errors.New("a request may hold only one record batch for each partition"))
	errRecordCount  = messages.E("produce", messages.InvalidRecord, "", errors.New("the batch does not hold as many records as it says"))
	errEarlyZstd    = messages.E("produce", messages.UnsupportedCompression, "", errors.New("zstd needs version 7 of Produce"))
)

// partition finds the local replica of one of the topic's partitions.
func (t *topicTarget) partition(b *Broker, index int32) (Partition, error) {
	if t.err != nil {
		return nil, t.err
	}
	if index < 0 || int(index) >= len(t.topic.Partitions) {
		return nil, errNoTopic
	}
	if p := b.deps.Partitions.Lookup(messages.TopicPartition{Topic: t.topic.Name, Partition: index}); p != nil {
		return p, nil
	}
	return nil, errElsewhere
}

// MaxUnpacked bounds what a batch may unpack to when it must be looked into: a
// batch that unpacks to gigabytes must not take them.
const MaxUnpacked = 64 << 20

// validate checks a partition's records and gives the batch to append. That is
// the one that came, in its place, unless the topic wants another codec.
func (p *producing) validate(t *topicTarget, records []byte) (batch.Batch, error) {
	if len(records) == 0 {
		return nil, errNoBatch
	}
	b, rest, err := batch.Next(records)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, errManyBatches
	}
	if err := batch.Validate(b, t.limits); err != nil {
		return nil, err
	}
	switch {
	case b.IsTransactional():
		return nil, errTransactions
	case b.Codec() == batch.Zstd && p.version < 7:
		return nil, errEarlyZstd
	case b.Codec() == batch.None && !countsMatch(b):
		return nil, errRecordCount
	}
	if t.settings.Compact {
		if err := p.checkKeys(b); err != nil {
			return nil, err
		}
	}
	wanted := t.settings.Compression
	if !b.NeedsMaxTimestamp() && (wanted.AsProduced || wanted.Codec == b.Codec()) {
		return b, nil
	}
	return p.rewrite(b, wanted, t.limits)
}

// rewrite corrects a batch's max timestamp and changes its codec, where that is
// needed. As many batches are unpacked at a time as there is memory for.
func (p *producing) rewrite(b batch.Batch, wanted topicconfig.Compression, lim batch.Limits) (batch.Batch, error) {
	release, err := p.unpack(b)
	if err != nil {
		return nil, err
	}
	defer release()
	if b.NeedsMaxTimestamp() {
		if err := codec.RepairMaxTimestamp(b, MaxUnpacked); err != nil {
			return nil, err
		}
		if err := b.CheckMaxTimestamp(lim); err != nil {
			return nil, err
		}
	}
	if wanted.AsProduced {
		return b, nil
	}
	again, err := codec.Recompress(b, wanted.Codec, wanted.Level, MaxUnpacked)
	if err == nil && lim.MaxBytes > 0 && len(again) > lim.MaxBytes {
		return nil, messages.E("produce", messages.MessageTooLarge, "", fmt.Errorf("%d bytes as %v, the limit is %d", len(again), wanted.Codec, lim.MaxBytes))
	}
	if err == nil && &again[0] != &b[0] {
		p.packed += int64(len(again))
		p.broker.deps.Pool.Budget().Force(int64(len(again)))
	}
	return again, err
}

// unpack gets leave to unpack a batch, and how to give it back.
func (p *producing) unpack(b batch.Batch) (release func(), err error) {
	if b.Codec() == batch.None {
		return func() {}, nil
	}
	p.r.MayBlock()
	if err := p.broker.unpacking.Acquire(new(wire.Holder), MaxUnpacked); err != nil {
		return nil, err
	}
	return func() { p.broker.unpacking.Release(MaxUnpacked) }, nil
}

// badRecords is what is wrong with some records of a batch, all of which is
// refused for it (KIP-467).
type badRecords struct {
	at  []int32 // their places in the batch, the first of them if there are many
	why string
}

// maxBadRecords is how many records an answer names.
const maxBadRecords = 100

// Error names the first.
func (e *badRecords) Error() string { return fmt.Sprintf("record %d of the batch: %s", e.at[0], e.why) }

// checkKeys refuses batches that cannot be compacted: records without a key would
// go, and offsets must be the batch's.
func (p *producing) checkKeys(b batch.Batch) error {
	release, err := p.unpack(b)
	if err != nil {
		return err
	}
	defer release()
	var keyless []int32
	next := int32(0)
	err = codec.Visit(b, MaxUnpacked, func(r *batch.Record) error {
		if r.OffsetDelta != next {
			return errRecordCount
		}
		if r.Key == nil && len(keyless) < maxBadRecords {
			keyless = append(keyless, next)
		}
		next++
		return nil
	})
	if err == nil && len(keyless) > 0 {
		err = messages.E("produce", messages.InvalidRecord, "", &badRecords{keyless, "a compacted topic takes no record without a key"})
	}
	return err
}

// countsMatch reports whether an uncompressed batch holds as many records as its
// header says, going from one's length to the next. What is in them stays between
// the producer and its consumers: reading it takes as long as all else that is
// done to a batch of small records.
func countsMatch(b batch.Batch) bool {
	rest := b.Payload()
	for range b.NumRecords() {
		length, n := binary.Varint(rest)
		if n <= 0 || length < 0 || length > int64(len(rest)-n) {
			return false
		}
		rest = rest[n+int(length):]
	}
	return len(rest) == 0
}
