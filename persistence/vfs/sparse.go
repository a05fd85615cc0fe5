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
	chunks    map[int64][]byte
}

// readAt copies from offset what there is before the end, and returns how much.
func (s *sparse) readAt(p []byte, off int64) int {
	if off >= s.size {
		return 0
	}
	total := int(min(int64(len(p)), s.size-off))
	for done := 0; done < total; {
		chunk, at := (off+int64(done))/chunkSize, int((off+int64(done))%chunkSize)
		part := p[done:min(total, done+chunkSize-at)]
		n := 0
		if c := s.chunks[chunk]; at < len(c) {
			n = copy(part, c[at:])
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
		chunk, at := (off+int64(done))/chunkSize, int((off+int64(done))%chunkSize)
		end := min(chunkSize, at+len(p)-done)
		c, err := s.grow(chunk, end, reserve)
		if err != nil {
			return done, err
		}
		done += copy(c[at:end], p[done:])
		s.size = max(s.size, off+int64(done))
	}
	return len(p), nil
}

// grow makes a chunk long enough for n bytes.
func (s *sparse) grow(chunk int64, n int, reserve func(int64) error) ([]byte, error) {
	c := s.chunks[chunk]
	if n <= len(c) {
		return c, nil
	}
	length := max(minChunkSize, 1<<bits.Len(uint(n-1)))
	added := int64(length - len(c))
	if reserve != nil {
		if err := reserve(added); err != nil {
			return nil, err
		}
	}
	bigger := make([]byte, length)
	copy(bigger, c)
	if s.chunks == nil {
		s.chunks = map[int64][]byte{}
	}
	s.chunks[chunk] = bigger
	s.allocated += added
	return bigger, nil
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
	tail := sparse{size: s.size, chunks: map[int64][]byte{}}
	first, in := at/chunkSize, int(at%chunkSize)
	maps.DeleteFunc(s.chunks, func(n int64, c []byte) bool {
		if n < first || n == first && in >= len(c) {
			return false
		}
		if n == first && in > 0 {
			c = make([]byte, len(c))
			copy(c[in:], s.chunks[n][in:])
			clear(s.chunks[n][in:])
			tail.allocated += int64(len(c))
			tail.chunks[n] = c
			return false
		}
		s.allocated -= int64(len(c))
		tail.allocated += int64(len(c))
		tail.chunks[n] = c
		return true
	})
	s.size = min(s.size, at)
	return tail
}

// join puts back what split gave.
func (s *sparse) join(tail sparse) {
	for n, c := range tail.chunks {
		if mine := s.chunks[n]; mine != nil {
			s.joinChunk(n, c)
			continue
		}
		if s.chunks == nil {
			s.chunks = map[int64][]byte{}
		}
		s.chunks[n] = append([]byte(nil), c...)
		s.allocated += int64(len(c))
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

// clone copies the content.
func (s *sparse) clone() sparse {
	c := sparse{size: s.size, allocated: s.allocated, chunks: make(map[int64][]byte, len(s.chunks))}
	for n, chunk := range s.chunks {
		c.chunks[n] = append([]byte(nil), chunk...)
	}
	return c
}
