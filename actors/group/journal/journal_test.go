package journal

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/actors/group/core"
	"understudy/messages"
	"understudy/messages/batch"
	"understudy/messages/codec"
	"understudy/persistence/log"
	"understudy/persistence/vfs"
)

var (
	settings = core.DefaultSettings()
	now      = core.Time{Clock: 5000, Wall: 1_700_000_000_000}
	orders0  = messages.TopicPartition{Topic: "orders", Partition: 0}
	orders1  = messages.TopicPartition{Topic: "orders", Partition: 1}
)

func metadata() *core.Metadata {
	return &core.Metadata{
		ProtocolType: "consumer", Generation: 7, Protocol: "range", Leader: "a-1", Since: now.Wall - 1,
		Members: []core.MemberRecord{
			{MemberID: "a-1", Client: core.Client{ID: "a", Host: "/127.0.0.1"}, RebalanceTimeout: 60_000, SessionTimeout: 10_000,
				Subscription: []byte("sub a"), Assignment: []byte("0")},
			{MemberID: "b-2", InstanceID: "two", Client: core.Client{ID: "b", Host: "/::1"}, RebalanceTimeout: 30_000, SessionTimeout: 45_000,
				Subscription: []byte("sub b"), Assignment: nil},
		},
	}
}

func offset(tp messages.TopicPartition, o int64, metadata string) core.Offset {
	return core.Offset{TopicPartition: tp, Time: now.Wall, Committed: core.Committed{Offset: o, LeaderEpoch: 3, Metadata: metadata}}
}

// replay gives the groups that batches leave, by name.
func replay(t *testing.T, only func(string) bool, batches ...batch.Batch) map[string]*core.Group {
	t.Helper()
	r := NewReplay(&settings, only)
	for _, b := range batches {
		if err := r.Batch(b); err != nil {
			t.Fatal(err)
		}
	}
	groups := map[string]*core.Group{}
	for _, g := range r.Groups(now) {
		groups[g.Name()] = g
	}
	if r.Skipped() > 0 {
		t.Errorf("%d records were passed over", r.Skipped())
	}
	return groups
}

func TestWhatAGroupWritesComesBack(t *testing.T) {
	e := NewEncoder()
	e.Add("g", core.Write{Metadata: metadata(), Wall: now.Wall})
	e.Add("g", core.Write{Offsets: []core.Offset{offset(orders0, 41, ""), offset(orders1, 1<<40, "half")}, Wall: now.Wall})
	e.Add("odd \x00\xff", core.Write{Offsets: []core.Offset{offset(orders0, 5, "")}, Wall: now.Wall})
	e.Add("", core.Write{Offsets: []core.Offset{offset(orders0, 6, "")}, Wall: now.Wall})
	groups := replay(t, nil, e.Batches()...)
	if len(groups) != 3 {
		t.Fatalf("have %d groups", len(groups))
	}
	d := groups["g"].Describe()
	want := core.Description{Group: "g", State: core.Stable, ProtocolType: "consumer", Protocol: "range", Members: []core.MemberDescription{
		{MemberID: "a-1", Client: core.Client{ID: "a", Host: "/127.0.0.1"}, Metadata: []byte("sub a"), Assignment: []byte("0")},
		{MemberID: "b-2", InstanceID: "two", Client: core.Client{ID: "b", Host: "/::1"}, Metadata: []byte("sub b"), Assignment: []byte{}},
	}}
	if !reflect.DeepEqual(d, want) {
		t.Errorf("have %+v\nwant %+v", d, want)
	}
	if err := groups["g"].Heartbeat(now, core.Member{MemberID: "b-2", InstanceID: "two", Generation: 7}); err != nil {
		t.Error(err)
	}
	if have := groups["g"].Offsets(nil); have[orders0].Offset != 41 || have[orders1] != (core.Committed{Offset: 1 << 40, LeaderEpoch: 3, Metadata: "half"}) {
		t.Errorf("have %+v", have)
	}
	if groups["odd \x00\xff"].Offsets(nil)[orders0].Offset != 5 || groups[""].Offsets(nil)[orders0].Offset != 6 {
		t.Error("offsets of groups with odd names are lost")
	}
}

