//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"understudy"
	"understudy/cluster/local"
	"understudy/config"
)

const (
	commitClients = 256 // as in life, with a connection of their own and one commit under way each
	commitWarmUp  = time.Second
	commitFor     = 5 * time.Second
)

// commits measures how many offsets one coordinator commits with three replicas,
// each on disk before it is answered. The three nodes run in this process, beside
// the clients, and share one disk.
func (b *bench) commits(ctx context.Context) error {
	hub := local.NewHub()
	var seeds []string
	for id := range int32(3) {
		cfg := config.Default()
		cfg.NodeID, cfg.Listen, cfg.AdminListen = id+1, "127.0.0.1:0", config.AdminOff
		cfg.DataDir = filepath.Join(b.dir, fmt.Sprint("commits-", id+1))
		node, err := understudy.Start(ctx, cfg, understudy.WithHub(hub))
		if err != nil {
			return err
		}
		defer node.Stop(context.WithoutCancel(ctx))
		seeds = append(seeds, node.Addr().String())
	}
	if err := createTopic(ctx, seeds[0], "committed", partitions, nil); err != nil {
		return err
	}
	for _, groups := range []int{1, 60} {
		var values []float64
		for i := range b.runs {
			v, err := commitsOnce(ctx, seeds, groups, fmt.Sprint("commits-", groups, "-", i, "-"))
			if err != nil {
				return err
			}
			values = append(values, v)
		}
		b.report(fmt.Sprintf("commits of %d groups through one coordinator, three replicas", groups), "a second", values, "≥ 20000", atLeast(20_000))
	}
	return nil
}

func commitsOnce(ctx context.Context, seeds []string, many int, prefix string) (float64, error) {
	groups, coordinator, err := coordinated(ctx, seeds, many, prefix)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	var done atomic.Int64
	var ended atomic.Bool
	var work errgroup.Group
	for i := range commitClients {
		cl, err := kgo.NewClient(kgo.SeedBrokers(seeds...))
		if err != nil {
			return 0, err
		}
		defer cl.Close()
		work.Go(func() error {
			for offset := int64(1); !ended.Load(); offset++ {
				if err := commit(ctx, cl.Broker(coordinator), groups[i%len(groups)], int32(i%partitions), offset); err != nil {
					return err
				}
				done.Add(1)
			}
			return nil
		})
	}
	err = pass(ctx, commitWarmUp)
	before, began := done.Load(), time.Now()
	err = errors.Join(err, pass(ctx, commitFor))
	rate := float64(done.Load()-before) / time.Since(began).Seconds()
	ended.Store(true)
	return rate, errors.Join(err, work.Wait())
}

// coordinated finds so many groups of one coordinator.
func coordinated(ctx context.Context, seeds []string, many int, prefix string) (groups []string, coordinator int, err error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(seeds...))
	if err != nil {
		return nil, 0, err
	}
	defer cl.Close()
	for i := 0; len(groups) < many; i++ {
		name := fmt.Sprint(prefix, i)
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKey, req.CoordinatorKeys = name, []string{name}
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return nil, 0, err
		}
		node := int(resp.NodeID)
		if len(resp.Coordinators) > 0 {
			node = int(resp.Coordinators[0].NodeID)
		}
		if i == 0 {
			coordinator = node
		}
		if node == coordinator {
			groups = append(groups, name)
		}
	}
	return groups, coordinator, nil
}

// commit commits one offset, as a consumer that chose its partitions itself.
func commit(ctx context.Context, to *kgo.Broker, group string, partition int32, offset int64) error {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = group, -1
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = "committed"
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	for {
		resp, err := to.Request(ctx, req)
		if err != nil {
			return err
		}
		err = kerr.ErrorForCode(resp.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
		if !kerr.IsRetriable(err) {
			return err
		}
	}
}
