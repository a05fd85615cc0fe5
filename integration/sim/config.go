package sim

import (
	"fmt"
	"math/rand/v2"

	"understudy/actors/group"
	"understudy/cluster/topicconfig"
	"understudy/messages"
)

// config is what a history is like, drawn from its seed: small, and other than
// that of any other seed.
type config struct {
	nodes     int
	late      int // of them, that join when the others have been at work for a while
	topics    []topic
	producers int
	consumers int

	netDelay        int64 // µs, about
	slowTurn        int64 // µs that an actor's turn may have to wait for the processor
	syncTime        int64 // µs, about
	storeDelay      int64 // µs
	producePause    int64
	pollPause       int64
	requestTimeout  int64
	scanEvery       int64
	checkpointEvery int64
	lagTimeMax      int64 // ms
	valueSize       int   // bytes
	openFiles       int
	drift           int64 // ppm
	crowd           int64 // bytes that wait for a node before reads for it are held back
	room            int64 // bytes that are read at a time for a follower that is behind
	diskTimeout     int64 // ms after which a disk that does not answer counts as failed; 0: never
	answersLost     bool
	portion         int   // partitions that lose a broker that is down in one transaction
	cleanEvery      int64 // µs between two looks for logs to be compacted, about
	racks           int
	crowded         bool // there may be many partitions
	static          map[string]string

	gatherings []gathering    // consumer groups; none in half of the histories
	groups     group.Settings // of the brokers
	slowGroups int64          // µs that a turn of the groups' actors may have to wait

	weights [faultKinds]int
	length  int64 // of the part with faults
	pause   int64 // between two faults, about
}

// topic is one topic of a history.
type topic struct {
	name       string
	partitions int
	factor     int
	lossy      bool
	trims      bool
	compacts   bool
	settings   map[string]string
}

// draw draws a configuration.
func draw(rnd *rand.Rand) config {
	between := func(low, high int64) int64 { return low + rnd.Int64N(high-low+1) }
	c := config{
		nodes:           []int{1, 2, 3, 3, 3, 3, 3, 4, 4, 5}[rnd.IntN(10)],
		producers:       1 + rnd.IntN(3),
		consumers:       1 + rnd.IntN(2),
		netDelay:        []int64{200, 500, 2000, 10_000}[rnd.IntN(4)],
		slowTurn:        []int64{100, 2000, 20_000}[rnd.IntN(3)],
		syncTime:        []int64{200, 1000, 5000, 30_000}[rnd.IntN(4)],
		storeDelay:      []int64{1000, 5000, 50_000}[rnd.IntN(3)],
		producePause:    []int64{20, 50, 100, 200}[rnd.IntN(4)] * millisecond,
		pollPause:       []int64{50, 200, 500}[rnd.IntN(3)] * millisecond,
		requestTimeout:  between(500, 3000) * millisecond,
		scanEvery:       between(500, 5000) * millisecond,
		checkpointEvery: between(500, 5000) * millisecond,
		lagTimeMax:      []int64{500, 2000, 10_000}[rnd.IntN(3)],
		valueSize:       []int{16, 200, 1500}[rnd.IntN(3)],
		openFiles:       []int{4, 20, 1000}[rnd.IntN(3)],
		drift:           between(0, 50_000),
		crowd:           []int64{4 << 10, 64 << 10, 1 << 20}[rnd.IntN(3)],
		room:            []int64{1, 5000, 1 << 20}[rnd.IntN(3)],
		diskTimeout:     []int64{0, 400, 1000, 5000}[rnd.IntN(4)],
		answersLost:     rnd.IntN(4) == 0,
		portion:         []int{1, 3, 500}[rnd.IntN(3)],
		cleanEvery:      []int64{1000, 3000, 6000}[rnd.IntN(3)] * millisecond,
		racks:           1 + rnd.IntN(3),
		crowded:         rnd.IntN(10) == 0,
		static:          map[string]string{},
		length:          30 * second,
		pause:           []int64{300, 700, 1500, 2000}[rnd.IntN(4)] * millisecond,
	}
	for i := range 1 + rnd.IntN(2) {
		c.topics = append(c.topics, c.drawTopic(rnd, fmt.Sprint("t", i)))
	}
	c.drawFaults(rnd)
	if c.nodes > 3 {
		c.late = rnd.IntN(c.nodes - 2)
	}
	c.drawLimits(rnd)
	return c
}

// drawLimits draws what an operator allows.
func (c *config) drawLimits(rnd *rand.Rand) {
	if rnd.IntN(8) == 0 {
		c.static[topicconfig.MaxPartitions] = fmt.Sprint(20 + rnd.IntN(40))
	}
	if rnd.IntN(8) == 0 {
		c.static[topicconfig.DeleteTopicEnable] = "false"
	}
}

