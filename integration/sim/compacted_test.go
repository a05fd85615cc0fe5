package sim

import (
	"testing"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/log"
	"understudy/persistence/vfs"
)

// keyed is a batch of one record.
func keyed(key string, at messages.Offset) batch.Batch {
	bu := batch.NewBuilder(batch.NoProducer)
	bu.Add(1, []byte(key), []byte("value"))
	b := bu.Build(nil)
	b.Stamp(at, 0)
	return b
}

// TestWhatHasASuccessorMayBeGone shows the model a compacted log without a record that
// was committed, and with one behind all that the model was shown before.
func TestWhatHasASuccessorMayBeGone(t *testing.T) {
	tp := messages.TopicPartition{Topic: "t"}
	for key, want := range map[string]string{"a": "", "c": "lost-write"} {
		l, err := log.Open(log.Options{FS: vfs.NewMem(vfs.MemOptions{}), Dir: "t", TP: tp}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Append([]batch.Batch{batch.Gap(nil, 0, 0, 0), keyed("b", 1), keyed(key, 2)}); err != nil {
			t.Fatal(err)
		}
		s := &Sim{counts: map[string]int{}}
		m := newModel(s)
		s.model = m
		b := m.open(tp, &topic{compacts: true})
		b.brokers = true
		p := &process{s: s, m: &machine{s: s, id: 1}, fs: &mount{d: &disk{}}}
		for at, key := range []string{"a", "b"} {
			one, at := keyed(key, int64(at)), int64(at)
			m.commits(p, b, record{number: b.numberOf(one), base: at, next: at + 1}, one)
		}
		m.compare(p, b, &watched{}, l.Publish(3))
		got := ""
		if s.bad != nil {
			got = s.bad.Name
		}
		if got != want {
			t.Errorf("with another record of %q: %q, want %q", key, got, want)
		}
		if err := l.Close(false); err != nil {
			t.Fatal(err)
		}
	}
}
