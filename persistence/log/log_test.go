package log

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/messages/codec"
	"understudy/persistence/flush"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

var orders = messages.TopicPartition{Topic: "orders", Partition: 3}

// maker makes batches that follow each other, as a leader would stamp them.
type maker struct {
	next      messages.Offset
	epoch     messages.LeaderEpoch
	timestamp int64
	size      int // of each value
	producer  messages.ProducerID
	sequence  int32
	rnd       *rand.Rand
	keys      int         // how many keys there are, some with tombstones; 0: another for each record
	codec     batch.Codec // of the next batches
}

func newMaker() *maker {
	return &maker{timestamp: 1_700_000_000_000, size: 100, producer: messages.NoProducerID, rnd: rand.New(rand.NewPCG(1, 2))}
}

// batch makes a batch of n records, a millisecond apart.
func (m *maker) batch(n int) batch.Batch {
	f := batch.NoProducer
	if m.producer >= 0 {
		f.ProducerID, f.ProducerEpoch, f.BaseSequence = m.producer, 0, m.sequence
		m.sequence += int32(n)
	}
	bu := batch.NewBuilder(f)
	for i := range n {
		value := make([]byte, m.size)
		for j := 0; j+8 <= len(value); j += 8 {
			binary.LittleEndian.PutUint64(value[j:], m.rnd.Uint64())
		}
		m.timestamp++
		key := fmt.Appendf(nil, "key %d", m.next+int64(i))
		if m.keys > 0 {
			key = fmt.Appendf(nil, "key %d", m.rnd.IntN(m.keys))
			if m.rnd.IntN(6) == 0 {
				value = nil
			}
		}
		bu.Add(m.timestamp, key, value, batch.Header{Key: []byte("n"), Value: fmt.Append(nil, i)})
	}
	b, err := codec.Build(nil, bu, m.codec, codec.DefaultLevel)
	if err != nil {
		panic(err)
	}
	b.Stamp(m.next, m.epoch)
	m.next = b.NextOffset()
	return b
}

func (m *maker) batches(count, records int) []batch.Batch {
	var all []batch.Batch
	for range count {
		all = append(all, m.batch(records))
	}
	return all
}

// quiet are options without retention.
func quiet(fs vfs.FS) Options {
	return Options{FS: fs, Dir: orders.String(), TP: orders, Settings: Settings{RetentionMs: -1, RetentionBytes: -1, Preallocate: -1}}
}

