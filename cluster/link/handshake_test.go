package link

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"understudy/cluster/replica"
	"understudy/messages"
)

// shake runs both sides of a handshake against each other.
func shake(t *testing.T, dialer, acceptor Options, to messages.BrokerID) (d, a agreement, dialErr, acceptErr error) {
	t.Helper()
	left, right := net.Pipe()
	defer left.Close()
	defer right.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h := handshake{options: &acceptor, nc: right}
		if a, acceptErr = h.accept(func(hello) *Refusal { return nil }); acceptErr == nil {
			acceptErr = h.confirm()
		}
		_ = right.Close()
	}()
	h := handshake{options: &dialer, nc: left}
	d, dialErr = h.dial(to, toLink, 0, func(hello) *Refusal { return nil })
	_ = left.Close()
	<-done
	return
}

func who(id messages.BrokerID, adjust func(*Options)) Options {
	o := Options{Self: replica.Member{ID: id, Epoch: 100 + int64(id)}, ClusterID: "c", Versions: Known, Window: 1 << 20, MaxPayload: 1 << 20}
	if adjust != nil {
		adjust(&o)
	}
	return o
}

func TestHandshakeAgrees(t *testing.T) {
	secret := func(o *Options) { o.Secret = []byte("hush") }
	for _, adjust := range []func(*Options){nil, secret} {
		d, a, err1, err2 := shake(t, who(1, adjust), who(2, adjust), 2)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if d.peer != (replica.Member{ID: 2, Epoch: 102}) || a.peer != (replica.Member{ID: 1, Epoch: 101}) {
			t.Errorf("%+v and %+v", d, a)
		}
		if d.id != a.id || d.id == 0 || d.version != maxVersion || a.version != maxVersion || d.window != 1<<20 || a.maxPayload != 1<<20 {
			t.Errorf("%+v and %+v", d, a)
		}
	}
}

func TestHandshakeRefuses(t *testing.T) {
	secret := func(s string) func(*Options) { return func(o *Options) { o.Secret = []byte(s) } }
	for _, c := range []struct {
		name             string
		dialer, acceptor Options
		to               messages.BrokerID
		want             Reason
	}{
		{"other cluster", who(1, nil), who(2, func(o *Options) { o.ClusterID = "other" }), 2, OtherCluster},
		{"same id", who(2, nil), who(2, nil), 2, SameNode},
		{"another node at the address", who(1, nil), who(3, nil), 2, WrongNode},
		{"wrong secret", who(1, secret("hush")), who(2, secret("hist")), 2, WrongSecret},
		{"only the acceptor has a secret", who(1, nil), who(2, secret("hush")), 2, WrongSecret},
		{"only the dialer has a secret", who(1, secret("hush")), who(2, nil), 2, WrongSecret},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err1, err2 := shake(t, c.dialer, c.acceptor, c.to)
			d, ok1 := errors.AsType[*Refusal](err1)
			a, ok2 := errors.AsType[*Refusal](err2)
			if !ok1 || !ok2 || d.Reason != c.want || a.Reason != c.want || d.Theirs == a.Theirs {
				t.Errorf("the dialer says %v, the acceptor %v", err1, err2)
			}
		})
	}
}

// TestABitThatFallsOverIsFoundOut has the network damage one bit of what a dialer
// says, each in turn: nobody is taken for another node, or another start of it.
func TestABitThatFallsOverIsFoundOut(t *testing.T) {
	for bit := range 8 * (noteHeader + helloSize + len("c")) {
		synctest.Test(t, func(t *testing.T) {
			left, right := net.Pipe()
			dialer, acceptor := who(1, nil), who(2, nil)
			go func() {
				defer left.Close()
				h := handshake{options: &dialer, nc: &flipper{left, bit}}
				if limit(left, time.Second) == nil {
					_, _ = h.dial(2, toLink, 0, func(hello) *Refusal { return nil })
				}
			}()
			defer right.Close()
			h := handshake{options: &acceptor, nc: right}
			if err := limit(right, time.Second); err != nil {
				t.Fatal(err)
			}
			if a, err := h.accept(func(hello) *Refusal { return nil }); err == nil {
				t.Errorf("bit %d: agreed on %+v", bit, a)
			}
		})
	}
}

// flipper turns over one bit of what is written first.
type flipper struct {
	net.Conn
	bit int // -1: it was done
}

func (f *flipper) Write(b []byte) (int, error) {
	if f.bit >= 0 {
		b = slices.Clone(b)
		b[f.bit/8] ^= 1 << (f.bit % 8)
		f.bit = -1
	}
	return f.Conn.Write(b)
}

