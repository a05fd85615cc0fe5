package history

import "sync"

// Sink takes events: a Writer, or a Checker.
type Sink interface{ Add(Event) }

// Recorder writes down what many goroutines do, and gives names their numbers. Its
// methods may be called by all of them at once.
type Recorder struct {
	mu         sync.Mutex
	sink       Sink
	processes  map[string]uint32
	partitions map[partitionName]uint32
	calls      uint32
	txns       uint32
}

type partitionName struct {
	topic  string
	number int32
}

// NewRecorder makes a recorder for a sink that nobody else adds to.
func NewRecorder(sink Sink) *Recorder {
	return &Recorder{sink: sink, processes: map[string]uint32{}, partitions: map[partitionName]uint32{}}
}

// Tee hands events to several sinks.
type Tee []Sink

// Add implements Sink.
func (t Tee) Add(e Event) {
	for _, s := range t {
		s.Add(e)
	}
}

// Process is the number of who acts under a name. Its flags are those of the first time.
func (r *Recorder) Process(name string, flags uint64) uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	id, known := r.processes[name]
	if !known {
		id = uint32(len(r.processes) + 1)
		r.processes[name] = id
		r.sink.Add(Event{Type: Process, Process: id, Name: name, Flags: flags})
	}
	return id
}

// Partition is the number of a partition.
func (r *Recorder) Partition(topic string, number int32) uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := partitionName{topic, number}
	id, known := r.partitions[name]
	if !known {
		id = uint32(len(r.partitions) + 1)
		r.partitions[name] = id
		r.sink.Add(Event{Type: Partition, Partition: id, Name: topic, Number: number})
	}
	return id
}

// Call gives a number to a call, of records that are sent together or a commit.
func (r *Recorder) Call() uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	return r.calls
}

// Txn gives a number to a transaction.
func (r *Recorder) Txn() uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.txns++
	return r.txns
}

// Add writes an event down.
func (r *Recorder) Add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sink.Add(e)
}
