package kafka

import (
	"context"
	"sync"

	"understudy/actors/group"
	"understudy/messages"
)

// fakeGroups stands for the coordinator of one group of one member: it answers
// what it was told to, and keeps what it was asked.
type fakeGroups struct {
	mu      sync.Mutex
	err     error        // of every method
	each    error        // of every member and partition
	joined  group.Joined // the answer to Join
	offsets map[messages.TopicPartition]group.Committed
	state   group.State

	elsewhere map[string]messages.BrokerID // who coordinates groups that this broker does not

	entered chan struct{} // if there, Join tells when it has begun
	hold    chan struct{} // if there, Join waits for it to be closed
	left    chan struct{} // closed when the client of a Join has gone that waits so

	joins   []group.Join
	sync    group.Sync
	member  group.Member // of the last heartbeat or fetch
	leaving []group.Leaving
	commit  group.Commit
	asked   []messages.TopicPartition // by the last fetch or deletion
	names   []string                  // of all groups that were asked about
}

func newFakeGroups() *fakeGroups {
	return &fakeGroups{
		state: group.Stable, left: make(chan struct{}), elsewhere: map[string]messages.BrokerID{},
		joined: group.Joined{
			Generation: 4, ProtocolType: "consumer", Protocol: "range", Leader: "m-1", MemberID: "m-1",
			Members: []group.JoinedMember{{MemberID: "m-1", InstanceID: "one", Metadata: []byte("topics")}},
		},
		offsets: map[messages.TopicPartition]group.Committed{{Topic: "orders", Partition: 1}: {Offset: 5, LeaderEpoch: 3, Metadata: "note"}},
	}
}

// with runs f with the lock held.
func (g *fakeGroups) with(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

func (g *fakeGroups) Coordinator(_ context.Context, name string) (messages.BrokerID, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.names = append(g.names, name)
	if id, elsewhere := g.elsewhere[name]; elsewhere {
		return id, g.err
	}
	return self, g.err
}

func (g *fakeGroups) AwaitServing(context.Context, []string) {}

func (g *fakeGroups) Join(ctx context.Context, j group.Join) group.Joined {
	if g.entered != nil {
		g.entered <- struct{}{}
	}
	if g.hold != nil {
		select {
		case <-g.hold:
		case <-ctx.Done():
			close(g.left)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.joins = append(g.joins, j)
	return g.joined
}

func (g *fakeGroups) Sync(_ context.Context, s group.Sync) group.Synced {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sync = s
	return group.Synced{Err: g.err, ProtocolType: "consumer", Protocol: "range", Assignment: s.Assignments[s.MemberID]}
}

func (g *fakeGroups) Heartbeat(_ context.Context, m group.Member) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.member = m
	return g.err
}

func (g *fakeGroups) Leave(_ context.Context, _ string, leaving []group.Leaving) ([]error, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leaving = leaving
	each := make([]error, len(leaving))
	for i := range each {
		each[i] = g.each
	}
	return each, g.err
}

func (g *fakeGroups) Commit(_ context.Context, c group.Commit) (map[messages.TopicPartition]error, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.commit = c
	failed := make(map[messages.TopicPartition]error)
	for tp := range c.Offsets {
		if g.each != nil {
			failed[tp] = g.each
		}
	}
	return failed, g.err
}

func (g *fakeGroups) Offsets(_ context.Context, m group.Member, tps []messages.TopicPartition) (map[messages.TopicPartition]group.Committed, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.member, g.asked, g.names = m, tps, append(g.names, m.Group)
	return g.offsets, g.err
}

func (g *fakeGroups) DeleteOffsets(_ context.Context, _ string, tps []messages.TopicPartition) (map[messages.TopicPartition]error, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = tps
	failed := make(map[messages.TopicPartition]error)
	for _, tp := range tps {
		if g.each != nil {
			failed[tp] = g.each
		}
	}
	return failed, g.err
}

func (g *fakeGroups) Describe(_ context.Context, name string) (group.Description, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.names = append(g.names, name)
	return group.Description{
		Group: name, State: g.state, ProtocolType: "consumer", Protocol: "range",
		Members: []group.MemberDescription{{
			MemberID: "m-1", InstanceID: "one", Client: group.Client{ID: "c", Host: "/127.0.0.1"},
			Metadata: []byte("topics"), Assignment: []byte("partitions"),
		}},
	}, g.err
}

func (g *fakeGroups) List(context.Context) ([]group.Listing, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return []group.Listing{
		{Group: "a", ProtocolType: "consumer", State: group.Stable},
		{Group: "b", ProtocolType: "", State: group.Empty},
	}, g.err
}

func (g *fakeGroups) Delete(_ context.Context, name string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.names = append(g.names, name)
	return g.err
}
