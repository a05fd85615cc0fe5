package server

import (
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// fileSender sends ranges of files over a TCP connection without their passing
// through memory. Its functions are made once per connection, so that a send
// allocates nothing; one goroutine at a time uses it.
type fileSender struct {
	conn *Conn
	raw  syscall.RawConn // nil: not a TCP connection

	sendF func(fd uintptr) bool
	fd    int
	at    int64
	left  int
	sent  int
	err   error

	moreF func(fd uintptr) bool
	more  []byte
}

func (f *fileSender) init(c *Conn) {
	tcp, ok := c.nc.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	f.conn, f.raw = c, raw
	f.sendF, f.moreF = f.sendSome, f.writeSome
}

// can reports whether s can go by sendfile on this connection.
func (f *fileSender) can(s Slice) bool {
	if f.raw == nil {
		return false
	}
	_, _, ok := s.File()
	return ok
}

// send sends a slice and returns when all of it is in the socket's buffer.
func (f *fileSender) send(s Slice) (int, error) {
	fd, at, _ := s.File()
	f.fd, f.at, f.left, f.sent, f.err = int(fd), at, s.Len(), 0, nil
	if err := f.raw.Write(f.sendF); err != nil {
		return f.sent, err
	}
	return f.sent, f.err
}

// sendSome sends until the socket is full (false: call again when it has room)
// or there is nothing more to do.
func (f *fileSender) sendSome(socket uintptr) bool {
	for f.left > 0 {
		n, err := unix.Sendfile(int(socket), f.fd, &f.at, min(f.left, 1<<30))
		switch {
		case err == unix.EAGAIN:
			return false
		case err == unix.EINTR:
			continue
		case err != nil:
			f.err = err
			return true
		case n == 0: // the file is shorter than it was when the range was chosen
			f.err = io.ErrUnexpectedEOF
			return true
		}
		f.left -= n
		f.sent += n
		f.conn.writing.Store(f.conn.server.clock.Load() + 1)
	}
	return true
}

// writeMore writes bytes that more will follow at once, so that they leave in
// the same packet.
func (f *fileSender) writeMore(b []byte) (int, error) {
	f.more, f.sent, f.err = b, 0, nil
	if err := f.raw.Write(f.moreF); err != nil {
		return f.sent, err
	}
	f.more = nil
	return f.sent, f.err
}

func (f *fileSender) writeSome(socket uintptr) bool {
	for len(f.more) > 0 {
		n, err := unix.SendmsgN(int(socket), f.more, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
		switch {
		case err == unix.EAGAIN:
			return false
		case err == unix.EINTR:
			continue
		case err != nil:
			f.err = err
			return true
		}
		f.more = f.more[n:]
		f.sent += n
	}
	return true
}
