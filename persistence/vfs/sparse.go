package vfs

import (
	"maps"
	"math/bits"
)

// Sizes of the pieces that a file's bytes lie in. The last piece of a file
// doubles as it grows, so that small files are small.
const (
	chunkSize    = 64 << 10
	minChunkSize = 512
)

// sparse is the content of a file in memory: chunks by number, where a missing
// chunk, and what lies behind a chunk's length, reads as zeros.
type sparse struct {
	size      int64
	allocated int64 // bytes of all chunks
	chunks    map[int64]*chunk
}

// chunk is a piece of a content, or of several: one that is shared is never written
// to, so that a clone costs next to nothing.
type chunk struct {
	bytes  []byte
	shared bool
}

// share makes the chunk one of another content, too.
func (c *chunk) share() *chunk {
	if !c.shared { // if it is, others may be reading that
		c.shared = true
	}
	return c
}

func (c *chunk) len() int {
	if c == nil {
		return 0
	}
	return len(c.bytes)
}

// readAt copies from offset what there is before the end, and returns how much.
func (s *sparse) readAt(p []byte, off int64) int {
	if off >= s.size {
		return 0
	}
	total := int(min(int64(len(p)), s.size-off))
	for done := 0; done < total; {
		number, at := (off+int64(done))/chunkSize, int((off+int64(done))%chunkSize)
		part := p[done:min(total, done+chunkSize-at)]
		n := 0
		if c := s.chunks[number]; at < c.len() {
			n = copy(part, c.bytes[at:])
		}
		clear(part[n:])
		done += len(part)
	}
	return total
}

// writeAt copies p to offset. reserve, unless nil, is asked for the memory it
// takes; when it refuses, what was written before is kept.
func (s *sparse) writeAt(p []byte, off int64, reserve func(int64) error) (int, error) {
	for done := 0; done < len(p); {
		number, at := (off+int64(done))/chunkSize, int((off+int64(done))%chunkSize)
		end := min(chunkSize, at+len(p)-done)
		c, err := s.grow(number, end, reserve)
		if err != nil {
			return done, err
		}
		done += copy(c[at:end], p[done:])
		s.size = max(s.size, off+int64(done))
	}
	return len(p), nil
}

// grow makes a chunk long enough for n bytes, and one to write to.
func (s *sparse) grow(number int64, n int, reserve func(int64) error) ([]byte, error) {
	c := s.chunks[number]
	length := c.len()
	if n <= length && !c.shared {
		return c.bytes, nil
	}
	if n > length {
		length = max(minChunkSize, 1<<bits.Len(uint(n-1)))
		if reserve != nil {
			if err := reserve(int64(length - c.len())); err != nil {
				return nil, err
			}
		}
		s.allocated += int64(length - c.len())
	}
	own := &chunk{bytes: make([]byte, length)}
	if c != nil {
		copy(own.bytes, c.bytes)
	}
	if s.chunks == nil {
		s.chunks = map[int64]*chunk{}
	}
	s.chunks[number] = own
	return own.bytes, nil
}

// resize cuts off what lies behind size, or lets zeros follow.
func (s *sparse) resize(size int64) {
	if size < s.size {
		s.split(size)
	}
	s.size = size
}

// split cuts the content at a position and gives what was behind it, at the
// offsets where it was.
func (s *sparse) split(at int64) sparse {
	tail := sparse{size: s.size, chunks: map[int64]*chunk{}}
	first, in := at/chunkSize, int(at%chunkSize)
	maps.DeleteFunc(s.chunks, func(n int64, c *chunk) bool {
		if n < first || n == first && in > 0 {
			return false
		}
		s.allocated -= int64(c.len())
		tail.allocated += int64(c.len())
		tail.chunks[n] = c
		return true
	})
	if c := s.chunks[first]; in > 0 && in < c.len() {
		behind := make([]byte, c.len())
		copy(behind[in:], c.bytes[in:])
		tail.allocated += int64(len(behind))
		tail.chunks[first] = &chunk{bytes: behind}
		before, _ := s.grow(first, c.len(), nil)
		clear(before[in:])
	}
	s.size = min(s.size, at)
	return tail
}

// join puts back what split gave.
func (s *sparse) join(tail sparse) {
	for n, c := range tail.chunks {
		if s.chunks[n] != nil {
			s.joinChunk(n, c.bytes)
			continue
		}
		if s.chunks == nil {
			s.chunks = map[int64]*chunk{}
		}
		s.chunks[n] = c.share()
		s.allocated += int64(c.len())
	}
	s.size = tail.size
}

// joinChunk puts back the end of a chunk whose beginning stayed: the two have
// no byte but zeros at the same place.
func (s *sparse) joinChunk(n int64, tail []byte) {
	mine, _ := s.grow(n, len(tail), nil)
	for i, b := range tail {
		mine[i] |= b
	}
}

// clone gives the same content, from which on each goes its own way.
func (s *sparse) clone() sparse {
	c := sparse{size: s.size, allocated: s.allocated, chunks: make(map[int64]*chunk, len(s.chunks))}
	for n, piece := range s.chunks {
		c.chunks[n] = piece.share()
	}
	return c
}
