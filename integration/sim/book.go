package sim

import (
	"fmt"
	"maps"
	"slices"
	"sort"

	"understudy/messages"
	"understudy/messages/batch"
)

// book is what is known of one partition.
type book struct {
	tp        messages.TopicPartition
	lossy     bool     // what was committed may be lost: it is not checked
	brokers   bool     // brokers write it: what was sent is not known
	trims     bool     // records may be deleted from the start
	committed []record // what any replica ever had below its high watermark, by offset
	start     messages.Offset
	leaders   map[messages.LeaderEpoch]*process
	where     map[int64]int // by number of the batch: how often it is committed
	last      map[int]int64 // by producer: the order of its last batch
	acked     map[int64]record
	early     []record                  // what consumers read before any replica could show it
	began     map[*disk]messages.Offset // where a log that was emptied, or never had anything, begins
	forgotten map[int]bool              // by producer: a leader began behind all that it had written
	past      *past                     // nil: its logs are not compacted
}

// record is a batch that was committed.
type record struct {
	number     int64
	base, next messages.Offset
	epoch      messages.LeaderEpoch
}

// numberOf is what tells a batch from others: its producer's number, if there is one.
func (b *book) numberOf(one batch.Batch) int64 {
	if b.brokers {
		return int64(one.CRC())
	}
	return numberOf(one)
}

// at finds what is committed at an offset.
func (b *book) at(offset messages.Offset) (record, bool) {
	i := sort.Search(len(b.committed), func(i int) bool { return b.committed[i].next > offset })
	if i == len(b.committed) || b.committed[i].base > offset {
		return record{}, false
	}
	return b.committed[i], true
}

// deleted reports whether a batch was committed, and is not there any more: a replica
// that begins after it cannot know it.
func (b *book) deleted(number int64) bool {
	return b.where[number] > 0 && slices.ContainsFunc(b.committed, func(r record) bool { return r.number == number && r.next <= b.start })
}

// broken says which promise was broken with what clients were told; "": none. All
// that is committed must be known.
func (b *book) broken() (name, text string) {
	for _, number := range slices.Sorted(maps.Keys(b.acked)) {
		rec := b.acked[number]
		if rec.epoch == messages.NoEpoch && rec.next <= b.start {
			continue // deleted before the model could read it
		}
		if now, found := b.at(rec.base); !found || !now.is(rec) {
			return "lost-write", fmt.Sprintf("%v: %v was acknowledged, and %v is there", b.tp, rec, now)
		}
	}
	for _, rec := range b.early {
		if now, found := b.at(rec.base); found && !now.is(rec) || !found && rec.base >= b.start {
			return "read-uncommitted", fmt.Sprintf("%v: %v was read, and %v is there", b.tp, rec, now)
		}
	}
	return "", ""
}

// is reports whether it is the same batch, in the same place.
func (r record) is(other record) bool {
	return r.number == other.number && r.base == other.base && r.next == other.next
}

// end is up to where anything is known to be committed.
func (b *book) end() messages.Offset {
	if n := len(b.committed); n > 0 {
		return b.committed[n-1].next
	}
	return 0
}

// unknown reports whether the leader of an epoch cannot know a producer: it has begun
// behind all that the producer wrote, since that was deleted. See producer.State.
func (m *model) unknown(b *book, producer int, epoch messages.LeaderEpoch) bool {
	leader := b.leaders[epoch]
	if leader == nil {
		return false
	}
	began, anew := b.began[leader.fs.d]
	return anew && !slices.ContainsFunc(b.committed, func(r record) bool { return r.next > began && m.sent[r.number].producer == producer })
}

// forget has a producer begin anew.
func (m *model) forget(b *book, producer int) {
	m.s.notes.forgotten(producer)
	b.forgotten[producer] = true
	delete(b.last, producer)
	maps.DeleteFunc(b.where, func(number int64, _ int) bool { return m.sent[number].producer == producer })
}
