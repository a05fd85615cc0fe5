package understudy

import (
	"math"
	"slices"
	"sync"
	"time"

	"understudy/actors/partition"
	"understudy/cluster/metadata"
	"understudy/cluster/topicconfig"
	"understudy/messages"
)

// crowded is how many bytes waiting to be sent to a node hold up reads for
// followers there: enough to keep the connection busy until the next look.
const crowded = 8 << 20

// Room says how many bytes may be read now for a follower that is behind: none
// while enough waits to be sent to its node already, or while a throttle holds. A
// connection can be busy for good: what is urgent does not wait for it.
func (n *node) Room(c partition.CatchUp) int64 {
	if !c.Urgent && n.link.Backlog(c.Follower) > crowded {
		return 0
	}
	return n.throttle.room(c, n.b.cell.Image(), time.Now())
}

// Spend takes note of what was read for a follower.
func (n *node) Spend(c partition.CatchUp, bytes int64) {
	n.throttle.spend(c, n.b.cell.Image(), time.Now(), bytes)
}

// throttle keeps what a leader sends to replicas that catch up below the rates
// that are set. Those that are in sync are not throttled, since producers wait for
// them.
//
//	replica.catch.up.max.bytes.per.second   all that this broker sends
//	leader.replication.throttled.rate       what it sends of the partitions that their topics name
//	follower.replication.throttled.rate     what a broker is sent of the partitions that their topics
//	                                        name: each of those that send to it takes its share
type throttle struct {
	self   messages.BrokerID
	static map[string]string

	mu        sync.Mutex
	image     *metadata.Image // of which rates and senders are
	all, lead bucket
	follow    map[messages.BrokerID]*bucket
	senders   map[messages.BrokerID]int // how many brokers lead what a broker is behind with
}

func newThrottle(self messages.BrokerID, static map[string]string) *throttle {
	return &throttle{self: self, static: static, follow: map[messages.BrokerID]*bucket{}}
}

// room is the least that is left of what holds for a follower.
func (t *throttle) room(c partition.CatchUp, im *metadata.Image, now time.Time) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	room := int64(math.MaxInt64)
	for _, b := range t.buckets(c, im) {
		room = min(room, b.room(now))
	}
	return room
}

func (t *throttle) spend(c partition.CatchUp, im *metadata.Image, now time.Time, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range t.buckets(c, im) {
		b.spend(bytes, now)
	}
}

// buckets are those that hold for a follower.
func (t *throttle) buckets(c partition.CatchUp, im *metadata.Image) []*bucket {
	if c.InSync {
		return nil
	}
	t.refresh(im)
	list := []*bucket{&t.all}
	if c.LeaderThrottled {
		list = append(list, &t.lead)
	}
	if c.FollowerThrottled {
		list = append(list, t.follower(c.Follower, im))
	}
	return list
}

// refresh takes over the rates of an image.
func (t *throttle) refresh(im *metadata.Image) {
	if t.image == im {
		return
	}
	t.image, t.senders = im, nil
	d := topicconfig.Defaults{Broker: im.BrokerConfigs[t.self], Cluster: im.ClusterConfig, Static: t.static}
	t.all.rate, t.lead.rate = d.Int(topicconfig.CatchUpRate), d.Int(topicconfig.LeaderThrottledRate)
	for id, b := range t.follow {
		b.rate = t.share(id, im)
	}
}

// follower is the bucket of what another broker is sent.
func (t *throttle) follower(id messages.BrokerID, im *metadata.Image) *bucket {
	b := t.follow[id]
	if b == nil {
		b = &bucket{rate: t.share(id, im)}
		t.follow[id] = b
	}
	return b
}

// share is how much of a follower's rate this broker may take.
func (t *throttle) share(id messages.BrokerID, im *metadata.Image) int64 {
	rate := topicconfig.Defaults{Broker: im.BrokerConfigs[id], Cluster: im.ClusterConfig}.Int(topicconfig.FollowerThrottledRate)
	if rate == math.MaxInt64 {
		return rate
	}
	if t.senders == nil {
		t.senders = sendersTo(im)
	}
	return rate / int64(max(t.senders[id], 1))
}

// sendersTo counts, for each broker, those that lead partitions of which it has a
// replica that is not in sync.
func sendersTo(im *metadata.Image) map[messages.BrokerID]int {
	type pair struct{ from, to messages.BrokerID }
	seen := map[pair]bool{}
	senders := map[messages.BrokerID]int{}
	for topic := range im.Topics() {
		for i := range topic.Partitions {
			p := &topic.Partitions[i]
			for _, id := range p.Replicas {
				if one := (pair{p.Leader, id}); p.Leader != messages.NoBroker && !slices.Contains(p.ISR, id) && !seen[one] {
					seen[one] = true
					senders[id]++
				}
			}
		}
	}
	return senders
}

// burst is for how long a rate that was not used is saved up: longer than it
// takes until who waits looks again.
const burst = 2 * tickInterval

// bucket lets so many bytes pass in a second. Who finds anything in it may take
// more than there is: the rest is owed, and waited for by those who come next.
type bucket struct {
	rate int64 // bytes per second; math.MaxInt64: without bound
	left float64
	at   time.Time // when left was so much
}

// room is what may be taken now; 0: nothing.
func (b *bucket) room(now time.Time) int64 {
	if b.rate == math.MaxInt64 {
		return b.rate
	}
	b.fill(now)
	return int64(max(b.left, 0))
}

func (b *bucket) spend(bytes int64, now time.Time) {
	if b.rate != math.MaxInt64 {
		b.fill(now)
		b.left -= float64(bytes)
	}
}

func (b *bucket) fill(now time.Time) {
	most := float64(b.rate) * burst.Seconds()
	if b.at.IsZero() {
		b.left, b.at = most, now
		return
	}
	b.left = min(b.left+float64(b.rate)*now.Sub(b.at).Seconds(), most)
	b.at = now
}
