package link

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"understudy/cluster/replica"
	"understudy/messages"
)

// handshake is one run of it, on either side. All its memory is here: nothing is
// allocated by what the other side says.
type handshake struct {
	options *Options
	nc      net.Conn
	in, out [noteHeader + maxNote]byte
	said    [2][]byte // the hello and the challenge, as they went over the wire
	saidBuf [2][noteHeader + maxNote]byte
	mine    hello
	theirs  hello
}

// agreement is what comes of a handshake.
type agreement struct {
	id         uint64 // of the connection: the same on both sides
	peer       replica.Member
	purpose    purpose
	lost       uint64
	version    uint8
	window     int64 // the other side's
	maxPayload int   // that the other side takes
}

func (h *handshake) introduce() {
	o := h.options
	h.mine = hello{
		versions: o.Versions, purpose: toLink, secret: len(o.Secret) > 0,
		from: o.Self.ID, epoch: o.Self.Epoch, window: o.Window, maxPayload: uint32(o.MaxPayload), cluster: o.ClusterID,
	}
	_, _ = rand.Read(h.mine.nonce[:]) // never fails
}

// dial is the handshake of the side that dialed. admit has the last word on the
// other node's identity.
func (h *handshake) dial(to messages.BrokerID, p purpose, lost uint64, admit func(hello) *Refusal) (agreement, error) {
	h.introduce()
	h.mine.to, h.mine.purpose, h.mine.lost = to, p, lost
	if err := h.say(0, noteHello); err != nil {
		return agreement{}, err
	}
	if err := h.hear(1, noteChallenge); err != nil {
		return agreement{}, err
	}
	no := h.compare()
	version, some := h.mine.versions.Common(h.theirs.versions)
	if chosen := (Versions{version, version}); no == nil && (!some || h.theirs.versions != chosen) {
		no = refuse(Incompatible, "this node speaks versions %v, the other chose %v", h.mine.versions, h.theirs.versions)
	}
	if no == nil && h.theirs.from != to {
		no = refuse(WrongNode, "node %d was expected, it is %d", to, h.theirs.from)
	}
	if no == nil {
		no = admit(h.theirs)
	}
	if no != nil {
		return agreement{}, h.refuse(no)
	}
	if err := h.write(appendProof(h.out[:0], h.prove(roleDialer))); err != nil {
		return agreement{}, err
	}
	body, err := h.read(noteVerdict)
	if err != nil {
		return agreement{}, err
	}
	proof, err := parseVerdict(body)
	if err != nil {
		return agreement{}, err
	}
	if want := h.prove(roleAcceptor); !hmac.Equal(proof[:], want[:]) {
		return agreement{}, h.disproved()
	}
	return h.agreed(h.mine, version), nil
}

// accept is the handshake of the side that was dialed. The last note, the yes,
// is the caller's to send: see confirm.
func (h *handshake) accept(admit func(hello) *Refusal) (agreement, error) {
	h.introduce()
	if err := h.hear(0, noteHello); err != nil {
		return agreement{}, err
	}
	no := h.compare()
	version, some := h.mine.versions.Common(h.theirs.versions)
	if no == nil && !some {
		no = refuse(Incompatible, "this node speaks versions %v, the other %v", h.mine.versions, h.theirs.versions)
	}
	if no == nil && h.theirs.to != h.mine.from {
		no = refuse(WrongNode, "node %d was expected, this is %d", h.theirs.to, h.mine.from)
	}
	if no != nil {
		return agreement{}, h.refuse(no)
	}
	h.mine.versions = Versions{version, version}
	h.mine.to, h.mine.purpose = h.theirs.from, h.theirs.purpose
	if err := h.say(1, noteChallenge); err != nil {
		return agreement{}, err
	}
	body, err := h.read(noteProof)
	if err != nil {
		return agreement{}, err
	}
	if len(body) < proofSize {
		return agreement{}, h.refuse(refuse(Malformed, "proof of %d bytes", len(body)))
	}
	if want := h.prove(roleDialer); !hmac.Equal(body[:proofSize], want[:]) {
		return agreement{}, h.refuse(h.disproved())
	}
	if no := admit(h.theirs); no != nil {
		return agreement{}, h.refuse(no)
	}
	return h.agreed(h.theirs, version), nil
}

// confirm is the acceptor's yes.
func (h *handshake) confirm() error {
	return h.write(appendVerdict(h.out[:0], nil, h.prove(roleAcceptor)))
}

// compare finds what must be the same, or must not, on both sides.
func (h *handshake) compare() *Refusal {
	switch {
	case h.mine.cluster != h.theirs.cluster:
		return refuse(OtherCluster, "%q and %q", printable([]byte(h.mine.cluster)), printable([]byte(h.theirs.cluster)))
	case h.mine.from == h.theirs.from:
		return refuse(SameNode, "both are node %d", h.mine.from)
	case h.mine.secret != h.theirs.secret:
		return refuse(WrongSecret, "only one of the nodes has a secret")
	}
	return nil
}