// TestUntilWhenAnOffsetIsKeptComesBack has one expire before all others would.
func TestUntilWhenAnOffsetIsKeptComesBack(t *testing.T) {
	e := NewEncoder()
	soon := offset(orders0, 1, "note")
	soon.Expires = now.Wall + 10
	e.Add("g", core.Write{Offsets: []core.Offset{soon, offset(orders1, 2, "")}, Wall: now.Wall})
	g := replay(t, nil, e.Batches()...)["g"]
	for _, c := range []struct {
		later int64
		want  int
	}{{9, 2}, {10, 1}} {
		g.Expire(core.Time{Clock: now.Clock, Wall: now.Wall + c.later}, func(string) bool { return false })
		for e := (core.Effects{}); g.Take(&e); {
			for range e.Writes {
				g.Written(now, nil)
			}
		}
		if have := g.Offsets(nil); len(have) != c.want {
			t.Errorf("after %d ms: have %v", c.later, have)
		}
	}
}

func TestTombstonesLeaveNothing(t *testing.T) {
	e := NewEncoder()
	e.Add("g", core.Write{Metadata: metadata(), Offsets: []core.Offset{offset(orders0, 1, ""), offset(orders1, 2, "")}})
	e.Add("other", core.Write{Offsets: []core.Offset{offset(orders0, 3, "")}})
	e.Add("g", core.Write{Dropped: []messages.TopicPartition{orders0}})
	half := e.Batches()
	if have := replay(t, nil, half...)["g"].Offsets(nil); len(have) != 1 || have[orders1].Offset != 2 {
		t.Errorf("have %v", have)
	}
	e.Add("g", core.Write{Forget: true, Dropped: []messages.TopicPartition{orders1}})
	groups := replay(t, nil, append(half, e.Batches()...)...)
	if len(groups) != 1 || groups["other"] == nil {
		t.Errorf("have %v", groups)
	}
}

func TestOneGroupAlone(t *testing.T) {
	e := NewEncoder()
	for i := range 10 {
		e.Add(fmt.Sprint("g", i), core.Write{Metadata: metadata(), Offsets: []core.Offset{offset(orders0, int64(i), "")}})
	}
	groups := replay(t, func(g string) bool { return g == "g4" }, e.Batches()...)
	if len(groups) != 1 || groups["g4"].Offsets(nil)[orders0].Offset != 4 {
		t.Errorf("have %v", groups)
	}
}

// TestTheFormatsAreKafkas spells the bytes out that Kafka 3.x writes.
func TestTheFormatsAreKafkas(t *testing.T) {
	e := NewEncoder()
	e.Add("g", core.Write{Wall: 77, Offsets: []core.Offset{{TopicPartition: orders1, Time: 258, Committed: core.Committed{Offset: 300, LeaderEpoch: 5, Metadata: "m"}}}})
	e.Add("g", core.Write{Wall: 78, Metadata: &core.Metadata{ProtocolType: "consumer", Generation: 2, Since: 1}})
	e.Add("g", core.Write{Wall: 79, Forget: true})
	e.Add("g", core.Write{Wall: 80, Offsets: []core.Offset{{TopicPartition: orders1, Time: 258, Expires: 259, Committed: core.Committed{Offset: 300, LeaderEpoch: -1, Metadata: "m"}}}})
	want := []struct{ key, value string }{
		{"\x00\x01\x00\x01g\x00\x06orders\x00\x00\x00\x01",
			"\x00\x03\x00\x00\x00\x00\x00\x00\x01\x2c\x00\x00\x00\x05\x00\x01m\x00\x00\x00\x00\x00\x00\x01\x02"},
		{"\x00\x02\x00\x01g", "\x00\x03\x00\x08consumer\x00\x00\x00\x02\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00"},
		{"\x00\x02\x00\x01g", "null"},
		{"\x00\x01\x00\x01g\x00\x06orders\x00\x00\x00\x01",
			"\x00\x01\x00\x00\x00\x00\x00\x00\x01\x2c\x00\x01m\x00\x00\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x00\x00\x01\x03"},
	}
	batches := e.Batches()
	if len(batches) != 1 || batches[0].NumRecords() != 4 {
		t.Fatalf("have %d batches", len(batches))
	}
	i := 0
	for r, err := range codec.Records(batches[0], 1<<20) {
		value := string(r.Value)
		if r.Value == nil {
			value = "null"
		}
		if err != nil || string(r.Key) != want[i].key || value != want[i].value || r.Timestamp(batches[0]) != int64(77+i) {
			t.Errorf("record %d: have %q: %q at %d, %v", i, r.Key, value, r.Timestamp(batches[0]), err)
		}
		i++
	}
}

