package sim

import (
	"context"
	"errors"

	"understudy/actors/group"
	"understudy/messages"
)

// sideGroup is a group that comes and goes. It has no members.
const sideGroup = "side group"

// groupErrand has an administrator ask coordinators something that people ask.
func (s *Sim) groupErrand(n uint64) {
	if len(s.groups) == 0 {
		return
	}
	g := s.groups[n%uint64(len(s.groups))]
	side := messages.TopicPartition{Topic: s.cfg.topics[0].name, Partition: int32(n >> 8 % 3)}
	nobodys := messages.TopicPartition{Topic: "nobody's"}
	list := []struct {
		name, group string
		ask         question
	}{
		{"describe", g.name, func(ctx context.Context, c *group.Coordinator) (any, error) {
			d, err := c.Describe(ctx, g.name)
			if err == nil && d.State == group.Stable && len(d.Members) == 0 {
				s.wrong("nonsense", "group %s is stable, and has no members", g.name)
			}
			return d, err
		}},
		{"list", g.name, func(ctx context.Context, c *group.Coordinator) (any, error) { return c.List(ctx) }},
		{"delete offsets", g.name, func(ctx context.Context, c *group.Coordinator) (any, error) {
			return c.DeleteOffsets(ctx, g.name, []messages.TopicPartition{nobodys})
		}},
		{"commit", sideGroup, func(ctx context.Context, c *group.Coordinator) (any, error) {
			who := group.Member{Group: sideGroup, Generation: -1}
			return c.Commit(ctx, group.Commit{Member: who, Offsets: map[messages.TopicPartition]group.Committed{side: {Offset: int64(n % 7)}}})
		}},
		{"read offsets", sideGroup, func(ctx context.Context, c *group.Coordinator) (any, error) {
			return c.Offsets(ctx, group.Member{Group: sideGroup, Generation: -1}, nil)
		}},
		{"delete offsets", sideGroup, func(ctx context.Context, c *group.Coordinator) (any, error) {
			return c.DeleteOffsets(ctx, sideGroup, []messages.TopicPartition{side})
		}},
		{"delete group", sideGroup, func(ctx context.Context, c *group.Coordinator) (any, error) { return nil, c.Delete(ctx, sideGroup) }},
		{"describe", sideGroup, func(ctx context.Context, c *group.Coordinator) (any, error) { return c.Describe(ctx, sideGroup) }},
	}
	e := list[n>>16%uint64(len(list))]
	newGroupClient(newClient(s), newLedger(s, e.group)).call(2*second, e.ask, func(_ any, err error) {
		s.count("errand: " + e.name + " of groups")
		if err != nil && !expected(err) {
			s.wrong("refused", "%s of group %s: %v", e.name, e.group, err)
		}
	})
}

// expected reports whether an administrator must live with an error.
func expected(err error) bool {
	for _, e := range []error{errSilence, errRefused, errReset, errPatient} {
		if errors.Is(err, e) {
			return true
		}
	}
	switch messages.KindOf(err) {
	case messages.NotCoordinator, messages.CoordinatorNotAvailable, messages.CoordinatorLoadInProgress, messages.RequestTimedOut, messages.GroupIDNotFound:
		return true
	}
	return false
}
