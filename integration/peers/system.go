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

// kind is a system in one of its modes.
type kind struct {
	name  string // in tables
	about string // what its acknowledgement means
	start func(context.Context, *lab) (system, error)
	topic map[string]string // settings of the topics that are made
	only  string            // the one topic that there is; "": topics are made
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
	natsDefault, natsSynced      = "nats", "nats-synced"
	bare, bareCached             = "skeleton", "skeleton-cached"
	sink                         = "sink"
)

var kinds = []kind{
	{name: understudy, about: "three on disk (the default)", start: startUnderstudy},
	{name: understudyCached, about: "three in memory (write.caching=true)", start: startUnderstudy, topic: map[string]string{"write.caching": "true"}},
	{name: kafka, about: "three in memory (the default)", start: startKafka, warm: true},
	{name: kafkaSynced, about: "three on disk (flush.messages=1)", start: startKafka, topic: map[string]string{"flush.messages": "1"}, warm: true},
	{name: natsDefault, about: "two in memory (the default)", start: startNATS(false), nats: true},
	{name: natsSynced, about: "two on disk (sync_interval: always)", start: startNATS(true), nats: true},
	{name: bare, about: "three on disk", start: startSkeleton(true, false), only: skeletonTopic},
	{name: bareCached, about: "three in memory", start: startSkeleton(false, false), only: skeletonTopic},
	{name: sink, about: "nothing is kept: the client's ceiling", start: startSkeleton(false, true), only: skeletonTopic},
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
