package sim

import (
	"encoding/binary"
	"testing"

	"understudy/messages"
	"understudy/messages/batch"
)

// TestWhatIsReadEarlyMustBeCommitted has a consumer read what no replica could show to
// the model: of a suspect disk that is allowed, if it turns up where it was read.
func TestWhatIsReadEarlyMustBeCommitted(t *testing.T) {
	tp := messages.TopicPartition{Topic: "t"}
	number := func(n uint64) batch.Batch {
		bu := batch.NewBuilder(batch.NoProducer)
		bu.Add(1, nil, nil, batch.Header{Value: binary.BigEndian.AppendUint64(nil, n)})
		return bu.Build(nil)
	}
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
		c.compare(b, &position{tp: tp}, number(7), x.suspect)
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