func open(t testing.TB, o Options, c *Checkpoint) *Log {
	t.Helper()
	l, err := Open(o, c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func appendAll(t testing.TB, l *Log, batches ...batch.Batch) {
	t.Helper()
	if err := l.Append(batches); err != nil {
		t.Fatal(err)
	}
}

func flushed(t testing.TB, l *Log) messages.Offset {
	t.Helper()
	type result struct {
		end messages.Offset
		err error
	}
	results := make(chan result, 1)
	l.Flush(func(end messages.Offset, err error) { results <- result{end, err} })
	r := <-results
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.end
}

// readAll reads everything that a view shows, in pieces of a size.
func readAll(t testing.TB, v *View, piece int) []byte {
	t.Helper()
	var all []byte
	for from := v.LogStart; from < v.HighWatermark; {
		s, err := v.Read(from, piece, true)
		if err != nil {
			t.Fatal(err)
		}
		if s == nil {
			t.Fatalf("nothing at %d of %d to %d", from, v.LogStart, v.HighWatermark)
		}
		got, err := s.Bytes(nil)
		if err != nil {
			t.Fatal(err)
		}
		s.Release()
		for rest := got; len(rest) > 0; {
			b, next, err := batch.Next(rest)
			if errors.Is(err, batch.ErrShort) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := b.CheckCRC(); err != nil {
				t.Fatal(err)
			}
			all = append(all, b...)
			from, rest = b.NextOffset(), next
		}
	}
	return all
}

func join2(batches []batch.Batch) []byte {
	var all []byte
	for _, b := range batches {
		all = append(all, b...)
	}
	return all
}

func wantBytes(t testing.TB, l *Log, batches []batch.Batch) {
	t.Helper()
	want := join2(batches)
	for _, piece := range []int{1, 700, 5000, 1 << 20} {
		if got := readAll(t, l.Publish(l.End()), piece); !bytes.Equal(got, want) {
			t.Fatalf("in pieces of %d: read %d bytes, want %d", piece, len(got), len(want))
		}
	}
}

func TestAppendFlushRead(t *testing.T) {
	for _, disk := range []string{"memory", "disk"} {
		t.Run(disk, func(t *testing.T) {
			fs := vfs.FS(vfs.NewMem(vfs.MemOptions{}))
			if disk == "disk" {
				fs = vfs.OS(t.TempDir())
			}
			scheduler := flush.New(flush.Options{})
			defer scheduler.Close()
			o := quiet(fs)
			o.Flush = scheduler
			o.Settings.SegmentBytes = 20_000
			l := open(t, o, nil)
			m := newMaker()
			var written []batch.Batch
			for range 40 {
				some := m.batches(1+m.rnd.IntN(4), 1+m.rnd.IntN(9))
				written = append(written, some...)
				appendAll(t, l, some...)
			}
			if end := flushed(t, l); end != m.next || l.Durable() != m.next || l.End() != m.next {
				t.Fatalf("durable up to %d, end %d, want %d", end, l.End(), m.next)
			}
			if len(l.segs) < 3 {
				t.Fatalf("%d segments", len(l.segs))
			}
			wantBytes(t, l, written)
			if err := l.Close(true); err != nil {
				t.Fatal(err)
			}
			c := l.Checkpoint()
			if !c.Clean {
				t.Fatal("checkpoint is not clean")
			}
			l = open(t, o, &c)
			if n := o.Files; n != nil && n.Len() != 0 {
				t.Fatalf("%d files open", n.Len())
			}
			wantBytes(t, l, written)
			more := m.batches(30, 5)
			written = append(written, more...)
			appendAll(t, l, more...)
			flushed(t, l)
			wantBytes(t, l, written)
			c = l.Checkpoint()
			l.Close(false)
			for _, c := range []*Checkpoint{&c, nil} {
				l = open(t, o, c)
				wantBytes(t, l, written)
				l.Close(false)
			}
		})
	}
}

func TestReadAtEveryOffset(t *testing.T) {
	o := quiet(vfs.NewMem(vfs.MemOptions{}))
	o.Settings.SegmentBytes = 9000
	l := open(t, o, nil)
	m := newMaker()
	written := m.batches(60, 3)
	appendAll(t, l, written...)
	v := l.Publish(l.End())
	for _, b := range written {
		for offset := b.BaseOffset(); offset <= b.LastOffset(); offset++ {
			for _, piece := range []int{0, 1, len(b), len(b) + 1, 4000} {
				s, err := v.Read(offset, piece, true)
				if err != nil {
					t.Fatal(err)
				}
				got, err := s.Bytes(nil)
				next := offset
				for rest := got; len(rest) > 0; {
					var whole batch.Batch
					if whole, rest, err = batch.Next(rest); errors.Is(err, batch.ErrShort) {
						err = nil
						break
					}
					next = whole.NextOffset()
				}
				if s.More() != (next < v.HighWatermark) {
					t.Fatalf("offset %d, %d bytes, up to %d: more: %v", offset, piece, next, s.More())
				}
				if err != nil || !bytes.HasPrefix(got, b) || len(got) > max(piece, len(b)) || !s.FirstWhole() {
					t.Fatalf("offset %d, %d bytes: got %d, %v", offset, piece, len(got), err)
				}
				s.Release()
			}
			s, err := v.Read(offset, 10, false)
			if err != nil || s.Len() != 10 || s.FirstWhole() {
				t.Fatalf("cut off: %v", err)
			}
			s.Release()
		}
	}
	if s, err := v.Read(v.HighWatermark, 100, true); s != nil || err != nil {
		t.Fatalf("at the high watermark: %v, %v", s, err)
	}
	for _, offset := range []messages.Offset{-1, v.HighWatermark + 1} {
		if _, err := v.Read(offset, 100, true); messages.KindOf(err) != messages.OffsetOutOfRange {
			t.Fatalf("at %d: %v", offset, err)
		}
	}
}

func TestPublishBelowTheEnd(t *testing.T) {
	o := quiet(vfs.NewMem(vfs.MemOptions{}))
	o.Settings.SegmentBytes = 50_000
	l := open(t, o, nil)
	m := newMaker()
	written := m.batches(4*recentCount, 2)
	appendAll(t, l, written...)
	for i, b := range written {
		for _, hw := range []messages.Offset{b.BaseOffset(), b.LastOffset()} { // the second within the batch
			if got := readAll2(t, l.Publish(hw)); !bytes.Equal(got, join2(written[:i])) {
				t.Fatalf("high watermark %d: read %d bytes", hw, len(got))
			}
		}
	}
}

// readAll2 reads all that a view shows, of which the end may not be a batch's.
func readAll2(t testing.TB, v *View) []byte {
	t.Helper()
	var all []byte
	for from := v.LogStart; from < v.HighWatermark; {
		s, err := v.Read(from, 1<<20, true)
		if err != nil {
			t.Fatal(err)
		}
		if s == nil {
			break
		}
		got, err := s.Bytes(nil)
		if err != nil {
			t.Fatal(err)
		}
		s.Release()
		all = append(all, got...)
		for len(got) > 0 {
			b, rest, err := batch.Next(got)
			if err != nil {
				t.Fatal(err)
			}
			from, got = b.NextOffset(), rest
		}
	}
	return all
}

func TestAppendRefusesWhatDoesNotFollow(t *testing.T) {
	l := open(t, quiet(vfs.NewMem(vfs.MemOptions{})), nil)
	m := newMaker()
	m.epoch = 2
	appendAll(t, l, m.batch(3))
	gap := m.batch(1)
	gap.Stamp(m.next, 2)
	old := m.batch(1)
	old.Stamp(3, 1)
	for _, b := range []batch.Batch{gap, old} {
		if err := l.Append([]batch.Batch{b}); messages.KindOf(err) != messages.InvalidRecord {
			t.Fatal(err)
		}
	}
	if l.End() != 3 || l.Err() != nil {
		t.Fatalf("end %d, %v", l.End(), l.Err())
	}
}

func TestSegmentsHaveKafkasNames(t *testing.T) {
	if got := segment.Name(368769, segment.LogSuffix); got != "00000000000000368769.log" {
		t.Fatal(got)
	}
}
