package link

import (
	"bytes"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"

	"understudy/cluster/replica"
	"understudy/messages"
)

// speaking are the options of a node that speaks some versions of the protocol.
func speaking(oldest, newest uint8) func(*Options) {
	return func(o *Options) { o.Versions = Versions{oldest, newest} }
}

// TestVersionsMeetAtTheNewestOfBoth goes through the pairs of a cluster that is being
// upgraded, and of what may come before and after it.
func TestVersionsMeetAtTheNewestOfBoth(t *testing.T) {
	for _, c := range []struct {
		dialer, acceptor Versions
		want             uint8 // 0: they refuse each other
	}{
		{Versions{2, 2}, Versions{2, 2}, 2},
		{Versions{2, 2}, Versions{2, 3}, 2},
		{Versions{2, 3}, Versions{2, 2}, 2},
		{Versions{2, 3}, Versions{2, 3}, 3},
		{Versions{3, 3}, Versions{2, 3}, 3},
		{Versions{1, 9}, Versions{2, 5}, 5},
		{Versions{1, 255}, Versions{2, 3}, 3},
		{Versions{1, 1}, Versions{2, 3}, 0},
		{Versions{2, 3}, Versions{1, 1}, 0},
		{Versions{2, 2}, Versions{3, 3}, 0},
		{Versions{3, 3}, Versions{2, 2}, 0},
		{Versions{255, 255}, Versions{2, 3}, 0},
	} {
		d, a, err1, err2 := shake(t, who(1, speaking(c.dialer.Oldest, c.dialer.Newest)), who(2, speaking(c.acceptor.Oldest, c.acceptor.Newest)), 2)
		if c.want != 0 {
			if err1 != nil || err2 != nil || d.version != c.want || a.version != c.want {
				t.Errorf("%v and %v: %d, %v and %d, %v", c.dialer, c.acceptor, d.version, err1, a.version, err2)
			}
			continue
		}
		for _, err := range []error{err1, err2} {
			no, ok := errors.AsType[*Refusal](err)
			if !ok || no.Reason != Incompatible || !strings.Contains(no.Detail, c.dialer.String()) || !strings.Contains(no.Detail, c.acceptor.String()) {
				t.Errorf("%v and %v: %v, want both ranges named", c.dialer, c.acceptor, err)
			}
		}
	}
}

// TestRangesThatMakeNoSense has a caller claim what no node speaks.
func TestRangesThatMakeNoSense(t *testing.T) {
	for _, v := range []Versions{{0, 3}, {0, 0}, {3, 2}, {255, 1}} {
		_, _, err1, err2 := shake(t, who(1, speaking(v.Oldest, v.Newest)), who(2, nil), 2)
		for _, err := range []error{err1, err2} {
			if no, ok := errors.AsType[*Refusal](err); !ok || no.Reason != Malformed {
				t.Errorf("%v: %v", v, err)
			}
		}
	}
}

// TestAChoiceThatWasNotOnOffer has an acceptor choose what its caller did not offer,
// not the newest of what it did, or nothing in particular.
func TestAChoiceThatWasNotOnOffer(t *testing.T) {
	for _, choice := range []Versions{{1, 1}, {4, 4}, {2, 3}, {1, 255}, {255, 255}} {
		left, right := net.Pipe()
		o, liar := who(1, nil), who(2, nil)
		go func() {
			h := handshake{options: &liar, nc: right}
			h.introduce()
			_ = h.hear(0, noteHello)
			h.mine.versions, h.mine.to, h.mine.purpose = choice, 1, toLink
			_ = h.say(1, noteChallenge)
			_, _ = io.Copy(io.Discard, right)
		}()
		h := handshake{options: &o, nc: left}
		_, err := h.dial(2, toLink, 0, func(hello) *Refusal { return nil })
		if no, ok := errors.AsType[*Refusal](err); !ok || no.Reason != Incompatible || no.Theirs {
			t.Errorf("%v was chosen: %v", choice, err)
		}
		_ = left.Close()
	}
}

func TestVersionsThatThereAreNot(t *testing.T) {
	for _, v := range []Versions{{1, 2}, {2, 4}, {3, 2}} {
		o := who(1, func(o *Options) { o.Versions = v })
		o.Listener, o.OnMessage = &net.TCPListener{}, func(*Incoming) {}
		if _, err := New(o); messages.KindOf(err) != messages.InvalidConfig || !strings.Contains(err.Error(), Known.String()) {
			t.Errorf("%v: %v", v, err)
		}
	}
	for newest, want := range map[uint8]uint8{0: maxVersion, 2: 2, 3: 3, 200: maxVersion} {
		if got := Known.UpTo(newest); got != (Versions{minVersion, want}) {
			t.Errorf("up to %d: %v", newest, got)
		}
	}
}

