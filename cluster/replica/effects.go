package replica

import (
	"understudy/messages"
	"understudy/messages/batch"
)

// Effects is what the replica wants done. The caller carries the fields out in
// the order in which they stand here, the whole of one field before the next,
// and all of them before it gives the replica its next input.
//
// Everything here is valid until the next Take with the same Effects; the
// replica keeps no reference to batches once it has handed them out.
type Effects struct {
	// Cut removes the end of the log, or all of it, before anything is appended.
	// CutAll must have reached the disk before the next field is begun: the
	// replica speaks afterwards as if what was cut had never been. CutTail need
	// only reach it together with the next flush.
	Cut Cut

	// Append goes to the end of the log, in memory or the page cache: written,
	// not yet durable. Batches are stamped with offset and epoch. First of all
	// after Cut, because messages and answers below speak of it. If it fails,
	// nothing below may be carried out: call Stop.
	Append []batch.Batch

	// Start, when not 0, is the new log start offset: records before it are
	// deleted. Durable before anything below, since acknowledgements tell of it.
	// After Append, which may bring the log's end up to it.
	Start messages.Offset

	// Send goes to other replicas, in order for each of them, without waiting
	// and without promise of arrival. After Append, because an acknowledgement
	// with write caching speaks of what is appended. Before Flush, so that
	// followers write to their disks while this one does. The slices of batches
	// are valid only until the next Take (copy them to keep them); their bytes
	// as long as whoever proposed or loaded them says.
	Send []Outgoing

	// Flush begins a sync of everything appended so far, in the background;
	// its completion is reported with Flushed. There is never more than one
	// outstanding. After Append, which it must cover. A sync that failed is
	// reported with Stop and never repeated.
	Flush bool

	// Publish shows readers a new view, made from Status: role, epoch, log start
	// or high watermark changed. After Append and Start, which the view refers
	// to; before Answers, so that who is told that a record is committed can
	// read it at once, and after a record was answered NotLeader no reader is
	// served as by a leader.
	Publish bool

	// Answers go to those who called Propose, Await, DeleteBefore and Confirm, each
	// exactly once. After Append: a producer with acks=1 is told that the leader
	// has appended.
	Answers []Answer

	// Reads asks for older batches of the log for followers that are behind;
	// each is answered, at once or when convenient, with Loaded. To hold one back
	// is the way to throttle catching up. After Append, which it may ask for.
	Reads []Read

	// ISRChange asks the controller to change the in-sync set. It has no effect
	// until an Assignment brings it back. Never a promise to anyone, so its
	// place does not matter. Repeated until an Assignment answers it.
	ISRChange *ISRChange

	// Resign asks the controller to elect anew, because this replica must not
	// lead the epoch it was given. Repeated until an Assignment answers it.
	Resign *Resignation

	// Broken says that the replica met what must not happen, and why. It does
	// nothing any more; take it offline and show the cause.
	Broken error

	// Events tell what was decided and why, for logs, metrics and the console.
	Events []Event
}

// CutKind says which part of the log is cut.
type CutKind uint8

// The kinds of cut.
const (
	CutNone CutKind = iota
	CutTail         // records at To and above are removed
	CutAll          // every record is removed, the empty log starts and ends at To
)

// Cut is a removal of records that the leader of the epoch does not have.
type Cut struct {
	Kind CutKind
	To   messages.Offset
}

// Outgoing is a message and its receiver.
type Outgoing struct {
	To      messages.BrokerID
	Message Message
}

// Answer is the end of a Proposal, an Await, a DeleteBefore or a Confirm.
type Answer struct {
	Token any // as given

	// Base is the offset of the proposal's first record, or, of DeleteBefore,
	// the low watermark: the lowest log start offset of the in-sync replicas.
	// NoOffset when Err is set and nothing was appended.
	Base     messages.Offset
	LogStart messages.Offset // of the leader, for the produce response

	// Err is nil, or has the kind NotLeader, NotEnoughReplicas (nothing was
	// appended), NotEnoughReplicasAfterAppend, RequestTimedOut,
	// OffsetOutOfRange (DeleteBefore) or that of the cause given to Stop.
	Err error
}

// Read asks for the batches that follow From (first the one that contains it),
// about MaxBytes of them but at least one.
type Read struct {
	Follower messages.BrokerID
	From     messages.Offset
	MaxBytes int64
	Epoch    messages.LeaderEpoch // Loaded for another leadership than that which asked is dropped
	id       uint32
}

// Member is a replica on one start of its broker (KIP-903).
type Member struct {
	ID    messages.BrokerID
	Epoch messages.BrokerEpoch
}

// ISRChange is a leader's wish for another in-sync set. The controller grants it
// only if Epoch and Revision are still those of the partition, and every member
// is up and in the start that is named here (Epoch -1: not known, a member
// already): one that restarted since may hold less than the leader knows. Granting
// makes a new revision, even if the set is the one that is there.
type ISRChange struct {
	Epoch    messages.LeaderEpoch
	Revision int64
	ISR      []Member
	Cause    ISRCause
}

// Resignation is a replica's refusal to lead the epoch it was given.
type Resignation struct {
	Epoch messages.LeaderEpoch
	Cause ResignCause
}

// ResignCause says why a replica must not lead.
type ResignCause uint8

// Why a replica must not lead.
const (
	// LedBefore: it led this epoch before it was opened again, and may have sent
	// followers records that it has lost since. A new epoch cures it.
	LedBefore ResignCause = iota + 1
	// LostCommitted: its log is shorter than what it knew to be committed.
	// Another in-sync replica must lead; if there is none, only an unclean
	// election can bring the partition back.
	LostCommitted
	// StorageFailed: its disk has failed, or hangs. Not of the core's own making, which
	// does not live to see it: whoever runs it says so.
	StorageFailed
)

// String says the cause in words.
func (c ResignCause) String() string {
	switch c {
	case LedBefore:
		return "led this epoch before it was restarted"
	case LostCommitted:
		return "has lost records that were committed"
	case StorageFailed:
		return "the replica there has failed, or its disk"
	}
	return "no cause"
}

// clear empties the effects, keeping the slices' memory but nothing they refer to.
func (e *Effects) clear() {
	clear(e.Append)
	clear(e.Send)
	clear(e.Answers)
	clear(e.Events)
	*e = Effects{
		Append:  e.Append[:0],
		Send:    e.Send[:0],
		Answers: e.Answers[:0],
		Reads:   e.Reads[:0],
		Events:  e.Events[:0],
	}
}

// empty reports whether there is nothing to carry out.
func (e *Effects) empty() bool {
	return e.Cut.Kind == CutNone && len(e.Append) == 0 && e.Start == 0 && len(e.Send) == 0 &&
		!e.Flush && !e.Publish && len(e.Answers) == 0 && len(e.Reads) == 0 &&
		e.ISRChange == nil && e.Resign == nil && e.Broken == nil && len(e.Events) == 0
}
