package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// Checkpoint is what the broker's checkpoint file keeps of one log.
//
// Clean is set by Close(true) alone. The caller writes the file when all logs are
// closed, and at the next start, before the first write to any log, writes it
// again with every Clean false: a log may be opened by a clean checkpoint once.
type Checkpoint struct {
	Clean      bool                 `json:"clean"`
	Generation uint64               `json:"generation"` // of the log's truncations
	Start      messages.Offset      `json:"start"`      // log start
	End        messages.Offset      `json:"end"`        // log end
	Recovery   messages.Offset      `json:"recovery"`   // everything below is durable
	Segment    messages.Offset      `json:"segment"`    // base of the segment that Recovery lies in
	Position   int64                `json:"position"`   // and where in its file
	Snapshot   messages.Offset      `json:"snapshot"`   // newest producer snapshot; NoOffset: none
	Cleaned    messages.Offset      `json:"cleaned"`    // what lies before was compacted
	Committed  messages.Offset      `json:"committed"`  // what replication knew to be committed; the caller's to set
	Segments   []segment.Info       `json:"segments"`
	Epochs     []replica.EpochStart `json:"epochs"`
}

// Checkpoint tells how the log stands. Anyone may call it, also on a log that has
// failed or was closed.
func (l *Log) Checkpoint() Checkpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := Checkpoint{
		// Of a truncation that failed half-way the state has the next generation already,
		// and what is durable is as it was before.
		Clean: l.clean, Generation: l.durable.generation,
		Start: l.start, End: l.end,
		Recovery: l.durable.offset, Segment: l.durable.base, Position: l.durable.pos,
		Snapshot: messages.NoOffset, Cleaned: l.cleaned, Epochs: l.epochs,
		Segments: make([]segment.Info, 0, len(l.segs)),
	}
	if l.clean {
		c.Snapshot = l.snapshot
	}
	for _, s := range l.segs {
		c.Segments = append(c.Segments, s.Info())
	}
	return c
}

// Committed is what a checkpoint says to be committed, as far as truncations since
// then have left it. Where committed records may be lost (unclean elections), the
// log may have grown again beyond that, with records that are not committed. After
// damage that was accepted it is what the checkpoint says: that is what was lost.
func (l *Log) Committed(c *Checkpoint) messages.Offset {
	if floor, cut := l.state.floor(c.Generation); cut && l.report.Lost == nil {
		return min(c.Committed, max(floor, l.start))
	}
	return c.Committed
}

// The checkpoint file:
//
//	 0           8         12        20        24
//	+-----------+---------+---------+---------+---------------------------
//	| "USCKPT"  | CRC32C  | run     | number  | entries, by key
//	| version 3 | of the  |         | of      |
//	|           | rest    |         | entries |
//	+-----------+---------+---------+---------+---------------------------
//
//	entry: key length, key, flags (1: clean), generation, start, end, recovery,
//	       segment, position, snapshot, cleaned, committed,
//	       number of segments, (base, size, max timestamp, max offset, first)...,
//	       number of epochs, (epoch, start)...
//
// Integers before the entries are big-endian, those in them varints (the lengths,
// numbers and generation unsigned).
const (
	checkpointMagic   = "USCKPT\x00\x03"
	checkpointHead    = 24
	maxCheckpointFile = 1 << 30 // bytes
	minSegmentEntry   = 5       // bytes that a segment takes at least, and so on
	minEpochEntry     = 2
	minEntry          = 13
)

// WriteCheckpoints replaces the file at a path by one with these checkpoints,
// durably. Keys are the caller's; they should tell a topic that was made anew
// from the one before it. So is run, which tells the file of one run of the
// broker from that of another: what an older file calls clean was written to since.
func WriteCheckpoints(fs vfs.FS, file string, run int64, checkpoints map[string]Checkpoint) error {
	b := make([]byte, checkpointHead, checkpointHead+len(checkpoints)*128)
	for _, key := range slices.Sorted(maps.Keys(checkpoints)) {
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(b, key...)
		b = checkpoints[key].appendTo(b)
	}
	copy(b, checkpointMagic)
	binary.BigEndian.PutUint64(b[12:], uint64(run))
	binary.BigEndian.PutUint32(b[20:], uint32(len(checkpoints)))
	binary.BigEndian.PutUint32(b[8:], crc32.Checksum(b[12:], castagnoli))
	if err := vfs.ReplaceFile(fs, file, b); err != nil {
		return messages.E("write checkpoints", messages.StorageError, file, err)
	}
	return nil
}

