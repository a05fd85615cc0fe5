//go:build linux

package main

// goal is a ratio that is aimed for: a figure of one system by that of another.
type goal struct {
	what         string
	scenario     string
	figure       string
	ours, theirs string  // systems; no theirs: the figure itself
	atLeast      float64 // 0: there is a bound above instead
	atMost       float64
	other        string // the scenario of theirs, if it is another
}

// goals are what the project measures itself by.
var goals = []goal{
	{what: "produce 100 B, on disk, against Kafka in memory", scenario: "produce-100", figure: throughput, ours: understudy, theirs: kafka, atLeast: 1.3},
	{what: "produce 1 KiB, on disk, against Kafka in memory", scenario: "produce-1k", figure: throughput, ours: understudy, theirs: kafka, atLeast: 1.5},
	{what: "produce 10 KiB, on disk, against Kafka in memory", scenario: "produce-10k", figure: throughput, ours: understudy, theirs: kafka, atLeast: 1.5},
	{what: "produce 100 B, both in memory", scenario: "produce-100", figure: throughput, ours: understudyCached, theirs: kafka, atLeast: 1.5},
	{what: "produce 1 KiB, both in memory", scenario: "produce-1k", figure: throughput, ours: understudyCached, theirs: kafka, atLeast: 1.8},
	{what: "produce 10 KiB, both in memory", scenario: "produce-10k", figure: throughput, ours: understudyCached, theirs: kafka, atLeast: 1.8},
	{what: "batches of 16 KB, on disk, against Kafka in memory", scenario: "produce-1k-16k", figure: throughput, ours: understudy, theirs: kafka, atLeast: 4},
	{what: "batches of 64 KB, on disk, against Kafka in memory", scenario: "produce-1k-64k", figure: throughput, ours: understudy, theirs: kafka, atLeast: 2},
	{what: "batches of 16 KB, both in memory", scenario: "produce-1k-16k", figure: throughput, ours: understudyCached, theirs: kafka, atLeast: 6},
	{what: "batches of 64 KB, both in memory", scenario: "produce-1k-64k", figure: throughput, ours: understudyCached, theirs: kafka, atLeast: 2.5},
	{what: "produce 1 KiB, both on disk", scenario: "produce-1k", figure: throughput, ours: understudy, theirs: kafkaSynced, atLeast: 2.2},
	{what: "the same, one partition", scenario: "produce-1k-one", figure: throughput, ours: understudy, theirs: kafkaSynced, atLeast: 2.9},
	{what: "broker CPU of a gigabyte produced, 100 B", scenario: "produce-100", figure: brokerCPU, ours: understudy, theirs: kafka, atMost: 0.4},
	{what: "broker CPU of a gigabyte produced, 1 KiB", scenario: "produce-1k", figure: brokerCPU, ours: understudy, theirs: kafka, atMost: 0.4},
	{what: "the same, batches of 16 KB", scenario: "produce-1k-16k", figure: brokerCPU, ours: understudy, theirs: kafka, atMost: 0.4},
	{what: "consume 1 KiB", scenario: "consume-1k", figure: throughput, ours: understudy, theirs: kafka, atLeast: 1},
	{what: "consume 100 B", scenario: "consume-100", figure: throughput, ours: understudy, theirs: kafka, atLeast: 1},
	{what: "consume 10 KiB", scenario: "consume-10k", figure: throughput, ours: understudy, theirs: kafka, atLeast: 1},
	{what: "consume 1 KiB, one partition", scenario: "consume-1k-one", figure: throughput, ours: understudy, theirs: kafka, atLeast: 1},
	{what: "broker CPU of a gigabyte consumed", scenario: "consume-1k", figure: brokerCPU, ours: understudy, theirs: kafka, atMost: 0.8},
	{what: "synchronous p50, on disk, against Kafka in memory", scenario: "sync-1k", figure: ackP50, ours: understudy, theirs: kafka, atMost: 0.85},
	{what: "synchronous p99, on disk, against Kafka in memory", scenario: "sync-1k", figure: ackP99, ours: understudy, theirs: kafka, atMost: 0.6},
	{what: "synchronous p50, both on disk", scenario: "sync-1k", figure: ackP50, ours: understudy, theirs: kafkaSynced, atMost: 0.35},
	{what: "synchronous p99, both on disk", scenario: "sync-1k", figure: ackP99, ours: understudy, theirs: kafkaSynced, atMost: 0.35},
	{what: "synchronous p50, both in memory", scenario: "sync-1k", figure: ackP50, ours: understudyCached, theirs: kafka, atMost: 0.4},
	{what: "synchronous p99, both in memory", scenario: "sync-1k", figure: ackP99, ours: understudyCached, theirs: kafka, atMost: 0.3},
	{what: "end to end p50 at 1,000 records a second", scenario: "latency-1k", figure: seenP50, ours: understudy, theirs: kafka, atMost: 0.12},
	{what: "end to end p99 at 1,000 records a second", scenario: "latency-1k", figure: seenP99, ours: understudy, theirs: kafka, atMost: 0.1},
	{what: "broker CPU at 1,000 records a second", scenario: "latency-1k", figure: brokerCPU, ours: understudy, theirs: kafka, atMost: 0.4},
	{what: "broker CPU of a gigabyte of lines, lz4", scenario: "produce-lz4", figure: brokerCPU, ours: understudy, theirs: kafka, atMost: 0.35},
	{what: "records a second with lz4, against none", scenario: "produce-lz4", figure: perSecond, ours: understudy, theirs: understudy, other: "produce-1k", atLeast: 2},
	{what: "produce 100 B, against NATS", scenario: "produce-100", figure: throughput, ours: understudy, theirs: natsDefault, atLeast: 10},
	{what: "produce 1 KiB, against NATS", scenario: "produce-1k", figure: throughput, ours: understudy, theirs: natsDefault, atLeast: 4},
	{what: "produce 10 KiB, against NATS", scenario: "produce-10k", figure: throughput, ours: understudy, theirs: natsDefault, atLeast: 1.8},
	{what: "synchronous p99, on disk, against NATS on disk", scenario: "sync-1k", figure: ackP99, ours: understudy, theirs: natsSynced, atMost: 1},
	{what: "throughput against the skeleton, 1 KiB", scenario: "produce-1k", figure: throughput, ours: understudy, theirs: bare, atLeast: 0.85},
	{what: "broker CPU against the skeleton, 1 KiB", scenario: "produce-1k", figure: brokerCPU, ours: understudy, theirs: bare, atMost: 1.2},
	{what: "throughput against the skeleton, batches of 16 KB", scenario: "produce-1k-16k", figure: throughput, ours: understudy, theirs: bare, atLeast: 0.85},
	{what: "broker CPU against the skeleton, batches of 16 KB", scenario: "produce-1k-16k", figure: brokerCPU, ours: understudy, theirs: bare, atMost: 1.2},
	{what: "resident after the load, MiB a broker", scenario: "produce-1k", figure: resident, ours: understudy, atMost: 250},
	{what: "start to first acknowledgement, one broker, s", scenario: "start", figure: seconds, ours: understudyAlone, atMost: 0.1},
	{what: "longest gap after kill -9 of a leader, s", scenario: "kill-leader", figure: gapSeconds, ours: understudy, atMost: 0.5},
	{what: "longest gap after kill -9 of leader and controller, s", scenario: "kill-controller", figure: gapSeconds, ours: understudy, atMost: 1},
	{what: "longest gap at SIGTERM, s", scenario: "stop-leader", figure: gapSeconds, ours: understudy, atMost: 0.25},
	{what: "1,000 partitions made and led, s", scenario: "partitions-1000", figure: seconds, ours: understudy, atMost: 0.5},
	{what: "idle CPU of all brokers with 1,000 partitions, %", scenario: "partitions-1000", figure: idleCPU, ours: understudy, atMost: 3},
	{what: "idle memory with 1,000 partitions, MiB a broker", scenario: "partitions-1000", figure: idleMiB, ours: understudy, atMost: 80},
	{what: "produce over 1,000 partitions, against six", scenario: "partitions-1000", figure: throughput, ours: understudy, theirs: understudy, other: "produce-1k", atLeast: 0.5},
	{what: "10,000 partitions on one node, throughput against 10", scenario: "partitions-10000", figure: throughput, ours: understudyAlone, theirs: understudyAlone, other: "partitions-10", atLeast: 0.7},
	{what: "10,000 partitions on one node, p99 against 10", scenario: "partitions-10000", figure: ackP99, ours: understudyAlone, theirs: understudyAlone, other: "partitions-10", atMost: 2},
	{what: "1,000 producers against ten", scenario: "producers-1000", figure: throughput, ours: understudy, theirs: understudy, other: "producers-10", atLeast: 0.8},
	{what: "5,000 idle connections cost throughput", scenario: "connections-5000", figure: throughput, ours: understudy, theirs: understudy, other: "produce-1k", atLeast: 0.95},
}

// value computes a goal's ratio from medians; false: a figure is missing.
func (g *goal) value(r *results) (float64, bool) {
	ours, ok := r.median(g.scenario, g.ours, g.figure)
	if !ok || g.theirs == "" {
		return ours, ok
	}
	theirs, ok := r.median(g.otherOrSame(), g.theirs, g.figure)
	return ours / theirs, ok && theirs != 0
}

// otherOrSame is the scenario of the figure that is compared with.
func (g *goal) otherOrSame() string {
	if g.other != "" {
		return g.other
	}
	return g.scenario
}

func (g *goal) reached(v float64) bool {
	if g.atLeast > 0 {
		return v >= g.atLeast
	}
	return v <= g.atMost
}
