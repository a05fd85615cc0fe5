package partition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"understudy/cluster/metadata"
	"understudy/messages"
	"understudy/messages/batch"
	"understudy/messages/codec"
	"understudy/persistence/compact"
	"understudy/persistence/log"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// keyed is a batch of records of some of a few keys; a value of "" is none.
func keyed(value string, keys ...int) batch.Batch {
	b := batch.NewBuilder(batch.NoProducer)
	for _, k := range keys {
		var v []byte
		if value != "" {
			v = []byte(value + strings.Repeat(".", 100))
		}
		b.Add(500, fmt.Appendf(nil, "key %d", k), v)
	}
	return b.Build(nil)
}

// garden is a tree with a cleaner, and topics of one partition.
type garden struct {
	*tree
	cleaner *Cleaner
}

func newGarden(t *testing.T, disk vfs.FS) *garden {
	t.Helper()
	g := &garden{}
	g.tree = plantAs(t, disk, func(s *Shared) {
		g.cleaner = &Cleaner{
			Shared: s, Backoff: func() time.Duration { return time.Hour },
			Memory: func() int64 { return 1 << 20 }, Rate: func() int64 { return 0 },
		}
	})
	return g
}

// topic makes a topic of small segments.
func (g *garden) topic(name, policy string, id byte) *Handle {
	g.t.Helper()
	topic := messages.TopicID{id}
	g.edit(func(e *metadata.Edit) {
		e.CreateTopic(&metadata.Topic{Name: name, ID: topic,
			Config: map[string]string{"cleanup.policy": policy, "segment.bytes": "2048", "retention.ms": "-1"},
			Partitions: []metadata.Partition{{
				Replicas: []messages.BrokerID{1}, ISR: []messages.BrokerID{1}, Leader: 1, UncleanEpoch: messages.NoEpoch}}})
	})
	return g.await(topic, messages.TopicPartition{Topic: name})
}

// write appends as many batches of five records each, all of five keys.
func (g *garden) write(h *Handle, batches int) {
	g.t.Helper()
	for i := range batches {
		if r := g.append(h, keyed(fmt.Sprint(i), 0, 1, 2, 3, 4)); r.Err != nil {
			g.t.Fatal(r.Err)
		}
	}
}

// contents is how many records a partition shows, and the last value of each key.
func (g *garden) contents(h *Handle) (records int, last map[string]string) {
	g.t.Helper()
	v := h.View()
	if v == nil || v.Err != nil {
		g.t.Fatalf("%v does not serve", h.tp)
	}
	last = map[string]string{}
	for from := v.Log.LogStart; from < v.Log.HighWatermark; {
		s, err := v.Log.Read(from, 500, true)
		if err != nil || s == nil {
			g.t.Fatal(s, err)
		}
		buf, err := s.Bytes(nil)
		s.Release()
		if err != nil {
			g.t.Fatal(err)
		}
		b, _, err := batch.Next(buf)
		if err != nil {
			g.t.Fatal(err)
		}
		for r, err := range codec.Records(b, 1<<20) {
			if err != nil {
				g.t.Fatal(err)
			}
			records++
			last[string(r.Key)] = strings.TrimRight(string(r.Value), ".")
		}
		from = b.NextOffset()
	}
	return records, last
}

// wantLast checks that a partition has the last of what write wrote.
func (g *garden) wantLast(h *Handle, batches int) (records int) {
	g.t.Helper()
	records, last := g.contents(h)
	if len(last) != 5 {
		g.t.Errorf("%v has keys %v", h.tp, last)
	}
	for key, value := range last {
		if value != fmt.Sprint(batches-1) {
			g.t.Errorf("%v: %s is %s", h.tp, key, value)
		}
	}
	return records
}

