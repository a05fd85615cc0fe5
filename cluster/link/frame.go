package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"understudy/cluster/replica"
	"understudy/messages"
)

// frameKind says what a frame is.
type frameKind uint8

// The frames. Everything on a connection after the handshake is one of them.
const (
	frameMessage   frameKind = iota + 1 // a replica.Message; payload: its batches, back to back
	frameHeartbeat                      // payload: the node's state, opaque here
	frameCredit                         // the receiver's memory is free again
	frameRequest                        // payload: the body
	frameResponse                       // payload: the body, or the error
	frameBye                            // the node ends the connection in order
	frameKinds
)

// Every frame has the same beginning:
//
//	 0           4     5     6     8           12            12+header
//	+-----------+-----+-----+-----+-----------+---- - - ----+---- - - - - ----+
//	| length    |kind | 0   |head-| CRC32C    | header      | payload         |
//	|           |     |     | er  |           |             |                 |
//	+-----------+-----+-----+-----+-----------+---- - - ----+---- - - - - ----+
//
//	length   of header and payload together
//	header   of the header alone; a newer node may append fields to it, an older
//	         one passes over them
//	CRC32C   of the first 8 bytes and the header; and of the payload, unless it is
//	         batches, which have checksums of their own
//
// All integers are big-endian. TCP's own checksum lets one damaged segment in
// 65,536 through, and a bit that flips in an acknowledgement would be a lost
// record: hence the CRC.
const (
	prefixSize    = 12
	maxHeader     = 256
	maxState      = 1 << 10 // of a heartbeat, in bytes
	heartbeatSize = 8
	creditSize    = 8
	requestSize   = 16
	responseSize  = 12
)

// MaxBody is the largest body of a request or a response, in bytes.
const MaxBody = 1 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is what a frame's beginning says.
type frame struct {
	kind    frameKind
	header  []byte // in the read buffer: valid until the next read
	payload int    // bytes that follow
	sum     uint32 // CRC of what has been read so far
	crc     uint32 // that the frame claims
}

// minHeaders are the sizes of the headers in this version of the protocol.
var minHeaders = [frameKinds]int{
	frameMessage:   messageSize,
	frameHeartbeat: heartbeatSize,
	frameCredit:    creditSize,
	frameRequest:   requestSize,
	frameResponse:  responseSize,
}

// parsePrefix reads a frame's first prefixSize bytes and returns the size of its
// header. Kind and sizes are checked but for a message's payload, which is the
// connection's to check.
func parsePrefix(b []byte) (f frame, header int, err error) {
	length := int(binary.BigEndian.Uint32(b))
	f.kind = frameKind(b[4])
	header = int(binary.BigEndian.Uint16(b[6:]))
	if f.kind == 0 || f.kind >= frameKinds {
		return f, 0, badFrame("kind %d", b[4])
	}
	if header > maxHeader || header > length || header < minHeaders[f.kind] {
		return f, 0, badFrame("%v with a header of %d bytes, length %d", f.kind, header, length)
	}
	f.payload = length - header
	if limit := f.kind.maxPayload(); limit >= 0 && f.payload > limit {
		return f, 0, badFrame("%v with a payload of %d bytes", f.kind, f.payload)
	}
	f.crc = binary.BigEndian.Uint32(b[8:])
	f.sum = crc32.Checksum(b[:8], castagnoli)
	return f, header, nil
}

// maxPayload is the kind's largest payload; -1: the connection knows.
func (k frameKind) maxPayload() int {
	switch k {
	case frameMessage:
		return -1
	case frameHeartbeat:
		return maxState
	case frameRequest, frameResponse:
		return MaxBody
	}
	return 0
}

// String names the kind in errors.
func (k frameKind) String() string {
	names := [frameKinds]string{"frame", "message", "heartbeat", "credit", "request", "response", "bye"}
	return names[min(k, frameKinds-1)]
}

// check compares the CRC with that of everything it covers.
func (f *frame) check() error {
	if f.sum != f.crc {
		return badFrame("%v with CRC %08x, should be %08x", f.kind, f.crc, f.sum)
	}
	return nil
}

// appendFrame appends a whole frame but for the payload of a message, of which
// only the size is needed.
func appendFrame(dst []byte, kind frameKind, header, payload []byte) []byte {
	dst, at := beginFrame(dst, kind)
	dst = append(dst, header...)
	size := len(header)
	dst = append(dst, payload...)
	endFrame(dst[at:], size, len(payload))
	return dst
}

// beginFrame appends a prefix to be completed by endFrame.
func beginFrame(dst []byte, kind frameKind) (b []byte, at int) {
	at = len(dst)
	return append(dst, 0, 0, 0, 0, byte(kind), 0, 0, 0, 0, 0, 0, 0), at
}

// endFrame completes the prefix of b: prefix, header and as much of the payload
// as the CRC is to cover.
func endFrame(b []byte, header, payload int) {
	binary.BigEndian.PutUint32(b, uint32(header+payload))
	binary.BigEndian.PutUint16(b[6:], uint16(header))
	sum := crc32.Checksum(b[:8], castagnoli)
	binary.BigEndian.PutUint32(b[8:], crc32.Update(sum, castagnoli, b[prefixSize:]))
}

