package sim

import (
	"fmt"
	"slices"
	"strings"

	"understudy/actors/controller"
	"understudy/messages"
)

// create has the controller of a new cluster make the topics.
func (p *process) create(r *routine) {
	s := p.s
	var wanted []controller.NewTopic
	for _, t := range s.cfg.topics {
		wanted = append(wanted, controller.NewTopic{Name: t.name, Partitions: int32(t.partitions), ReplicationFactor: int16(t.factor), Config: t.settings})
	}
	for _, t := range s.cfg.topics {
		for n := range t.partitions {
			s.model.open(messages.TopicPartition{Topic: t.name, Partition: int32(n)}, &t)
		}
	}
	for range 10 {
		done := true
		for _, result := range p.ctl.CreateTopics(p.ctx, wanted, false) {
			kind := messages.KindOf(result.Err)
			done = done && (result.Err == nil || kind == messages.TopicExists)
			if result.Err != nil && r.alive() && kind != messages.TopicExists && kind != messages.NotController && kind != messages.StorageError && kind != messages.RequestTimedOut {
				s.wrong("no-genesis", "%s: %v", result.Name, result.Err)
			}
		}
		if done || !r.sleep(100*millisecond) {
			return
		}
	}
}

// The bounds within which a cluster must be well again.
const (
	writeWithin = 20 * second // of healing, every partition takes writes
	restWithin  = 40 * second // and all is at rest
)

// What is broken when it is not.
const (
	notWritable = "not-writable"
	notAtRest   = "not-at-rest"
)

// done is the ending of a history that has come to its end.
const done = "done"

// heal ends all faults and lets the cluster come to rest.
func (s *Sim) heal() {
	s.healing = true
	s.say("everything heals")
	for _, cure := range s.cures {
		cure()
	}
	s.cures = nil
	for _, se := range s.store.sessions {
		if se != nil {
			se.grace = 0
		}
	}
	for _, m := range s.machines {
		m.off = false
		if m.disk.short {
			if s.lastCopy(m) {
				s.ending = "what a disk lied about was the last copy"
				s.count("ended: " + s.ending)
				return
			}
			m.replaceDisk()
		}
		m.start()
	}
	healed := s.now
	s.after(writeWithin, func() { s.writable(healed) })
}

// lastCopy reports whether the cluster counts on a machine alone for anything.
func (s *Sim) lastCopy(m *machine) bool {
	for t := range s.store.image.Topics() {
		for _, p := range t.Partitions {
			if len(p.ISR) == 1 && p.ISR[0] == m.id {
				return true
			}
		}
	}
	return false
}

// writable checks that every partition has taken writes since a time, if there
// was anybody to write, and lets the producers come to their end.
func (s *Sim) writable(since int64) {
	if s.hopeless() {
		return
	}
	for _, tp := range s.partitions {
		if s.lastAck[tp] < since && s.written(tp) {
			s.wrong(notWritable, "%v has taken no writes for %d s after everything healed: %s", tp, writeWithin/second, s.standing(tp))
			return
		}
	}
	for _, p := range s.producers {
		p.stopped = true
	}
	s.after(second, func() { s.await(s.now + restWithin) })
}

// written reports whether any producer still writes to a partition.
func (s *Sim) written(tp messages.TopicPartition) bool {
	for _, p := range s.producers {
		if slices.ContainsFunc(p.lines, func(l *line) bool { return l.tp == tp && !l.ended }) {
			return true
		}
	}
	return false
}

// hopeless ends a history in which the last copy of something was on a disk that
// was replaced: nobody but an operator can say that it may be given up.
func (s *Sim) hopeless() bool {
	for _, m := range s.machines {
		if m.refused {
			s.ending = "a disk that was replaced was the last copy"
			s.count("ended: " + s.ending)
			break
		}
	}
	return s.ending != ""
}

// await waits until all is at rest.
func (s *Sim) await(deadline int64) {
	why := s.restless()
	switch {
	case s.hopeless():
	case why == "" && s.seed%4 == 0 && s.counts["returned alone"] == 0:
		s.returnAlone()
	case why == "":
		s.final()
	case s.now > deadline && s.copies():
		s.count("rest put off while a large log was copied")
		s.after(100*millisecond, func() { s.await(s.now + restWithin) })
	case s.now > deadline:
		s.wrong(notAtRest, "%s", why)
	default:
		s.after(100*millisecond, func() { s.await(deadline) })
	}
}

