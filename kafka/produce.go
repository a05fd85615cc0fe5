package kafka

import (
	"slices"
	"sync"
	"sync/atomic"

	"understudy/actors/partition"
	"understudy/cluster/metadata"
	"understudy/kafka/server"
	"understudy/kafka/wire"
	"understudy/messages"
	"understudy/messages/batch"
)

// Produce (key 0).
//
//	0-2  message formats before v2, which are refused with UNSUPPORTED_FOR_MESSAGE_FORMAT;
//	     offered all the same, since librdkafka does not compress unless 0 is
//	1    throttle time
//	2    log append time
//	3    transactional id; exactly one v2 batch per partition
//	5    log start offset
//	7    zstd may be used
//	8    error message, errors of single records
//	9    flexible
//	10   the new leader and its address with NOT_LEADER_OR_FOLLOWER (KIP-951)
//	11   the same, with transactions verified (KIP-890)
func produceAPI() api {
	return api{key: 0, name: "Produce", max: 11, flexible: 9, direct: (*Broker).produce}
}

// adminClient is the client id that may write to Kafka's own topics, as in Kafka.
const adminClient = "__admin_client"

// producing is a Produce request from its decoding until its answer is written.
// It is pooled with all its slices: what a batch costs here is its validation.
type producing struct {
	broker  *Broker
	r       *server.Request
	frame   *wire.Buffer // the batches' memory; each append holds it
	image   *metadata.Image
	version int16
	flex    bool
	txn     bool // a transactional id was given
	admin   bool // the client calls itself an administrator's
	early   bool // a replica that does not lead is among the targets
	acks    messages.Acks
	timeout int32 // ms to wait for acks=all
	packed  int64 // bytes of batches that were packed again, charged to the budget

	topics  []producedTopic
	parts   []producedPart
	batches []batch.Batch
	appends []partition.Append
	targets []Partition // of appends

	left atomic.Int32 // appends without a result, and 1 until all are under way
}

type producedTopic struct {
	name  string // shares the request's memory
	parts int    // how many of producing.parts
}

type producedPart struct {
	index   int32
	records []byte
	result  partition.Result
}

var producings = sync.Pool{New: func() any { return new(producing) }}

// produce decodes, validates, and hands every partition's batch to its actor.
// It does not wait for them: the last actor to answer makes the request answered.
// But where this broker is about to lead, it waits for that. Later requests of the
// connection wait with it, so that batches come in the order in which they were sent.
func (b *Broker) produce(c call) {
	p := producings.Get().(*producing)
	p.broker, p.r, p.frame, p.image = b, c.r, c.r.Frame, b.deps.Image()
	p.version, p.flex, p.admin = c.version, c.flexible, c.clientID == adminClient
	if !p.decode(c.body) {
		p.Release()
		b.refuse(c.r, "malformed Produce")
		return
	}
	p.prepare()
	if p.early {
		c.r.MayBlock()
		b.awaitImageFor(b.ctx, newsPatience, p.unexpected)
		b.awaitImage(b.ctx, p.ahead)
	}
	p.left.Store(int32(len(p.appends)) + 1)
	for i := range p.appends {
		p.frame.Retain()
		p.targets[i].Append(&p.appends[i])
	}
	p.ended()
}

// maxProduceParts bounds the partitions of a request, and its topics, by its size:
// whoever sends data has at least a batch header for each.
func maxProduceParts(size int) int { return 1000 + size/batch.HeaderSize }

func (p *producing) decode(body []byte) bool {
	r := wire.NewReader(body, p.flex)
	if p.version >= 3 {
		_, p.txn = r.NullableString()
	}
	p.acks = r.Int16()
	p.timeout = r.Int32()
	for range r.Array(3) {
		t := producedTopic{name: r.String(), parts: max(r.Array(6), 0)}
		if most := maxProduceParts(len(body)); len(p.parts)+t.parts > most || len(p.topics) >= most {
			return false
		}
		for range t.parts {
			p.parts = append(p.parts, producedPart{index: r.Int32(), records: r.Bytes()})
			r.Tags(nil)
		}
		r.Tags(nil)
		p.topics = append(p.topics, t)
	}
	r.Tags(nil)
	return r.Err() == nil && r.Len() == 0
}

// prepare validates all partitions. Those that fail have their result, the
// others an append.
func (p *producing) prepare() {
	if cap(p.batches) < len(p.parts) { // appends point into batches, which therefore must not move
		p.batches = make([]batch.Batch, 0, len(p.parts))
	}
	at := 0
	for _, t := range p.topics {
		target := p.topicTarget(t.name)
		for range t.parts {
			p.preparePart(&target, at)
			at++
		}
	}
}

