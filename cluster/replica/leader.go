package replica

import (
	"cmp"
	"errors"
	"strconv"

	"understudy/messages"
	"understudy/messages/batch"
)

// leading is what a replica keeps while it leads (or stands by).
type leading struct {
	epochStart messages.Offset // log end when the epoch began
	settled    bool            // the high watermark has reached epochStart
	followers  []*progress     // every other replica

	waiting waiters // acks=all, for the high watermark
	deletes waiters // for the low watermark

	round    int64   // of questions by which it makes sure that it leads
	confirms waiters // for rounds that all members have answered

	pending  *ISRChange // asked for, not long ago, outcome not known
	last     *ISRChange // the last that was asked for on this revision
	asked    timer      // since when the controller owes an answer
	resigned ResignCause
}

// Proposal is a producer's request to append.
type Proposal struct {
	Batches []batch.Batch // valid; offset and epoch are stamped into them. Not empty.
	Acks    messages.Acks
	// Deadline is when to give up waiting for acks=all, on the clock of Tick;
	// 0: never. The records stay and may be committed later.
	Deadline int64
	// Token comes back in the Answer. With acks=0 too: the producer hears
	// nothing, but the owner of the bytes learns that they were taken.
	Token any
}

// Propose appends records, if this replica leads, and reports whether it did. If
// so, the batches carry their offsets and epoch when it returns. Either way the
// Answer comes with the effects: with acks=all when the high watermark has passed
// the last record; otherwise with the effects that append it.
func (r *Replica) Propose(p Proposal) bool {
	if kind := r.Refusal(p.Acks); kind != messages.Unknown {
		r.refuse("produce", kind, p.Token)
		return false
	}
	base := r.end
	for _, b := range p.Batches {
		b.Stamp(r.end, r.epoch)
		r.end = b.NextOffset()
	}
	r.epochs = r.epochs.add(r.epoch, base)
	r.out.Append = append(r.out.Append, p.Batches...)
	w := waiter{until: r.end, base: base, deadline: p.Deadline, token: p.Token}
	if p.Acks == messages.AcksAll {
		r.lead.waiting.add(w)
	} else {
		r.answer(w, nil)
	}
	return true
}

// Refusal is the kind of error with which records are refused now; Unknown: none.
func (r *Replica) Refusal(acks messages.Acks) messages.Kind {
	switch {
	case r.role == Broken:
		return cmp.Or(messages.KindOf(r.broken), messages.StorageError)
	case r.role != Leader || r.isolated && r.replaceable(): // Status.Isolated
		return messages.NotLeader
	case acks == messages.AcksAll && len(r.assignment.ISR) < r.minISR():
		return messages.NotEnoughReplicas
	}
	return messages.Unknown
}

// replaceable reports whether another replica could be elected in this one's place.
func (r *Replica) replaceable() bool {
	for _, f := range r.lead.followers {
		if f.isr || f.proposed {
			return true
		}
	}
	return false
}

// minISR is min.insync.replicas, but no more than there are replicas (KIP-966).
func (r *Replica) minISR() int {
	return max(1, min(r.settings.MinInSync, len(r.assignment.Replicas)))
}

// Await answers token like a Proposal with acks=all whose records, from base to
// last, were appended before: a producer has repeated itself.
func (r *Replica) Await(base, last messages.Offset, deadline int64, token any) {
	w := waiter{until: last + 1, base: base, deadline: deadline, token: token}
	switch kind := r.Refusal(messages.AcksAll); {
	case r.role == Leader && last < r.hw:
		r.answer(w, nil)
	case kind != messages.Unknown:
		r.refuse("produce", kind, token)
	default:
		r.lead.waiting.add(w)
	}
}

// DeleteBefore deletes the records before the offset, which must not be above
// the high watermark (NoOffset: all that is committed). It is answered when
// every in-sync replica has done so; Answer.Base is then the low watermark.
func (r *Replica) DeleteBefore(before messages.Offset, token any) {
	const op = "delete records"
	if kind := r.Refusal(messages.AcksLeader); kind != messages.Unknown {
		r.refuse(op, kind, token)
		return
	}
	if before == messages.NoOffset {
		before = r.hw
	}
	if before < 0 || before > r.hw {
		err := messages.E(op, messages.OffsetOutOfRange, r.tp.String(), errors.New("offset "+strconv.FormatInt(before, 10)+" is not committed"))
		r.out.Answers = append(r.out.Answers, Answer{Token: token, Base: messages.NoOffset, LogStart: r.start, Err: err})
		return
	}
	if r.raiseStart(before) {
		r.out.Start = before
	}
	for _, f := range r.lead.followers {
		if f.counts() && f.start < before && f.streaming {
			f.ask = true
		}
	}
	r.lead.deletes.add(waiter{until: before, base: messages.NoOffset, token: token})
	r.answerDeletes()
}

