package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/actors/controller"
	"understudy/cluster/topicconfig"
)

// AlterConfigs (key 33) replaces all settings of a resource.
//
//	1  throttle time is told after the request is done
//	2  flexible
func alterConfigsAPI() api {
	return api{
		key: 33, name: "AlterConfigs", max: 2, flexible: 2,
		shape:  `[{int8 string [{string string?}]}] bool`,
		answer: answers((*Broker).alterConfigs),
	}
}

func (b *Broker) alterConfigs(ctx context.Context, req *kmsg.AlterConfigsRequest) *kmsg.AlterConfigsResponse {
	resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
	changes := make([]controller.ConfigChange, len(req.Resources))
	for i := range req.Resources {
		asked, change := &req.Resources[i], &changes[i]
		change.Resource, change.Replace = resourceOf(asked.ResourceType, asked.ResourceName), true
		for _, c := range asked.Configs {
			change.Ops = append(change.Ops, op(c.Name, topicconfig.Set, c.Value))
		}
	}
	for i, result := range b.alter(ctx, changes, req.ValidateOnly) {
		r := kmsg.NewAlterConfigsResponseResource()
		r.ResourceType, r.ResourceName = req.Resources[i].ResourceType, req.Resources[i].ResourceName
		r.ErrorCode, r.ErrorMessage = errorOf(result.Err)
		resp.Resources = append(resp.Resources, r)
	}
	return resp
}

// IncrementalAlterConfigs (key 44) changes single settings of a resource.
//
//	1  flexible
func incrementalAlterConfigsAPI() api {
	return api{
		key: 44, name: "IncrementalAlterConfigs", max: 1, flexible: 1,
		shape:  `[{int8 string [{string int8 string?}]}] bool`,
		answer: answers((*Broker).incrementalAlterConfigs),
	}
}

func (b *Broker) incrementalAlterConfigs(ctx context.Context, req *kmsg.IncrementalAlterConfigsRequest) *kmsg.IncrementalAlterConfigsResponse {
	resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	changes := make([]controller.ConfigChange, len(req.Resources))
	for i := range req.Resources {
		asked, change := &req.Resources[i], &changes[i]
		change.Resource = resourceOf(asked.ResourceType, asked.ResourceName)
		for _, c := range asked.Configs {
			change.Ops = append(change.Ops, op(c.Name, topicconfig.OpKind(c.Op), c.Value))
		}
	}
	for i, result := range b.alter(ctx, changes, req.ValidateOnly) {
		r := kmsg.NewIncrementalAlterConfigsResponseResource()
		r.ResourceType, r.ResourceName = req.Resources[i].ResourceType, req.Resources[i].ResourceName
		r.ErrorCode, r.ErrorMessage = errorOf(result.Err)
		resp.Resources = append(resp.Resources, r)
	}
	return resp
}

func resourceOf(kind kmsg.ConfigResourceType, name string) controller.Resource {
	return controller.Resource{Type: controller.ResourceType(kind), Name: name}
}

func op(name string, kind topicconfig.OpKind, value *string) topicconfig.Op {
	if value == nil {
		return topicconfig.Op{Name: name, Kind: kind, Null: true}
	}
	return topicconfig.Op{Name: name, Kind: kind, Value: *value}
}

// alter has changes of settings made. These requests have no timeout of their own.
func (b *Broker) alter(ctx context.Context, changes []controller.ConfigChange, validateOnly bool) []controller.ConfigResult {
	if len(changes) == 0 {
		return nil
	}
	ctx, cancel := within(ctx, 30_000)
	defer cancel()
	return b.deps.Admin.AlterConfigs(ctx, changes, validateOnly)
}
