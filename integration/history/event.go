package history

import (
	"fmt"
	"hash/fnv"
)

// Type says what an event is.
type Type uint8

// The types; the package comment says what each stands for.
const (
	Process Type = iota + 1
	Partition
	Send
	OK
	Fail
	Poll
	Place
	Start
	End
	Ending
	Ended
	Commit
	Committed
	Fetching
	Fetched
	Note
	types
)

// Flags of a process.
const (
	// Repeats: it sends again without idempotence, so that one value may stand at
	// several offsets, in any order.
	Repeats uint64 = 1 << iota
)

// Flags of a poll.
const (
	// ReadCommitted: the consumer is to see only what belongs to no transaction, or
	// to one that has committed.
	ReadCommitted uint64 = 1 << iota
)

// Event is one thing that happened. Which fields count depends on its type.
type Event struct {
	Type      Type
	Process   uint32
	Partition uint32
	Txn       uint32
	Call      uint32 // records of one call are sent together; of a commit: its number
	Flags     uint64 // of a process, of a poll; Ending, Ended: 1 for yes
	Value     uint64
	Offset    int64
	Number    int32  // of a partition
	Name      string // of a process, a topic; a note's text
	Records   []Record
}

// Record is one record as a consumer got it.
type Record struct {
	Offset int64
	Value  uint64
}

// Value is the number for a value that is a text: 64 bits of its hash, never 0.
func Value(text string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(text))
	return max(h.Sum64(), 1)
}

// String is the event in words.
func (e Event) String() string {
	switch e.Type {
	case Process:
		return fmt.Sprintf("process %d is %s, flags %d", e.Process, e.Name, e.Flags)
	case Partition:
		return fmt.Sprintf("partition %d is %s-%d", e.Partition, e.Name, e.Number)
	case Send:
		return fmt.Sprintf("send process %d partition %d txn %d call %d value %x", e.Process, e.Partition, e.Txn, e.Call, e.Value)
	case OK:
		return fmt.Sprintf("ok value %x offset %d", e.Value, e.Offset)
	case Fail:
		return fmt.Sprintf("fail value %x", e.Value)
	case Poll:
		return fmt.Sprintf("poll process %d partition %d txn %d flags %d: %x", e.Process, e.Partition, e.Txn, e.Flags, e.Records)
	case Place:
		return fmt.Sprintf("place process %d partition %d", e.Process, e.Partition)
	case Start:
		return fmt.Sprintf("start partition %d offset %d", e.Partition, e.Offset)
	case End:
		return fmt.Sprintf("end partition %d offset %d", e.Partition, e.Offset)
	case Ending:
		return fmt.Sprintf("ending txn %d, commit %d", e.Txn, e.Flags)
	case Ended:
		return fmt.Sprintf("ended txn %d, done %d", e.Txn, e.Flags)
	case Commit:
		return fmt.Sprintf("commit process %d partition %d offset %d call %d", e.Process, e.Partition, e.Offset, e.Call)
	case Committed:
		return fmt.Sprintf("committed call %d", e.Call)
	case Fetching:
		return fmt.Sprintf("fetching process %d partition %d call %d", e.Process, e.Partition, e.Call)
	case Fetched:
		return fmt.Sprintf("fetched call %d offset %d", e.Call, e.Offset)
	case Note:
		return "note " + e.Name
	}
	return fmt.Sprintf("event of type %d", e.Type)
}
