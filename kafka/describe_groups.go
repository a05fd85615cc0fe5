package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/actors/group"
	"understudy/messages"
)

// DescribeGroups (key 15).
//
//	1  throttle time
//	3  authorized operations, which are not told
//	4  instances of static members
//	5  flexible
//	6  a group that is not there is an error (KIP-1043); before, it is Dead
func describeGroupsAPI() api {
	return api{
		key: 15, name: "DescribeGroups", max: 6, flexible: 5,
		shape:  `[string] 3+:bool`,
		answer: answers((*Broker).describeGroups),
	}
}

func (b *Broker) describeGroups(ctx context.Context, req *kmsg.DescribeGroupsRequest) *kmsg.DescribeGroupsResponse {
	resp := req.ResponseKind().(*kmsg.DescribeGroupsResponse)
	for _, name := range once(req.Groups) {
		d, err := b.deps.Groups.Describe(ctx, name)
		if err == nil && d.State == group.Dead {
			err = messages.E("describe", messages.GroupIDNotFound, name, nil)
		}
		resp.Groups = append(resp.Groups, describedGroup(req.Version, name, d, err))
	}
	return resp
}

func describedGroup(version int16, name string, d group.Description, err error) kmsg.DescribeGroupsResponseGroup {
	g := kmsg.NewDescribeGroupsResponseGroup()
	g.Group = name
	if messages.KindOf(err) == messages.GroupIDNotFound {
		if g.State = string(group.Dead); version < 6 {
			return g
		}
	}
	if err != nil {
		g.ErrorCode, g.ErrorMessage = errorOf(err)
		return g
	}
	g.State, g.ProtocolType, g.Protocol = string(d.State), d.ProtocolType, d.Protocol
	for _, member := range d.Members {
		m := kmsg.NewDescribeGroupsResponseGroupMember()
		m.MemberID, m.InstanceID, m.ClientID, m.ClientHost = member.MemberID, nullable(member.InstanceID), member.Client.ID, member.Client.Host
		m.ProtocolMetadata, m.MemberAssignment = member.Metadata, member.Assignment
		g.Members = append(g.Members, m)
	}
	return g
}