func TestTheCleanerCompactsWhatIsDirty(t *testing.T) {
	g := newGarden(t, vfs.NewMem(vfs.MemOptions{}))
	ctx := context.Background()
	state, both, events := g.topic("state", "compact", 1), g.topic("both", "compact,delete", 2), g.topic("events", "delete", 3)
	for _, h := range []*Handle{state, both, events} {
		g.write(h, 40)
	}
	if n := g.cleaner.Round(ctx); n != 2 {
		t.Fatalf("%d logs were compacted", n)
	}
	for _, h := range []*Handle{state, both} {
		if n := g.wantLast(h, 40); n > 30 {
			t.Errorf("%v still has %d records", h.tp, n)
		}
	}
	if n := g.wantLast(events, 40); n != 200 {
		t.Errorf("%v has %d records", events.tp, n)
	}
	if n := g.cleaner.Round(ctx); n != 0 {
		t.Fatalf("%d logs were compacted though there is nothing to do", n)
	}
	g.write(state, 40)
	if n := g.cleaner.Round(ctx); n != 1 {
		t.Fatalf("%d logs were compacted", n)
	}
	g.wantLast(state, 40)
	if s := g.cleaner.Stats(); s.Runs != 3 || s.Failures != 0 || s.Read == 0 || s.Written == 0 || s.Removed < 5000 {
		t.Errorf("%+v", s)
	}
}

func TestTheDirtiestComesFirst(t *testing.T) {
	at := func(name string, d dirt) surveyed {
		return surveyed{handle: &Handle{tp: messages.TopicPartition{Topic: name}}, dirt: d}
	}
	all := []surveyed{
		at("b", dirt{ratio: 0.6}), at("e", dirt{ratio: 0.1, due: true}), at("a", dirt{ratio: 0.6}),
		at("d", dirt{ratio: 0.9}), at("c", dirt{ratio: 0.2, due: true}),
	}
	slices.SortFunc(all, byDirt)
	order := ""
	for _, s := range all {
		order += s.handle.tp.Topic
	}
	if order != "cedab" {
		t.Errorf("order is %s", order)
	}
}

// begun is a rate that lets nothing more happen once the cleaner has asked for it.
type begun struct {
	once sync.Once
	seen chan struct{}
}

func (b *begun) rate() int64 {
	b.once.Do(func() { close(b.seen) })
	return 1 // byte per second
}

// TestACleaningEndsWithItsLog: a topic is deleted, or the partitions are closed,
// while the cleaner waits to be allowed to go on.
func TestACleaningEndsWithItsLog(t *testing.T) {
	for name, end := range map[string]func(*garden){
		"topic deleted": func(g *garden) { g.edit(func(e *metadata.Edit) { e.DeleteTopic("state") }) },
		"closed": func(g *garden) {
			if err := g.stop(context.Background()); err != nil {
				g.t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewMem(vfs.MemOptions{})
			g := newGarden(t, disk)
			h := g.topic("state", "compact", 1)
			g.write(h, 40)
			b := &begun{seen: make(chan struct{})}
			g.cleaner.Rate = b.rate
			done := make(chan int, 1)
			go func() { done <- g.cleaner.Round(context.Background()) }()
			<-b.seen
			end(g)
			if n := <-done; n != 0 || g.cleaner.Stats().Failures != 0 {
				t.Errorf("%d logs were compacted, %+v", n, g.cleaner.Stats())
			}
			entries, err := disk.ReadDir(".")
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				files, _ := disk.ReadDir(e.Name)
				for _, f := range files {
					if strings.HasSuffix(f.Name, segment.CleanedSuffix) {
						t.Errorf("%s/%s is left", e.Name, f.Name)
					}
				}
			}
		})
	}
}

// TestTheCleanerIsStopped: the log is as if nothing had been begun, and is
// compacted the next time.
func TestTheCleanerIsStopped(t *testing.T) {
	g := newGarden(t, vfs.NewMem(vfs.MemOptions{}))
	h := g.topic("state", "compact", 1)
	g.write(h, 40)
	b := &begun{seen: make(chan struct{})}
	g.cleaner.Rate = b.rate
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); g.cleaner.Run(ctx) }()
	<-b.seen
	cancel()
	<-done
	if n := g.wantLast(h, 40); n != 200 {
		t.Errorf("%d records are left", n)
	}
	g.cleaner.Rate = func() int64 { return 0 }
	if n := g.cleaner.Round(context.Background()); n != 1 {
		t.Errorf("%d logs were compacted", n)
	}
	g.wantLast(h, 40)
}

// TestAWithdrawnQuestionBeginsNothing: or else nobody would ever end it.
func TestAWithdrawnQuestionBeginsNothing(t *testing.T) {
	a := newCleanAsk()
	if !a.take() {
		t.Fatal("could not be withdrawn")
	}
	a.begin(nil) // which has no log to begin with
	if len(a.reply) != 0 {
		t.Error("it was answered")
	}
}

