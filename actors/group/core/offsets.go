package core

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"understudy/messages"
)

// kept is a committed offset, when it was committed and until when it is to be kept.
type kept struct {
	Committed
	time, expires int64 // ms since the epoch; see Offset
}

func (g *Group) keep(o *Offset) {
	if before, ok := g.offsets[o.TopicPartition]; ok {
		g.keeps -= int64(offsetSize(o.Topic, before.Metadata))
	}
	g.keeps += int64(offsetSize(o.Topic, o.Metadata))
	g.RestoreOffset(o)
}

// RestoreOffset takes over a committed offset that was kept. It is not counted yet:
// there may be a million of them.
func (g *Group) RestoreOffset(o *Offset) {
	if g.offsets == nil {
		g.offsets = map[messages.TopicPartition]kept{}
	}
	g.offsets[o.TopicPartition] = kept{o.Committed, o.Time, o.Expires}
}

// DropOffset takes over that an offset was not kept.
func (g *Group) DropOffset(tp messages.TopicPartition) { delete(g.offsets, tp) }

// CountOffsets counts what the offsets take that were restored.
func (g *Group) CountOffsets() {
	g.keeps = 0
	for tp, k := range g.offsets {
		g.keeps += int64(offsetSize(tp.Topic, k.Metadata))
	}
}

func (g *Group) dropOne(tp messages.TopicPartition) {
	if k, ok := g.offsets[tp]; ok {
		g.keeps -= int64(offsetSize(tp.Topic, k.Metadata))
		delete(g.offsets, tp)
	}
}

// offsetSize is how many bytes a committed offset takes.
func offsetSize(topic, metadata string) int { return offsetBytes + len(topic) + len(metadata) }

const committing = "commit offsets"

// Commit stores offsets. It is answered, with Done, when they are written; until
// then Offsets does not show them.
func (g *Group) Commit(t Time, c Commit, to any) {
	g.now = t
	m, err := g.mayCommit(c.Member)
	if err != nil {
		g.answer(to, Done{Err: err})
		return
	}
	if m != nil {
		g.touch(m)
	}
	expires := int64(0)
	if c.Retention > 0 {
		expires = t.Wall + min(c.Retention, math.MaxInt64-t.Wall)
	}
	var each map[messages.TopicPartition]error
	list := make([]Offset, 0, len(c.Offsets))
	for tp, o := range c.Offsets {
		err := g.checkOffset(tp, o)
		if err == nil {
			list = append(list, Offset{tp, o, t.Wall, expires})
			continue
		}
		if each == nil {
			each = map[messages.TopicPartition]error{}
		}
		each[tp] = err
	}
	if len(list) == 0 {
		g.answer(to, Done{Each: each})
		return
	}
	slices.SortFunc(list, func(a, b Offset) int { return comparePartitions(a.TopicPartition, b.TopicPartition) })
	g.write(Write{Offsets: list}, func(err error) {
		if err == nil {
			for i := range list {
				g.keep(&list[i])
			}
		}
		g.answer(to, Done{Err: err, Each: each})
	})
}

func (g *Group) checkOffset(tp messages.TopicPartition, o Committed) error {
	switch {
	case len(o.Metadata) > min(g.settings.MaxMetadata, maxName):
		return g.fail(committing, messages.OffsetMetadataTooLarge)
	case len(tp.Topic) > maxName:
		return g.fail(committing, messages.InvalidTopic)
	}
	before := 0
	if k, ok := g.offsets[tp]; ok {
		before = offsetSize(tp.Topic, k.Metadata)
	}
	if !g.hasRoomFor(before, offsetSize(tp.Topic, o.Metadata)) {
		return g.failBecause(committing, messages.PolicyViolation, noMemory)
	}
	return nil
}

func comparePartitions(a, b messages.TopicPartition) int {
	return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

// mayCommit checks who commits: a member of the present generation, or anyone
// while there are no members.
func (g *Group) mayCommit(who Member) (*member, error) {
	anonymous := who.Generation < 0 && who.MemberID == "" && who.InstanceID == ""
	switch {
	case g.state == Dead:
		return nil, g.fail(committing, messages.CoordinatorNotAvailable)
	case who.Generation < 0 && g.state == Empty:
		return nil, nil
	case anonymous:
		return nil, g.fail(committing, messages.UnknownMemberID)
	}
	m, err := g.find(committing, who.MemberID, who.InstanceID)
	switch {
	case err != nil:
		return nil, err
	case who.Generation != g.generation:
		return nil, g.fail(committing, messages.IllegalGeneration)
	case g.state == CompletingRebalance:
		// It has joined, and what it is to consume is not decided.
		return nil, g.fail(committing, messages.RebalanceInProgress)
	}
	return m, nil
}

// Offsets gives committed offsets: those of tps, or all for nil.
func (g *Group) Offsets(tps []messages.TopicPartition) map[messages.TopicPartition]Committed {
	found := make(map[messages.TopicPartition]Committed, len(tps))
	if tps == nil {
		for tp, k := range g.offsets {
			found[tp] = k.Committed
		}
	}
	for _, tp := range tps {
		if k, ok := g.offsets[tp]; ok {
			found[tp] = k.Committed
		}
	}
	return found
}

// inFlight are the partitions whose commits are being written.
func (g *Group) inFlight() map[messages.TopicPartition]bool {
	set := map[messages.TopicPartition]bool{}
	for _, f := range g.flight {
		for i := range f.write.Offsets {
			set[f.write.Offsets[i].TopicPartition] = true
		}
	}
	return set
}

// every lists all partitions with an offset, or with a commit being written, in
// order, for which a condition holds.
func (g *Group) every(holds func(tp messages.TopicPartition, k kept, flying bool) bool) []messages.TopicPartition {
	var list []messages.TopicPartition
	flying := g.inFlight()
	for tp, k := range g.offsets {
		if holds(tp, k, flying[tp]) {
			list = append(list, tp)
		}
		delete(flying, tp)
	}
	for tp := range flying {
		if holds(tp, kept{}, true) {
			list = append(list, tp)
		}
	}
	slices.SortFunc(list, comparePartitions)
	return list
}

// drop has offsets forgotten.
func (g *Group) drop(tps []messages.TopicPartition) {
	for _, tp := range tps {
		g.dropOne(tp)
	}
}

// DeleteOffsets forgets offsets of topics that no member consumes. It is answered
// with Done.
func (g *Group) DeleteOffsets(t Time, tps []messages.TopicPartition, to any) {
	g.now = t
	const op = "delete offsets"
	switch {
	case g.state == Dead || g.Gone():
		g.answer(to, Done{Err: g.fail(op, messages.GroupIDNotFound)})
		return
	case g.state != Empty && g.protocolType != consumers:
		g.answer(to, Done{Err: g.fail(op, messages.NonEmptyGroup)})
		return
	}
	each := map[messages.TopicPartition]error{}
	wanted := map[messages.TopicPartition]bool{}
	for _, tp := range tps {
		if g.mayConsume(tp.Topic) {
			each[tp] = g.fail(op, messages.GroupSubscribedToTopic)
		} else {
			wanted[tp] = true
		}
	}
	found := g.every(func(tp messages.TopicPartition, _ kept, _ bool) bool { return wanted[tp] })
	if len(found) == 0 {
		g.answer(to, Done{Each: each})
		return
	}
	g.write(Write{Dropped: found}, func(err error) {
		if err == nil {
			g.drop(found)
			g.event(OffsetsDropped{g.name, len(found), "as asked"})
		}
		g.answer(to, Done{Err: err, Each: each})
	})
}

// Delete forgets a group that has no members. It is answered with Done.
func (g *Group) Delete(t Time, to any) {
	g.now = t
	const op = "delete group"
	switch {
	case g.state == Dead || g.Gone():
		g.answer(to, Done{Err: g.fail(op, messages.GroupIDNotFound)})
		return
	case g.state != Empty:
		g.answer(to, Done{Err: g.fail(op, messages.NonEmptyGroup)})
		return
	}
	g.state = Dead // nobody joins or commits any more, unless it fails
	clear(g.pending)
	all := g.every(func(messages.TopicPartition, kept, bool) bool { return true })
	done := func(err error) {
		g.state = Empty
		if err == nil { // what comes now begins anew
			g.drop(all)
			g.stored, g.generation, g.protocolType, g.since = false, 0, "", -1
			g.event(Forgotten{g.name, "was deleted"})
		}
		g.answer(to, Done{Err: err})
	}
	if !g.stored && len(all) == 0 { // there were ids that nobody has come back with
		done(nil)
		return
	}
	g.write(Write{Forget: g.stored, Dropped: all}, done)
}

// Expire forgets what need not be kept any longer: offsets of topics that are
// gone, offsets whose retention has passed, and a group without any.
func (g *Group) Expire(t Time, gone func(topic string) bool) {
	g.now = t
	if g.state == Dead {
		return
	}
	old := g.every(func(tp messages.TopicPartition, k kept, flying bool) bool {
		return gone(tp.Topic) || !flying && g.expired(tp.Topic, k)
	})
	empty := g.state == Empty && len(g.pending) == 0 && len(g.flight) == 0 && len(old) == len(g.offsets)
	if len(old) == 0 && !(empty && g.stored) {
		return
	}
	g.write(Write{Forget: empty && g.stored, Dropped: old}, func(err error) {
		// It may have been written although it failed: who comes now must not find what the
		// next coordinator may not have. One that still has it finds it too old as well.
		g.drop(old)
		if len(old) > 0 {
			g.event(OffsetsDropped{g.name, len(old), "their time is over, or their topic is gone"})
		}
		if err == nil && empty && g.state == Empty && len(g.flight) == 0 {
			g.stored, g.generation = false, 0
			g.event(Forgotten{g.name, "is empty"})
		}
	})
}

// expired reports whether an offset's retention has passed. It begins when the
// group becomes empty, or with the commit where nobody ever joins, or where the
// members consume other topics by now. Who has said when an offset expires is taken
// at its word, but no sooner than one of these holds.
func (g *Group) expired(topic string, k kept) bool {
	from := k.time
	switch {
	case g.protocolType == "":
	case g.state == Empty:
		from = max(from, g.since)
	case g.state == Stable && g.knowsSubscribed && !g.subscribed[topic]:
	default:
		return false
	}
	if k.expires > 0 {
		return g.now.Wall >= k.expires
	}
	return g.now.Wall-from >= g.settings.Retention
}

// OffsetCount is how many committed offsets are kept.
func (g *Group) OffsetCount() int { return len(g.offsets) }