// TestAnAcceptorWithoutTheSecretIsFoundOut lets somebody answer who knows all but
// the secret, and reflects the dialer's own proof.
func TestAnAcceptorWithoutTheSecretIsFoundOut(t *testing.T) {
	left, right := net.Pipe()
	o, liar := who(1, func(o *Options) { o.Secret = []byte("hush") }), who(2, func(o *Options) { o.Secret = []byte("?") })
	go func() {
		h := handshake{options: &liar, nc: right}
		h.introduce()
		_ = h.hear(0, noteHello)
		h.mine.versions, h.mine.to, h.mine.purpose = Versions{maxVersion, maxVersion}, 1, toLink
		_ = h.say(1, noteChallenge)
		proof, _ := h.read(noteProof)
		_ = h.write(appendVerdict(nil, nil, [proofSize]byte(proof)))
	}()
	h := handshake{options: &o, nc: left}
	_, err := h.dial(2, toLink, 0, func(hello) *Refusal { return nil })
	if no, ok := errors.AsType[*Refusal](err); !ok || no.Reason != WrongSecret || no.Theirs {
		t.Errorf("error is %v", err)
	}
}

// TestAProofCannotBeUsedAgain records a dialer's notes and plays them back.
func TestAProofCannotBeUsedAgain(t *testing.T) {
	o := who(2, func(o *Options) { o.Secret = []byte("hush") })
	dialer := who(1, func(o *Options) { o.Secret = []byte("hush") })
	left, right := net.Pipe()
	var said []byte
	done := make(chan struct{})
	go func() {
		defer close(done)
		h := handshake{options: &dialer, nc: recorder{left, &said}}
		_, _ = h.dial(2, toLink, 0, func(hello) *Refusal { return nil })
	}()
	h := handshake{options: &o, nc: right}
	if _, err := h.accept(func(hello) *Refusal { return nil }); err != nil {
		t.Fatal(err)
	}
	_ = right.Close()
	<-done

	left, right = net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, left) }()
	go func() { _, _ = left.Write(said) }()
	h = handshake{options: &o, nc: right}
	_, err := h.accept(func(hello) *Refusal { return nil })
	if no, ok := errors.AsType[*Refusal](err); !ok || no.Reason != WrongSecret {
		t.Errorf("error is %v", err)
	}
	_ = right.Close()
}

type recorder struct {
	net.Conn
	said *[]byte
}

func (r recorder) Write(b []byte) (int, error) {
	*r.said = append(*r.said, b...)
	return r.Conn.Write(b)
}

func TestRefusalsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		a := network.node(t, 1, 1, nil)
		b := network.node(t, 2, 1, func(o *Options) { o.ClusterID = "other" })
		introduce(a, b)
		for _, n := range []*node{a, b} {
			e := n.want(Refused)
			if no, ok := errors.AsType[*Refusal](e.Cause); !ok || no.Reason != OtherCluster {
				t.Errorf("%v", e)
			}
		}
		time.Sleep(time.Minute)
		if n := len(a.kinds()); n > 65 { // as acceptor, at most one a second
			t.Errorf("%d events in a minute", n)
		}
		if s := a.Peers()[0]; s.Cause == nil || s.State != DisconnectedSilent {
			t.Errorf("status is %+v", s)
		}
	})
}

func TestANodeThatIsNotKnownYetIsLetInLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		a, b := network.node(t, 1, 1, nil), network.node(t, 2, 1, nil)
		a.SetPeers(map[messages.BrokerID]Peer{2: {Addr: nodeName(2)}})
		if no, ok := errors.AsType[*Refusal](a.want(Refused).Cause); !ok || no.Reason != UnknownNode || !no.Theirs {
			t.Error("refused for another reason")
		}
		b.SetPeers(map[messages.BrokerID]Peer{1: {Addr: nodeName(1)}})
		a.until(Up)
	})
}

func TestAHandshakeIsBoundedInTimeAndNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		network.node(t, 1, 1, nil)
		dial := network.dialer("stranger")
		var open []net.Conn
		for range maxWelcomes {
			nc, err := dial(t.Context(), nodeName(1))
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, nc)
		}
		synctest.Wait()
		extra, err := dial(t.Context(), nodeName(1))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := extra.Read(make([]byte, 1)); err != io.EOF || time.Since(start) != 0 {
			t.Errorf("one caller too many was let in: %v", err)
		}
		for _, nc := range open {
			if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
				t.Error(err)
			}
		}
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("callers who say nothing were kept for %v", d)
		}
	})
}

func TestWhatIsNoLinkIsToldSo(t *testing.T) {
	for _, greeting := range []string{"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "USLK\x09\x00\x00\x00", "USLK\x01\x00\xff\xff", "USLK\x01\x00\x00\x04abcd"} {
		n := newNode(t, 1, 1, nil)
		nc, err := net.Dial("tcp", n.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := nc.Write([]byte(greeting)); err != nil {
			t.Fatal(err)
		}
		e := n.want(Refused)
		if no, ok := errors.AsType[*Refusal](e.Cause); !ok || !slices.Contains([]Reason{NotALink, Malformed}, no.Reason) || e.Peer.ID != messages.NoBroker {
			t.Errorf("%q: %v", greeting, e)
		}
	}
}

func certificate(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs:      roots, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert,
	}
}

