package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/messages"
)

// DeleteGroups (key 42): deletes groups that have no members, with their offsets.
//
//	1  throttle time is told after the request is done
//	2  flexible
func deleteGroupsAPI() api {
	return api{
		key: 42, name: "DeleteGroups", max: 2, flexible: 2,
		shape:  `[string]`,
		answer: answers((*Broker).deleteGroups),
	}
}

func (b *Broker) deleteGroups(ctx context.Context, req *kmsg.DeleteGroupsRequest) *kmsg.DeleteGroupsResponse {
	resp := req.ResponseKind().(*kmsg.DeleteGroupsResponse)
	for _, name := range once(req.Groups) {
		g := kmsg.NewDeleteGroupsResponseGroup()
		g.Group, g.ErrorCode = name, messages.Code(b.deps.Groups.Delete(ctx, name))
		resp.Groups = append(resp.Groups, g)
	}
	return resp
}
