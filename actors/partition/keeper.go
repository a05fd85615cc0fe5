package partition

import (
	"context"
	"time"

	"understudy/internal/beat"
	"understudy/persistence/log"
)

// Keeper does for all local replicas together what is done now and then: it
// writes the file of checkpoints and has the replicas look at retention. One
// clock serves all of them, since a ticker for each of ten thousand partitions
// would keep a processor busy.
type Keeper struct {
	Shared             *Shared
	CheckpointInterval time.Duration // bounds how much a recovery has to read
	ScanInterval       time.Duration // how often retention is looked at (log.retention.check.interval.ms)
	TickInterval       time.Duration // how often replicas that wait for something are told the time
	ProducerExpiry     func() int64  // ms; see topicconfig.ProducerIDExpirationMs
}

// Run works until the context ends.
func (k *Keeper) Run(ctx context.Context) {
	checkpoint := time.NewTicker(k.CheckpointInterval)
	defer checkpoint.Stop()
	look := time.NewTicker(k.ScanInterval)
	defer look.Stop()
	ticks := beat.NewTicker(k.TickInterval)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			k.Tick()
		case <-look.C:
			k.Scan()
		case <-checkpoint.C:
			if err := k.Checkpoint(ctx); err != nil && ctx.Err() == nil {
				k.Shared.Log.Warn().Err(err).Msg("could not write the recovery checkpoint; a recovery would take longer")
			}
		}
	}
}

// Tick tells the time to the replicas that wait for something, and finds those
// whose disk does not answer.
func (k *Keeper) Tick() {
	k.Shared.Registry.tick()
	k.Shared.findHung()
}

// Scan has every replica look at what is done now and then.
func (k *Keeper) Scan() {
	for _, h := range k.Shared.Registry.All() {
		h.mail.PostUserMessage(scan{k.ProducerExpiry()})
	}
}

// Checkpoint asks every replica that has changed for its checkpoint and writes
// the file, unless nothing has changed.
func (k *Keeper) Checkpoint(ctx context.Context) error {
	var asked []*Handle
	for _, h := range k.Shared.Registry.All() {
		if h.dirty.Swap(false) {
			asked = append(asked, h)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	// Room for every answer: a replica that fails meanwhile gives none, and one
	// that answers late finds room and is not waited for. It notes its checkpoint in
	// its own turn: if it goes from here, what it noted goes after that.
	answers := make(chan struct{}, len(asked))
	for _, h := range asked {
		h.mail.PostUserMessage(takeCheckpoint{func(cp log.Checkpoint) {
			k.Shared.Checkpoints.put(h.topicID, h.tp, cp)
			answers <- struct{}{}
		}})
	}
	ctx, cancel := context.WithTimeout(ctx, k.CheckpointInterval)
	defer cancel()
	if pause := k.Shared.Stage.Pause; pause != nil {
		pause(func() bool { return len(answers) == len(asked) || ctx.Err() != nil })
	}
	for range asked {
		if _, ok := receive(ctx, answers); !ok {
			break
		}
	}
	return k.Shared.Checkpoints.Note()
}
