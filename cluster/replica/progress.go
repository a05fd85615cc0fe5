package replica

import (
	"math"
	"slices"

	"understudy/messages"
	"understudy/messages/batch"
)

const (
	// maxMessage is the size at which batches for a follower are split over
	// several messages. Big enough that headers and system calls vanish, small
	// enough that a heartbeat behind it is not late.
	maxMessage = 1 << 20

	// A follower that owes an answer is asked after firstPatience ms, and then
	// again at growing intervals up to lastPatience.
	firstPatience = 200
	lastPatience  = 3200
)

// timer is the time of Tick since which something has been due; 0: not started.
// It starts at the first Tick that looks at it, because between ticks the time
// is not known: ticks are left out while a replica is idle.
type timer int64

// due starts the timer, or reports that it has run for at least d ms and starts
// it again.
func (t *timer) due(now, d int64) bool {
	if *t == 0 {
		*t = timer(max(now, 1))
		return false
	}
	if now-int64(*t) < d {
		return false
	}
	*t = timer(now)
	return true
}

// progress is what a leader knows of one follower.
//
//	            agreed: the answer to a question says how far
//	┌─────────┐ ──────────────────────────────────────────> ┌───────────┐
//	│ probing │                                             │ streaming │
//	└─────────┘ <────────────────────────────────────────── └───────────┘
//	   │  ^ Reject:       Reject: something was lost; Hello; PeerUp;
//	   └──┘ further back  a new start of its broker
//
// Probing, one question is on its way and no records. Streaming, records go out
// as they come, without waiting, up to the window; what is too old to be still
// in memory is read from the log.
//
//	0 ....... durable ..... appended ..... next ..... log end
//	  on its disk   in its log    on its way     to be sent
type progress struct {
	id     messages.BrokerID
	broker messages.BrokerEpoch // newest start heard of; -1: none yet

	isr      bool // is in the committed in-sync set
	proposed bool // is in the proposed one
	joining  bool // is so close that the high watermark waits for it to join
	lagging  bool // was behind for too long
	lost     bool // holds less than is committed
	failed   bool // its log has failed, and it has answered no question since
	down     bool // its node is down: nothing is sent

	streaming         bool
	next              messages.Offset // first offset not yet sent; probing: the offset asked about
	appended, durable messages.Offset // agrees with this log so far; NoOffset: not known
	start             messages.Offset // its log start; NoOffset: not known
	flight            flight
	loading           uint32 // the Read that is outstanding; 0: none
	readLater         bool   // the last one brought nothing: not before the next Tick

	probe    uint32 // the question that is outstanding; 0: none
	asking   int64  // the newest round of questions that it belongs to: see Confirm
	heard    int64  // and that of the last that was answered
	ask      bool   // a question is to be sent
	tell     bool   // the high watermark or the log start is to be sent
	owing    timer  // since when an answer has been owed
	patience int64  // ms

	floorAppended, floorDurable messages.Offset // appended and durable when the question was first sent
	hwSent, startSent           messages.Offset // news that it was sent

	mark     messages.Offset // the log end at markTime: lagging is not having reached it for too long
	markTime timer
	goal     messages.Offset // left for lagging, and does not join again below this; NoOffset: did not
}

// newProgress is what is known of a follower at the start of a leadership.
func newProgress(id messages.BrokerID, end messages.Offset) *progress {
	f := &progress{id: id, broker: -1, goal: messages.NoOffset}
	f.forget(end)
	return f
}

// forget drops what was known of the follower's log.
func (f *progress) forget(end messages.Offset) {
	f.appended, f.durable, f.start = messages.NoOffset, messages.NoOffset, messages.NoOffset
	f.joining, f.lost, f.failed = false, false, false
	f.question(end)
}

// meet takes note of the follower's broker epoch and reports whether it is the
// current one. What an older start acknowledged may be gone.
func (f *progress) meet(epoch messages.BrokerEpoch, end messages.Offset) bool {
	if epoch > f.broker {
		if f.broker >= 0 {
			f.forget(end)
		}
		f.broker = epoch
	}
	return epoch == f.broker
}

// hangUp forgets what is on its way.
func (f *progress) hangUp() {
	f.flight.clear()
	f.streaming, f.ask, f.tell = false, false, false
	f.probe, f.loading, f.readLater = 0, 0, false
	f.hwSent, f.startSent = messages.NoOffset, messages.NoOffset
	f.owing, f.patience = 0, firstPatience
}

// question begins to find out whether the logs agree up to the offset.
func (f *progress) question(next messages.Offset) {
	f.hangUp()
	f.next, f.ask = next, true
}

// stream begins to send from the offset on.
func (f *progress) stream(next messages.Offset) {
	f.hangUp()
	f.next, f.streaming = next, true
}

// known is the offset up to which the logs are known to agree, or else end.
func (f *progress) known(end messages.Offset) messages.Offset {
	if f.appended == messages.NoOffset {
		return end
	}
	return f.appended
}

// counts reports whether the high watermark must not pass the follower.
func (f *progress) counts() bool { return f.isr || f.proposed || f.joining }

