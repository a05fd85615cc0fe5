//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"understudy/cmd/understudy/bench"
)

// missed is what is written while a node is down, in bytes.
const missed = 1 << 30

// catchUp stops a node in order, writes a topic that it has replicas of, starts it, and
// waits until it is in sync everywhere.
func catchUp(ctx context.Context, t *trial) (figures, error) {
	nodes, ok := t.system.(revivable)
	if !ok {
		return nil, fmt.Errorf("nodes of %s cannot be stopped one by one", t.kind.name)
	}
	topic, remove, _, err := t.ledTopic(ctx)
	if err != nil {
		return nil, err
	}
	defer remove()
	const victim = 1
	if err := nodes.StopNode(victim); err != nil {
		return nil, err
	}
	without := func(p kadm.PartitionDetail) bool { return p.Leader >= 0 && len(p.ISR) < len(p.Replicas) }
	if err := t.await(ctx, topic, without); err != nil {
		return nil, err
	}
	o := t.options()
	o.Topic, o.Warmup, o.Spent = topic, 0, nil
	o.Records = missed / int64(t.load.size)
	if _, err := bench.Produce(ctx, o); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := nodes.StartNode(ctx, victim); err != nil {
		return nil, err
	}
	started := time.Since(began)
	full := func(p kadm.PartitionDetail) bool { return len(p.ISR) == len(p.Replicas) }
	if err := t.await(ctx, topic, full); err != nil {
		return nil, err
	}
	took := time.Since(began)
	note("      %.2f s of it for the start", started.Seconds())
	return figures{seconds: took.Seconds(), throughput: missed / 1e6 / took.Seconds()}, nil
}
