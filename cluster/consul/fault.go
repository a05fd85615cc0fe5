package consul

import (
	"context"
	"errors"
	"net"
	"strings"

	"github.com/hashicorp/consul/api"

	"understudy/messages"
)

// Fault is what a failed call says about Consul.
type Fault uint8

// The faults. All but Refused, TooLarge and Rejected pass by themselves; whether
// the call was carried out is then unknown.
const (
	NoFault     Fault = iota
	Unreachable       // no agent answers
	TimedOut          // the agent did not answer in time
	NoLeader          // the agent answers, its servers have no leader
	Overloaded        // the servers limit the rate of calls
	Refused           // the token is unknown or lacks a right
	TooLarge          // the request is larger than the servers take
	Rejected          // the request is wrong: a bug, or a server of another kind
	Failed            // any other error of the servers
)

var faultWords = [...]string{
	"no fault", "consul does not answer", "consul does not answer in time",
	"consul has no leader", "consul limits our calls", "consul refuses the token",
	"too large for consul", "consul rejects the request", "consul fails",
}

// String is the fault in words: "consul has no leader".
func (f Fault) String() string { return faultWords[f] }

// Passes reports whether trying again may help.
func (f Fault) Passes() bool {
	return f != NoFault && f != Refused && f != TooLarge && f != Rejected
}

// telling are the parts of error texts that tell more than their status. The
// texts are those of Consul's server; some calls of the API give no status.
var telling = []struct {
	text  string
	fault Fault
}{
	{"No cluster leader", NoLeader},
	{"leadership lost", NoLeader},
	{"node is not the leader", NoLeader},
	{"Permission denied", Refused},
	{"ACL not found", Refused},
	{"too many operations", TooLarge},
	{"too large", TooLarge},
	{"rate limit", Overloaded},
	{"nvalid session", Rejected},   // it has ended
	{"issing check", Rejected},     // a session's check is not, or not yet, in the catalog
	{"critical state", Rejected},   // a session's check fails
	{"Missing node reg", Rejected}, // the agent has not, or not yet, told the servers of itself
}

// FaultOf tells what kind of error a call of the API ended with.
func FaultOf(err error) Fault {
	if err == nil {
		return NoFault
	}
	var known *Error
	if errors.As(err, &known) {
		return known.Fault
	}
	text := err.Error()
	for _, t := range telling {
		if strings.Contains(text, t.text) {
			return t.fault
		}
	}
	var status api.StatusError
	if errors.As(err, &status) {
		return faultOfStatus(status.Code)
	}
	var network net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout() {
		return TimedOut
	}
	if errors.As(err, &network) {
		return Unreachable
	}
	return Failed
}

func faultOfStatus(code int) Fault {
	switch {
	case code == 401 || code == 403:
		return Refused
	case code == 413:
		return TooLarge
	case code == 429:
		return Overloaded
	case code >= 400 && code < 500:
		return Rejected
	}
	return Failed
}

// failure is the error that callers get. Its kind is what clients of the broker
// see if it ever reaches them.
func failure(op, subject string, err error) error {
	fault := FaultOf(err)
	kind := messages.StorageError
	switch fault {
	case TimedOut:
		kind = messages.RequestTimedOut
	case TooLarge, Rejected:
		kind = messages.InvalidRequest
	}
	var known *Error
	if !errors.As(err, &known) {
		err = &Error{Fault: fault, Err: err}
	}
	return messages.E(op, kind, subject, err)
}

// Error is an error of Consul, told apart by its fault.
type Error struct {
	Fault Fault
	Err   error
}

// Error begins with the fault's words: "consul has no leader: …".
func (e *Error) Error() string { return e.Fault.String() + ": " + e.Err.Error() }

// Unwrap gives the API's error.
func (e *Error) Unwrap() error { return e.Err }
