package kafka

import (
	"context"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/messages"
)

// ListGroups (key 16): the groups that this broker coordinates.
//
//	1  throttle time
//	3  flexible
//	4  states, and groups in certain states only (KIP-518)
//	5  types, and groups of certain types only (KIP-848)
func listGroupsAPI() api {
	return api{
		key: 16, name: "ListGroups", max: 5, flexible: 3,
		shape:  `4+:[string] 5+:[string]`,
		answer: answers((*Broker).listGroups),
	}
}

// classic is the type of groups whose members assign the partitions themselves.
const classic = "classic"

func (b *Broker) listGroups(ctx context.Context, req *kmsg.ListGroupsRequest) *kmsg.ListGroupsResponse {
	resp := req.ResponseKind().(*kmsg.ListGroupsResponse)
	// What is known is told, even where some groups are not known yet.
	groups, err := b.deps.Groups.List(ctx)
	resp.ErrorCode = messages.Code(err)
	states, types := newFilter(req.StatesFilter), newFilter(req.TypesFilter)
	for _, l := range groups {
		if !states.passes(string(l.State)) || !types.passes(classic) {
			continue
		}
		g := kmsg.NewListGroupsResponseGroup()
		g.Group, g.ProtocolType, g.GroupState, g.GroupType = l.Group, l.ProtocolType, string(l.State), classic
		resp.Groups = append(resp.Groups, g)
	}
	return resp
}

// filter is a set of words, whose case does not count; an empty one lets all through.
type filter map[string]bool

func newFilter(words []string) filter {
	f := make(filter, len(words))
	for _, w := range words {
		f[strings.ToLower(w)] = true
	}
	return f
}

func (f filter) passes(word string) bool { return len(f) == 0 || f[strings.ToLower(word)] }
