package partition

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"understudy/messages"
	"understudy/persistence/compact"
	"understudy/persistence/log"
)

// Cleaner compacts the logs of a broker's compacted topics, leaders' and
// followers' alike, one at a time and those first of which most is to be done.
// Its memory is bounded, whatever it compacts.
type Cleaner struct {
	Shared  *Shared
	Backoff func() time.Duration // how long to wait when there was nothing to do (log.cleaner.backoff.ms)
	Memory  func() int64         // bytes for the keys of a log (log.cleaner.dedupe.buffer.size)
	Rate    func() int64         // bytes per second to read and write; 0: any (log.cleaner.io.max.bytes.per.second)

	mu     sync.Mutex // held during a round, so that there is one at a time
	worker compact.Worker
	memory int64 // that the worker's map was made for
	pace   pacer

	runs, failures, read, written, removed atomic.Int64
}

// CleanerStats are what a cleaner has done since it began.
type CleanerStats struct {
	Runs, Failures         int64 // logs that were compacted, and that could not be
	Read, Written, Removed int64 // bytes; removed is by how much the logs became smaller
}

// Stats may be called by anyone.
func (c *Cleaner) Stats() CleanerStats {
	return CleanerStats{c.runs.Load(), c.failures.Load(), c.read.Load(), c.written.Load(), c.removed.Load()}
}

// surveyPatience is how long replicas are waited for that are asked how much there
// is to do: one that is being opened does not say.
const surveyPatience = 10 * time.Second

// Run compacts until the context ends.
func (c *Cleaner) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if c.Round(ctx) > 0 {
			continue
		}
		c.rest()
		wait(ctx, c.Backoff())
	}
}

// rest lets go of memory that is not needed for now.
func (c *Cleaner) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.worker.Map != nil {
		c.worker.Map.Free()
	}
}

// Round compacts every log that is to be compacted, the dirtiest first, and tells
// how many.
func (c *Cleaner) Round(ctx context.Context) (cleaned int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.survey(ctx) {
		switch done, err := c.clean(ctx, h); {
		case err == nil && done:
			cleaned++
		case err != nil && ctx.Err() == nil && !errors.Is(err, compact.ErrStopped):
			c.failed(h, err)
		}
	}
	return cleaned
}

// failed makes known that a log could not be compacted. One that is damaged is
// left alone until it is opened again.
func (c *Cleaner) failed(h *Handle, err error) {
	c.failures.Add(1)
	if messages.KindOf(err) == messages.CorruptMessage {
		h.uncleanable.Store(true)
		h.ReadFailed(err)
		return
	}
	c.Shared.Log.Warn().Err(err).Stringer("partition", h.tp).Msg("could not compact a log; it will be tried again")
}

// survey asks all compacted partitions how much there is to do, and lists those
// whose time has come, the dirtiest first.
func (c *Cleaner) survey(ctx context.Context) []*Handle {
	var asked []surveyed
	for _, h := range c.Shared.Registry.All() {
		if v := h.View(); h.compacts.Load() && !h.uncleanable.Load() && v != nil && v.Log != nil {
			asked = append(asked, surveyed{handle: h, ask: &dirtAsk{reply: make(chan answer[dirt], 1)}})
		}
	}
	slices.SortFunc(asked, byName)
	for _, a := range asked {
		a.handle.mail.PostUserMessage(a.ask)
	}
	ctx, cancel := context.WithTimeout(ctx, surveyPatience)
	defer cancel()
	for i := range asked {
		a := &asked[i]
		if d, err := a.ask.await(ctx, a.handle, "compact"); err == nil {
			a.dirt = d
		}
	}
	asked = slices.DeleteFunc(asked, func(a surveyed) bool { return !a.wanted })
	slices.SortFunc(asked, byDirt)
	var wanted []*Handle
	for _, a := range asked {
		wanted = append(wanted, a.handle)
	}
	return wanted
}

// surveyed is a partition that was asked, and its answer.
type surveyed struct {
	handle *Handle
	ask    *dirtAsk
	dirt
}