func (c *config) drawTopic(rnd *rand.Rand, name string) topic {
	t := topic{name: name, partitions: 1 + rnd.IntN(3), factor: 1 + rnd.IntN(min(c.nodes, 3)), settings: map[string]string{}}
	if c.nodes >= 3 && rnd.IntN(4) > 0 {
		t.factor = 3
	}
	set := func(name string, value any) { t.settings[name] = fmt.Sprint(value) }
	set("min.insync.replicas", 1+rnd.IntN(min(t.factor, 2)))
	set("segment.bytes", []int{1024, 4096, 1 << 20}[rnd.IntN(3)])
	set("index.interval.bytes", []int{0, 500, 4096}[rnd.IntN(3)])
	switch n := rnd.IntN(12); {
	case n == 0:
		set("unclean.leader.election.enable", true)
		t.lossy = true
	case n == 1:
		set("write.caching", true)
		t.lossy = true
	case n == 2:
		set("message.timestamp.type", "LogAppendTime")
	case n < 5:
		set("retention.bytes", 4096+rnd.IntN(20_000))
		t.trims = true
	case n < 7:
		set("cleanup.policy", "compact")
		set("min.cleanable.dirty.ratio", []string{"0.0", "0.3"}[rnd.IntN(2)])
		set("delete.retention.ms", []int{0, 2000, 1_000_000}[rnd.IntN(3)])
		set("segment.bytes", []int{4096, 16 << 10}[rnd.IntN(2)])
		t.compacts = true
	case n == 7:
		t.lossy = true // an operator would rather lose records than wait
	}
	if t.lossy && rnd.IntN(3) == 0 {
		set("retention.bytes", 4096+rnd.IntN(20_000))
		t.trims = true
	}
	return t
}

// drawFaults draws which faults there are. Each is left out of about half of the
// histories: many kinds at once hide each other.
func (c *config) drawFaults(rnd *rand.Rand) {
	some := false
	for kind := range faultKinds {
		if rnd.IntN(2) == 0 && faults[kind].possible(c) {
			c.weights[kind] = 1 + rnd.IntN(8)
			some = true
		}
	}
	if !some {
		c.weights[crash] = 1
	}
}

// all lists the partitions of all topics.
func (c *config) all() (list []messages.TopicPartition) {
	for _, t := range c.topics {
		for n := range t.partitions {
			list = append(list, messages.TopicPartition{Topic: t.name, Partition: int32(n)})
		}
	}
	return list
}

// gathering is a consumer group of a history.
type gathering struct {
	name      string
	topics    []string
	members   int
	session   int64 // ms
	rebalance int64 // ms
	static    bool  // its members keep their places when they are started again
	pause     int64 // µs between two commits, about
}

// drawGroups draws consumer groups. They consume what nothing is lost of.
func (c *config) drawGroups(rnd *rand.Rand) {
	var topics []string
	for _, t := range c.topics {
		if !t.lossy {
			topics = append(topics, t.name)
		}
	}
	if rnd.IntN(2) == 0 || len(topics) == 0 {
		return
	}
	for i := range 1 + rnd.IntN(2) {
		g := gathering{
			name: fmt.Sprint("g", i), topics: topics[rnd.IntN(len(topics)):], members: 1 + rnd.IntN(4),
			session: []int64{3000, 6000}[rnd.IntN(2)], rebalance: []int64{3000, 6000}[rnd.IntN(2)], static: rnd.IntN(2) == 0,
			pause: []int64{100, 300, 1000}[rnd.IntN(3)] * millisecond,
		}
		c.gatherings = append(c.gatherings, g)
	}
	c.groups = group.DefaultSettings()
	c.groups.MinSession, c.groups.InitialDelay = 1, []int64{0, 100, 500}[rnd.IntN(3)]
	c.groups.Retention = 100 * 365 * 24 * 3_600_000 // whatever becomes of the clocks
	c.groups.CommitTimeout = []int64{500, 1500, 5000}[rnd.IntN(3)]
	c.groups.Partitions, c.groups.ReplicationFactor = int32(1+rnd.IntN(3)), int16(1+rnd.IntN(3))
	c.groups.SegmentBytes = []int64{2048, 1 << 20}[rnd.IntN(2)]
	c.weights[memberGone] = 2 + rnd.IntN(14)
	c.slowGroups = []int64{0, 0, 0, second}[rnd.IntN(4)]
	if c.nodes-c.late > 2 && c.groups.ReplicationFactor == 3 && rnd.IntN(2) == 0 {
		c.static["min.insync.replicas"] = "2"
	}
}