// ReadCheckpoints reads the file. A missing one is an error that wraps
// fs.ErrNotExist, a damaged one is of kind CorruptMessage; in both cases the logs
// must be opened without checkpoints.
func ReadCheckpoints(fs vfs.FS, file string) (run int64, checkpoints map[string]Checkpoint, err error) {
	content, err := vfs.ReadFile(fs, file, maxCheckpointFile)
	if err != nil {
		return 0, nil, messages.E("read checkpoints", messages.StorageError, file, err)
	}
	run, checkpoints, err = decodeCheckpoints(content)
	if err != nil {
		return 0, nil, messages.E("read checkpoints", messages.CorruptMessage, file, err)
	}
	return run, checkpoints, nil
}

func decodeCheckpoints(content []byte) (run int64, checkpoints map[string]Checkpoint, err error) {
	if len(content) < checkpointHead || string(content[:8]) != checkpointMagic {
		return 0, nil, errors.New("is no checkpoint file of version 3")
	}
	if crc32.Checksum(content[12:], castagnoli) != binary.BigEndian.Uint32(content[8:]) {
		return 0, nil, errors.New("does not match its checksum")
	}
	r := fields{rest: content[checkpointHead:]}
	n := int(binary.BigEndian.Uint32(content[20:]))
	if n > len(r.rest)/minEntry {
		return 0, nil, fmt.Errorf("%d entries cannot be in %d bytes", n, len(r.rest))
	}
	checkpoints = make(map[string]Checkpoint, n)
	for range n {
		key := string(r.bytes(r.count(1)))
		checkpoints[key] = readCheckpoint(&r)
	}
	if r.bad || len(r.rest) > 0 || len(checkpoints) != n {
		return 0, nil, errors.New("an entry is cut off or too long")
	}
	return int64(binary.BigEndian.Uint64(content[12:])), checkpoints, nil
}

func (c Checkpoint) appendTo(b []byte) []byte {
	flags := byte(0)
	if c.Clean {
		flags = 1
	}
	b = binary.AppendUvarint(append(b, flags), c.Generation)
	for _, v := range [...]int64{c.Start, c.End, c.Recovery, c.Segment, c.Position, c.Snapshot, c.Cleaned, c.Committed} {
		b = binary.AppendVarint(b, v)
	}
	b = binary.AppendUvarint(b, uint64(len(c.Segments)))
	for _, s := range c.Segments {
		for _, v := range [...]int64{s.Base, s.Size, s.MaxTimestamp, s.MaxOffset, s.First} {
			b = binary.AppendVarint(b, v)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(c.Epochs)))
	for _, e := range c.Epochs {
		b = binary.AppendVarint(binary.AppendVarint(b, int64(e.Epoch)), e.Start)
	}
	return b
}

func readCheckpoint(r *fields) (c Checkpoint) {
	flags := r.bytes(1)
	c.Clean = len(flags) == 1 && flags[0]&1 != 0
	c.Generation = r.uvarint()
	for _, v := range [...]*int64{&c.Start, &c.End, &c.Recovery, &c.Segment, &c.Position, &c.Snapshot, &c.Cleaned, &c.Committed} {
		*v = r.varint()
	}
	c.Segments = make([]segment.Info, r.count(minSegmentEntry))
	for i := range c.Segments {
		s := &c.Segments[i]
		for _, v := range [...]*int64{&s.Base, &s.Size, &s.MaxTimestamp, &s.MaxOffset, &s.First} {
			*v = r.varint()
		}
	}
	if n := r.count(minEpochEntry); n > 0 {
		c.Epochs = make([]replica.EpochStart, n)
	}
	for i := range c.Epochs {
		c.Epochs[i] = replica.EpochStart{Epoch: int32(r.varint()), Start: r.varint()}
	}
	return c
}

// fields reads fields off the front of a buffer. After one that does not fit, bad
// is set and what is returned means nothing.
type fields struct {
	rest []byte
	bad  bool
}

func (r *fields) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	return advance(r, v, n)
}

func (r *fields) varint() int64 {
	v, n := binary.Varint(r.rest)
	return advance(r, v, n)
}

func advance[V any](r *fields, v V, n int) V {
	if n <= 0 {
		r.bad, r.rest = true, nil
		var zero V
		return zero
	}
	r.rest = r.rest[n:]
	return v
}

// count reads how many elements follow, of at least size bytes each.
func (r *fields) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.rest)/size) {
		r.bad, r.rest = true, nil
		return 0
	}
	return int(n)
}

func (r *fields) bytes(n int) []byte {
	if n > len(r.rest) {
		r.bad, r.rest = true, nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}
