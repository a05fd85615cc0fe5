package understudy_test

import (
	"errors"
	"testing"
	"time"

	"understudy"
	"understudy/config"
	"understudy/persistence/vfs"
)

// TestAFollowerWhoseDiskFailsIsNotWaitedFor: it says so, and need not be missed for
// replica.lag.time.max.ms. To a leader of an older version it says nothing that this
// does not know, and is missed.
func TestAFollowerWhoseDiskFailsIsNotWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		version int32
		lag     time.Duration
	}{"told": {0, time.Hour}, "missed": {2, 300 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			disks := make([]*vfs.Faulty, 3)
			cluster := newClusterWith(t, func(i int, cfg *config.Config) []understudy.Option {
				cfg.Storage.ReplicaLagTimeMax, cfg.LinkVersionMax = c.lag, c.version
				disks[i] = vfs.NewFaulty(vfs.NewMem(vfs.MemOptions{}), nil)
				return []understudy.Option{understudy.WithFS(disks[i])}
			})
			cluster.createTopic("orders", 1, nil)
			p := cluster.awaitInSync("orders", 3)[0]
			l := cluster.load("orders", 1)
			l.await(100)
			follower := disks[p.Leader%3] // the next node's
			follower.Add(vfs.Rule{Ops: vfs.OpWrite | vfs.OpSync, Path: "orders-0/*", Err: errors.New("input/output error")})
			cluster.awaitInSync("orders", 2)
			l.await(100)
			follower.Clear()
			cluster.awaitInSync("orders", 3)
			l.await(100)
			l.end()
		})
	}
}