// answerDeletes answers those whose records all in-sync replicas have deleted.
func (r *Replica) answerDeletes() {
	if r.lead.deletes.len() == 0 {
		return
	}
	low := r.start
	for _, f := range r.lead.followers {
		if f.counts() {
			low = min(low, f.start)
		}
	}
	for w := range r.lead.deletes.reached(low) {
		w.base = low
		r.answer(w, nil)
	}
}

// Confirm is answered when it is sure that this replica led when it was called: each
// member of the in-sync set has said since that it knows of no newer epoch. A leader
// that has been frozen may have been replaced without knowing it; what it appends then
// is never committed, but what it only shows may be old (Ongaro and Ousterhout, "In
// Search of an Understandable Consensus Algorithm", section 8, on reads).
func (r *Replica) Confirm(deadline int64, token any) {
	if kind := r.Refusal(messages.AcksLeader); kind != messages.Unknown {
		r.refuse("confirm", kind, token)
		return
	}
	r.lead.round++
	r.lead.confirms.add(waiter{until: messages.Offset(r.lead.round), base: messages.NoOffset, deadline: deadline, token: token})
	r.answerConfirms()
}

// answerConfirms answers those whose round all members have answered, and asks those that
// have not answered the newest.
func (r *Replica) answerConfirms() {
	if r.lead.confirms.len() == 0 {
		return
	}
	heard := r.lead.round
	for _, f := range r.lead.followers {
		if f.counts() {
			heard = min(heard, f.heard)
			f.ask = f.ask || f.heard < r.lead.round && f.probe == 0
		}
	}
	for w := range r.lead.confirms.reached(messages.Offset(heard)) {
		r.answer(w, nil)
	}
}

func (r *Replica) answer(w waiter, err error) {
	r.out.Answers = append(r.out.Answers, Answer{Token: w.token, Base: w.base, LogStart: r.start, Err: err})
}

func (r *Replica) refuse(op string, kind messages.Kind, token any) {
	err := messages.E(op, kind, r.tp.String(), r.broken)
	r.out.Answers = append(r.out.Answers, Answer{Token: token, Base: messages.NoOffset, LogStart: r.start, Err: err})
}

// advance raises the high watermark if enough are in sync, and notices that it counts
// all that was committed before: a follower may have heard that much.
func (r *Replica) advance() {
	if r.role != Leader {
		return
	}
	if len(r.assignment.ISR) >= r.minISR() {
		r.raise()
	}
	if !r.lead.settled && r.hw >= r.lead.epochStart {
		r.lead.settled = true
		r.out.Publish = true
		r.event(Settled{Epoch: r.epoch, HW: r.hw})
	}
}

// raise raises the high watermark to what every member of the largest possible in-sync
// set holds, and answers those who waited for it.
func (r *Replica) raise() {
	hw := r.durable
	if r.settings.WriteCaching {
		hw = r.end
	}
	for _, f := range r.lead.followers {
		if f.counts() {
			hw = min(hw, f.match(r.settings.WriteCaching))
		}
	}
	if hw > r.hw {
		r.hw = hw
		r.out.Publish = true
		for w := range r.lead.waiting.reached(hw) {
			r.answer(w, nil)
		}
	}
}

// failBelowMin gives up, for everybody who waits for acks=all, when the in-sync
// set has become too small: they can know at once rather than by their timeout
// that nothing will be committed for now. What they sent stays in the log.
func (r *Replica) failBelowMin() {
	if len(r.assignment.ISR) >= r.minISR() || r.lead.waiting.len() == 0 {
		return
	}
	err := messages.E("produce", messages.NotEnoughReplicasAfterAppend, r.tp.String(), nil)
	for w := range r.lead.waiting.drain() {
		r.answer(w, err)
	}
}

// follower is what is known of a follower while this replica leads, or nil.
func (r *Replica) follower(id messages.BrokerID) *progress {
	if r.role != Leader {
		return nil
	}
	for _, f := range r.lead.followers {
		if f.id == id {
			return f
		}
	}
	return nil
}

// receiveReply takes what a follower says in this epoch.
func (r *Replica) receiveReply(from messages.BrokerID, m *Message) {
	f := r.follower(from)
	if f == nil || !f.meet(m.BrokerEpoch, r.end) {
		return
	}
	fresh := m.Probe != 0 && m.Probe == f.probe
	f.failed = f.failed && !fresh
	if fresh {
		f.heard = f.asking
	}
	switch m.Type {
	case TypeAck:
		r.receiveAck(f, m, fresh)
	case TypeReject:
		switch {
		case fresh:
			r.regress(f, m.AgreeEnd)
			r.goBack(f, m)
		case f.streaming && m.Probe == 0: // what was sent before this was lost
			f.question(f.known(r.end))
		}
	case TypeHello:
		r.goBack(f, m)
	case TypeFailed: // it is asked from now on until there is a log again that answers
		f.failed = true
		if !f.down {
			f.question(f.known(r.end))
		}
	}
	if (f.lost || f.failed) && f.isr || r.joins(f) {
		r.reviewISR()
	}
	r.advance()
	r.answerDeletes()
	r.answerConfirms()
}

