package consul

import (
	"errors"
	"fmt"
	"time"

	"understudy/messages"
)

// Event is something worth telling about the cluster's Consul. String is one
// line for a log; the fields are for whoever counts or shows them.
type Event interface {
	fmt.Stringer
	event()
}

// Trouble: calls to Consul fail. It is told when that begins, and now and then
// while it lasts.
type Trouble struct {
	Op    string // of the call that failed
	Fault Fault
	Cause error
	For   time.Duration // since the first failure
}

// Reached: calls to Consul succeed again.
type Reached struct {
	Fault Fault // the last
	After time.Duration
}

// Locked: this broker holds the controller's lock.
type Locked struct {
	Broker  messages.BrokerID
	Session string
}

// Unlocked: this broker holds the lock no more.
type Unlocked struct {
	Broker  messages.BrokerID
	Session string
	Cause   error // ErrReleased if it was let go
}

// DataLost: Consul knows less than this broker has read from it before.
type DataLost struct {
	Seen  int64 // the greatest revision read so far
	Found int64 // 0 if there is no metadata at all
}

// Split: a transaction was carried out in several pieces.
type Split struct {
	Revision int64 // of the last piece
	Pieces   int
	Writes   int
}

func (e Trouble) String() string {
	cause := e.Cause
	var known *Error
	if errors.As(cause, &known) {
		cause = known.Err // the fault is said already
	}
	s := fmt.Sprintf("%v (%s): %v", e.Fault, e.Op, cause)
	if e.For > 0 {
		s += fmt.Sprintf("; for %v now", e.For.Round(time.Second))
	}
	if e.Fault.Passes() {
		s += "; trying again"
	}
	return s
}

func (e Reached) String() string {
	return fmt.Sprintf("consul is well again after %v; before: %v", e.After.Round(time.Millisecond), e.Fault)
}

func (e Locked) String() string {
	return fmt.Sprintf("node %d holds the controller's lock with session %s", e.Broker, e.Session)
}

func (e Unlocked) String() string {
	return fmt.Sprintf("node %d has lost the controller's lock; cause: %v", e.Broker, e.Cause)
}

func (e DataLost) String() string {
	return fmt.Sprintf("consul's data is lost or old: revision %d was there, now %d; going on with our own copy; `understudy cluster restore` writes it back", e.Seen, e.Found)
}

func (e Split) String() string {
	return fmt.Sprintf("%d writes in %d pieces, revision %d", e.Writes, e.Pieces, e.Revision)
}

func (Trouble) event()  {}
func (Reached) event()  {}
func (Locked) event()   {}
func (Unlocked) event() {}
func (DataLost) event() {}
func (Split) event()    {}
