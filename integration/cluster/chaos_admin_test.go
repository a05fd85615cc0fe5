//go:build cluster

package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type (
	kmsgCommit    = kmsg.OffsetCommitRequest
	kmsgCommitted = kmsg.OffsetCommitResponse
)

// adminLoad is an administrator who changes something every few seconds, whatever
// goes on. What fails is tried again later, as people do; what came of it is counted.
type adminLoad struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	counts map[string][2]int // done, failed
}

func (a *adminLoad) start(t *testing.T, c *cluster, rnd *rand.Rand) {
	ctx, cancel := context.WithCancel(t.Context())
	a.cancel, a.counts = cancel, map[string][2]int{}
	t.Cleanup(a.stop)
	a.done.Go(func() { a.work(ctx, c, rnd) })
}

func (a *adminLoad) stop() {
	a.cancel()
	a.done.Wait()
}

func (a *adminLoad) work(ctx context.Context, c *cluster, rnd *rand.Rand) {
	admin := kadm.NewClient(c.admin)
	for n := 0; sleep(ctx, chance(rnd, time.Second, 4*time.Second)); n++ {
		within, cancel := context.WithTimeout(ctx, 20*time.Second)
		what, err := a.change(within, admin, c, rnd, n)
		cancel()
		a.mu.Lock()
		count := a.counts[what]
		if err == nil {
			count[0]++
		} else {
			count[1]++
		}
		a.counts[what] = count
		a.mu.Unlock()
	}
}

func (a *adminLoad) change(ctx context.Context, admin *kadm.Client, c *cluster, rnd *rand.Rand, n int) (string, error) {
	name := fmt.Sprint("side-", n)
	switch rnd.IntN(4) {
	case 0:
		return "topic created and deleted", a.sideTopic(ctx, admin, c, name)
	case 1:
		value := fmt.Sprint((1 + rnd.IntN(64)) << 20)
		resp, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "segment.bytes", Value: &value}}, topic)
		if err == nil && len(resp) > 0 {
			err = resp[0].Err
		}
		return "topic settings changed", err
	case 2:
		_, err := admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, nil)
		return "preferred leaders elected", err
	default:
		return a.move(ctx, c, rnd)
	}
}

// sideTopic makes a topic, writes to it, and deletes it.
func (a *adminLoad) sideTopic(ctx context.Context, admin *kadm.Client, c *cluster, name string) error {
	resp, err := admin.CreateTopic(ctx, 2, 3, nil, name)
	if err == nil {
		err = resp.Err
	}
	if err == nil {
		err = c.admin.ProduceSync(ctx, &kgo.Record{Topic: name, Value: []byte("x")}).FirstErr()
	}
	_, deleted := admin.DeleteTopics(context.WithoutCancel(ctx), name)
	if err == nil {
		err = deleted
	}
	return err
}

// move gives a partition its replicas in another order, or others. It begins no move
// beside another, or an hour's records would be copied all the time and everywhere; now
// and then it changes where to one goes that is under way.
func (a *adminLoad) move(ctx context.Context, c *cluster, rnd *rand.Rand) (what string, err error) {
	what = "replicas moved"
	n := int32(rnd.IntN(partitions))
	list := kmsg.NewPtrListPartitionReassignmentsRequest()
	list.TimeoutMillis = 10_000
	moving, err := list.RequestWith(ctx, c.admin)
	if err != nil {
		return what, err
	}
	for _, t := range moving.Topics {
		if t.Topic != topic || len(t.Partitions) == 0 {
			continue
		}
		if n = t.Partitions[0].Partition; rnd.IntN(4) > 0 {
			return "replicas left to move", nil
		}
		what = "replicas moved elsewhere on their way"
	}
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.TimeoutMillis = 10_000
	t := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	t.Topic = topic
	p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
	p.Partition = n
	for _, i := range rnd.Perm(len(c.nodes))[:3] {
		p.Replicas = append(p.Replicas, int32(i+1))
	}
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, c.admin)
	if err == nil && resp.ErrorCode != 0 {
		err = fmt.Errorf("error %d", resp.ErrorCode)
	}
	return what, err
}