// copies reports whether who is behind lacks less than when it was last asked: a large log
// of which little is sent at a time takes as long as it takes.
func (s *Sim) copies() bool {
	missing := messages.Offset(0)
	for _, tp := range s.everything() {
		at := s.store.image.Partition(tp)
		if at.Leader == messages.NoBroker || len(at.ISR) == len(at.Replicas) {
			continue
		}
		end := func(id messages.BrokerID) messages.Offset {
			if p := s.machines[id-1].proc; p != nil && p.known[tp] != nil {
				return p.known[tp].status.End
			}
			return 0
		}
		for _, id := range at.Replicas {
			missing += max(0, end(at.Leader)-end(id))
		}
	}
	before := s.missing
	s.missing = missing
	return missing > 0 && (missing < before || before == 0)
}

// restless says what is still going on; "": nothing.
func (s *Sim) restless() string {
	for _, p := range s.producers {
		for _, l := range p.lines {
			if len(l.queue) > 0 {
				return "a producer waits for an answer of " + l.tp.String() + ": " + s.standing(l.tp)
			}
		}
	}
	for _, tp := range s.everything() {
		at := s.store.image.Partition(tp)
		if at.Moving() {
			return "replicas are being moved: " + s.standing(tp)
		}
		if len(at.ISR) < len(at.Replicas) || at.Leader == messages.NoBroker {
			return "not all are in sync: " + s.standing(tp)
		}
		end := messages.NoOffset
		for _, id := range at.Replicas {
			p := s.machines[id-1].proc
			if p == nil || !p.serving {
				return "a node is not up"
			}
			h := p.replicas.Lookup(tp)
			if h == nil || h.View() == nil || h.View().Log == nil {
				return "a replica is not open: " + s.standing(tp)
			}
			l := p.known[tp].status
			if end == messages.NoOffset {
				end = l.End
			}
			// A follower is told once of the last high watermark. Where single messages get
			// lost, as on no connection, it may not know it until there are more records.
			untold := s.roughed && id != at.Leader && l.Durable == end
			if l.End != end || l.HighWatermark != end && !untold {
				return "not all is committed: " + s.standing(tp)
			}
		}
		for _, c := range s.consumers {
			for _, at := range c.places {
				if at.tp == tp && at.next < end && !s.model.books[tp].mayBeGone(at.next, end) {
					return "a consumer is behind in " + s.standing(tp)
				}
			}
		}
	}
	return s.restlessGroups()
}

// standing is how it stands with a partition, for people.
func (s *Sim) standing(tp messages.TopicPartition) string {
	var text strings.Builder
	at := s.store.image.Partition(tp)
	if at == nil {
		return tp.String() + " is not there"
	}
	put := func(text *strings.Builder, format string, args ...any) { fmt.Fprintf(text, format, args...) }
	put(&text, "%v: replicas %v, in sync %v, leader %d, epoch %d", tp, at.Replicas, at.ISR, at.Leader, at.LeaderEpoch)
	for _, id := range at.Replicas {
		p := s.machines[id-1].proc
		switch {
		case p == nil:
			put(&text, "; node %d is down", id)
		case !p.serving:
			put(&text, "; node %d is starting", id)
		default:
			h := p.replicas.Lookup(tp)
			if h == nil || h.View() == nil {
				put(&text, "; node %d has no replica", id)
				continue
			}
			v := h.View()
			put(&text, "; node %d: leader %d, epoch %d, error %v", id, v.Leader, v.Epoch, v.Err)
			if w := p.known[tp]; w != nil {
				put(&text, ", %v, log %d to %d, durable %d, committed %d", w.status.Role, w.status.LogStart, w.status.End, w.status.Durable, w.status.HighWatermark)
			}
		}
	}
	return text.String()
}

// final compares everything with everything.
func (s *Sim) final() {
	for _, tp := range s.everything() {
		b := s.model.books[tp]
		at := s.store.image.Partition(tp)
		for _, id := range at.Replicas {
			p := s.machines[id-1].proc
			w := p.known[tp]
			w.upTo = messages.NoOffset // compare from the start, once more
			s.model.compare(p, b, w, w.machine.Committed())
			if s.bad != nil {
				return
			}
		}
		s.complete(b)
		if !b.brokers {
			s.notes.readAll(s.machines[at.Leader-1].proc, tp)
		}
	}
	s.ending = done
	s.count("histories")
}

// complete checks that everything that was acknowledged or read is committed, in its place.
func (s *Sim) complete(b *book) {
	if b.lossy {
		return
	}
	if name, text := b.broken(); name != "" {
		s.wrong(name, "%s", text)
		return
	}
	p := s.machines[s.store.image.Partition(b.tp).Leader-1].proc
	if end := p.replicas.Lookup(b.tp).View().Log.End; end < b.end() {
		s.wrong("lost-write", "%v ends at %d, and %d was committed", b.tp, end, b.end())
	}
}
