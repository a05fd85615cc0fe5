package link

import (
	"hash/crc32"
	"io"
)

const (
	// readBuffer is the size of a connection's read buffer. It holds a few hundred
	// acknowledgements, or a few batches of the size that most producers send, for
	// one system call.
	readBuffer = 64 << 10
	// largePayload is the size from which on payloads are read where they will
	// stay: behind one, no more than readAhead of what follows is read along, which
	// is probably the beginning of another, and would be copied.
	largePayload = 96 << 10
	readAhead    = 4 << 10
)

// frameReader splits what comes from a connection into frames.
type frameReader struct {
	src        io.Reader
	buf        [readBuffer]byte
	start, end int // what of buf has been read and not been used
	ahead      int // how much may be read at a time; 0: as the buffer has room for
}

// read asks the source once.
func (r *frameReader) read(b []byte) (int, error) {
	n, err := r.src.Read(b)
	if n > 0 {
		return n, nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return 0, err
}

// need makes sure that n bytes, no more than the buffer, are in it.
func (r *frameReader) need(n int) error {
	if r.start == r.end {
		r.start, r.end = 0, 0
	} else if r.start+n > len(r.buf) {
		r.end = copy(r.buf[:], r.buf[r.start:r.end])
		r.start = 0
	}
	for r.end-r.start < n {
		into := r.buf[r.end:]
		if missing := n - (r.end - r.start); r.ahead > 0 {
			into = into[:min(len(into), max(missing, r.ahead))]
		}
		got, err := r.read(into)
		if err != nil {
			return r.cut(err)
		}
		r.end += got
	}
	return nil
}

// cut tells the end of the stream between two frames from that within one.
func (r *frameReader) cut(err error) error {
	if err == io.EOF && r.end > r.start {
		return io.ErrUnexpectedEOF
	}
	return err
}

// next reads a frame's beginning. Its payload must be taken or passed over
// before the next call.
func (r *frameReader) next() (frame, error) {
	if err := r.need(prefixSize); err != nil {
		return frame{}, err
	}
	f, header, err := parsePrefix(r.buf[r.start:r.end])
	if err != nil {
		return f, err
	}
	if err := r.need(prefixSize + header); err != nil {
		return f, err
	}
	f.header = r.buf[r.start+prefixSize : r.start+prefixSize+header]
	r.start += prefixSize + header
	f.sum = crc32.Update(f.sum, castagnoli, f.header)
	if f.kind == frameMessage || f.payload == 0 {
		err = f.check()
	}
	return f, err
}

// payload reads the frame's payload to dst, which has its size, and checks it if
// the CRC covers it.
func (r *frameReader) payload(f *frame, dst []byte) error {
	r.ahead = 0
	if len(dst) >= largePayload {
		r.ahead = readAhead
	}
	n := copy(dst, r.buf[r.start:r.end])
	r.start += n
	for n < len(dst) {
		got, err := r.read(dst[n:])
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		n += got
	}
	if f.kind == frameMessage || f.payload == 0 {
		return nil
	}
	f.sum = crc32.Update(f.sum, castagnoli, dst)
	return f.check()
}

// discard passes over n bytes without keeping them.
func (r *frameReader) discard(n int) error {
	for n > 0 {
		if err := r.need(1); err != nil {
			return err
		}
		used := min(n, r.end-r.start)
		r.start += used
		n -= used
	}
	return nil
}
