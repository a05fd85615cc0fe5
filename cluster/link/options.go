package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"understudy/cluster/replica"
	"understudy/messages"
)

// Options say who the node is, how it reaches others, and who takes what comes.
// Functions are called from the link's goroutines and must not block, but for
// Dial and OnRequest.
type Options struct {
	Self      replica.Member
	ClusterID string // 1 to 255 bytes
	// Secret, when not empty, must be known to both sides of a connection. It
	// says who may connect; that nobody else reads or changes what is sent, only
	// TLS can say.
	Secret []byte
	// TLS, when not nil, is for both dialing and accepting: certificate, roots
	// and, if nodes are to show certificates, client roots. TLS 1.3 or newer.
	TLS *tls.Config
	// Listener takes other nodes' connections; the link closes it.
	Listener net.Listener
	// Dial connects to an address; by default by TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)

	// OnMessage takes a message for a local replica. It must see to it that
	// Release is called, soon: see Incoming.
	OnMessage func(*Incoming)
	// OnEvent is told what the link sees; nil: nobody.
	OnEvent func(Event)
	// OnRequest answers a request, each in a goroutine of its own. The context
	// ends with the asker's patience or the connection. The body is the
	// function's to keep. An error keeps its kind on the way; ErrUnsupported, or
	// a nil OnRequest, says that the kind of request is not known. Kind 255 is the
	// link's own.
	OnRequest func(ctx context.Context, from replica.Member, kind byte, body []byte) ([]byte, error)
	// State is sent with every heartbeat, at most 1 KiB of it; nil: nothing is.
	State func() []byte
	// OnHeartbeat is told every heartbeat and the state in it, which is valid
	// until it returns; nil: nobody.
	OnHeartbeat func(from replica.Member, state []byte)

	Heartbeat        time.Duration // between two heartbeats; default 200 ms
	SilentAfter      time.Duration // default 1.5 s; at least three heartbeats
	GiveUpAfter      time.Duration // a silent connection is closed and dialed anew; default 3 s
	DialTimeout      time.Duration // default 1 s
	HandshakeTimeout time.Duration // default 2 s
	RetryMin         time.Duration // between two attempts to dial, at first; default 50 ms
	RetryMax         time.Duration // and at last; default 1 s

	// Window bounds the memory for what one node has sent and the replicas have
	// not released, in bytes; default 32 MiB. One partition may hold a quarter.
	Window int64
	// Queue bounds the bytes that wait to be sent to one node, but for one message
	// that comes while half of it is free; default 32 MiB.
	Queue int64
	// MaxPayload bounds the batches of one message that is received, in bytes;
	// default 32 MiB. It must hold the largest batch that any topic allows.
	MaxPayload int

	// Versions of the protocol that the node speaks; default: all that are known. While
	// a cluster is upgraded, none of those that its older nodes do not know is needed.
	Versions Versions
}

// Bounds of Options.
const (
	minWindow      = 64 << 10
	defaultWindow  = 32 << 20
	defaultQueue   = 32 << 20
	defaultPayload = 32 << 20
)

func setDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// complete fills in defaults and says what cannot be.
func (o *Options) complete() error {
	setDefault(&o.Heartbeat, 200*time.Millisecond)
	setDefault(&o.SilentAfter, 1500*time.Millisecond)
	setDefault(&o.GiveUpAfter, 2*o.SilentAfter)
	setDefault(&o.DialTimeout, time.Second)
	setDefault(&o.HandshakeTimeout, 2*time.Second)
	setDefault(&o.RetryMin, 50*time.Millisecond)
	setDefault(&o.RetryMax, time.Second)
	setDefault(&o.Window, defaultWindow)
	setDefault(&o.Queue, defaultQueue)
	setDefault(&o.MaxPayload, defaultPayload)
	if o.Versions == (Versions{}) {
		o.Versions = Known
	}
	if o.Dial == nil {
		var d net.Dialer
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	if o.OnEvent == nil {
		o.OnEvent = func(Event) {}
	}
	var why string
	switch {
	case o.Self.ID < 0 || o.Self.Epoch < 0:
		why = "a node needs an id and an epoch, both at least 0"
	case o.ClusterID == "" || len(o.ClusterID) > maxClusterID:
		why = "the cluster id must have 1 to 255 bytes"
	case o.Listener == nil || o.OnMessage == nil:
		why = "Listener and OnMessage are needed"
	case o.Versions.Oldest < minVersion || o.Versions.Newest > maxVersion || o.Versions.Oldest > o.Versions.Newest:
		why = fmt.Sprintf("versions %v of the protocol are not among %v", o.Versions, Known)
	case o.Heartbeat < time.Millisecond || o.SilentAfter < 3*o.Heartbeat:
		why = "silence must be at least three heartbeats"
	case o.GiveUpAfter < o.SilentAfter:
		why = "a connection cannot be given up before it is silent"
	case o.DialTimeout <= 0 || o.HandshakeTimeout <= 0 || o.RetryMin <= 0 || o.RetryMax < o.RetryMin:
		why = "time limits must be positive, and RetryMax at least RetryMin"
	case o.Window < minWindow || o.Queue < minWindow || o.MaxPayload < minWindow || o.MaxPayload > 1<<30:
		why = "Window, Queue and MaxPayload must be at least 64 KiB, MaxPayload at most 1 GiB"
	default:
		return nil
	}
	return messages.E("link", messages.InvalidConfig, "", errors.New(why))
}