// TestOlderFormatsAreRead has records of the versions that older brokers wrote.
func TestOlderFormatsAreRead(t *testing.T) {
	bu := batch.NewBuilder(batch.NoProducer)
	for version := range int16(4) {
		key := kmsg.OffsetCommitKey{Version: version & 1, Group: "g", Topic: "t", Partition: int32(version)}
		value := kmsg.OffsetCommitValue{Version: version, Offset: 10 + int64(version), LeaderEpoch: 4, CommitTimestamp: 5, ExpireTimestamp: 6}
		bu.Add(1, key.AppendTo(nil), value.AppendTo(nil))
	}
	group := kmsg.GroupMetadataKey{Version: 2, Group: "g"}
	value := kmsg.GroupMetadataValue{Version: 0, ProtocolType: "consumer", Generation: 1, Protocol: kmsg.StringPtr("range"), Leader: kmsg.StringPtr("a"),
		Members: []kmsg.GroupMetadataValueMember{{MemberID: "a", SessionTimeoutMillis: 10_000}}}
	bu.Add(1, group.AppendTo(nil), value.AppendTo(nil))
	g := replay(t, nil, bu.Build(nil))["g"]
	for p, o := range g.Offsets(nil) {
		epoch := messages.NoEpoch
		if p.Partition == 3 {
			epoch = 4
		}
		if o.Offset != 10+int64(p.Partition) || o.LeaderEpoch != epoch {
			t.Errorf("%v: have %+v", p, o)
		}
	}
	if g.List().State != core.Stable || len(g.Offsets(nil)) != 4 {
		t.Errorf("have %+v", g.Describe())
	}
}

func TestWhatIsNotKnownIsPassedOver(t *testing.T) {
	bu := batch.NewBuilder(batch.NoProducer)
	for _, key := range []string{"", "\x00", "\x00\x01\x00\x09g", "\x00\x02", "\x00\x03\x00\x01g\x00\x00\x00\x01", "\xff\xff"} {
		bu.Add(1, []byte(key), []byte("value"))
	}
	key := kmsg.OffsetCommitKey{Version: 1, Group: "g", Topic: "t"}
	bu.Add(1, key.AppendTo(nil), []byte{0, 3, 1})
	group := kmsg.GroupMetadataKey{Version: 2, Group: "g"}
	bu.Add(1, group.AppendTo(nil), []byte{0, 3, 1})
	r := NewReplay(&settings, nil)
	if err := r.Batch(bu.Build(nil)); err != nil {
		t.Fatal(err)
	}
	if groups := r.Groups(now); len(groups) != 0 || r.Skipped() != 8 {
		t.Errorf("have %d groups, %d passed over", len(groups), r.Skipped())
	}
}

