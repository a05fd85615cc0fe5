package replica

import (
	"fmt"

	"understudy/messages"
	"understudy/messages/batch"
)

// MessageType says what a Message is.
type MessageType uint8

// What replicas say to each other. The leader sends Append, a follower the rest;
// anyone answers a message of an older epoch with Fence.
const (
	TypeAppend MessageType = iota + 1 // batches, or none: a probe, or only news of high watermark and log start
	TypeAck                           // "my log agrees with yours up to End, and is on disk up to Durable"
	TypeReject                        // "my log does not reach or does not match Base; it last agrees at AgreeEnd at the latest"
	TypeHello                         // "I have become your follower": TypeReject, unasked
	TypeFence                         // "there is a newer epoch than yours"
	TypeFailed                        // "my log has failed: do not wait for me". Said for a replica that can say nothing any more
)

// String is the type's name as the tests' scripts show it.
func (t MessageType) String() string {
	switch t {
	case TypeAppend:
		return "append"
	case TypeAck:
		return "ack"
	case TypeReject:
		return "reject"
	case TypeHello:
		return "hello"
	case TypeFence:
		return "fence"
	case TypeFailed:
		return "failed"
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// Message is what one replica of a partition sends to another. It is flat, so
// that the link can write it as a small header with the batches' bytes behind.
// Any message may be lost, doubled, delayed or overtaken without harm.
type Message struct {
	Type        MessageType
	Epoch       messages.LeaderEpoch // the sender's; of TypeFence: the newer one
	BrokerEpoch messages.BrokerEpoch // the sender's start: what an earlier start sent is dropped

	// Probe, when not 0, asks for an answer even if there is no news, and the
	// answer carries the same number. So a leader can tell what its follower
	// said before the question from what it said after.
	Probe uint32

	// Revision is, of a question to a follower that is not in sync, that of the
	// assignment by which it is asked: who has not heard of it yet does not answer.
	// Its replica may be one that was moved away since and back, and that it will
	// delete as soon as it hears of that. 0: any may answer.
	Revision int64

	// LogStart is the sender's log start offset. Of TypeAppend: the follower
	// deletes what lies before it. Of TypeAck: tells DeleteBefore that it has.
	LogStart messages.Offset

	// Of TypeAppend.
	EpochStart    messages.Offset      // the leader's log end when its epoch began: from here on every record is of Epoch
	HighWatermark messages.Offset      // the leader's
	PrevEpoch     messages.LeaderEpoch // epoch of the record before Base, NoEpoch when there is none or it is not known
	Batches       []batch.Batch        // begin at Base and follow each other; compaction may have left gaps (batch.Gap) among them

	// Base is, of TypeAppend, the previous log end, where Batches go; of
	// TypeReject, the Base that was refused.
	Base messages.Offset

	// Of TypeAck, TypeReject and TypeHello: how far the follower's log goes.
	// TypeAck counts only what is known to agree with the leader's log.
	End     messages.Offset
	Durable messages.Offset // TypeAck alone: the part of End that is on disk

	// Of TypeReject and TypeHello: the newest epoch in the follower's log that
	// is not newer than PrevEpoch, and where that epoch ends there.
	AgreeEpoch messages.LeaderEpoch
	AgreeEnd   messages.Offset
}

// String shows what matters of the message, on one line.
func (m *Message) String() string {
	s := fmt.Sprintf("%v epoch=%d", m.Type, m.Epoch)
	switch m.Type {
	case TypeAppend:
		s += fmt.Sprintf(" base=%d prev=%d", m.Base, m.PrevEpoch)
		if n := len(m.Batches); n > 0 && len(m.Batches[n-1]) >= batch.HeaderSize {
			s += fmt.Sprintf(" to=%d", m.Batches[n-1].NextOffset())
		}
		s += fmt.Sprintf(" hw=%d start=%d", m.HighWatermark, m.LogStart)
	case TypeAck:
		s += fmt.Sprintf(" end=%d durable=%d start=%d", m.End, m.Durable, m.LogStart)
	case TypeReject:
		s += fmt.Sprintf(" base=%d end=%d agree=%d@%d", m.Base, m.End, m.AgreeEnd, m.AgreeEpoch)
	case TypeHello:
		s += fmt.Sprintf(" end=%d agree=%d@%d", m.End, m.AgreeEnd, m.AgreeEpoch)
	}
	if m.Probe != 0 {
		s += fmt.Sprintf(" probe=%d", m.Probe)
	}
	return s
}
