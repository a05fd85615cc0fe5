package sim

import (
	"encoding/binary"
	"testing"

	"understudy/messages"
	"understudy/messages/batch"
)

// numbered is a batch as a producer sends it.
func numbered(n uint64) batch.Batch {
	bu := batch.NewBuilder(batch.NoProducer)
	bu.Add(1, nil, nil, batch.Header{Value: binary.BigEndian.AppendUint64(nil, n)})
	return bu.Build(nil)
}

// TestWhatIsReadEarlyMustBeCommitted has a consumer read what no replica could show to
// the model: of a suspect disk that is allowed, if it turns up where it was read.
func TestWhatIsReadEarlyMustBeCommitted(t *testing.T) {
	tp := messages.TopicPartition{Topic: "t"}
	for _, x := range []struct {
		name      string
		suspect   bool
		committed []record
		want      string
	}{
		{"committed", true, []record{{number: 7, next: 1}}, ""},
		{"another", true, []record{{number: 8, next: 1}}, "read-uncommitted"},
		{"nothing", true, nil, "read-uncommitted"},
		{"sound disk", false, []record{{number: 7, next: 1}}, "read-uncommitted"},
	} {
		s := &Sim{counts: map[string]int{}}
		s.model = newModel(s)
		b := s.model.open(tp, &topic{})
		c := &consumer{client: &client{s: s}}
		c.compare(b, &position{tp: tp}, numbered(7), x.suspect)
		got := ""
		if s.bad != nil {
			got = s.bad.Name
		} else {
			b.committed = x.committed
			got, _ = b.broken()
		}
		if got != x.want {
			t.Errorf("%s: %q, want %q", x.name, got, x.want)
		}
	}
}

// TestDeletedBatchesMayComeAgain has a producer's batches committed twice. That is
// allowed if all it had written was deleted before the leader's log began.
func TestDeletedBatchesMayComeAgain(t *testing.T) {
	tp := messages.TopicPartition{Topic: "t"}
	for _, x := range []struct {
		name  string
		began messages.Offset // of the leader's log; NoOffset: it was there all the time
		want  string
	}{
		{"it was there", messages.NoOffset, "duplicate"},
		{"it has the last of them", 1, "duplicate"},
		{"it has none of them", 2, ""},
	} {
		s := &Sim{counts: map[string]int{}}
		m := newModel(s)
		s.model = m
		b := m.open(tp, &topic{trims: true})
		leader := &process{s: s, m: &machine{s: s, id: 1}, fs: &mount{d: &disk{}}}
		b.leaders[1], b.leaders[2] = &process{fs: &mount{d: &disk{}}}, leader
		for n := range 2 {
			m.sent = append(m.sent, &parcelOut{number: int64(n), order: int64(n + 1), tp: tp, records: 1, crc: numbered(uint64(n)).CRC(), idempotent: true})
		}
		commit := func(n int64, at messages.Offset, epoch messages.LeaderEpoch) {
			m.commits(leader, b, record{number: n, base: at, next: at + 1, epoch: epoch}, numbered(uint64(n)))
		}
		commit(0, 0, 1)
		commit(1, 1, 1)
		b.start = 2
		if x.began != messages.NoOffset {
			b.began[leader.fs.d] = x.began
		}
		commit(0, 2, 2)
		commit(1, 3, 2)
		got := ""
		if s.bad != nil {
			got = s.bad.Name
		}
		if got != x.want {
			t.Errorf("%s: %q, want %q", x.name, got, x.want)
		}
	}
}
