package replica_test

import (
	"fmt"
	"slices"
	"strings"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/batch"
)

// check compares a node's core with its disk, and what it holds below its high
// watermark with what any replica ever did.
func (w *world) check(n *node) {
	s, d := n.r.Status(), &n.disk
	if n.broken != nil {
		return
	}
	if s.LogStart != d.start || s.End != d.end {
		w.wrong("%d: core has [%d,%d), disk has [%d,%d)", n.id, s.LogStart, s.End, d.start, d.end)
	}
	if s.Durable > d.durable {
		w.wrong("%d: core has %d durable, disk %d", n.id, s.Durable, d.durable)
	}
	if s.HighWatermark < s.LogStart || s.HighWatermark > s.End {
		w.wrong("%d: high watermark %d outside of [%d,%d]", n.id, s.HighWatermark, s.LogStart, s.End)
	}
	if !w.settings.WriteCaching && s.HighWatermark > s.Durable {
		w.wrong("%d: high watermark %d above what is durable, %d", n.id, s.HighWatermark, s.Durable)
	}
	if !slices.Equal(tailOf(n.r.Epochs(), d.start), tailOf(d.epochs(), d.start)) {
		w.wrong("%d: core has epochs %v, disk %v", n.id, n.r.Epochs(), d.epochs())
	}
	if s.Role == replica.Leader && n.last.Role == replica.Leader && s.Epoch == n.last.Epoch && s.HighWatermark != n.last.HighWatermark {
		if s.HighWatermark < n.last.HighWatermark {
			w.wrong("%d: high watermark of a leader falls from %d to %d", n.id, n.last.HighWatermark, s.HighWatermark)
		}
		if s.UnderMin {
			w.wrong("%d: high watermark rises to %d with in-sync %v", n.id, s.HighWatermark, s.ISR)
		}
	}
	n.last = s
	d.hw = s.Committed
	if !w.lossy {
		w.checkCommitted(n, s)
	}
}

// tailOf is the part of an epoch history that the records from start on need.
func tailOf(h []replica.EpochStart, start messages.Offset) []replica.EpochStart {
	for len(h) > 1 && h[1].Start <= start {
		h = h[1:]
	}
	h = slices.Clone(h)
	if len(h) == 1 {
		h = h[:0] // the disk knows it only while it has records of it
	} else if len(h) > 0 {
		h[0].Start = max(h[0].Start, start)
	}
	return h
}

// checkCommitted: replicas are identical below their high watermarks, whichever
// epoch they are of; one leader commits in an epoch.
func (w *world) checkCommitted(n *node, s replica.Status) {
	from, _ := slices.BinarySearchFunc(n.disk.batches, n.known, func(b batch.Batch, o messages.Offset) int {
		if b.NextOffset() <= o {
			return -1
		}
		return 1
	})
	for _, b := range n.disk.batches[from:] {
		if b.NextOffset() > s.HighWatermark {
			break
		}
		if b.IsGap() {
			w.checkGap(n, b)
			continue
		}
		rec := recordOf(b)
		i, found := slices.BinarySearchFunc(w.committed, rec.base, func(r record, o messages.Offset) int { return int(r.base - o) })
		switch {
		case found && w.committed[i] != rec:
			w.wrong("%d: holds %v below its high watermark, where %v was committed", n.id, rec, w.committed[i])
		case !found && i < len(w.committed):
			w.wrong("%d: holds %v below its high watermark, between what was committed: %v", n.id, rec, w.committed)
		case !found:
			if i > 0 && w.committed[i-1].next > rec.base {
				w.wrong("%d: holds %v below its high watermark, overlapping %v", n.id, rec, w.committed[i-1])
			}
			w.committed = append(w.committed, rec)
		}
	}
	n.known = max(n.known, min(s.HighWatermark, s.End))
}

// checkAcked: what is acknowledged is committed, as it was sent.
func (w *world) checkAcked(rec record) {
	if w.lossy {
		return
	}
	for _, c := range w.committed {
		if c.id == rec.id && c.base == rec.base && c.next == rec.next {
			return
		}
	}
	w.wrong("%v is acknowledged and not committed", rec)
}

// checkCopies: what is acknowledged is on as many disks as min.insync.replicas
// wants, whether or not their nodes are up at the moment.
func (w *world) checkCopies(leader *node, rec record) {
	if w.settings.WriteCaching || w.wiped || rec.next <= leader.disk.start {
		return
	}
	copies := 0
	for _, n := range w.nodes {
		if n.disk.durable >= rec.next && n.disk.holds(rec) {
			copies++
		}
	}
	if copies < min(w.settings.MinInSync, len(w.nodes)) {
		w.wrong("%v is acknowledged with %d copies on disk", rec, copies)
	}
}

// checkConfirmed: who was sure to lead has what was committed when it was asked.
func (w *world) checkConfirmed(leader *node, known []record) {
	if w.lossy || len(known) == 0 {
		return
	}
	if last := known[len(known)-1]; !leader.disk.holds(last) {
		w.wrong("%d is sure to lead, and has not got %v", leader.id, last)
	}
}

// happened checks what events tell.
func (w *world) happened(n *node, e replica.Event) {
	w.seen[strings.TrimPrefix(fmt.Sprintf("%T", e), "replica.")]++
	switch e := e.(type) {
	case replica.BecameLeader:
		if other, taken := w.leaders[e.Epoch]; taken && len(w.nodes) > 1 {
			w.wrong("%d leads epoch %d, which %d led", n.id, e.Epoch, other)
		}
		w.leaders[e.Epoch] = n.id
		if e.Epoch == w.ctl.meta.Epoch && !w.lossy {
			w.checkComplete(n)
		}
	case replica.Truncated:
		if e.Lost {
			w.seen["lost"]++
			if !w.lossy {
				w.wrong("%d loses committed records: %v", n.id, e)
			}
		}
	case replica.Ignored:
		if e.From != n.id { // its own metadata may be late
			w.wrong("%d: %v", n.id, e)
		}
	case replica.Regressed, replica.Recovered:
		if !w.lossy {
			w.wrong("%d: %v", n.id, e)
		}
	}
}

// checkComplete: a leader of the newest epoch has everything that was committed.
func (w *world) checkComplete(n *node) {
	for _, rec := range w.committed {
		if rec.next <= n.disk.start || n.disk.covered(rec) && w.replaced(rec) {
			continue
		}
		if !slices.ContainsFunc(n.disk.batches, func(b batch.Batch) bool { return recordOf(b) == rec }) {
			w.wrong("%d leads epoch %d without %v, which was committed", n.id, w.ctl.meta.Epoch, rec)
		}
	}
}

func (n *node) String() string {
	if !n.up {
		return fmt.Sprintf("down, log [%d,%d)", n.disk.start, n.disk.end)
	}
	s := n.r.Status()
	text := fmt.Sprintf("%v epoch %d leader %d, log [%d,%d) durable %d hw %d", s.Role, s.Epoch, s.Leader, s.LogStart, s.End, s.Durable, s.HighWatermark)
	if s.Role == replica.Leader {
		text += fmt.Sprintf(", in-sync %v", s.ISR)
		if !s.Settled {
			text += ", not settled"
		}
	}
	return text
}
