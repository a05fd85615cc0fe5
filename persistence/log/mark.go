package log

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"

	"understudy/messages"
)

// mark says up to where the log was durable at some time.
type mark struct {
	generation uint64          // of the log's truncations: see state
	offset     messages.Offset // everything below is durable
	base       messages.Offset // the segment that the offset lies in, or at the end of
	pos        int64           // where in its file
}

// markName is the file that the mark is written to after each sync. It is not
// synced for that, so it may be old after a loss of power, or torn: therefore two
// places are written in turn, in sectors of their own, and the newer valid one counts.
//
//	 0     4            12           20           28           36           44      48
//	+-----+------------+------------+------------+------------+------------+-------+
//	| "UM"| number of  | generation | offset     | segment    | position   | CRC32C|  at 0 and at 512
//	| v1  | the write  |            |            |            |            |       |
//	+-----+------------+------------+------------+------------+------------+-------+
const (
	markName  = "durable-offset"
	markSize  = 48
	markApart = 512
	markMagic = 0x554d0001
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendTo appends one of the two places' content to an empty dst.
func (m mark) appendTo(dst []byte, seq uint64) []byte {
	b := binary.BigEndian.AppendUint32(dst, markMagic)
	for _, v := range [...]uint64{seq, m.generation, uint64(m.offset), uint64(m.base), uint64(m.pos)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeMark reads one of the two places.
func decodeMark(b []byte) (m mark, seq uint64, ok bool) {
	be := binary.BigEndian
	if len(b) < markSize || be.Uint32(b) != markMagic || be.Uint32(b[44:]) != crc32.Checksum(b[:44], castagnoli) {
		return mark{}, 0, false
	}
	m = mark{be.Uint64(b[12:]), int64(be.Uint64(b[20:])), int64(be.Uint64(b[28:])), int64(be.Uint64(b[36:]))}
	return m, be.Uint64(b[4:]), m.offset >= 0 && m.base >= 0 && m.pos >= 0 && m.base <= m.offset
}

// prepareMark makes the file, so that the directory's sync covers its name.
func (l *Log) prepareMark() error {
	_, err := l.markFile.Pin()
	if errors.Is(err, fs.ErrNotExist) {
		_, err = l.markFile.Create()
	}
	if err == nil {
		l.markFile.Unpin()
	}
	return err
}

// writeMark writes the mark, and syncs it if it must not be lost. With l.syncing held.
func (l *Log) writeMark(m mark, durably bool) error {
	f, err := l.markFile.Pin()
	if errors.Is(err, fs.ErrNotExist) {
		f, err = l.markFile.Create()
	}
	if err != nil {
		return l.fail("sync", l.markFile.Path(), err)
	}
	defer l.markFile.Unpin()
	l.markSeq++
	_, err = f.WriteAt(m.appendTo(l.markBuf[:0], l.markSeq), int64(l.markSeq%2)*markApart)
	if err == nil && durably {
		err = f.Sync()
	}
	if err != nil {
		return l.fail("sync", l.markFile.Path(), err)
	}
	return nil
}

// readMark reads the newest mark; ok is false if there is none.
func (l *Log) readMark() (m mark, ok bool, err error) {
	f, err := l.markFile.Pin()
	if errors.Is(err, fs.ErrNotExist) {
		return mark{}, false, nil
	}
	if err != nil {
		return mark{}, false, err
	}
	defer l.markFile.Unpin()
	var buf [markApart + markSize]byte
	n, err := f.ReadAt(buf[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return mark{}, false, err
	}
	for _, at := range [...]int{0, markApart} {
		if at > n {
			break
		}
		if read, seq, valid := decodeMark(buf[at:n]); valid && (!ok || seq > l.markSeq) {
			m, ok, l.markSeq = read, true, seq
		}
	}
	return m, ok, nil
}