// A message's header is every field of replica.Message, of whatever type, but
// for the broker epoch, which is the connection's:
//
//	 0        16       20     21    24      28      32         40          48
//	+---- - -+--------+------+-----+-------+-------+----------+-----------+
//	|topic id|partiti.| type |  0  | epoch | probe | log start|epoch start|
//	+---- - -+--------+------+-----+-------+-------+----------+-----------+
//	 48               56     64    72        80          88       92       96
//	+----------------+------+-----+---------+-----------+--------+--------+
//	| high watermark | base | end | durable | agree end | prev   | agree  |
//	|                |      |     |         |           | epoch  | epoch  |
//	+----------------+------+-----+---------+-----------+--------+--------+
//
// Where the others have end, an append has the revision; nodes of before it was there
// neither write nor read it.
//
// One layout for all types costs an acknowledgement 40 bytes more than it needs,
// and there is nothing to get wrong in it. The topic's id stands in every
// message rather than a number agreed on before, so that each can be understood
// by itself.
const (
	messageSize   = 96
	messagePrefix = prefixSize + messageSize
)

// putMessage writes the prefix and header of a message with a payload of n bytes.
func putMessage(b *[messagePrefix]byte, topic messages.TopicID, partition int32, m *replica.Message, n int) {
	be := binary.BigEndian
	b[4], b[5] = byte(frameMessage), 0
	h, end := b[prefixSize:], m.End
	if m.Type == replica.TypeAppend {
		end = m.Revision
	}
	copy(h, topic[:])
	be.PutUint32(h[16:], uint32(partition))
	be.PutUint32(h[20:], uint32(m.Type)<<24)
	be.PutUint32(h[24:], uint32(m.Epoch))
	be.PutUint32(h[28:], m.Probe)
	be.PutUint64(h[32:], uint64(m.LogStart))
	be.PutUint64(h[40:], uint64(m.EpochStart))
	be.PutUint64(h[48:], uint64(m.HighWatermark))
	be.PutUint64(h[56:], uint64(m.Base))
	be.PutUint64(h[64:], uint64(end))
	be.PutUint64(h[72:], uint64(m.Durable))
	be.PutUint64(h[80:], uint64(m.AgreeEnd))
	be.PutUint32(h[88:], uint32(m.PrevEpoch))
	be.PutUint32(h[92:], uint32(m.AgreeEpoch))
	endFrame(b[:], messageSize, n)
}

// parseMessage reads a message's header; the batches are left as they are. Versions
// differ in which types of messages there are.
func parseMessage(version uint8, h []byte, m *replica.Message) (topic messages.TopicID, partition int32, err error) {
	be := binary.BigEndian
	copy(topic[:], h)
	partition = int32(be.Uint32(h[16:]))
	m.Type = replica.MessageType(h[20])
	if m.Type < replica.TypeAppend || m.Type > newestType(version) {
		return topic, partition, badFrame("message of %v in version %d", m.Type, version)
	}
	m.Epoch = int32(be.Uint32(h[24:]))
	m.Probe = be.Uint32(h[28:])
	m.LogStart = int64(be.Uint64(h[32:]))
	m.EpochStart = int64(be.Uint64(h[40:]))
	m.HighWatermark = int64(be.Uint64(h[48:]))
	m.Base = int64(be.Uint64(h[56:]))
	if end := int64(be.Uint64(h[64:])); m.Type == replica.TypeAppend {
		m.Revision = end
	} else {
		m.End = end
	}
	m.Durable = int64(be.Uint64(h[72:]))
	m.AgreeEnd = int64(be.Uint64(h[80:]))
	m.PrevEpoch = int32(be.Uint32(h[88:]))
	m.AgreeEpoch = int32(be.Uint32(h[92:]))
	return topic, partition, nil
}

// appendRequest appends a request.
//
//	 0            8      9     12           16
//	+------------+------+-----+------------+
//	| number     | kind |  0  | time left  |  header; the payload is the body
//	|            |      |     | in ms      |
//	+------------+------+-----+------------+
func appendRequest(dst []byte, number uint64, kind byte, ms uint32, body []byte) []byte {
	var h [requestSize]byte
	binary.BigEndian.PutUint64(h[:], number)
	h[8] = kind
	binary.BigEndian.PutUint32(h[12:], ms)
	return appendFrame(dst, frameRequest, h[:], body)
}

// appendResponse appends the answer to a request.
//
//	 0            8        9     12
//	+------------+--------+-----+
//	| number     | status |  0  |  header; the payload is the body, or
//	+------------+--------+-----+
//	+-----+--------------+---- - -
//	| n   | kind of error| text     if the status is statusFailed
//	|     | in n bytes   |
//	+-----+--------------+---- - -
func appendResponse(dst []byte, number uint64, status byte, body []byte) []byte {
	var h [responseSize]byte
	binary.BigEndian.PutUint64(h[:], number)
	h[8] = status
	return appendFrame(dst, frameResponse, h[:], body)
}

func appendCredit(dst []byte, n int64) []byte {
	var h [creditSize]byte
	binary.BigEndian.PutUint64(h[:], uint64(n))
	return appendFrame(dst, frameCredit, h[:], nil)
}

func appendHeartbeat(dst []byte, epoch messages.BrokerEpoch, state []byte) []byte {
	var h [heartbeatSize]byte
	binary.BigEndian.PutUint64(h[:], uint64(epoch))
	return appendFrame(dst, frameHeartbeat, h[:], state)
}

// errBadFrame is what every error of a peer that does not keep to the protocol wraps.
var errBadFrame = errors.New("bad frame")

func badFrame(format string, args ...any) error {
	return messages.E("link", messages.CorruptMessage, "", fmt.Errorf("%w: "+format, append([]any{errBadFrame}, args...)...))
}
