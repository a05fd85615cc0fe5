package link

import (
	"encoding/binary"

	"understudy/messages"
)

// The handshake is four notes, of which the last two are only as long as a
// secret makes them. Either side may say no in place of its next note.
//
//	dialer                                   acceptor
//	  │ hello: who I am, whom I want, nonce     │
//	  │────────────────────────────────────────>│ version, cluster, ids?
//	  │ challenge: who I am, nonce              │
//	  │<────────────────────────────────────────│
//	  │ proof                                   │
//	  │────────────────────────────────────────>│ knows the secret? a member? epoch?
//	  │ verdict: reason 0, and proof            │
//	  │<────────────────────────────────────────│
//	  │ frames                                  │ frames
//
// The dialer proves first, so that who merely connects gets nothing that
// depends on the secret. A proof is the HMAC-SHA256, keyed with the secret, of
// the prover's role, the hello and the challenge (with both identities and
// nonces) and, under TLS, of what only the two ends of this TLS connection know.
//
//	 0      4     5     6          8
//	+------+-----+-----+----------+---- - -
//	| USLK |note | 0   | length   | body       of every note
//	+------+-----+-----+----------+---- - -
//
//	hello body
//	 0     1     2      3      4       8       12      20
//	+-----+-----+------+------+-------+-------+-------+---- - -
//	|least|most |pur-  |flags | from  | to    |broker | nonce
//	|vers.|vers.|pose  |1=secr| id    | id    |epoch  | 32 bytes
//	+-----+-----+------+------+-------+-------+-------+---- - -
//	 52            60          68           72
//	+-------------+-----------+------------+---+---- - -
//	| connection  | window    | largest    | n | cluster id
//	| lost        |           | payload    |   |
//	+-------------+-----------+------------+---+---- - -
//
//	challenge body: the same; least and most are the version chosen
//	proof body: 32 bytes
//	verdict body: reason, 32 bytes of proof or the text of the detail
//
// A newer node may append fields to a body.
const (
	magic        = "USLK"
	noteHeader   = 8
	maxNote      = 1 << 10 // body, in bytes
	helloSize    = 73
	proofSize    = 32
	nonceSize    = 32
	maxClusterID = 255
)

type noteKind uint8

const (
	noteHello noteKind = iota + 1
	noteChallenge
	noteProof
	noteVerdict
)

// purpose is what a dialer wants.
type purpose uint8

const (
	// toLink: this connection is to be the link.
	toLink purpose = 1
	// toKnock: the acceptor, whose part it is, should dial; see the package comment.
	toKnock purpose = 2
)

const flagSecret = 1

// hello is what either side says of itself.
type hello struct {
	versions   Versions // of a challenge: the chosen one alone
	purpose    purpose
	secret     bool // one is configured
	from, to   messages.BrokerID
	epoch      messages.BrokerEpoch
	nonce      [nonceSize]byte
	lost       uint64 // of a knock: the connection that has ended; 0: none
	window     int64  // bytes that may be on their way to the sender
	maxPayload uint32
	cluster    string
}

func (h *hello) append(dst []byte, kind noteKind) []byte {
	be := binary.BigEndian
	dst = appendNoteHeader(dst, kind, helloSize+len(h.cluster))
	var flags byte
	if h.secret {
		flags |= flagSecret
	}
	dst = append(dst, h.versions.Oldest, h.versions.Newest, byte(h.purpose), flags)
	dst = be.AppendUint32(dst, uint32(h.from))
	dst = be.AppendUint32(dst, uint32(h.to))
	dst = be.AppendUint64(dst, uint64(h.epoch))
	dst = append(dst, h.nonce[:]...)
	dst = be.AppendUint64(dst, h.lost)
	dst = be.AppendUint64(dst, uint64(h.window))
	dst = be.AppendUint32(dst, h.maxPayload)
	dst = append(dst, byte(len(h.cluster)))
	return append(dst, h.cluster...)
}