// match is what the follower holds, by the measure of the topic.
func (f *progress) match(writeCaching bool) messages.Offset {
	if writeCaching {
		return f.appended
	}
	return f.durable
}

// inflight is a message that was sent and not yet acknowledged.
type inflight struct {
	end  messages.Offset
	size int64
}

// flight is what is on its way to a follower, oldest first. It reuses its memory.
type flight struct {
	sent  []inflight
	head  int
	bytes int64
}

func (q *flight) add(end messages.Offset, size int64) {
	if q.head > 0 && len(q.sent) == cap(q.sent) {
		q.sent, q.head = q.sent[:copy(q.sent, q.sent[q.head:])], 0
	}
	q.sent = append(q.sent, inflight{end, size})
	q.bytes += size
}

// landed removes what ends at or below the offset.
func (q *flight) landed(offset messages.Offset) {
	for q.head < len(q.sent) && q.sent[q.head].end <= offset {
		q.bytes -= q.sent[q.head].size
		q.head++
	}
	if q.head == len(q.sent) {
		q.sent, q.head = q.sent[:0], 0
	}
}

func (q *flight) clear() { q.sent, q.head, q.bytes = q.sent[:0], 0, 0 }

// pump adds to the effects what the follower should be sent now.
func (r *Replica) pump(f *progress) {
	f.next = max(f.next, r.start)
	switch {
	case f.down:
		return
	case !f.streaming:
		if f.ask {
			r.sendAppend(f, nil)
		}
		return
	}
	sent := false
	if memory := r.inMemory(); f.next < memory {
		r.read(f)
	} else if f.next < r.end {
		i := slices.IndexFunc(r.out.Append, func(b batch.Batch) bool { return b.NextOffset() > f.next })
		sent = r.stream(f, r.out.Append[i:])
	}
	if !sent && (f.ask || f.tell) {
		r.sendAppend(f, nil)
	}
}

// inMemory is the offset from which on all batches are in the pending Append.
func (r *Replica) inMemory() messages.Offset {
	if len(r.out.Append) == 0 {
		return r.end
	}
	return r.out.Append[0].BaseOffset()
}

// read asks for older batches once half of the window is free.
func (r *Replica) read(f *progress) {
	room := r.settings.Window - f.flight.bytes
	if f.loading != 0 || f.readLater || room < (r.settings.Window+1)/2 {
		return
	}
	f.loading = r.number()
	r.out.Reads = append(r.out.Reads, Read{Follower: f.id, From: f.next, MaxBytes: room, Epoch: r.epoch, id: f.loading})
}

// Loaded answers a Read with batches of the log, the first of which contains
// q.From; no batches: they could not be read now, ask again later.
func (r *Replica) Loaded(q Read, batches []batch.Batch) {
	f := r.follower(q.Follower)
	if f == nil || q.Epoch != r.epoch || f.loading != q.id {
		return
	}
	f.loading = 0
	f.next = max(f.next, r.start)
	for len(batches) > 0 && batches[0].NextOffset() <= f.next {
		batches = batches[1:]
	}
	if len(batches) == 0 {
		f.readLater = true
		return
	}
	r.stream(f, batches)
}

// stream sends batches as far as the window goes, and reports whether it sent any.
func (r *Replica) stream(f *progress, batches []batch.Batch) bool {
	sent := false
	for len(batches) > 0 && f.flight.bytes < r.settings.Window {
		n, size := 1, len(batches[0])
		for n < len(batches) && size+len(batches[n]) <= maxMessage {
			size += len(batches[n])
			n++
		}
		r.sendAppend(f, batches[:n:n])
		f.next = batches[n-1].NextOffset()
		f.flight.add(f.next, int64(size))
		batches, sent = batches[n:], true
	}
	return sent
}

// sendAppend sends batches, or none, and with them all the news there is.
func (r *Replica) sendAppend(f *progress, batches []batch.Batch) {
	m := Message{
		Type:          TypeAppend,
		Epoch:         r.epoch,
		LogStart:      r.start,
		EpochStart:    r.lead.epochStart,
		HighWatermark: r.hw,
		Base:          f.next,
		PrevEpoch:     messages.NoEpoch,
		Batches:       batches,
	}
	if len(batches) > 0 {
		m.Base = min(m.Base, batches[0].BaseOffset()) // the log start may lie within a batch
	}
	if m.Base > 0 {
		m.PrevEpoch = r.epochs.at(m.Base - 1)
	}
	if f.ask {
		if f.probe == 0 {
			f.probe, f.asking = r.number(), r.lead.round
			f.floorAppended, f.floorDurable = f.appended, f.durable
		}
		m.Probe = f.probe // asked again, any answer will do
		if !f.isr {
			m.Revision = r.assignment.Revision
		}
	}
	f.ask, f.tell = false, false
	f.hwSent, f.startSent = r.hw, r.start
	r.send(f.id, m)
}

// number is a new number for a question or a read.
func (r *Replica) number() uint32 {
	r.probes = r.probes%math.MaxUint32 + 1 // never 0
	return r.probes
}