// TestADamagedLogIsLeftAlone: it is told, once, and the others are compacted.
func TestADamagedLogIsLeftAlone(t *testing.T) {
	disk := vfs.NewMem(vfs.MemOptions{})
	g := newGarden(t, disk)
	bad, good := g.topic("bad", "compact", 1), g.topic("good", "compact", 2)
	g.write(bad, 40)
	g.write(good, 40)
	f, err := disk.Open("bad-0/" + segment.Name(0, segment.LogSuffix))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, 700); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for range 2 {
		g.cleaner.Round(context.Background())
	}
	if s := g.cleaner.Stats(); s.Runs != 1 || s.Failures != 1 {
		t.Errorf("%+v", s)
	}
	if d := bad.Damage(); len(d) != 1 || messages.KindOf(d[0]) != messages.CorruptMessage {
		t.Errorf("damage: %v", d)
	}
	g.wantLast(good, 40)
}

// TestAFullDiskStopsACompactionAndNothingElse: the partition goes on, and the
// cleaner tries again.
func TestAFullDiskStopsACompactionAndNothingElse(t *testing.T) {
	disk := vfs.NewFaulty(vfs.NewMem(vfs.MemOptions{}), nil)
	g := newGarden(t, disk)
	h := g.topic("state", "compact", 1)
	g.write(h, 40)
	full := disk.Add(vfs.Rule{Ops: vfs.OpWrite, Path: "*" + segment.CleanedSuffix, Err: syscall.ENOSPC})
	if n := g.cleaner.Round(context.Background()); n != 0 || g.cleaner.Stats().Failures != 1 {
		t.Fatalf("%d were compacted, %+v", n, g.cleaner.Stats())
	}
	g.write(h, 40)
	full.Remove()
	if n := g.cleaner.Round(context.Background()); n != 1 {
		t.Fatalf("%d were compacted", n)
	}
	if n := g.wantLast(h, 40); n > 30 {
		t.Errorf("%d records are left", n)
	}
}

// TestASwapThatFailsFailsTheReplica, which goes on from what is on its disk.
func TestASwapThatFailsFailsTheReplica(t *testing.T) {
	for _, rule := range []vfs.Rule{
		{Ops: vfs.OpRename, Path: "*" + segment.CleanedSuffix, Times: 1, Err: syscall.EIO},
		{Ops: vfs.OpRename, Path: "*.log" + segment.CleanedSuffix, Times: 1, Err: syscall.EIO},
		{Ops: vfs.OpSyncDir, Times: 1, Err: syscall.EIO},
	} {
		disk := vfs.NewFaulty(vfs.NewMem(vfs.MemOptions{}), nil)
		g := newGarden(t, disk)
		h := g.topic("state", "compact", 1)
		g.write(h, 40)
		disk.Add(rule)
		if n := g.cleaner.Round(context.Background()); n != 0 {
			t.Fatalf("%d were compacted", n)
		}
		if f := <-g.failures; !errors.Is(f.Cause, syscall.EIO) {
			t.Errorf("failed because of %v", f.Cause)
		}
		g.await(h.topicID, h.tp)
		g.wantLast(h, 40)
		for range 2 { // what was begun may have to be ended first
			g.cleaner.Round(context.Background())
		}
		if n := g.wantLast(h, 40); n > 30 {
			t.Errorf("%d records are left", n)
		}
	}
}

// cleanRig compacts a rig's log, and reports whether there was anything to do.
func (r *rig) clean() bool {
	r.t.Helper()
	c, err := r.machine.BeginClean()
	if err != nil {
		r.t.Fatal(err)
	}
	if c == nil {
		return false
	}
	w := compact.Worker{Map: compact.NewMap(1 << 20), Pace: func(int) error { return nil }}
	to, _, err := w.Run(&c.Job, func(s compact.Replacement) error { return r.machine.Swap(c, s) })
	if err != nil {
		r.t.Fatal(err)
	}
	c.Ended()
	r.machine.EndClean(c, to)
	r.settle()
	return true
}

