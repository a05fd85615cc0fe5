package kafka

import (
	"errors"
	"slices"

	"understudy/cluster/metadata"
	"understudy/kafka/server"
	"understudy/kafka/wire"
	"understudy/messages"
)

// AppendTo implements server.Reply. The answer, with the versions that have a
// field in front (tags from 9):
//
//	[ topic string
//	  [ partition int32 | error int16 | base offset int64 | 2+ log append time int64
//	    | 5+ log start int64 | 8+ record errors [] | 8+ error message string? | 10+ #0 leader ] ]
//	1+ throttle int32 | 10+ #0 node addresses
func (p *producing) AppendTo(w *server.Writer) {
	p.image = p.broker.deps.Image() // leaders may have changed meanwhile
	w.Reserve(64 + 96*len(p.parts))
	w.B = wire.AppendArray(w.B, p.flex, len(p.topics))
	at := 0
	var leaders leaderSet
	for _, t := range p.topics {
		w.B = wire.AppendString(w.B, p.flex, t.name)
		w.B = wire.AppendArray(w.B, p.flex, t.parts)
		for range t.parts {
			p.appendPart(w, t.name, &p.parts[at], &leaders)
			at++
		}
		w.B = wire.AppendNoTags(w.B, p.flex)
	}
	if p.version >= 1 {
		w.B = wire.AppendInt32(w.B, 0)
	}
	if p.flex {
		w.B = leaders.appendNodes(w.B, p.image)
	}
}

func (p *producing) appendPart(w *server.Writer, topic string, part *producedPart, leaders *leaderSet) {
	result := &part.result
	code := messages.Code(result.Err)
	w.B = wire.AppendInt32(w.B, part.index)
	w.B = wire.AppendInt16(w.B, code)
	w.B = wire.AppendInt64(w.B, result.Base)
	if p.version >= 2 {
		w.B = wire.AppendInt64(w.B, result.LogAppendTime)
	}
	if p.version >= 5 {
		w.B = wire.AppendInt64(w.B, result.LogStart)
	}
	if p.version >= 8 {
		text := ""
		if result.Err != nil {
			text = result.Err.Error()
		}
		w.B = appendBadRecords(w.B, p.flex, result.Err)
		w.B = wire.AppendNullableString(w.B, p.flex, text)
	}
	if !p.flex {
		return
	}
	if p.version >= 10 && code == messages.NotLeader.Code() {
		known := p.image.Partition(messages.TopicPartition{Topic: topic, Partition: part.index})
		if known != nil && !p.broker.passing(p.image, result.Err, topic, part.index, messages.NoEpoch) {
			w.B = leaders.appendLeader(w.B, 0, known)
			return
		}
	}
	w.B = wire.AppendNoTags(w.B, true)
}

// appendBadRecords appends what is wrong with single records.
func appendBadRecords(dst []byte, flex bool, err error) []byte {
	bad, ok := errors.AsType[*badRecords](err)
	if !ok {
		return wire.AppendArray(dst, flex, 0)
	}
	dst = wire.AppendArray(dst, flex, len(bad.at))
	for _, at := range bad.at {
		dst = wire.AppendInt32(dst, at)
		dst = wire.AppendNullableString(dst, flex, bad.why)
		dst = wire.AppendNoTags(dst, flex)
	}
	return dst
}

// leaderSet gathers the leaders that an answer names, whose addresses are given
// once at its end (KIP-951).
type leaderSet []messages.BrokerID

// appendLeader appends the tagged fields of a partition, of which there is one:
// who leads it.
func (l *leaderSet) appendLeader(dst []byte, tag uint32, known *metadata.Partition) []byte {
	const leaderSize = 4 + 4 + 1
	dst = wire.AppendUvarint(dst, 1)
	dst = wire.AppendUvarint(dst, tag)
	dst = wire.AppendUvarint(dst, leaderSize)
	return l.appendLeaderFields(dst, known)
}

func (l *leaderSet) appendLeaderFields(dst []byte, known *metadata.Partition) []byte {
	if known.Leader != messages.NoBroker && !slices.Contains(*l, known.Leader) {
		*l = append(*l, known.Leader)
	}
	dst = wire.AppendInt32(dst, known.Leader)
	dst = wire.AppendInt32(dst, known.LeaderEpoch)
	return append(dst, 0)
}

// appendNodes appends the tagged fields at an answer's end: the addresses of the
// leaders it names, if any.
func (l leaderSet) appendNodes(dst []byte, image *metadata.Image) []byte {
	var nodes []*metadata.Broker
	for _, id := range l {
		if node := image.Broker(id); node != nil {
			nodes = append(nodes, node)
		}
	}
	if len(nodes) == 0 {
		return append(dst, 0)
	}
	body := wire.AppendArray(nil, true, len(nodes))
	for _, n := range nodes {
		body = wire.AppendInt32(body, n.ID)
		body = wire.AppendString(body, true, n.Host)
		body = wire.AppendInt32(body, n.Port)
		body = wire.AppendNullableString(body, true, n.Rack)
		body = append(body, 0)
	}
	dst = wire.AppendUvarint(dst, 1)
	dst = wire.AppendUvarint(dst, 0)
	dst = wire.AppendUvarint(dst, uint32(len(body)))
	return append(dst, body...)
}
