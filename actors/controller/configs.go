package controller

import (
	"iter"
	"maps"
	"slices"
	"strconv"

	"understudy/cluster/election"
	"understudy/cluster/metadata"
	"understudy/cluster/topicconfig"
	"understudy/messages"
)

// ResourceType says what settings belong to, with the protocol's numbers.
type ResourceType int8

// The resources that have settings.
const (
	TopicResource  ResourceType = 2
	BrokerResource ResourceType = 4 // a broker's id, or "" for all brokers
)

// Resource is something that has settings.
type Resource struct {
	Type ResourceType
	Name string
}

// String is the resource in words: "topic orders", "all brokers".
func (r Resource) String() string {
	switch {
	case r.Type == TopicResource:
		return "topic " + r.Name
	case r.Type == BrokerResource && r.Name == "":
		return "all brokers"
	case r.Type == BrokerResource:
		return "broker " + r.Name
	}
	return "resource of type " + strconv.Itoa(int(r.Type))
}

// ConfigChange asks for changes of one resource's settings.
type ConfigChange struct {
	Resource Resource
	Ops      []topicconfig.Op
	Replace  bool // Ops are the whole: what they do not set goes back to its default
}

// ConfigResult is what became of a ConfigChange.
type ConfigResult struct {
	Resource Resource
	Err      error
}

type alterConfigs struct {
	changes      []ConfigChange
	validateOnly bool
	results      []ConfigResult
}

func (c *alterConfigs) decide(d *decision) error {
	if err := d.lead(); err != nil {
		return err
	}
	c.results = make([]ConfigResult, len(c.changes))
	asked := map[Resource]int{}
	for _, ch := range c.changes {
		asked[ch.Resource]++
	}
	for i, ch := range c.changes {
		r := &c.results[i]
		r.Resource = ch.Resource
		switch {
		case asked[ch.Resource] > 1:
			r.Err = refuse("alter configs", messages.InvalidRequest, ch.Resource.String(), "comes more than once in the request")
		case ch.Resource.Type == TopicResource:
			r.Err = d.alterTopic(ch, c.validateOnly)
		case ch.Resource.Type == BrokerResource:
			r.Err = d.alterBroker(ch, c.validateOnly)
		default:
			r.Err = refuse("alter configs", messages.InvalidRequest, ch.Resource.String(), "has no settings that can be changed")
		}
	}
	return nil
}

func (d *decision) alterTopic(ch ConfigChange, validateOnly bool) error {
	t, err := d.find(TopicRef{Name: ch.Resource.Name})
	if err != nil {
		return err
	}
	next, err := ch.apply(topicconfig.Topic, t.Config, d.defaults())
	if err != nil {
		return err
	}
	if err := topicconfig.Check(next, d.defaults()); err != nil {
		return err
	}
	if validateOnly || maps.Equal(next, t.Config) {
		return nil
	}
	d.event(ConfigChanged{Resource: ch.Resource, Old: t.Config, New: next})
	d.edit.SetTopicConfig(t.Name, next)
	if unclean(t.Config, next) {
		d.recoverOffline(slices.Values([]*metadata.Topic{d.image().Topic(t.Name)}))
	}
	return nil
}

// alterBroker changes the settings of a broker or of all. Those that are
// defaults of topics must go together as a topic's must.
func (d *decision) alterBroker(ch ConfigChange, validateOnly bool) error {
	old, write, err := d.brokerConfig(ch.Resource)
	if err != nil {
		return err
	}
	next, err := ch.apply(topicconfig.Broker, old, d.defaults())
	if err != nil {
		return err
	}
	layers := topicconfig.Defaults{Cluster: next, Static: d.c.o.Static}
	if ch.Resource.Name != "" {
		layers.Broker, layers.Cluster = next, d.image().ClusterConfig
	}
	if err := topicconfig.Check(nil, layers); err != nil {
		return err
	}
	if validateOnly || maps.Equal(next, old) {
		return nil
	}
	d.event(ConfigChanged{Resource: ch.Resource, Old: old, New: next})
	write(next)
	if unclean(old, next) {
		d.recoverOffline(d.image().Topics())
	}
	return nil
}

// brokerConfig finds the changed settings of a broker, or of all, and how to
// write them.
func (d *decision) brokerConfig(r Resource) (map[string]string, func(map[string]string), error) {
	if r.Name == "" {
		return d.image().ClusterConfig, d.edit.SetClusterConfig, nil
	}
	id, err := strconv.ParseInt(r.Name, 10, 32)
	if err != nil || d.image().Broker(messages.BrokerID(id)) == nil {
		return nil, nil, refuse("alter configs", messages.InvalidRequest, r.String(), "is not a broker of this cluster")
	}
	write := func(c map[string]string) { d.edit.SetBrokerConfig(messages.BrokerID(id), c) }
	return d.image().BrokerConfigs[messages.BrokerID(id)], write, nil
}

// apply gives the settings that result from the change.
func (ch ConfigChange) apply(table *topicconfig.Table, current map[string]string, d topicconfig.Defaults) (map[string]string, error) {
	if ch.Replace {
		current = nil
	}
	return table.Alter(current, ch.Ops, d)
}

// unclean reports whether a change of settings may have allowed unclean elections.
func unclean(old, next map[string]string) bool {
	const name = "unclean.leader.election.enable" // topics and brokers call it the same
	return old[name] != next[name]
}

// recoverOffline elects leaders for partitions that are offline and whose topic
// has come to allow what brings them back.
func (d *decision) recoverOffline(topics iter.Seq[*metadata.Topic]) {
	e := elections{d: d, cause: election.Cause{Reason: election.UncleanAllowed, Broker: messages.NoBroker}}
	for t := range topics {
		for n := range t.Partitions {
			if t.Partitions[n].Leader == messages.NoBroker {
				e.elect(t, n, d.ordinary())
			}
		}
	}
	e.end()
}

// clone copies what the caller might change while a command waits.
func (ch ConfigChange) clone() ConfigChange {
	ch.Ops = slices.Clone(ch.Ops)
	return ch
}
