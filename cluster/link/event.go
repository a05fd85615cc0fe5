package link

import (
	"fmt"
	"time"

	"understudy/cluster/replica"
)

// EventKind says what an Event is.
type EventKind uint8

// What the link sees of other nodes. It tells; deciding is the controller's.
const (
	// Up: there is a new connection. What was on its way over an older one may be
	// lost: tell the replicas (replica.PeerUp).
	Up EventKind = iota + 1
	// Lost: the connection has ended. By itself that says nothing about the node.
	Lost
	// Gone: the node's kernel ended the connection and refused a new one: the
	// process is dead, or was stopped in order.
	Gone
	// Silent: nothing has been heard for Since. The node may be frozen, cut off or
	// merely slow.
	Silent
	// Back: heard again after Silent, over the same connection.
	Back
	// Refused: one of the two does not want to talk to the other. The cause is a
	// *Refusal.
	Refused
)

// String is the kind in words.
func (k EventKind) String() string {
	names := [...]string{"event", "up", "lost", "gone", "silent", "back", "refused"}
	return names[min(int(k), len(names)-1)]
}

// Event is something that was seen of another node. Those of one node come one
// after the other, and between Up and Lost all that is received over the
// connection; but Refused may come at any time, and of a caller that was refused
// before it proved anything, Peer is only what it claims to be.
//
//	            Up              Lost                  Gone
//	starting ───────▶ connected ──────▶ disconnected ──────▶ gone
//	    │              │     ▲               │   the other side hung up,
//	    │       Silent ▼     │ Back          │   and refuses the redial
//	    │          connected, silent         │ Silent
//	    │                │ Lost              ▼
//	    └─ Silent ───────┴───────▶ disconnected, silent
//
//	Up leads to connected from everywhere.
type Event struct {
	Kind  EventKind
	Peer  replica.Member // Epoch -1: not known
	Addr  string
	Since time.Duration // of Silent: for how long nothing was heard
	Cause error         // of Lost, Gone, Refused; of Silent, why there is no connection, if there is none
}

// String shows the event on one line.
func (e Event) String() string {
	s := fmt.Sprintf("node %d %v (%s", e.Peer.ID, e.Kind, e.Addr)
	if e.Peer.Epoch >= 0 {
		s += fmt.Sprintf(", broker epoch %d", e.Peer.Epoch)
	}
	s += ")"
	if e.Kind == Silent {
		s += fmt.Sprintf(" for %v", e.Since.Round(time.Millisecond))
	}
	if e.Cause != nil {
		s += "; cause: " + e.Cause.Error()
	}
	return s
}
