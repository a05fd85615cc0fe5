package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
)

// echo is a server that says what it hears.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return listener.Addr().String()
}

func open(t *testing.T, target string, meet Meet) (*Proxy, net.Conn) {
	t.Helper()
	p, err := Listen("127.0.0.1:0", target, meet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return p, c
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("heard %q, %v; want %q", got, err, want)
	}
}

func TestWhatIsSaidIsPassedOn(t *testing.T) {
	_, c := open(t, echo(t), nil)
	say(t, c, "hello")
	hear(t, c, "hello")
}

// TestACallerIsMetFirst reads who calls, and treats what it says and what it hears.
func TestACallerIsMetFirst(t *testing.T) {
	gate := make(chan struct{})
	_, c := open(t, echo(t), func(near net.Conn) ([]byte, Treat, error) {
		name := make([]byte, 2)
		_, err := io.ReadFull(near, name)
		return name, func(piece []byte, forth bool) ([]byte, bool) {
			if forth {
				return bytes.ToUpper(piece), true
			}
			<-gate
			return append([]byte("<"), piece...), !bytes.Contains(piece, []byte("!"))
		}, err
	})
	say(t, c, "me")
	close(gate)
	hear(t, c, "<ME")
	say(t, c, "bye!")
	hear(t, c, "<BYE!")
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("the connection goes on, with %d bytes", n)
	}
}

func TestNobodyIsConnectedWhoIsRefused(t *testing.T) {
	_, c := open(t, echo(t), func(net.Conn) ([]byte, Treat, error) { return nil, nil, io.ErrUnexpectedEOF })
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("somebody answers")
	}
}

// TestWhoCallsNobodyIsReset: to be refused it is too late.
func TestWhoCallsNobodyIsReset(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	p, err := Listen("127.0.0.1:0", gone.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c, err := net.Dial("tcp", p.Addr())
	if err == nil {
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
}

// TestAResetEndsWhatThereIs, and new connections go through.
func TestAResetEndsWhatThereIs(t *testing.T) {
	p, c := open(t, echo(t), nil)
	say(t, c, "x")
	hear(t, c, "x")
	p.Reset()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection has %v, want a reset", err)
	}
	again, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	say(t, again, "y")
	hear(t, again, "y")
}