// parseHello reads the body of a hello or a challenge.
func parseHello(b []byte) (h hello, err error) {
	h.from, h.epoch = messages.NoBroker, -1
	if len(b) < helloSize || len(b) < helloSize+int(b[helloSize-1]) {
		return h, refuse(Malformed, "%d bytes of hello", len(b))
	}
	be := binary.BigEndian
	h.versions, h.purpose, h.secret = Versions{b[0], b[1]}, purpose(b[2]), b[3]&flagSecret != 0
	h.from, h.to = int32(be.Uint32(b[4:])), int32(be.Uint32(b[8:]))
	h.epoch = int64(be.Uint64(b[12:]))
	copy(h.nonce[:], b[20:])
	h.lost = be.Uint64(b[52:])
	h.window = int64(be.Uint64(b[60:]))
	h.maxPayload = be.Uint32(b[68:])
	h.cluster = string(b[helloSize : helloSize+int(b[helloSize-1])])
	switch {
	case h.versions.Oldest > h.versions.Newest || h.versions.Oldest == 0:
		return h, refuse(Malformed, "versions %v", h.versions)
	case h.purpose != toLink && h.purpose != toKnock:
		return h, refuse(Malformed, "purpose %d", h.purpose)
	case h.from < 0 || h.epoch < 0:
		return h, refuse(Malformed, "node %d, epoch %d", h.from, h.epoch)
	case h.window < minWindow:
		return h, refuse(Malformed, "window of %d bytes", h.window)
	}
	return h, nil
}

func appendNoteHeader(dst []byte, kind noteKind, size int) []byte {
	dst = append(dst, magic...)
	dst = append(dst, byte(kind), 0)
	return binary.BigEndian.AppendUint16(dst, uint16(size))
}

// parseNoteHeader reads the first noteHeader bytes of a note.
func parseNoteHeader(b []byte) (kind noteKind, size int, err error) {
	if string(b[:4]) != magic {
		return 0, 0, refuse(NotALink, "it begins with %q", b[:4])
	}
	kind, size = noteKind(b[4]), int(binary.BigEndian.Uint16(b[6:]))
	if kind < noteHello || kind > noteVerdict || size > maxNote {
		return 0, 0, refuse(Malformed, "note %d of %d bytes", kind, size)
	}
	return kind, size, nil
}

func appendProof(dst []byte, proof [proofSize]byte) []byte {
	dst = appendNoteHeader(dst, noteProof, proofSize)
	return append(dst, proof[:]...)
}

// appendVerdict appends a yes with its proof, or a no with its detail.
func appendVerdict(dst []byte, no *Refusal, proof [proofSize]byte) []byte {
	if no == nil {
		dst = appendNoteHeader(dst, noteVerdict, 1+proofSize)
		dst = append(dst, 0)
		return append(dst, proof[:]...)
	}
	detail := no.Detail[:min(len(no.Detail), 200)]
	dst = appendNoteHeader(dst, noteVerdict, 1+len(detail))
	dst = append(dst, byte(no.Reason))
	return append(dst, detail...)
}

// parseVerdict reads a verdict; a no comes back as the error.
func parseVerdict(b []byte) (proof [proofSize]byte, err error) {
	switch {
	case len(b) == 0:
		return proof, refuse(Malformed, "empty verdict")
	case b[0] != 0:
		return proof, &Refusal{Reason: Reason(b[0]), Theirs: true, Detail: printable(b[1:])}
	case len(b) < 1+proofSize:
		return proof, refuse(Malformed, "verdict of %d bytes", len(b))
	}
	copy(proof[:], b[1:])
	return proof, nil
}

// printable is text of another node, fit for a log line.
func printable(b []byte) string {
	b = b[:min(len(b), 200)]
	out := make([]byte, len(b))
	for i, c := range b {
		if c < ' ' || c > '~' {
			c = '?'
		}
		out[i] = c
	}
	return string(out)
}
