package partition

import (
	"errors"
	"io/fs"
	"slices"
	"sync"

	"understudy/cluster/metadata"
	"understudy/messages"
	"understudy/persistence/log"
	"understudy/persistence/vfs"
)

// CheckpointFile is the file, under the data directory, that says for every
// log where its recovery may begin.
const CheckpointFile = "recovery-checkpoint"

// Checkpoints is what is known of where each log's recovery may begin: one file
// for the broker, since a file for each of ten thousand partitions would cost
// ten thousand fsyncs. Entries are keyed by topic id and partition, so that a
// topic made anew under its name does not inherit.
type Checkpoints struct {
	fs  vfs.FS
	run messages.BrokerEpoch // this start of the broker

	mu      sync.Mutex
	latest  map[string]log.Checkpoint
	dropped map[string]bool // since the file was last written, which may have them still
}

// LoadCheckpoints reads the file of the last run, for the one that begins now.
// Clean tells whether the last run was stopped in order. A file of an earlier one,
// brought back from a copy say, cannot tell what has been written since: it says
// where recovery may begin, and no more. A file that is missing or cannot be read
// costs a longer recovery; the error says why.
func LoadCheckpoints(files vfs.FS, run messages.BrokerEpoch) (c *Checkpoints, clean bool, err error) {
	c = &Checkpoints{fs: files, run: run, latest: map[string]log.Checkpoint{}, dropped: map[string]bool{}}
	of, read, err := log.ReadCheckpoints(files, CheckpointFile)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return c, false, err
	}
	c.latest, clean = read, of == run-1
	if !clean {
		c.latest = unclean(read)
	}
	for _, cp := range c.latest {
		clean = clean && cp.Clean
	}
	return c, clean, nil
}

// unclean is a copy in which nothing counts as closed in order.
func unclean(checkpoints map[string]log.Checkpoint) map[string]log.Checkpoint {
	list := make(map[string]log.Checkpoint, len(checkpoints))
	for key, cp := range checkpoints {
		cp.Clean = false
		list[key] = cp
	}
	return list
}

func checkpointKey(id messages.TopicID, tp messages.TopicPartition) string {
	return id.String() + "/" + tp.String()
}

// take gives the checkpoint to open a log with. What is clean is so only once:
// from then on the entry that stays is one to recover from. If a replica of the same
// partition has gone from here, the file forgets it before the next begins: or else that
// would be held, after a crash, to lack what the other one had.
func (c *Checkpoints) take(id messages.TopicID, tp messages.TopicPartition) (*log.Checkpoint, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := checkpointKey(id, tp)
	if c.dropped[key] {
		if err := c.note(); err != nil {
			return nil, err
		}
	}
	cp, ok := c.latest[key]
	if !ok {
		return nil, nil
	}
	used := cp
	cp.Clean = false
	c.latest[key] = cp
	return &used, nil
}

// knows reports whether the last run left records of this partition.
func (c *Checkpoints) knows(id messages.TopicID, tp messages.TopicPartition) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latest[checkpointKey(id, tp)].End > 0
}

func (c *Checkpoints) put(id messages.TopicID, tp messages.TopicPartition, cp log.Checkpoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latest[checkpointKey(id, tp)] = cp
}

func (c *Checkpoints) drop(id messages.TopicID, tp messages.TopicPartition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(checkpointKey(id, tp))
}

func (c *Checkpoints) forget(key string) {
	delete(c.latest, key)
	c.dropped[key] = true
}

// Note writes what is known now. The run goes on: a log may be opened and written to
// before the next time, so that none counts as closed in order.
func (c *Checkpoints) Note() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.note()
}

func (c *Checkpoints) note() error { return c.write(unclean(c.latest)) }

func (c *Checkpoints) write(checkpoints map[string]log.Checkpoint) error {
	err := log.WriteCheckpoints(c.fs, CheckpointFile, c.run, checkpoints)
	if err == nil {
		clear(c.dropped)
	}
	return err
}

// BeginRun makes the file say that a run has begun: until it is stopped in
// order, recovery is needed. It must be called before the first write to a log.
func (c *Checkpoints) BeginRun() error { return c.Note() }

// EndRun writes the file when all logs are closed.
func (c *Checkpoints) EndRun() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write(c.latest)
}

// Settle drops what the last run has left of partitions that have no replica here
// any more, and of replicas that are not in sync and of which nothing is there: a
// replica that moves here again begins anew. Of one that is in sync what is gone is
// missed.
func (c *Checkpoints) Settle(im *metadata.Image, self messages.BrokerID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	here := make(map[string]bool, len(c.latest))
	for t := range im.Topics() {
		for n := range t.Partitions {
			p, tp := &t.Partitions[n], messages.TopicPartition{Topic: t.Name, Partition: int32(n)}
			if slices.Contains(p.Replicas, self) && (slices.Contains(p.ISR, self) || c.exists(tp)) {
				here[checkpointKey(t.ID, tp)] = true
			}
		}
	}
	for key := range c.latest {
		if !here[key] {
			c.forget(key)
		}
	}
}

func (c *Checkpoints) exists(tp messages.TopicPartition) bool {
	_, err := c.fs.ReadDir(tp.String())
	return !errors.Is(err, fs.ErrNotExist)
}
