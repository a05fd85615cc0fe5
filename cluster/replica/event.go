package replica

import (
	"fmt"

	"understudy/messages"
)

// Event is something the replica decided or found out, with its cause. String
// is one line for a log; the types' fields are for whoever counts or shows them.
// A rise of the high watermark is no event: it is in Status after each Publish.
type Event interface {
	fmt.Stringer
	event()
}

// BecameLeader: the replica leads from now on.
type BecameLeader struct {
	Epoch messages.LeaderEpoch
	Start messages.Offset // log end at this moment: the first offset of the epoch
	HW    messages.Offset // what it knows to be committed
	ISR   []messages.BrokerID
}

// Settled: a new leader has found out all that was committed before it: its high
// watermark has reached the start of its epoch (KIP-207).
type Settled struct {
	Epoch messages.LeaderEpoch
	HW    messages.Offset
}

// BecameFollower: the replica follows Leader from now on.
type BecameFollower struct {
	Epoch  messages.LeaderEpoch
	Leader messages.BrokerID
	Cause  EpochCause
}

// LostLeader: the replica neither leads nor knows whom to follow.
type LostLeader struct {
	Epoch messages.LeaderEpoch
	Cause EpochCause
}

// SteppedDown: the replica led, and leads no more.
type SteppedDown struct {
	Epoch, Newer messages.LeaderEpoch // what it led, and what took its place
	From         messages.BrokerID    // who told it; itself: the metadata did
	Unanswered   int                  // how many waiting requests were answered NotLeader
	Cause        EpochCause
}

// Resigned: the replica refuses to lead. See Resignation.
type Resigned struct {
	Resignation
	End, Committed messages.Offset // its log end, and what it once knew to be committed
}

// Truncated: records that the leader does not have were removed from the log.
type Truncated struct {
	Epoch    messages.LeaderEpoch
	From, To messages.Offset // old and new log end
	HW       messages.Offset // high watermark before
	All      bool            // nothing is left of the log
	Lost     bool            // committed records were among them
	Cause    TruncateCause
}

// ISRProposed: the leader asks for another in-sync set.
type ISRProposed struct {
	Epoch    messages.LeaderEpoch
	Revision int64 // that it builds on
	From, To []messages.BrokerID
	Who      messages.BrokerID // the first whom the cause concerns
	Cause    ISRCause
}

// ISRChanged: the controller has decided on another in-sync set.
type ISRChanged struct {
	Epoch    messages.LeaderEpoch
	Revision int64
	From, To []messages.BrokerID
	Min      int // min.insync.replicas as it applies here
}

// ISRRefused: the controller has refused the change the leader asked for.
type ISRRefused struct {
	Epoch    messages.LeaderEpoch
	Revision int64
	Cause    error
}

// Regressed: a follower holds less than it had acknowledged.
type Regressed struct {
	Follower       messages.BrokerID
	Acked, End, HW messages.Offset
}

// Recovered: the log was opened with less than was known to be committed.
type Recovered struct {
	End, Committed messages.Offset
}

// Ignored: an input makes no sense here and was dropped. A message delayed by
// the network is not reported: only what no correct peer would say.
type Ignored struct {
	From messages.BrokerID
	What string
	Why  string
}

// Isolated: the leader stopped (or, when On is false, resumed) taking writes,
// because it hears nobody who could tell it that it was replaced.
type Isolated struct {
	Epoch messages.LeaderEpoch
	On    bool
}

// Failed: the replica is broken or was stopped.
type Failed struct {
	Cause      error
	Unanswered int // how many waiting requests were answered with the cause
}

// EpochCause says how a replica came to know of a leadership.
type EpochCause uint8

// How a replica comes to know of a leadership.
const (
	Assigned    EpochCause = iota + 1 // the metadata says so
	HeardLeader                       // a leader of a newer epoch sent records
	HeardFence                        // a peer refused a message because it knows a newer epoch
)

// String says the cause in words.
func (c EpochCause) String() string {
	return [...]string{"no cause", "assigned", "heard from the new leader", "fenced by a peer"}[min(c, HeardFence)]
}

// TruncateCause says why records were removed.
type TruncateCause uint8

// Why records are removed.
const (
	OlderEpoch    TruncateCause = iota + 1 // they lie where the new epoch began, and are of an older one
	Diverged                               // the leader has records of another epoch in their place
	BelowLogStart                          // the leader has deleted everything up to beyond the log's end
)