// TestMessagesOfEachVersion has every type of message go through the codec of every
// version: it arrives as it was, or is not sent at all, and is refused if it is.
func TestMessagesOfEachVersion(t *testing.T) {
	for version := Known.Oldest; version <= Known.Newest; version++ {
		for kind := replica.TypeAppend; kind <= replica.TypeFailed; kind++ {
			m := replica.Message{Type: kind, Epoch: 7, Probe: 1, LogStart: 2, EpochStart: 3, HighWatermark: 4, PrevEpoch: 5, Base: 6, End: 8, Durable: 9, AgreeEpoch: 10, AgreeEnd: 11}
			if kind == replica.TypeAppend {
				m.End, m.Revision = 0, 12
			}
			arrived, err := Carry(version, topic, 3, &m)
			known := kind != replica.TypeFailed || version >= 3
			if known && (err != nil || !reflect.DeepEqual(arrived, m)) || !known && !errors.Is(err, ErrTooNew) {
				t.Errorf("version %d: %v arrives as %v, %v", version, &m, &arrived, err)
			}
			if _, _, err := parseMessage(version, messageFrame(m)[prefixSize:], &arrived); (err == nil) != known {
				t.Errorf("version %d: %v is read with %v", version, &m, err)
			}
		}
	}
}

// TestVersionsHaveTheSameBytes: what an older node sends and a newer one does not
// change between two versions.
func TestVersionsHaveTheSameBytes(t *testing.T) {
	m := replica.Message{Type: replica.TypeAck, Epoch: 0x01020304, Probe: 5, LogStart: 6, End: 0x0708, Durable: 9}
	want := "\x00\x00\x00\x60\x01\x00\x00\x60"
	got := messageFrame(m)
	if !bytes.HasPrefix(got, []byte(want)) || len(got) != 108 || got[prefixSize+20] != 2 || !bytes.Equal(got[prefixSize+24:prefixSize+28], []byte{1, 2, 3, 4}) {
		t.Errorf("an acknowledgement is %x", got)
	}
	if failed := messageFrame(replica.Message{Type: replica.TypeFailed}); failed[prefixSize+20] != 6 {
		t.Errorf("a failure is %x", failed)
	}
}

// TestANewMessageOverAnOldConnection ends it, as anything does that the version does
// not know.
func TestANewMessageOverAnOldConnection(t *testing.T) {
	n := newNode(t, 9, 1, nil)
	n.SetPeers(map[messages.BrokerID]Peer{2: {Addr: "127.0.0.1:1"}})
	nc := impostorOf(t, n, 2, Versions{2, 2})
	go func() { _, _ = io.Copy(io.Discard, nc) }()
	n.until(Up)
	_, _ = nc.Write(messageFrame(replica.Message{Type: replica.TypeFailed}))
	wantCause(t, n.until(Lost).Cause, "failed in version 2")
}

// TestANodeIsUpgradedWhileItIsLinked: the others speak the newer version with it from
// its next connection on, and the older one with those that have not been upgraded.
func TestANodeIsUpgradedWhileItIsLinked(t *testing.T) {
	one, two := newNode(t, 1, 1, nil), newNode(t, 2, 1, speaking(2, 2))
	three := newNode(t, 3, 1, speaking(2, 2))
	meet(one, two, three)
	speak := func(want2, want3 uint8) {
		t.Helper()
		if s := one.Peers(); s[0].Version != want2 || s[1].Version != want3 {
			t.Errorf("versions %d and %d are spoken, want %d and %d", s[0].Version, s[1].Version, want2, want3)
		}
	}
	speak(2, 2)
	failed := replica.Message{Type: replica.TypeFailed, Epoch: 1}
	if err := one.Send(2, topic, 0, failed, nil); !errors.Is(err, ErrTooNew) {
		t.Errorf("sent: %v", err)
	}
	for epoch, v := range []Versions{{2, 3}, {2, 2}, {2, 3}} { // there, back, and there again
		two.Close()
		one.until(Lost)
		two = newNode(t, 2, messages.BrokerEpoch(2+epoch), func(o *Options) { o.Versions = v })
		introduce(one, two, three)
		one.until(Up)
		two.until(Up)
		speak(v.Newest, 2)
		if err := one.Send(2, topic, 0, failed, nil); (err == nil) != (v.Newest == 3) {
			t.Errorf("sent: %v", err)
		}
	}
	if in := <-two.got; in.Message.Type != replica.TypeFailed || in.Message.Epoch != 1 {
		t.Errorf("%v arrived", in)
	} else {
		in.Release()
	}
	if err := one.Send(3, topic, 1, appendOf(4, records(10, 4)), nil); err != nil {
		t.Error(err)
	}
	three.expect(1, 4)
}
