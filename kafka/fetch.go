package kafka

import (
	"sync"
	"unsafe"

	"understudy/cluster/metadata"
	"understudy/kafka/server"
	"understudy/messages"
)

// Fetch (key 1).
//
//	0-1  formats before v2 only: answered with UNSUPPORTED_VERSION for each partition
//	2    served with v2 batches, which clients that are still in use understand
//	3    a bound for the whole answer; the first batch is whole whatever its size (KIP-74)
//	4    isolation level, last stable offset
//	5    log start offset
//	7    incremental sessions (KIP-227)
//	9    the leader epoch that the client knows is checked (KIP-320)
//	10   zstd
//	11   the client's rack, a preferred replica (KIP-392): none is ever named
//	12   flexible; diverging epoch, current leader
//	13   topic ids in place of names (KIP-516)
//	15   the replica id moves to a tagged field
//	16   addresses of new leaders (KIP-951)
//	17   directory ids of followers
//
// Replicas of this broker do not fetch: they are pushed to. A client that says
// it is a replica is refused.
func fetchAPI() api {
	return api{key: 1, name: "Fetch", min: 4, max: 17, accepts: 0, flexible: 12, direct: (*Broker).fetch}
}

// fetching is a Fetch from its decoding until its answer is written. It is
// pooled with its slices.
//
//	decoded ──▶ evaluated ──enough, or an error, or no time──▶ answered
//	               │  ▲
//	               ▼  │ a partition was published
//	             waiting ──time is up, client gone──▶ evaluated once more, answered
type fetching struct {
	broker  *Broker
	r       *server.Request
	version int16
	flex    bool

	replica      messages.BrokerID // -1: a consumer
	maxWait      int32             // ms
	minBytes     int
	maxBytes     int
	sessionID    int32
	sessionEpoch int32
	parts        []fetchPart
	forgotten    []partKey

	session *session // nil: the answer holds all partitions that were asked for
	create  bool     // session is new: this answer holds all of its partitions
	err     error    // of the whole request
	bytes   int      // of records
	waiting int      // of these, and of those that were left out of full partitions
	failed  bool     // a partition has an error
	charged int64    // bytes of the budget for many partitions
}

// partKey names a partition as the client does: by the topic's name up to version
// 12, by its id from then on.
type partKey struct {
	name  string
	id    messages.TopicID
	index int32
}

// position is where a client wants to read a partition.
type position struct {
	offset      messages.Offset
	maxBytes    int32
	leaderEpoch messages.LeaderEpoch // that the client knows; -1: not to be checked
	lastEpoch   messages.LeaderEpoch // of the last record that the client has; -1: not to be checked
}

// fetchPart is one partition of a fetch, and what it is answered.
type fetchPart struct {
	partKey
	position
	topic  string // the name; the image's own if the topic is known
	target Partition

	err       error
	highWater messages.Offset
	logStart  messages.Offset
	diverged  bool // the client's last record is not in the log; it agrees up to:
	epochEnd  epochEnd
	slice     Slice // nil: no records
	omit      bool  // nothing has changed for the session
}

type epochEnd struct {
	epoch messages.LeaderEpoch
	end   messages.Offset
}

var fetchings = sync.Pool{New: func() any { return new(fetching) }}

// fetch answers at once if there is enough to answer with, else leaves the
// request waiting.
func (b *Broker) fetch(c call) {
	f := fetchings.Get().(*fetching)
	f.broker, f.r, f.version, f.flex = b, c.r, c.version, c.flexible
	if !f.decode(c.body) {
		f.Release()
		b.refuse(c.r, "malformed Fetch")
		return
	}
	f.once()
	f.begin()
	if cap(f.forgotten) > maxPooledParts { // a fetch that waits needs them no more
		f.forgotten = nil
	}
	f.charge()
	f.evaluate()
	if f.enough() || !f.wait() {
		f.finish()
	}
}

// manyParts is from how many partitions on a fetch is charged for them, since a
// waiting fetch holds more memory than the request that made it took, and from how
// many on it is looked whether some were named more than once.
const manyParts = 64

// once has each partition be fetched once, from where it was named last, as in Kafka.
func (f *fetching) once() {
	if len(f.parts) < manyParts {
		return
	}
	at := make(map[partKey]int, len(f.parts))
	kept := f.parts[:0]
	for _, p := range f.parts {
		if i, again := at[p.partKey]; again {
			kept[i] = p
			continue
		}
		at[p.partKey] = len(kept)
		kept = append(kept, p)
	}
	clear(f.parts[len(kept):])
	f.parts = kept
}

func (f *fetching) charge() {
	if len(f.parts) < manyParts {
		return
	}
	f.charged = int64(len(f.parts)) * int64(unsafe.Sizeof(fetchPart{}))
	f.broker.deps.Pool.Budget().Force(f.charged)
}

// enough reports whether the answer need not wait for more.
func (f *fetching) enough() bool {
	return f.waiting >= min(f.minBytes, f.room()) || f.failed || f.maxWait <= 0 || len(f.parts) == 0 || f.err != nil
}

// room is how many bytes of records the answer may have.
func (f *fetching) room() int { return min(f.maxBytes, f.broker.deps.Limits.FetchBytes) }

// finish makes the answer final and sends it on its way; if it says that a partition
// is led elsewhere, when that will not change at once.
func (f *fetching) finish() {
	if !f.failed {
		f.send()
		return
	}
	if !f.deposed(f.broker.deps.Image()) {
		f.evaluate() // the news may have come since the first look
		f.send()
		return
	}
	go func() {
		f.broker.awaitImage(f.broker.ctx, f.deposed)
		f.evaluate()
		f.send()
	}()
}

func (f *fetching) send() {
	if f.session != nil {
		f.session.commit(f)
	}
	f.r.Reply(f, f.flex)
}

// deposed reports whether a partition is read in vain since its leader has changed or
// is about to, and not all here know of it; see passing.
func (f *fetching) deposed(image *metadata.Image) bool {
	for i := range f.parts {
		p := &f.parts[i]
		if f.broker.passing(image, p.err, p.topic, p.index, p.leaderEpoch) {
			return true
		}
	}
	return false
}

// dropSlices lets go of the records that were found.
func (f *fetching) dropSlices() {
	for i := range f.parts {
		if p := &f.parts[i]; p.slice != nil {
			p.slice.Release()
			p.slice = nil
		}
	}
}

// Release implements server.Reply.
func (f *fetching) Release() {
	f.dropSlices()
	if f.charged > 0 {
		f.broker.deps.Pool.Budget().Release(f.charged)
	}
	if cap(f.parts) > maxPooledParts {
		return
	}
	clear(f.parts)
	clear(f.forgotten)
	*f = fetching{parts: f.parts[:0], forgotten: f.forgotten[:0]}
	fetchings.Put(f)
}
