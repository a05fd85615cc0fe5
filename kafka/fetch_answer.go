package kafka

import (
	"understudy/kafka/server"
	"understudy/kafka/wire"
	"understudy/messages"
)

// AppendTo implements server.Reply. The answer, with the versions that have a
// field in front (tags from 12):
//
//	1+ throttle int32 | 7+ error int16 | 7+ session id int32
//	[ 0-12 topic string | 13+ topic id
//	  [ partition int32 | error int16 | high watermark int64 | 4+ last stable offset int64
//	    | 5+ log start int64 | 4+ aborted transactions [] | 11+ preferred replica int32
//	    | records | 12+ #0 diverging epoch | 12+ #1 current leader ] ]
//	16+ #0 node addresses
func (f *fetching) AppendTo(w *server.Writer) {
	if f.version >= 1 {
		w.B = wire.AppendInt32(w.B, 0)
	}
	if f.version >= 7 {
		w.B = wire.AppendInt16(w.B, messages.Code(f.err))
		id := int32(0)
		if f.session != nil {
			id = f.session.id
		}
		w.B = wire.AppendInt32(w.B, id)
	}
	topics := 0
	for i := f.nextPart(0); i < len(f.parts); i = f.nextTopic(i) {
		topics++
	}
	w.B = wire.AppendArray(w.B, f.flex, topics)
	var leaders leaderSet
	for i := f.nextPart(0); i < len(f.parts); {
		i = f.appendTopic(w, i, &leaders)
	}
	switch {
	case f.version >= 16:
		w.B = leaders.appendNodes(w.B, f.broker.deps.Image())
	case f.flex:
		w.B = append(w.B, 0)
	}
}

// nextPart is the first partition from i on that is in the answer.
func (f *fetching) nextPart(i int) int {
	for i < len(f.parts) && (f.err != nil || f.parts[i].omit) {
		i++
	}
	return i
}

func (f *fetching) sameTopic(a, b int) bool {
	return f.parts[a].id == f.parts[b].id && f.parts[a].name == f.parts[b].name
}

// nextTopic is the first partition in the answer behind i that is of another topic.
func (f *fetching) nextTopic(i int) int {
	next := f.nextPart(i + 1)
	for next < len(f.parts) && f.sameTopic(i, next) {
		next = f.nextPart(next + 1)
	}
	return next
}

// appendTopic appends the partitions of the answer that are of the same topic as
// the one at i, which follow each other, and returns where the next topic begins.
func (f *fetching) appendTopic(w *server.Writer, i int, leaders *leaderSet) int {
	end, count := f.nextTopic(i), 0
	for at := i; at < end; at = f.nextPart(at + 1) {
		count++
	}
	w.Reserve(300 + 128*count)
	if f.version >= 13 {
		w.B = wire.AppendTopicID(w.B, f.parts[i].id)
	} else {
		w.B = wire.AppendString(w.B, f.flex, f.parts[i].name)
	}
	w.B = wire.AppendArray(w.B, f.flex, count)
	for at := i; at < end; at = f.nextPart(at + 1) {
		f.appendPart(w, &f.parts[at], leaders)
	}
	w.B = wire.AppendNoTags(w.B, f.flex)
	return end
}

func (f *fetching) appendPart(w *server.Writer, p *fetchPart, leaders *leaderSet) {
	w.Reserve(128)
	w.B = wire.AppendInt32(w.B, p.index)
	w.B = wire.AppendInt16(w.B, messages.Code(p.err))
	w.B = wire.AppendInt64(w.B, p.highWater)
	if f.version >= 4 {
		w.B = wire.AppendInt64(w.B, p.highWater) // without transactions all that is committed is stable
	}
	if f.version >= 5 {
		w.B = wire.AppendInt64(w.B, p.logStart)
	}
	if f.version >= 4 {
		w.B = wire.AppendArray(w.B, f.flex, 0)
	}
	if f.version >= 11 {
		w.B = wire.AppendInt32(w.B, messages.NoBroker)
	}
	if p.slice == nil {
		w.B = wire.AppendBytesLen(w.B, f.flex, 0)
	} else {
		w.B = wire.AppendBytesLen(w.B, f.flex, p.slice.Len())
		w.Records(p.slice)
	}
	if f.flex {
		f.appendTags(w, p, leaders)
	}
}

// appendTags appends what only some partitions have: where the client's log
// diverges, or who leads in place of this broker.
func (f *fetching) appendTags(w *server.Writer, p *fetchPart, leaders *leaderSet) {
	kind := messages.KindOf(p.err)
	switch {
	case p.diverged:
		w.B = wire.AppendUvarint(w.B, 1)
		w.B = wire.AppendUvarint(w.B, 0)
		w.B = wire.AppendUvarint(w.B, 4+8+1)
		w.B = wire.AppendInt32(w.B, p.epochEnd.epoch)
		w.B = wire.AppendInt64(w.B, p.epochEnd.end)
		w.B = append(w.B, 0)
		return
	case p.err != nil && (kind.Code() == messages.NotLeader.Code() || kind == messages.FencedLeaderEpoch):
		known := f.broker.deps.Image().Partition(messages.TopicPartition{Topic: p.topic, Partition: p.index})
		if known != nil && (known.Leader != f.broker.deps.Self || kind == messages.FencedLeaderEpoch) {
			w.B = leaders.appendLeader(w.B, 1, known)
			return
		}
	}
	w.B = append(w.B, 0)
}
