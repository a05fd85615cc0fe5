package commands

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
)

// lineReader reads lines of a bounded length into memory of their own, which is
// taken in blocks so that a line costs no allocation.
type lineReader struct {
	in    *bufio.Reader
	limit int
	block []byte
	line  []byte // of a line that does not fit the reader's buffer
}

// longLineError says that a line is longer than the limit.
type longLineError struct{ limit int }

func (e *longLineError) Error() string {
	return fmt.Sprintf("the line is longer than %d bytes", e.limit)
}

func newLineReader(in io.Reader, limit int) *lineReader {
	return &lineReader{in: bufio.NewReaderSize(in, 64<<10), limit: limit}
}

// next is the next line without its newline. io.EOF comes after the last; a last
// line need not end in a newline.
func (r *lineReader) next() ([]byte, error) {
	r.line = r.line[:0]
	for {
		part, err := r.in.ReadSlice('\n')
		if len(r.line)+len(part) > r.limit+1 {
			return nil, &longLineError{r.limit}
		}
		if err == bufio.ErrBufferFull {
			r.line = append(r.line, part...)
			continue
		}
		whole := part
		if len(r.line) > 0 {
			whole = append(r.line, part...)
			r.line = whole
		}
		if err == io.EOF && len(whole) > 0 {
			return r.keep(whole)
		}
		if err != nil {
			return nil, err
		}
		return r.keep(whole[:len(whole)-1])
	}
}

// keep copies a line out of the reader's buffer.
func (r *lineReader) keep(line []byte) ([]byte, error) {
	if len(line) > r.limit {
		return nil, &longLineError{r.limit}
	}
	if len(line) > cap(r.block)-len(r.block) {
		r.block = make([]byte, 0, max(256<<10, len(line)))
	}
	start := len(r.block)
	r.block = append(r.block, line...)
	return r.block[start:len(r.block):len(r.block)], nil
}

// idle reports whether the next line would have to be waited for.
func (r *lineReader) idle() bool { return r.in.Buffered() == 0 }

// splitKey cuts a line at the first separator. Without one there is no key.
func splitKey(line, separator []byte) (key, value []byte) {
	if before, after, ok := bytes.Cut(line, separator); ok {
		return before, after
	}
	return nil, line
}
