//go:build darwin || freebsd || dragonfly

package vfs

import "os"

// writeV writes buffer by buffer: a vectored write with partial results is not
// worth its code on systems that brokers are developed on, not run on.
func writeV(f *os.File, _ int, buffers [][]byte, off int64) (int64, error) {
	var total int64
	for _, b := range buffers {
		n, err := f.WriteAt(b, off+total)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// allocate does nothing: there is no call that keeps the size.
func allocate(int, int64, int64) error { return nil }

// startWriteback does nothing: there is no such hint.
func startWriteback(int, int64, int64) {}

// dataSync is File.Sync, which on darwin is F_FULLFSYNC: plain fsync there
// leaves the bytes in the drive's cache.
func dataSync(f *os.File, _ int) error { return f.Sync() }
