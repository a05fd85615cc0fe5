package understudy

import (
	"context"
	"time"

	"understudy/cluster/metadata"
	"understudy/cluster/topicconfig"
	"understudy/internal/beat"
	"understudy/messages"
)

const (
	// tendInterval is how often the controller looks after what is done by and by.
	tendInterval = time.Second
	// returning is how many leaders return to their preferred nodes at a time: few
	// enough for one transaction, and for clients not to notice.
	returning = 60
)

// steadiness is since when brokers have been up, as this controller has seen it.
type steadiness map[messages.BrokerID]up

type up struct {
	epoch messages.BrokerEpoch
	since time.Time
}

// note takes a look at who is up.
func (s steadiness) note(im *metadata.Image, now time.Time) {
	for _, b := range im.Brokers {
		if !b.Up() {
			delete(s, b.ID)
		} else if s[b.ID].epoch != b.Epoch {
			s[b.ID] = up{b.Epoch, now}
		}
	}
}

// since lists who has been up for at least so long.
func (s steadiness) since(d time.Duration, now time.Time) map[messages.BrokerID]bool {
	steady := map[messages.BrokerID]bool{}
	for id, u := range s {
		if now.Sub(u.since) >= d {
			steady[id] = true
		}
	}
	return steady
}

// tended is what tend has seen when there was nothing left to do.
type tended struct {
	revision int64
	steady   int
}

// tend has the controller do by and by what is not to be done at once: replicas
// leave brokers that are being drained, and leaders return.
func (n *node) tend(ctx context.Context) {
	tick := beat.NewTicker(tendInterval)
	defer tick.Stop()
	steady, last := steadiness{}, tended{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		im, now := n.b.cell.Image(), time.Now()
		steady.note(im, now)
		wait := time.Duration(n.b.defaults(im).Int(topicconfig.LeaderImbalanceInterval)) * time.Second
		may := steady.since(wait, now)
		seen := tended{im.Revision, len(may)}
		if seen == last {
			continue
		}
		more, err := n.b.controller.Tend(ctx, func(id messages.BrokerID) bool { return may[id] }, returning)
		switch {
		case err != nil && ctx.Err() == nil:
			n.b.log.Warn().Err(err).Msg("moves off drained nodes and the return of leaders have to wait")
		case !more && n.b.cell.Image() == im:
			last = seen
		}
	}
}
