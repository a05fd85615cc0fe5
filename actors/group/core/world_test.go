package core

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"understudy/messages"
)

// disk is what was written of a group, as the offsets topic would hold it.
type disk struct {
	metadata *Metadata
	offsets  map[messages.TopicPartition]Offset
}

func (d *disk) apply(w Write) {
	if d.offsets == nil {
		d.offsets = map[messages.TopicPartition]Offset{}
	}
	for _, tp := range w.Dropped {
		delete(d.offsets, tp)
	}
	for _, o := range w.Offsets {
		d.offsets[o.TopicPartition] = o
	}
	if w.Forget {
		d.metadata = nil
	}
	if w.Metadata != nil {
		d.metadata = w.Metadata
	}
}

// load makes the group anew from what was written of it, as after a failover.
func (d *disk) load(t Time, s *Settings) *Group {
	g := New("g", s)
	for _, o := range d.offsets {
		g.RestoreOffset(&o)
	}
	g.CountOffsets()
	if d.metadata != nil {
		g.Restore(t, d.metadata)
	}
	g.setAlarm()
	return g
}

// check compares what the group keeps more than once.
func check(t *testing.T, g *Group) {
	t.Helper()
	wrong := func(format string, args ...any) { t.Helper(); t.Errorf("WRONG: "+format, args...) }
	awaiting, bytes, assigned, support, static := 0, 0, 0, map[string]int{}, map[string]*member{}
	for _, m := range g.members {
		if g.byID[m.id] != m {
			wrong("member %s is not found", m.id)
		}
		if m.join != nil {
			awaiting++
		}
		bytes += size(m.protocols)
		assigned += len(m.assignment)
		for _, p := range m.protocols {
			support[p.Name]++
		}
		if m.instance != "" {
			static[m.instance] = m
		}
		if m.mayExpire() && (g.alarm == 0 || g.alarm > m.expires) {
			wrong("member %s expires at %d, and the alarm is set to %d", m.id, m.expires, g.alarm)
		}
		if m.join != nil && g.state != PreparingRebalance && !(g.state == Stable && m.instance != "") {
			wrong("member %s waits with a Join in %s", m.id, g.state)
		}
		if m.sync != nil && g.state != CompletingRebalance {
			wrong("member %s waits with a Sync in %s", m.id, g.state)
		}
	}
	offsets := int64(0)
	for tp, k := range g.offsets {
		offsets += int64(offsetSize(tp.Topic, k.Metadata))
	}
	switch {
	case assigned != g.assigned, offsets != g.keeps:
		wrong("counted %d bytes of assignments (%d) and %d of offsets (%d)", g.assigned, assigned, g.keeps, offsets)
	case awaiting != g.awaiting, bytes != g.bytes, !maps.Equal(support, g.support), !maps.Equal(static, g.static), len(g.byID) != len(g.members):
		wrong("counted %d waiting (%d), %d bytes (%d), protocols %v (%v)", g.awaiting, awaiting, g.bytes, bytes, g.support, support)
	case (g.state == Empty || g.state == Dead) != (len(g.members) == 0) && g.state != PreparingRebalance:
		wrong("%d members in %s", len(g.members), g.state)
	case len(g.members) > 0 && g.byID[g.leader] == nil:
		wrong("the leader %q is no member", g.leader)
	case g.state == PreparingRebalance && (g.alarm == 0 || g.alarm > g.joinBy):
		wrong("joining ends at %d, and the alarm is set to %d", g.joinBy, g.alarm)
	}
}

var errDisk = messages.E("append", messages.CoordinatorNotAvailable, "", errors.New("not enough replicas"))

// subscription is one in Kafka's format, version 0.
func subscription(topics ...string) []byte {
	b := []byte{0, 0, 0, 0, 0, byte(len(topics))}
	for _, t := range topics {
		b = append(append(b, 0, byte(len(t))), t...)
	}
	return append(b, 0xff, 0xff, 0xff, 0xff) // no user data
}

func sorted[V any](m map[messages.TopicPartition]V) []messages.TopicPartition {
	return slices.SortedFunc(maps.Keys(m), comparePartitions)
}

// describe is an answer in words.
func describe(value any) string {
	switch v := value.(type) {
	case Joined:
		if v.Err != nil {
			s := messages.KindOf(v.Err).String()
			if messages.KindOf(v.Err) == messages.MemberIDRequired {
				s += " " + v.MemberID
			}
			return s
		}
		s := fmt.Sprintf("joined generation %d as %s, %s, leader %s", v.Generation, v.MemberID, v.Protocol, v.Leader)
		for i, m := range v.Members {
			if s += " "; i == 0 {
				s += "of "
			}
			s += m.MemberID
		}
		if v.SkipAssignment {
			s += ", nothing to assign"
		}
		return s
	case Synced:
		if v.Err != nil {
			return messages.KindOf(v.Err).String()
		}
		return fmt.Sprintf("assigned %q", v.Assignment)
	case Done:
		s := "done"
		if v.Err != nil {
			s = messages.KindOf(v.Err).String()
		}
		for _, tp := range sorted(v.Each) {
			s += fmt.Sprintf(", %v: %v", tp, messages.KindOf(v.Each[tp]))
		}
		return s
	}
	return fmt.Sprint(value)
}