func (h *handshake) agreed(dialer hello, version uint8) agreement {
	a, b := binary.BigEndian.Uint64(h.mine.nonce[:]), binary.BigEndian.Uint64(h.theirs.nonce[:])
	return agreement{
		id: max(a^b, 1), peer: replica.Member{ID: h.theirs.from, Epoch: h.theirs.epoch},
		purpose: dialer.purpose, lost: dialer.lost, version: version,
		window: h.theirs.window, maxPayload: int(min(h.theirs.maxPayload, 1<<31-1)),
	}
}

// Who proves, in words that go into the proof: one side's is no use to the other.
const (
	roleDialer   = "understudy link: dialer"
	roleAcceptor = "understudy link: acceptor"
)

// disproved says what a wrong proof means.
func (h *handshake) disproved() *Refusal {
	if h.mine.secret {
		return refuse(WrongSecret, "the proof is wrong")
	}
	return refuse(Malformed, "what was said has not come as it was sent")
}

// prove is the proof for a role. Without a secret everybody could make it, but not
// the network by chance: a bit that falls over in a node's epoch must not make it one
// that is believed, and that keeps the node out from then on.
func (h *handshake) prove(role string) (proof [proofSize]byte) {
	mac := hmac.New(sha256.New, h.options.Secret)
	mac.Write([]byte(role))
	mac.Write(h.said[0])
	mac.Write(h.said[1])
	if t, ok := h.nc.(*tls.Conn); ok {
		state := t.ConnectionState()
		if key, err := state.ExportKeyingMaterial("understudy link", nil, 32); err == nil {
			mac.Write(key)
		}
	}
	mac.Sum(proof[:0])
	return proof
}

// say sends this side's hello, as the hello or the challenge.
func (h *handshake) say(which int, kind noteKind) error {
	h.said[which] = h.mine.append(h.saidBuf[which][:0], kind)
	return h.write(h.said[which])
}

// hear reads the other side's.
func (h *handshake) hear(which int, kind noteKind) error {
	body, err := h.read(kind)
	if err != nil {
		return err
	}
	h.said[which] = append(h.saidBuf[which][:0], h.in[:noteHeader+len(body)]...)
	h.theirs, err = parseHello(body)
	if no, ok := errors.AsType[*Refusal](err); ok {
		return h.refuse(no)
	}
	return err
}

// refuse tells the other side no, if it will listen, and returns it.
func (h *handshake) refuse(no *Refusal) error {
	_ = h.write(appendVerdict(h.out[:0], no, [proofSize]byte{})) // the refusal is what counts
	return no
}

func (h *handshake) write(b []byte) error {
	_, err := h.nc.Write(b)
	return err
}

// read reads a note of the given kind and returns its body. In its place there
// may be a no.
func (h *handshake) read(want noteKind) ([]byte, error) {
	if _, err := io.ReadFull(h.nc, h.in[:noteHeader]); err != nil {
		return nil, err
	}
	kind, size, err := parseNoteHeader(h.in[:noteHeader])
	if err != nil {
		return nil, err
	}
	body := h.in[noteHeader : noteHeader+size]
	if _, err := io.ReadFull(h.nc, body); err != nil {
		return nil, err
	}
	if kind == noteVerdict && want != noteVerdict {
		if _, err := parseVerdict(body); err != nil {
			return nil, err
		}
	}
	if kind != want {
		return nil, refuse(Malformed, "note %d where %d was due", kind, want)
	}
	return body, nil
}

// secure puts TLS over a connection if the options say so; the name that the
// acceptor's certificate must have is the host's.
func (o *Options) secure(nc net.Conn, addr string, dialed bool) net.Conn {
	if o.TLS == nil {
		return nc
	}
	cfg := o.TLS.Clone()
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS13)
	if !dialed {
		return tls.Server(nc, cfg)
	}
	if cfg.ServerName == "" {
		if host, _, err := net.SplitHostPort(addr); err == nil {
			cfg.ServerName = host
		}
	}
	return tls.Client(nc, cfg)
}

// limit bounds the time of the handshake; a zero duration lifts the bound.
func limit(nc net.Conn, d time.Duration) error {
	var at time.Time
	if d > 0 {
		at = time.Now().Add(d)
	}
	return nc.SetDeadline(at)
}

// handshakeError gives an error of a handshake its place.
func handshakeError(addr string, err error) error {
	kind := messages.BrokerNotAvailable
	if no, ok := errors.AsType[*Refusal](err); ok && no.Reason == Incompatible {
		kind = messages.UnsupportedVersion
	}
	return messages.E("link handshake", kind, addr, fmt.Errorf("%w", err))
}