func byName(a, b surveyed) int {
	x, y := a.handle.tp, b.handle.tp
	return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
}

// byDirt sorts what has waited too long before the rest, then what is dirtier.
func byDirt(a, b surveyed) int {
	if a.due != b.due {
		if a.due {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(b.ratio, a.ratio), byName(a, b))
}

// clean compacts a log, and reports whether it did.
func (c *Cleaner) clean(ctx context.Context, h *Handle) (done bool, err error) {
	cleaning, err := c.begin(ctx, h)
	if cleaning == nil || err != nil {
		return false, err
	}
	to := cleaning.Job.Dirty
	defer func() {
		if cause := recover(); cause != nil {
			h.uncleanable.Store(true)
			c.worker = compact.Worker{}
			err = messages.E("compact", messages.Unknown, h.tp.String(), fmt.Errorf("panic: %v\n%s", cause, debug.Stack()))
		}
		cleaning.Ended()
		h.mail.PostUserMessage(endClean{cleaning, to})
	}()
	before := size(cleaning.Job)
	c.prepare(ctx, cleaning)
	swapped := int64(0)
	to, stats, err := c.worker.Run(&cleaning.Job, func(r compact.Replacement) error {
		err := c.swap(h, cleaning, r)
		if err == nil {
			swapped += sum(r.Old) - r.New.Size()
		}
		return err
	})
	c.read.Add(stats.Read)
	c.written.Add(stats.Written)
	c.removed.Add(max(swapped, 0))
	if err != nil {
		return false, err
	}
	c.runs.Add(1)
	c.Shared.Log.Debug().Stringer("partition", h.tp).Int64("from", cleaning.Job.Dirty).Int64("to", to).
		Int64("bytes", before).Int64("removed", swapped).Int("keys", stats.Keys).Msg("compacted")
	return true, nil
}

// prepare readies the worker for a job.
func (c *Cleaner) prepare(ctx context.Context, cleaning *log.Cleaning) {
	if memory := c.Memory(); c.worker.Map == nil || memory != c.memory {
		c.worker.Map, c.memory = compact.NewMap(memory), memory
	}
	c.worker.Pace = func(bytes int) error {
		select {
		case <-ctx.Done():
			return errors.Join(compact.ErrStopped, ctx.Err())
		case <-cleaning.Stopped():
			return compact.ErrStopped
		default:
		}
		return c.pace.spend(ctx, cleaning.Stopped(), bytes, c.Rate())
	}
}

func size(j compact.Job) int64 { return sum(j.Segments) }

func sum[S interface{ Size() int64 }](segments []S) (n int64) {
	for _, s := range segments {
		n += s.Size()
	}
	return n
}

// begin has a replica begin a compaction; nil if it sees no need.
func (c *Cleaner) begin(ctx context.Context, h *Handle) (*log.Cleaning, error) {
	a := newCleanAsk()
	h.mail.PostUserMessage(a)
	cleaning, err := a.await(ctx, h, "compact")
	if err == nil || ctx.Err() == nil || a.take() {
		return cleaning, err
	}
	return a.await(context.Background(), h, "compact") // the replica is about to answer
}

// swap has a replica put a compacted segment in its place. It is the replica's
// answer that counts, as long as the log has not ended: then it was given before.
func (c *Cleaner) swap(h *Handle, cleaning *log.Cleaning, r compact.Replacement) error {
	a := &swapAsk{question: swapQuestion{cleaning, r}, reply: make(chan answer[struct{}], 1)}
	h.mail.PostUserMessage(a)
	if h.pause != nil {
		answered := func() bool { return len(a.reply) > 0 }
		if h.pause(func() bool { return answered() || cleaning.IsStopped() }); !answered() {
			return compact.ErrStopped // if not the cleaning, then the whole process
		}
	}
	select {
	case got := <-a.reply:
		return got.err
	case <-cleaning.Stopped():
	}
	select {
	case got := <-a.reply:
		return got.err
	default:
		return compact.ErrStopped
	}
}
