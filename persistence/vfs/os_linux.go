package vfs

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// iovMax is how many buffers one pwritev takes (UIO_MAXIOV).
const iovMax = 1024

// writeV writes all buffers by as few pwritev calls as it takes. What a call
// left over is described by a slice of its own, since the caller's must not change.
func writeV(_ *os.File, fd int, buffers [][]byte, off int64) (int64, error) {
	var total int64
	for len(buffers) > 0 {
		batch := buffers[:min(len(buffers), iovMax)]
		buffers = buffers[len(batch):]
		for owned := false; ; {
			n, err := unix.Pwritev(fd, batch, off+total)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return total, err
			}
			total += int64(n)
			rest := advance(batch, n, owned)
			if len(rest) == 0 {
				break
			}
			if n == 0 {
				return total, io.ErrShortWrite
			}
			batch, owned = rest, true
		}
	}
	return total, nil
}

// advance gives what is left of buffers after n bytes. The slice is copied when
// an element must change and it is not owned.
func advance(buffers [][]byte, n int, owned bool) [][]byte {
	for len(buffers) > 0 && n >= len(buffers[0]) {
		n -= len(buffers[0])
		buffers = buffers[1:]
	}
	if n == 0 || len(buffers) == 0 {
		return buffers
	}
	if !owned {
		buffers = append([][]byte(nil), buffers...)
	}
	buffers[0] = buffers[0][n:]
	return buffers
}

// allocate reserves blocks and keeps the size. File systems without it are fine.
func allocate(fd int, off, length int64) error {
	err := retryEINTR(func() error {
		return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, off, length)
	})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}

// startWriteback queues the range's dirty pages; errors surface in Sync.
func startWriteback(fd int, off, length int64) {
	_ = unix.SyncFileRange(fd, off, length, unix.SYNC_FILE_RANGE_WRITE)
}

func dataSync(_ *os.File, fd int) error {
	for {
		if err := unix.Fdatasync(fd); err != unix.EINTR {
			return err
		}
	}
}