// TestALogIsReadWhole writes at random, in many batches and segments, and compares
// what is read with what was written.
func TestALogIsReadWhole(t *testing.T) {
	coins := rand.New(rand.NewPCG(1, 2))
	l := openLog(t)
	want := map[string]map[messages.TopicPartition]int64{}
	e := NewEncoder()
	for i := range 20_000 {
		group := fmt.Sprint("g", coins.IntN(20))
		tp := messages.TopicPartition{Topic: fmt.Sprint("t", coins.IntN(5)), Partition: int32(coins.IntN(10))}
		if want[group] == nil {
			want[group] = map[messages.TopicPartition]int64{}
		}
		if coins.IntN(10) == 0 {
			e.Add(group, core.Write{Dropped: []messages.TopicPartition{tp}})
			delete(want[group], tp)
		} else {
			e.Add(group, core.Write{Offsets: []core.Offset{offset(tp, int64(i), "")}})
			want[group][tp] = int64(i)
		}
		if coins.IntN(100) == 0 {
			e.Add("large", core.Write{Metadata: &core.Metadata{Generation: int32(i), Members: []core.MemberRecord{{MemberID: "m", Subscription: make([]byte, coins.IntN(3*readBytes/2))}}}})
		}
		if coins.IntN(50) == 0 {
			appendTo(t, l, e.Batches())
		}
	}
	appendTo(t, l, e.Batches())
	r := NewReplay(&settings, nil)
	if err := r.Read(t.Context(), l.Publish(l.End())); err != nil {
		t.Fatal(err)
	}
	for _, g := range r.Groups(now) {
		have := map[messages.TopicPartition]int64{}
		for tp, o := range g.Offsets(nil) {
			have[tp] = o.Offset
		}
		if !maps.Equal(have, want[g.Name()]) {
			t.Errorf("%s: have %v, want %v", g.Name(), have, want[g.Name()])
		}
		delete(want, g.Name())
	}
	if len(want) > 0 {
		t.Errorf("lost: %v", slices.Collect(maps.Keys(want)))
	}
}

func openLog(t testing.TB) *log.Log {
	t.Helper()
	l, err := log.Open(log.Options{
		FS: vfs.NewMem(vfs.MemOptions{}), Dir: "__consumer_offsets-0", TP: messages.TopicPartition{Topic: "__consumer_offsets"},
		Settings: log.Settings{SegmentBytes: 16 << 20, RetentionMs: -1, RetentionBytes: -1, Preallocate: -1},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(false) })
	return l
}

func appendTo(t testing.TB, l *log.Log, batches []batch.Batch) {
	t.Helper()
	for _, b := range batches {
		b.Stamp(l.End(), 0)
		if err := l.Append([]batch.Batch{b}); err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzReplay gives records that nobody wrote: nothing panics, and a group that
// comes of it can be asked.
func FuzzReplay(f *testing.F) {
	e := NewEncoder()
	e.Add("g", core.Write{Metadata: metadata(), Offsets: []core.Offset{offset(orders0, 1, "note")}})
	for r := range codec.Records(e.Batches()[0], 1<<20) {
		f.Add(bytes.Clone(r.Key), bytes.Clone(r.Value))
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		r := NewReplay(&settings, nil)
		r.record(key, value)
		r.record(key, nil)
		r.record(key, value)
		for _, g := range r.Groups(now) {
			g.Describe()
			g.Offsets(nil)
			g.Tick(core.Time{Clock: 1 << 40})
		}
	})
}

// BenchmarkRead reads a partition that holds a million offsets.
func BenchmarkRead(b *testing.B) {
	const offsets = 1_000_000
	for _, groups := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			l := openLog(b)
			e := NewEncoder()
			for i := range offsets {
				tp := messages.TopicPartition{Topic: fmt.Sprint("topic-", i/groups%10), Partition: int32(i / groups)}
				e.Add(fmt.Sprint("group-", i%groups), core.Write{Offsets: []core.Offset{offset(tp, int64(i), "")}})
			}
			appendTo(b, l, e.Batches())
			v := l.Publish(l.End())
			b.ReportAllocs()
			for b.Loop() {
				r := NewReplay(&settings, nil)
				if err := r.Read(b.Context(), v); err != nil {
					b.Fatal(err)
				}
				if n := len(r.Groups(now)); n != groups {
					b.Fatal(n)
				}
			}
			b.ReportMetric(offsets*float64(b.N)/b.Elapsed().Seconds(), "offsets/s")
		})
	}
}