// has reports whether readers are shown a record with a key.
func (r *rig) has(key string) (found bool) {
	r.t.Helper()
	v := r.stage.view.Log
	for from := v.LogStart; from < v.HighWatermark; {
		s, err := v.Read(from, 1, true)
		if err != nil {
			r.t.Fatal(err)
		}
		if s == nil {
			break
		}
		buf, err := s.Bytes(nil)
		s.Release()
		if err != nil {
			r.t.Fatal(err)
		}
		b := batch.Batch(buf)
		for rec := range codec.Records(b, 1<<20) {
			found = found || string(rec.Key) == key
		}
		from = b.NextOffset()
	}
	return found
}

var compactedRig = map[string]string{"cleanup.policy": "compact", "segment.bytes": "1024", "delete.retention.ms": "10", "min.cleanable.dirty.ratio": "0.3", "max.compaction.lag.ms": "100000"}

// TestTombstonesWaitForReplicasThatAreAway: a replica that is away must see them
// when it is back.
func TestTombstonesWaitForReplicasThatAreAway(t *testing.T) {
	r := newRig(t, vfs.NewMem(vfs.MemOptions{}), compactedRig)
	write := func(b batch.Batch) {
		r.append(messages.AcksLeader, b)
		r.settle()
		r.flushed()
	}
	more := func() {
		for range 20 {
			write(keyed("x", 1, 2, 3))
		}
	}
	replicas := func(isr ...messages.BrokerID) {
		p := metadata.Partition{Replicas: []messages.BrokerID{1, 2}, ISR: isr, Leader: 1, LeaderEpoch: 3, Revision: r.stage.clock + 100, UncleanEpoch: messages.NoEpoch}
		r.stage.clock++
		r.machine.Assign(p)
		r.settle()
	}
	write(keyed("", 7))
	more()
	if !r.clean() || !r.has("key 7") {
		t.Fatal("a tombstone has gone at once")
	}
	r.stage.now += 11
	replicas(1)
	more()
	if !r.clean() || !r.has("key 7") {
		t.Fatal("a tombstone has gone that a replica may not have seen")
	}
	more()
	replicas(1, 2)
	if !r.clean() || r.has("key 7") {
		t.Fatal("a tombstone is still there though everybody has seen it")
	}
	if !r.has("key 1") {
		t.Fatal("and something else has gone")
	}
}

// TestWhenALogIsToBeCompacted: by its ratio, or because a record has waited.
func TestWhenALogIsToBeCompacted(t *testing.T) {
	r := newRig(t, vfs.NewMem(vfs.MemOptions{}), compactedRig)
	write := func(n int) {
		for range n {
			r.append(messages.AcksLeader, keyed("x", 1, 2, 3, 4, 5, 6, 7, 8))
			r.settle()
			r.flushed()
		}
	}
	want := func(wanted, due bool) {
		t.Helper()
		d, err := r.machine.Dirt()
		if err != nil || d.wanted != wanted || d.due != due {
			t.Errorf("%+v, %v", d, err)
		}
	}
	want(false, false)
	write(1)
	want(false, false) // it is being written to
	write(10)
	want(true, false)
	r.stage.now = 500 + 100_001 // the records' time is 500
	want(true, true)
	r.clean()
	want(false, false)
	r.machine.settings.MinDirtyRatio = 1
	write(10)
	want(true, true)
	r.stage.now = 1000
	want(false, false)
}

// TestACompactedTopicIsNotCutByRetention unless it is to be deleted too.
func TestACompactedTopicIsNotCutByRetention(t *testing.T) {
	for policy, want := range map[string]log.Settings{
		"compact":        {RetentionMs: -1, RetentionBytes: -1, Compact: true, SegmentMs: 50},
		"compact,delete": {RetentionMs: 5, RetentionBytes: 7, Compact: true, SegmentMs: 50},
		"delete":         {RetentionMs: 5, RetentionBytes: 7, SegmentMs: 604800000},
	} {
		r := newRig(t, vfs.NewMem(vfs.MemOptions{}), map[string]string{"cleanup.policy": policy, "retention.ms": "5", "retention.bytes": "7", "max.compaction.lag.ms": "50"})
		got := Tuning{}.log(r.machine.settings)
		if got.RetentionMs != want.RetentionMs || got.RetentionBytes != want.RetentionBytes || got.Compact != want.Compact || got.SegmentMs != want.SegmentMs {
			t.Errorf("%s: %+v", policy, got)
		}
	}
}