// String says the cause in words.
func (c TruncateCause) String() string {
	return [...]string{"no cause", "beyond the start of the new epoch", "diverged from the leader", "deleted at the leader"}[min(c, BelowLogStart)]
}

// ISRCause says why the leader wants another in-sync set.
type ISRCause uint8

// Why an in-sync set changes.
const (
	CaughtUp  ISRCause = iota + 1 // a follower has what is committed
	Lagging                       // a member was behind for longer than replica.lag.time.max.ms
	Down                          // a member's node is down
	LostLog                       // a member holds less than is committed
	Withdrawn                     // a follower that was to join no longer can
	LogFailed                     // a member's log has failed
)

// String says the cause in words.
func (c ISRCause) String() string {
	return [...]string{"no cause", "caught up", "lagging", "node down", "lost records", "withdrawn", "log failed"}[min(c, LogFailed)]
}

func (BecameLeader) event()   {}
func (Settled) event()        {}
func (BecameFollower) event() {}
func (LostLeader) event()     {}
func (SteppedDown) event()    {}
func (Resigned) event()       {}
func (Truncated) event()      {}
func (ISRProposed) event()    {}
func (ISRChanged) event()     {}
func (ISRRefused) event()     {}
func (Regressed) event()      {}
func (Recovered) event()      {}
func (Ignored) event()        {}
func (Isolated) event()       {}
func (Failed) event()         {}

func (e BecameLeader) String() string {
	return fmt.Sprintf("leads epoch %d from offset %d, high watermark %d, in-sync %v", e.Epoch, e.Start, e.HW, e.ISR)
}

func (e Settled) String() string {
	return fmt.Sprintf("everything from before epoch %d is committed, high watermark %d", e.Epoch, e.HW)
}

func (e BecameFollower) String() string {
	return fmt.Sprintf("follows %d in epoch %d; cause: %v", e.Leader, e.Epoch, e.Cause)
}

func (e LostLeader) String() string {
	return fmt.Sprintf("knows no leader of epoch %d; cause: %v", e.Epoch, e.Cause)
}

func (e SteppedDown) String() string {
	return fmt.Sprintf("steps down from epoch %d for %d, told by %d, %d requests unanswered; cause: %v", e.Epoch, e.Newer, e.From, e.Unanswered, e.Cause)
}

func (e Resigned) String() string {
	return fmt.Sprintf("will not lead epoch %d, log end %d, once committed %d; cause: %v", e.Epoch, e.End, e.Committed, e.Cause)
}

func (e Truncated) String() string {
	s := fmt.Sprintf("truncates %d → %d in epoch %d", e.From, e.To, e.Epoch)
	if e.All {
		s = fmt.Sprintf("drops its log of end %d and starts at %d in epoch %d", e.From, e.To, e.Epoch)
	}
	if e.Lost {
		s += fmt.Sprintf(", losing committed records up to %d", e.HW)
	}
	return fmt.Sprintf("%s; cause: %v", s, e.Cause)
}

func (e ISRProposed) String() string {
	return fmt.Sprintf("proposes in-sync %v → %v in epoch %d; cause: %d %v", e.From, e.To, e.Epoch, e.Who, e.Cause)
}

func (e ISRChanged) String() string {
	s := fmt.Sprintf("in-sync %v → %v in epoch %d, revision %d", e.From, e.To, e.Epoch, e.Revision)
	if len(e.To) < e.Min {
		s += fmt.Sprintf(", below the minimum of %d", e.Min)
	}
	return s
}

func (e ISRRefused) String() string {
	return fmt.Sprintf("in-sync change on revision %d was refused; cause: %v", e.Revision, e.Cause)
}

func (e Regressed) String() string {
	return fmt.Sprintf("follower %d had acknowledged %d and has %d, high watermark %d", e.Follower, e.Acked, e.End, e.HW)
}

func (e Recovered) String() string {
	return fmt.Sprintf("log ends at %d, though %d was committed", e.End, e.Committed)
}

func (e Ignored) String() string {
	return fmt.Sprintf("ignores %s from %d; cause: %s", e.What, e.From, e.Why)
}

func (e Isolated) String() string {
	if e.On {
		return fmt.Sprintf("leads epoch %d but hears nobody: takes no writes", e.Epoch)
	}
	return fmt.Sprintf("hears others again: takes writes in epoch %d", e.Epoch)
}

func (e Failed) String() string {
	return fmt.Sprintf("stops, %d requests unanswered; cause: %v", e.Unanswered, e.Cause)
}
