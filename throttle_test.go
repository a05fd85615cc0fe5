package understudy

import (
	"math"
	"testing"
	"time"

	"understudy/actors/partition"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// rates is an image with settings of brokers, in which broker 3 is behind with
// what 1 and 2 lead.
func rates(t *testing.T, cluster map[string]string, brokers map[messages.BrokerID]map[string]string) *metadata.Image {
	t.Helper()
	e := metadata.NewEdit(metadata.Empty())
	topic := &metadata.Topic{Name: "t", ID: messages.TopicID{1}}
	for _, leader := range []messages.BrokerID{1, 2, 1} {
		topic.Partitions = append(topic.Partitions, metadata.Partition{Replicas: []messages.BrokerID{1, 2, 3}, ISR: []messages.BrokerID{1, 2}, Leader: leader})
	}
	e.CreateTopic(topic)
	e.SetClusterConfig(cluster)
	for id, c := range brokers {
		e.SetBrokerConfig(id, c)
	}
	im, _, err := e.Seal(1)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func TestAThrottleKeepsItsRate(t *testing.T) {
	const rate = "1000000"
	for what, c := range map[string]struct {
		cluster map[string]string
		brokers map[messages.BrokerID]map[string]string
		who     partition.CatchUp
		want    float64 // bytes per second; 0: without bound
	}{
		"nothing is set":            {who: partition.CatchUp{Follower: 3, LeaderThrottled: true, FollowerThrottled: true}},
		"all catching up":           {cluster: map[string]string{"replica.catch.up.max.bytes.per.second": rate}, who: partition.CatchUp{Follower: 3}, want: 1e6},
		"who is in sync":            {cluster: map[string]string{"replica.catch.up.max.bytes.per.second": rate}, who: partition.CatchUp{Follower: 3, InSync: true}},
		"the leader's":              {brokers: map[messages.BrokerID]map[string]string{1: {"leader.replication.throttled.rate": rate}}, who: partition.CatchUp{Follower: 3, LeaderThrottled: true}, want: 1e6},
		"the leader's, not named":   {brokers: map[messages.BrokerID]map[string]string{1: {"leader.replication.throttled.rate": rate}}, who: partition.CatchUp{Follower: 3}},
		"another leader's":          {brokers: map[messages.BrokerID]map[string]string{2: {"leader.replication.throttled.rate": rate}}, who: partition.CatchUp{Follower: 3, LeaderThrottled: true}},
		"half of the follower's":    {brokers: map[messages.BrokerID]map[string]string{3: {"follower.replication.throttled.rate": rate}}, who: partition.CatchUp{Follower: 3, FollowerThrottled: true}, want: 5e5},
		"the follower's, not named": {brokers: map[messages.BrokerID]map[string]string{3: {"follower.replication.throttled.rate": rate}}, who: partition.CatchUp{Follower: 3}},
		"the least of several":      {cluster: map[string]string{"replica.catch.up.max.bytes.per.second": "100000", "leader.replication.throttled.rate": rate}, who: partition.CatchUp{Follower: 3, LeaderThrottled: true}, want: 1e5},
	} {
		im := rates(t, c.cluster, c.brokers)
		th := newThrottle(1, nil)
		start := time.Unix(1000, 0)
		const seconds = 20
		read := int64(0)
		for ms := 0; ms < seconds*1000; ms += 100 { // a look at every tick
			now := start.Add(time.Duration(ms) * time.Millisecond)
			if room := th.room(c.who, im, now); room > 0 {
				bytes := max(min(room, 1<<20), 30_000) // a batch is read as a whole
				th.spend(c.who, im, now, bytes)
				read += bytes
			}
		}
		have := float64(read) / seconds
		if c.want == 0 {
			if have < 9e6 {
				t.Errorf("%s: %.0f bytes per second, want no bound", what, have)
			}
		} else if math.Abs(have-c.want) > c.want/10 {
			t.Errorf("%s: %.0f bytes per second, want %.0f", what, have, c.want)
		}
	}
}

func TestARateCanChange(t *testing.T) {
	th, now := newThrottle(1, nil), time.Unix(1000, 0)
	who := partition.CatchUp{Follower: 3, FollowerThrottled: true}
	stopped := rates(t, nil, map[messages.BrokerID]map[string]string{3: {"follower.replication.throttled.rate": "0"}})
	if room := th.room(who, stopped, now); room != 0 {
		t.Errorf("room for %d bytes at rate 0", room)
	}
	if room := th.room(who, stopped, now.Add(time.Hour)); room != 0 {
		t.Errorf("room for %d bytes at rate 0", room)
	}
	if room := th.room(who, rates(t, nil, nil), now); room != math.MaxInt64 {
		t.Errorf("room for %d bytes without a rate", room)
	}
}
