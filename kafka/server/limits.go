package server

import (
	"time"

	"github.com/rs/zerolog"

	"understudy/kafka/wire"
)

// Limits bound what clients can take. All are finite by default.
type Limits struct {
	Connections           int           // open at the same time
	ConnectionsPerAddress int           // of these, from one address
	InFlightRequests      int           // of one connection, read and not yet answered
	InFlightBytes         int           // of one connection's requests; one request is always let in
	IdleTime              time.Duration // a connection without requests is closed after it
	StallTime             time.Duration // one that stops in the middle of a request, or takes no answer, is closed after it
}

// DefaultLimits are the limits of a broker that was not told otherwise.
func DefaultLimits() Limits {
	return Limits{
		Connections:           10_000,
		ConnectionsPerAddress: 10_000,
		InFlightRequests:      256,
		InFlightBytes:         32 << 20,
		IdleTime:              10 * time.Minute,
		StallTime:             30 * time.Second,
	}
}

// Options make a Server.
type Options struct {
	Limits  Limits
	Pool    *wire.Pool // of all frames and answers
	Metrics *Metrics   // nil: not counted
	Log     zerolog.Logger
}

// Handler gives requests their meaning.
type Handler interface {
	// Limit is the largest request of an API key, in bytes, that may be read.
	Limit(key int16) int
	// Handle is called with the requests of a connection in the order they came.
	// Sometime, once, it or somebody it told calls one of the request's Reply,
	// Skip and Abort. It may block only after calling MayBlock.
	Handle(r *Request)
}
