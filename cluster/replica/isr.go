package replica

import (
	"slices"

	"understudy/messages"
)

// retryChange is after how many ms the controller is asked again.
const retryChange = 1000

// arrange matches what is kept of followers to the assignment. Whatever change
// of the in-sync set was asked for before is granted with it or void: the
// controller grants only what builds on its newest revision. Those that are not in
// sync are asked again: of the revisions in between that have not been heard of, one
// may have moved the replica away and the next have brought it back, with nothing.
func (r *Replica) arrange() {
	l := &r.lead
	a := &r.assignment
	l.pending, l.last, l.asked = nil, nil, 0
	old := l.followers
	l.followers = make([]*progress, 0, len(a.Replicas))
	for _, id := range a.Replicas {
		if id == r.self.ID {
			continue
		}
		f := newProgress(id, r.end)
		if i := slices.IndexFunc(old, func(f *progress) bool { return f.id == id }); i >= 0 {
			f = old[i]
		}
		l.followers = append(l.followers, f)
	}
	for _, f := range l.followers {
		f.down = slices.Contains(r.down, f.id)
		isr := slices.Contains(a.ISR, f.id)
		if isr != f.isr {
			f.goal = messages.NoOffset
			if f.lagging {
				f.goal = f.mark
			}
			f.lagging, f.lost, f.failed, f.joining, f.markTime = false, false, false, false, 0
		}
		f.isr, f.proposed = isr, false
		if !isr && !f.down {
			f.question(f.known(r.end))
		}
	}
}

// changeISR takes over the in-sync set that the controller has decided on.
func (r *Replica) changeISR(previous []messages.BrokerID) {
	a := &r.assignment
	r.arrange()
	if !slices.Equal(previous, a.ISR) {
		r.event(ISRChanged{Epoch: r.epoch, Revision: a.Revision, From: previous, To: a.ISR, Min: r.minISR()})
	}
	r.out.Publish = true
	r.failBelowMin()
	r.advance()
	r.answerDeletes()
	r.answerConfirms()
	r.reviewISR()
}

// joins reports whether a follower may join the in-sync set: it has all that is
// committed, by this leader or before it. One that fell behind must also have
// reached where the log ended then: with too few in sync nothing is committed, and
// it would be back, and waited for, before it has got on.
func (r *Replica) joins(f *progress) bool {
	match := f.match(r.settings.WriteCaching)
	return !f.isr && !f.down && f.streaming && match >= max(r.hw, r.lead.epochStart, f.goal)
}

// leaves is why a member must leave the in-sync set; 0: it need not.
func (f *progress) leaves() ISRCause {
	switch {
	case !f.isr:
		return 0
	case f.down:
		return Down
	case f.lost:
		return LostLog
	case f.failed:
		return LogFailed
	case f.lagging:
		return Lagging
	}
	return 0
}

// reviewISR asks the controller for the in-sync set that should be, if it
// differs and nothing has been asked for already. The leader itself is always a
// member, so that the last one is never removed.
func (r *Replica) reviewISR() {
	if r.role != Leader || r.lead.pending != nil {
		return
	}
	who, cause := messages.NoBroker, ISRCause(0)
	for _, f := range r.lead.followers {
		why := f.leaves()
		if r.joins(f) {
			why = CaughtUp
		} else if f.proposed && !f.isr && cause == 0 {
			why = Withdrawn
		}
		if why != 0 && (cause == 0 || cause == Withdrawn) {
			who, cause = f.id, why
		}
	}
	if cause != 0 {
		r.propose(who, cause)
	}
}

// propose asks for the in-sync set of those who are and need not leave, and
// those who may join. From now on the high watermark waits for old and new
// members, until there is a newer revision: whatever was asked for on this one
// may still be granted, even after it was refused once, since questions are
// repeated and the network may have kept one. Only a newer revision makes all of
// them void. So when those who were to join no longer can, the set as it is is
// asked for: granting that makes a new revision.
func (r *Replica) propose(who messages.BrokerID, cause ISRCause) {
	c := &ISRChange{Epoch: r.epoch, Revision: r.assignment.Revision, Cause: cause, ISR: []Member{r.self}}
	to := []messages.BrokerID{r.self.ID}
	for _, f := range r.lead.followers {
		if joins := r.joins(f); joins || f.isr && f.leaves() == 0 {
			f.proposed = true
			c.ISR = append(c.ISR, Member{ID: f.id, Epoch: f.broker})
			to = append(to, f.id)
		}
	}
	again := r.lead.last
	r.lead.pending, r.lead.last, r.lead.asked = c, c, 0
	r.out.ISRChange = c
	if again != nil && again.Revision == c.Revision && slices.Equal(again.ISR, c.ISR) {
		return
	}
	r.event(ISRProposed{Epoch: r.epoch, Revision: c.Revision, From: r.assignment.ISR, To: to, Who: who, Cause: cause})
}

// Refused tells that the controller has refused a change, and why. It changes
// nothing (see propose): after a while the change is asked for again, or what
// has become of it by then.
func (r *Replica) Refused(c ISRChange, cause error) {
	if p := r.lead.pending; r.role == Leader && p != nil && c.Epoch == p.Epoch && c.Revision == p.Revision {
		r.event(ISRRefused{Epoch: c.Epoch, Revision: c.Revision, Cause: cause})
	}
}

// tickISR lets the controller be asked anew when it has not answered for long.
func (r *Replica) tickISR() {
	l := &r.lead
	if l.pending != nil && l.asked.due(r.now, retryChange) {
		l.pending = nil
	}
}

// watchLag finds out whether a follower keeps up: it must within LagTimeMax
// reach where the log ended at the last mark. One that does so from one tick to
// the next, but whose acknowledgements always come after the high watermark has
// moved on, is helped to join: the high watermark waits for it, a tick or two.
func (r *Replica) watchLag(f *progress) {
	keepsUp := f.match(r.settings.WriteCaching) >= f.mark
	switch {
	case f.markTime == 0 || keepsUp:
		f.joining = f.markTime != 0 && !f.isr && !f.down && f.streaming && r.now-int64(f.markTime) <= r.settings.LagTimeMax
		f.lagging = false
		f.mark, f.markTime = r.end, timer(max(r.now, 1))
	default:
		f.joining = false
		f.lagging = r.now-int64(f.markTime) > r.settings.LagTimeMax
	}
}