// receiveAck takes note of how far a follower has come.
func (r *Replica) receiveAck(f *progress, m *Message, fresh bool) {
	if m.End > r.end || m.Durable > m.End {
		r.event(Ignored{From: f.id, What: m.String(), Why: "log end is " + strconv.FormatInt(r.end, 10)})
		return
	}
	if !fresh && !f.streaming && f.appended == messages.NoOffset {
		return // not said by the replica that is there now, perhaps
	}
	if fresh {
		has := max(m.End, min(m.LogStart, r.end)) // what it has deleted, nobody misses
		r.regress(f, has)
		f.probe = 0
		if !f.streaming && !f.down {
			f.stream(has)
		}
	}
	if m.End > f.appended || m.Durable > f.durable || fresh {
		f.owing, f.patience = 0, firstPatience
	}
	f.appended, f.durable = max(f.appended, m.End), max(f.durable, m.Durable)
	f.start = max(f.start, m.LogStart)
	match := f.match(r.settings.WriteCaching)
	f.flight.landed(match)
	f.lost = f.lost && match < r.hw
}

// regress takes note that a follower's log agrees no further than end, said in
// answer to a question. That it has less than before the question happens when
// its replica was opened again, and should concern only what was not durable.
func (r *Replica) regress(f *progress, end messages.Offset) {
	if end < f.floorAppended {
		f.appended = end
	}
	if end < f.floorDurable {
		if f.durable > r.start { // or what is missing has been deleted
			r.event(Regressed{Follower: f.id, Acked: f.durable, End: end, HW: r.hw})
		}
		f.durable = end
	}
	if f.isr && end < r.hw {
		f.lost = true
	}
}

// goBack asks a follower again, at the place where its log may agree, or begins
// to send where nothing is left to be asked about. Who says hello is always asked:
// only the answer to a question can prove that a member has lost what is committed,
// and that another has not yet to hear that its replica was moved away.
func (r *Replica) goBack(f *progress, m *Message) {
	epoch, end := r.epochs.upTo(m.AgreeEpoch, r.start, r.end)
	next := min(m.AgreeEnd, end)
	if epoch == messages.NoEpoch || next < r.start || m.Type == TypeReject && next >= m.Base {
		next = r.start
	}
	switch {
	case f.down:
	case m.Type == TypeHello && !f.streaming && f.probe != 0 && next == f.next:
		f.ask = true // whether or not it has been heard
	case next == r.start && r.start < r.end && m.Type == TypeReject:
		f.stream(r.start)
	default:
		f.question(next)
	}
}

// tickLeader repeats what was not answered and gives up what takes too long.
func (r *Replica) tickLeader() {
	r.expire("produce", &r.lead.waiting)
	r.expire("confirm", &r.lead.confirms)
	for _, f := range r.lead.followers {
		r.tickFollower(f)
	}
	r.tickISR()
	r.reviewISR()
	r.advance()
	r.answerDeletes() // who was about to join may not be any more
	r.answerConfirms()
}

// expire gives up those who have waited for too long.
func (r *Replica) expire(op string, q *waiters) {
	if q.len() == 0 {
		return
	}
	timeout := messages.E(op, messages.RequestTimedOut, r.tp.String(), nil)
	for w := range q.expired(r.now) {
		r.answer(w, timeout)
	}
}

// tickFollower asks a follower that owes an answer, and tells it the news.
func (r *Replica) tickFollower(f *progress) {
	f.readLater = false
	r.watchLag(f)
	if f.down {
		return
	}
	if !r.owes(f) {
		f.owing = 0
	} else if f.owing.due(r.now, f.patience) {
		f.ask = true
		f.patience = min(2*f.patience, lastPatience)
	}
	if f.streaming && (f.hwSent < r.hw || f.startSent < r.start) {
		f.tell = true
	}
}

// owes reports whether a follower that works will say something.
func (r *Replica) owes(f *progress) bool {
	return !f.streaming || f.probe != 0 || f.match(r.settings.WriteCaching) < f.next ||
		r.lead.deletes.len() > 0 && f.counts() && f.start < r.start ||
		r.lead.confirms.len() > 0 && f.counts() && f.heard < r.lead.round
}

// idleLeader reports that nobody is waiting for anything.
func (r *Replica) idleLeader() bool {
	l := &r.lead
	if l.pending != nil || l.waiting.len()+l.deletes.len()+l.confirms.len() > 0 {
		return false
	}
	for _, f := range l.followers {
		quiet := f.streaming && f.next == r.end && !r.owes(f) && f.hwSent == r.hw && f.startSent == r.start && !f.lagging && !f.joining
		if f.down {
			quiet = !f.isr
		}
		if !quiet {
			return false
		}
	}
	return true
}