func TestTLS(t *testing.T) {
	cfg := certificate(t)
	secure := func(o *Options) {
		o.TLS, o.Secret = cfg, []byte("hush")
		o.Heartbeat, o.SilentAfter = time.Hour, 3*time.Hour // however long it takes: each is a write
	}
	a, b := newNode(t, 1, 1, secure), newNode(t, 2, 1, secure)
	meet(a, b)
	for i := range 50 {
		if err := a.Send(2, topic, 0, appendOf(int64(i), records(1+i*3000, 0)), nil); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		b.expect(0, int64(i))
	}
	if s := a.Peers()[0]; s.Writes > 60 {
		t.Errorf("%d writes", s.Writes)
	}
}

func TestTLSOnOneSideOnly(t *testing.T) {
	cfg := certificate(t)
	plain, secure := newNode(t, 1, 1, nil), newNode(t, 2, 1, func(o *Options) { o.TLS = cfg })
	introduce(plain, secure)
	wantCause(t, secure.until(Refused).Cause, "not a link")
	stranger := newNode(t, 3, 1, func(o *Options) { o.TLS = certificate(t) })
	introduce(secure, stranger)
	wantCause(t, secure.until(Refused).Cause, "certificate")
}

func FuzzHandshake(f *testing.F) {
	h := hello{versions: Known, purpose: toLink, from: 1, to: 2, epoch: 5, window: 1 << 20, maxPayload: 1 << 20, cluster: "c"}
	good := h.append(nil, noteHello)
	f.Add(good)
	for _, v := range []Versions{{1, 1}, {2, 2}, {3, 3}, {4, 255}, {3, 2}} {
		h := h
		h.versions = v
		f.Add(h.append(nil, noteHello))
		f.Add(appendVerdict(h.append(nil, noteChallenge), nil, [proofSize]byte{}))
	}
	f.Add(appendProof(good, [proofSize]byte{}))
	f.Add(h.append(nil, noteChallenge))
	f.Add(appendVerdict(h.append(nil, noteChallenge), nil, [proofSize]byte{}))
	f.Add(appendVerdict(nil, refuse(Fenced, "epoch %d", 3), [proofSize]byte{}))
	f.Fuzz(func(t *testing.T, said []byte) {
		for _, secret := range []string{"", "hush"} {
			o := who(2, func(o *Options) { o.Secret = []byte(secret) })
			admit := func(h hello) *Refusal {
				if secret != "" {
					t.Errorf("somebody without the secret came as far as %+v", h)
				}
				return nil
			}
			h := handshake{options: &o, nc: &script{in: said}}
			a, err := h.accept(admit)
			if err == nil && (a.window < minWindow || a.peer.ID < 0 || a.maxPayload < 0 || a.version < minVersion || a.version > maxVersion) {
				t.Errorf("%+v", a)
			}
			h = handshake{options: &o, nc: &script{in: said}}
			a, err = h.dial(1, toLink, 0, func(hello) *Refusal { return nil })
			if err == nil && (secret != "" || a.window < minWindow || a.peer.ID != 1 || a.maxPayload < 0 || a.version < minVersion || a.version > maxVersion) {
				t.Errorf("%+v", a)
			}
		}
	})
}

// script is a connection on which everything has been said already.
type script struct {
	net.Conn
	in []byte
}

func (s *script) Read(b []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, s.in)
	s.in = s.in[n:]
	return n, nil
}

func (s *script) Write(b []byte) (int, error) { return len(b), nil }
func (s *script) Close() error                { return nil }

func TestEventsReadWell(t *testing.T) {
	for _, c := range []struct {
		event Event
		want  string
	}{
		{Event{Kind: Up, Peer: replica.Member{ID: 2, Epoch: 7}, Addr: "b:9"}, "node 2 up (b:9, broker epoch 7)"},
		{Event{Kind: Silent, Peer: replica.Member{ID: 2, Epoch: -1}, Addr: "b:9", Since: 1500 * time.Millisecond, Cause: io.EOF}, "node 2 silent (b:9) for 1.5s; cause: EOF"},
		{Event{Kind: Refused, Peer: replica.Member{ID: 2, Epoch: -1}, Addr: "b:9", Cause: &Refusal{Reason: OtherCluster, Theirs: true, Detail: `"a" and "b"`}}, `node 2 refused (b:9); cause: other cluster ("a" and "b"), says the other node`},
	} {
		if have := fmt.Sprint(c.event); have != c.want {
			t.Errorf("have %s\nwant %s", have, c.want)
		}
	}
}
