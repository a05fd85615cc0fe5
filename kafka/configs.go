package kafka

import (
	"context"
	"errors"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/cluster/metadata"
	"understudy/cluster/topicconfig"
	"understudy/messages"
)

// DescribeConfigs (key 32).
//
//	1  where values are from, synonyms
//	3  types, documentation
//	4  flexible
//
// No names of settings, be it null or an empty list, stand for all.
func describeConfigsAPI() api {
	return api{
		key: 32, name: "DescribeConfigs", max: 4, flexible: 4,
		shape:  `[{int8 string [string]}] 1+:bool 3+:bool`,
		answer: answers((*Broker).describeConfigs),
	}
}

// resource is something that has settings: a topic, a broker, or (broker without
// a name) all brokers.
type resource struct {
	kind kmsg.ConfigResourceType
	name string
}

func (b *Broker) describeConfigs(_ context.Context, req *kmsg.DescribeConfigsRequest) *kmsg.DescribeConfigsResponse {
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	image := b.deps.Image()
	told := make(map[resource]bool, len(req.Resources)) // naming one often must not make the answer grow
	for i := range req.Resources {
		asked := &req.Resources[i]
		if res := (resource{asked.ResourceType, asked.ResourceName}); told[res] {
			continue
		} else {
			told[res] = true
		}
		r := kmsg.NewDescribeConfigsResponseResource()
		r.ResourceType, r.ResourceName = asked.ResourceType, asked.ResourceName
		entries, err := b.settingsOf(image, resource{asked.ResourceType, asked.ResourceName})
		r.ErrorCode, r.ErrorMessage = errorOf(err)
		wanted := make(map[string]bool, len(asked.ConfigNames))
		for _, name := range asked.ConfigNames {
			wanted[name] = true
		}
		for j := range entries {
			if len(wanted) == 0 || wanted[entries[j].Name] {
				r.Configs = append(r.Configs, describeConfig(req, &entries[j]))
			}
		}
		resp.Resources = append(resp.Resources, r)
	}
	return resp
}

// settingsOf lists a resource's settings.
func (b *Broker) settingsOf(image *metadata.Image, res resource) ([]topicconfig.Entry, error) {
	d := b.deps.Defaults(image)
	if res.kind == kmsg.ConfigResourceTypeTopic {
		if err := messages.CheckTopicName(res.name); err != nil {
			return nil, err
		}
		t := image.Topic(res.name)
		if t == nil {
			return nil, errNoTopic
		}
		return topicconfig.DescribeTopic(t.Config, d), nil
	}
	id, err := b.brokerOf(image, res)
	if err != nil {
		return nil, err
	}
	if id == messages.NoBroker {
		return topicconfig.DescribeClusterDefault(d), nil
	}
	return topicconfig.DescribeBroker(d), nil
}

var (
	errResource    = messages.E("", messages.InvalidRequest, "", errors.New("only topics and brokers have settings"))
	errOtherBroker = messages.E("", messages.InvalidRequest, "", errors.New("a broker's settings must be asked of the broker itself"))
)

// brokerOf is the broker whose settings are meant; NoBroker means all of them.
func (b *Broker) brokerOf(image *metadata.Image, res resource) (messages.BrokerID, error) {
	if res.kind != kmsg.ConfigResourceTypeBroker {
		return 0, errResource
	}
	if res.name == "" {
		return messages.NoBroker, nil
	}
	id, err := strconv.ParseInt(res.name, 10, 32)
	switch {
	case err != nil || id < 0 || strconv.FormatInt(id, 10) != res.name: // or one could be named in many ways
		return 0, messages.E("", messages.InvalidRequest, "", errors.New("a broker's name is its number"))
	case int32(id) == b.deps.Self:
		return int32(id), nil
	case image.Broker(int32(id)) != nil:
		return int32(id), errOtherBroker
	}
	return 0, messages.E("", messages.BrokerNotAvailable, res.name, nil)
}

// shown is a setting's value as it may be told.
func shown(e *topicconfig.Entry) *string {
	if e.Sensitive {
		return nil
	}
	return &e.Value
}

func describeConfig(req *kmsg.DescribeConfigsRequest, e *topicconfig.Entry) kmsg.DescribeConfigsResponseResourceConfig {
	c := kmsg.NewDescribeConfigsResponseResourceConfig()
	c.Name, c.Value, c.ReadOnly, c.IsSensitive = e.Name, shown(e), e.ReadOnly, e.Sensitive
	c.IsDefault = e.Source == topicconfig.DefaultValue
	c.Source, c.ConfigType = kmsg.ConfigSource(e.Source), kmsg.ConfigType(e.Type)
	if req.IncludeDocumentation {
		c.Documentation = &e.Doc
	}
	if req.IncludeSynonyms {
		for i := range e.Synonyms {
			s := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			s.Name, s.Source = e.Synonyms[i].Name, kmsg.ConfigSource(e.Synonyms[i].Source)
			if !e.Sensitive {
				s.Value = &e.Synonyms[i].Value
			}
			c.ConfigSynonyms = append(c.ConfigSynonyms, s)
		}
	}
	return c
}
