package interop

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// franzMember is a member of a group by franz-go.
type franzMember struct{ cl *kgo.Client }

func (c franz) join(_ context.Context, group, topic string) (member, error) {
	return c.joinAs(group, topic, kgo.CooperativeStickyBalancer())
}

func (c franz) joinAs(group, topic string, strategy kgo.GroupBalancer) (member, error) {
	cl, err := c.client(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.HeartbeatInterval(heartbeat),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.Balancers(strategy))
	return franzMember{cl}, err
}

// franzRange is franz-go with the strategy that most clients know.
type franzRange struct{ franz }

func (c franzRange) join(_ context.Context, group, topic string) (member, error) {
	return c.joinAs(group, topic, kgo.RangeBalancer())
}

func (m franzMember) poll(ctx context.Context) (records []record, err error) {
	short, cancel := context.WithTimeout(ctx, pollTime)
	defer cancel()
	fetches := m.cl.PollFetches(short)
	if short.Err() == nil {
		err = fetches.Err()
	}
	for r := range fetches.RecordsAll() {
		records = append(records, fromFranz(r))
	}
	return records, err
}

func (m franzMember) commit(ctx context.Context) error { return m.cl.CommitUncommittedOffsets(ctx) }

func (m franzMember) leave(context.Context) error {
	m.cl.Close()
	return nil
}
