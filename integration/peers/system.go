//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"understudy/integration/process"
)

// system is one that runs.
type system interface {
	// Addrs is where its nodes take clients.
	Addrs() []string
	// PIDs are the nodes' processes, those of other services that it needs not counted.
	PIDs() []int
	Stop() error
}

// revivable is a system whose nodes can be stopped in order, one at a time, and
// started again.
type revivable interface {
	system
	StopNode(i int) error
	StartNode(ctx context.Context, i int) error
}

// kind is a system in one of its modes.
type kind struct {
	name  string // in tables
	about string // what its acknowledgement means
	start func(context.Context, *lab) (system, error)
	topic map[string]string // settings of the topics that are made
	only  string            // the one topic that there is; "": topics are made
	alone bool              // one node, and so one replica of everything
	nats  bool              // does not speak Kafka's protocol
	warm  bool              // gets better with time, and needs a longer warm-up
}

// lab is what systems need to be started.
type lab struct {
	dir    string // for the data of the one that runs
	consul string // the binary, or an agent's address
	jars   string
	nats   string // the binary
}

// The names of systems.
const (
	understudy, understudyCached = "understudy", "understudy-cached"
	kafka, kafkaSynced           = "kafka", "kafka-synced"
	understudyAlone, kafkaAlone  = "understudy-alone", "kafka-alone"
	natsDefault, natsSynced      = "nats", "nats-synced"
	bare, bareCached             = "skeleton", "skeleton-cached"
	sink                         = "sink"
)

var kinds = []kind{
	{name: understudy, about: "three on disk (the default)", start: startUnderstudy(nodes)},
	{name: understudyCached, about: "three in memory (write.caching=true)", start: startUnderstudy(nodes), topic: map[string]string{"write.caching": "true"}},
	{name: kafka, about: "three in memory (the default)", start: startKafka(nodes), warm: true},
	{name: kafkaSynced, about: "three on disk (flush.messages=1)", start: startKafka(nodes), topic: map[string]string{"flush.messages": "1"}, warm: true},
	{name: understudyAlone, about: "one node, on disk", start: startUnderstudy(1), alone: true},
	{name: kafkaAlone, about: "one node, in memory", start: startKafka(1), alone: true, warm: true},
	{name: natsDefault, about: "two in memory (the default)", start: startNATS(false), nats: true},
	{name: natsSynced, about: "two on disk (sync_interval: always)", start: startNATS(true), nats: true},
	{name: bare, about: "three on disk", start: startSkeleton(true, false), only: skeletonTopic},
	{name: bareCached, about: "three in memory", start: startSkeleton(false, false), only: skeletonTopic},
	{name: sink, about: "nothing is kept: the client's ceiling", start: startSkeleton(false, true), only: skeletonTopic},
}

// replicas is how many there are of everything.
func (k kind) replicas() int16 {
	if k.alone {
		return 1
	}
	return nodes
}

func kindOf(name string) (kind, error) {
	for _, k := range kinds {
		if k.name == name {
			return k, nil
		}
	}
	return kind{}, fmt.Errorf("there is no system %q", name)
}

// usage sums up what a system's processes have used.
func usage(s system) func(context.Context) (cpu float64, resident int64, err error) {
	return func(context.Context) (cpu float64, resident int64, err error) {
		for _, pid := range s.PIDs() {
			u, err := process.UsageOf(pid)
			if err != nil {
				return 0, 0, err
			}
			cpu += u.CPU.Seconds()
			resident += u.Resident
		}
		return cpu, resident, nil
	}
}

// fresh empties the data directory.
func (l *lab) fresh() error {
	return errors.Join(os.RemoveAll(l.dir), os.MkdirAll(l.dir, 0o700))
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }
