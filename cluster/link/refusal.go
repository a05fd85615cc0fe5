package link

import (
	"errors"
	"fmt"

	"understudy/messages"
)

// Reason says why two nodes do not talk to each other. The numbers are part of
// the protocol.
type Reason uint8

// The reasons.
const (
	Malformed    Reason = iota + 1 // what was said makes no sense
	NotALink                       // the other side does not speak this protocol at all
	Incompatible                   // no version of the protocol that both know
	OtherCluster                   // the nodes belong to different clusters
	WrongNode                      // another node than expected lives at the address
	SameNode                       // both claim the same node id
	WrongSecret                    // the proof of the cluster's secret is wrong, or only one side has a secret
	UnknownNode                    // the node is not known as a member (yet)
	Fenced                         // a newer start of the same node is known
	Stopping                       // the node is about to end
	reasonCount
)

var reasons = [reasonCount]string{
	Malformed:    "malformed handshake",
	NotALink:     "not a link of this kind of broker",
	Incompatible: "incompatible protocol version",
	OtherCluster: "other cluster",
	WrongNode:    "another node lives at this address",
	SameNode:     "same node id",
	WrongSecret:  "wrong cluster secret",
	UnknownNode:  "unknown node",
	Fenced:       "a newer start of the node is known",
	Stopping:     "stopping",
}

// String is the reason in words.
func (r Reason) String() string {
	if r == 0 || r >= reasonCount {
		return "refused"
	}
	return reasons[r]
}

// Refusal is the error of a handshake that ended with a no.
type Refusal struct {
	Reason Reason
	Theirs bool   // the other side said no
	Detail string // what this node and the other have; may be empty
}

// Error says who refused and why.
func (r *Refusal) Error() string {
	s := r.Reason.String()
	if r.Detail != "" {
		s += " (" + r.Detail + ")"
	}
	if r.Theirs {
		s += ", says the other node"
	}
	return s
}

func refuse(r Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: r, Detail: fmt.Sprintf(format, args...)}
}

// Errors of Send and Request, and causes of lost connections.
var (
	// ErrNotConnected: there is no connection to the node; Up will tell of one.
	ErrNotConnected = errors.New("no connection to the node")
	// ErrQueueFull: too much is waiting to be sent to the node already. What was
	// to be sent is lost.
	ErrQueueFull = errors.New("too much is waiting to be sent to the node")
	// ErrTooLarge: the node would not take a frame of this size.
	ErrTooLarge = errors.New("larger than what the node takes")
	// ErrTooNew: the node speaks a version of the protocol that has no such message.
	ErrTooNew = errors.New("the node's version of the protocol has no such message")
	// ErrClosed: the link was closed.
	ErrClosed = errors.New("the link is closed")
	// ErrSilent: a connection was given up because nothing was heard over it.
	ErrSilent = errors.New("nothing was heard")
	// ErrBye: the other node ended the connection in order.
	ErrBye = errors.New("the node ended the connection in order")
	// ErrReplaced: the node has opened a newer connection, or says that it has lost this one.
	ErrReplaced = errors.New("the node has replaced the connection")
	// ErrRemoved: the node is no longer among the peers, or moved.
	ErrRemoved = errors.New("the node was removed from the peers")
	// ErrUnsupported is what a handler returns for a kind of request it does not know.
	ErrUnsupported error = messages.E("link request", messages.UnsupportedVersion, "", errors.New("unknown kind of request"))
)