func (p *producing) preparePart(t *topicTarget, slot int) {
	part := &p.parts[slot]
	part.result = partition.Result{Base: messages.NoOffset, LogAppendTime: messages.NoTimestamp, LogStart: messages.NoOffset}
	where, err := t.partition(p.broker, part.index)
	var b batch.Batch
	if err == nil {
		b, err = p.validate(t, part.records)
	}
	if err != nil {
		part.result.Err = err
		return
	}
	p.early = p.early || where.View().Err != nil
	p.batches = append(p.batches, b)
	n := len(p.batches)
	p.appends = append(p.appends, partition.Append{
		Batches: p.batches[n-1 : n : n], Acks: p.acks, Timeout: int64(max(p.timeout, 1)), Reply: p, Slot: slot,
	})
	p.targets = append(p.targets, where)
}

// Appended implements partition.Replier.
func (p *producing) Appended(slot int, r partition.Result) {
	p.parts[slot].result = r
	p.frame.Release()
	p.ended()
}

// ended is called once for each append that has its result and once when all
// are under way. The last call ends the request; after any other, p may be gone.
func (p *producing) ended() {
	if p.left.Add(-1) > 0 {
		return
	}
	r, flex := p.r, p.flex
	if p.acks != messages.AcksNone {
		if p.deposed(p.broker.deps.Image()) {
			go p.endWhenSettled()
			return
		}
		r.Reply(p, flex)
		return
	}
	failed := false // as there is no answer, only the end of the connection can tell
	for i := range p.parts {
		failed = failed || p.parts[i].result.Err != nil
	}
	p.Release()
	if failed {
		r.Abort()
	} else {
		r.Skip()
	}
}

// unexpected reports whether records are for a replica here that could be elected, and
// not for having led until now: whoever sends them may have been sent by who did, on
// being told first that another leads, as when leaders go back to their preferred
// nodes. See newsPatience.
func (p *producing) unexpected(image *metadata.Image) bool {
	self := p.broker.deps.Self
	return p.anyPart(func(topic string, part *producedPart) bool {
		tp := messages.TopicPartition{Topic: topic, Partition: part.index}
		known, replica := image.Partition(tp), p.broker.deps.Partitions.Lookup(tp)
		if known == nil || replica == nil || known.Leader == messages.NoBroker || known.Leader == self || !slices.Contains(known.ISR, self) {
			return false
		}
		view := replica.View()
		return messages.Code(view.Err) == messages.NotLeader.Code() && view.Led+1 != known.LeaderEpoch
	})
}

// ahead reports whether a replica here does not lead yet to which the client was sent
// by who knew more, or may be about to; see passing.
func (p *producing) ahead(image *metadata.Image) bool {
	return p.anyPart(func(topic string, part *producedPart) bool {
		replica := p.broker.deps.Partitions.Lookup(messages.TopicPartition{Topic: topic, Partition: part.index})
		return replica != nil && p.broker.passing(image, replica.View().Err, topic, part.index, messages.NoEpoch)
	})
}

// deposed reports whether a partition has refused its records since another node
// leads, and the metadata here does not say yet which; see passing.
func (p *producing) deposed(image *metadata.Image) bool {
	return p.anyPart(func(topic string, part *producedPart) bool {
		return p.broker.passing(image, part.result.Err, topic, part.index, messages.NoEpoch)
	})
}

// anyPart reports whether something is so of any partition.
func (p *producing) anyPart(is func(topic string, part *producedPart) bool) bool {
	at := 0
	for _, t := range p.topics {
		for range t.parts {
			if is(t.name, &p.parts[at]) {
				return true
			}
			at++
		}
	}
	return false
}

// endWhenSettled answers when it can be told who leads instead; see passing.
func (p *producing) endWhenSettled() {
	p.broker.awaitImage(p.broker.ctx, p.deposed)
	p.r.Reply(p, p.flex)
}

// maxPooledParts is the largest request whose slices are kept for the next.
const maxPooledParts = 1024

// Release implements server.Reply.
func (p *producing) Release() {
	if p.packed > 0 {
		p.broker.deps.Pool.Budget().Release(p.packed)
		p.packed = 0
	}
	if cap(p.parts) > maxPooledParts {
		return
	}
	clear(p.topics)
	clear(p.parts)
	clear(p.batches)
	clear(p.appends)
	clear(p.targets)
	p.topics, p.parts, p.batches, p.appends, p.targets = p.topics[:0], p.parts[:0], p.batches[:0], p.appends[:0], p.targets[:0]
	p.broker, p.r, p.frame, p.image, p.txn, p.early = nil, nil, nil, nil, false, false
	producings.Put(p)
}
