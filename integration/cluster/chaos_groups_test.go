//go:build cluster

package cluster

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/integration/history"
)

// groupName is a group whose members subscribe: it lives through all faults, reads
// all that is written, and commits what it has read.
const groupName = "readers"

// groupMember is one of its members.
type groupMember struct {
	client  *kgo.Client
	history *history.Recorder
	process uint32
	group   uint32
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

func (c *chaos) startGroups(t *testing.T, recorder *history.Recorder) {
	for i := range 2 {
		m := &groupMember{history: recorder, process: recorder.Process(fmt.Sprint("member ", i+1), 0), group: recorder.Process("group "+groupName, 0)}
		cl, err := kgo.NewClient(
			kgo.SeedBrokers(c.seeds()...), kgo.ConsumerGroup(groupName), kgo.ConsumeTopics(topic, plainTopic), kgo.DisableAutoCommit(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.BlockRebalanceOnPoll(),
			kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, got map[string][]int32) { m.assigned(got) }),
		)
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		m.client, m.cancel = cl, cancel
		m.done.Go(func() { m.work(ctx) })
		t.Cleanup(m.end)
		c.groups = append(c.groups, m)
	}
	ctx, cancel := context.WithCancel(t.Context())
	watcher := &groupMember{client: c.cluster.admin, history: recorder, group: recorder.Process("group "+groupName, 0), cancel: cancel}
	watcher.done.Go(func() { watcher.watch(ctx) })
	c.groups = append(c.groups, watcher)
	t.Cleanup(watcher.stop)
}

func (m *groupMember) stop() {
	m.cancel()
	m.done.Wait()
}

func (m *groupMember) end() {
	m.stop()
	m.client.CloseAllowingRebalance()
}

func (c *chaos) endGroups() {
	for _, m := range c.groups {
		m.stop()
	}
}

// assigned notes that the member begins anew with partitions.
func (m *groupMember) assigned(got map[string][]int32) {
	for name, list := range got {
		for _, p := range list {
			m.history.Add(history.Event{Type: history.Place, Process: m.process, Partition: m.history.Partition(name, p)})
		}
	}
}

// work reads, and commits what was read before it reads more.
func (m *groupMember) work(ctx context.Context) {
	for ctx.Err() == nil {
		fetches := m.client.PollRecords(ctx, 500)
		next := map[string]map[int32]kgo.EpochOffset{}
		calls := map[uint32]history.Event{}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if len(p.Records) == 0 {
				return
			}
			poll := history.Event{Type: history.Poll, Process: m.process, Partition: m.history.Partition(p.Topic, p.Partition)}
			for _, r := range p.Records {
				poll.Records = append(poll.Records, history.Record{Offset: r.Offset, Value: valueOf(p.Topic, string(r.Key))})
			}
			m.history.Add(poll)
			last := p.Records[len(p.Records)-1]
			if next[p.Topic] == nil {
				next[p.Topic] = map[int32]kgo.EpochOffset{}
			}
			next[p.Topic][p.Partition] = kgo.EpochOffset{Epoch: last.LeaderEpoch, Offset: last.Offset + 1}
			call := m.history.Call()
			calls[call] = history.Event{Type: history.Commit, Process: m.group, Partition: poll.Partition, Offset: last.Offset + 1, Call: call}
		})
		m.commit(ctx, next, calls)
		m.client.AllowRebalance()
	}
}

func (m *groupMember) commit(ctx context.Context, next map[string]map[int32]kgo.EpochOffset, calls map[uint32]history.Event) {
	if len(next) == 0 {
		return
	}
	for _, e := range calls {
		m.history.Add(e)
	}
	good := false
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	m.client.CommitOffsetsSync(ctx, next, func(_ *kgo.Client, _ *kmsgCommit, resp *kmsgCommitted, err error) {
		good = err == nil
		for i := 0; good && i < len(resp.Topics); i++ {
			for _, p := range resp.Topics[i].Partitions {
				good = good && p.ErrorCode == 0
			}
		}
	})
	for call := range calls {
		if good {
			m.history.Add(history.Event{Type: history.Committed, Call: call})
		}
	}
}

// watch reads the group's offsets back, now and then.
func (m *groupMember) watch(ctx context.Context) {
	admin := kadm.NewClient(m.client)
	for sleep(ctx, time.Second) {
		calls := map[uint32]uint32{} // by the partition's number
		for _, name := range []string{topic, plainTopic} {
			for p := range int32(partitions) {
				id, call := m.history.Partition(name, p), m.history.Call()
				calls[id] = call
				m.history.Add(history.Event{Type: history.Fetching, Process: m.group, Partition: id, Call: call})
			}
		}
		within, cancel := context.WithTimeout(ctx, 5*time.Second)
		offsets, err := admin.FetchOffsets(within, groupName)
		cancel()
		if err != nil {
			continue // what becomes of the calls is not known
		}
		offsets.Each(func(o kadm.OffsetResponse) {
			if call, asked := calls[m.history.Partition(o.Topic, o.Partition)]; asked && o.Err == nil {
				m.history.Add(history.Event{Type: history.Fetched, Call: call, Offset: o.At})
			}
		})
	}
}
