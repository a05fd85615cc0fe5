//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/cmd/understudy/bench"
)

const (
	groupCount   = 200
	groupRecords = 6000 // that each group reads
)

// manyGroups has many groups of one consumer each read the same topic from its start
// and commit, and tells how long it takes until all have, and what they cost when there is
// nothing more to read: heartbeats and fetches that wait.
func manyGroups(ctx context.Context, t *trial) (figures, error) {
	topic, remove, _, err := t.ledTopic(ctx)
	if err != nil {
		return nil, err
	}
	defer remove()
	o := t.options()
	o.Topic, o.Warmup, o.Spent, o.Records = topic, 0, nil, groupRecords
	if _, err := bench.Produce(ctx, o); err != nil {
		return nil, err
	}
	began := time.Now()
	clients, err := t.readInGroups(ctx, topic)
	defer func() {
		for _, cl := range clients {
			cl.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	took := time.Since(began)
	f, err := t.rest(ctx)
	if err != nil {
		return nil, err
	}
	f[seconds] = took.Seconds()
	return f, nil
}

// readInGroups begins one consumer for each group and waits until each has read and
// committed everything.
func (t *trial) readInGroups(ctx context.Context, topic string) (clients []*kgo.Client, err error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	var wg sync.WaitGroup
	failed := make([]error, groupCount)
	for i := range groupCount {
		cl, err := t.connect(ctx, kgo.ConsumerGroup(fmt.Sprintf("%s-%d", topic, i)), kgo.ConsumeTopics(topic),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
		if err != nil {
			return clients, err
		}
		clients = append(clients, cl)
		wg.Go(func() {
			for n := 0; n < groupRecords && failed[i] == nil; {
				fetches := cl.PollFetches(ctx)
				n += fetches.NumRecords()
				failed[i] = ctx.Err()
			}
			if failed[i] == nil {
				failed[i] = cl.CommitUncommittedOffsets(ctx)
			}
		})
	}
	wg.Wait()
	return clients, errors.Join(failed...)
}
