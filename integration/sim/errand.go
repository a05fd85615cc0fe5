package sim

import (
	"fmt"
	"strings"

	"understudy/actors/controller"
	"understudy/cluster/topicconfig"
	"understudy/messages"
)

// errand has an administrator ask the controller something that people ask, and
// programs, sensible or not. It concerns topics of its own and settings that change
// nothing for the others, which the model follows: what is refused must be, and
// nothing may come of it.
func (s *Sim) errand(f Fault) {
	list := errands()
	for i := range uint64(10) {
		n := mix(f.B, i)
		s.groupErrand(mix(n))
		e := list[mix(f.A, i)%uint64(len(list))]
		s.admin("errand: "+e.name, func(q *process) error {
			err := e.run(q, n)
			s.say("errand: %s: %v", e.name, err)
			if e.refused && err == nil {
				s.wrong("not-refused", "%s was granted", e.name)
			}
			return err
		})
	}
}

// errandOf is one kind of errand.
type errandOf struct {
	name    string
	refused bool // it makes no sense, whoever asks
	run     func(q *process, n uint64) error
}

// side is one of the topics that come and go.
func side(n uint64) string { return fmt.Sprint("side-", n%3) }

func errands() []errandOf {
	return []errandOf{
		{"topic", false, func(q *process, n uint64) error {
			return q.newTopic(controller.NewTopic{Name: side(n), Partitions: int32(1 + n>>8%3), ReplicationFactor: 1}, n>>16%4 == 0)
		}},
		{"topic with defaults", false, func(q *process, n uint64) error {
			return q.newTopic(controller.NewTopic{Name: side(n), Partitions: -1, ReplicationFactor: -1, Config: map[string]string{"cleanup.policy": "compact"}}, n>>16%4 == 0)
		}},
		{"topic with assignments", false, func(q *process, n uint64) error {
			at := [][]messages.BrokerID{q.s.shuffled(n)[:1], q.s.shuffled(n >> 3)[:1]}
			return q.newTopic(controller.NewTopic{Name: side(n), Partitions: -1, ReplicationFactor: -1, Assignments: at}, false)
		}},
		{"topics that look alike", true, func(q *process, n uint64) error {
			_ = q.newTopic(controller.NewTopic{Name: "look.alike", Partitions: 1, ReplicationFactor: 1}, false)
			if q.cell.Image().Topic("look.alike") == nil {
				return errElsewhere
			}
			return q.newTopic(controller.NewTopic{Name: "look_alike", Partitions: 1, ReplicationFactor: 1}, false)
		}},
		{"topic of several replicas", false, func(q *process, n uint64) error {
			return q.newTopic(controller.NewTopic{Name: side(n), Partitions: 2, ReplicationFactor: int16(1 + n>>8%3)}, false)
		}},
		{"topic of nonsense", true, nonsenseTopic},
		{"topic deleted", false, func(q *process, n uint64) error {
			ref := controller.TopicRef{Name: side(n)}
			if t := q.cell.Image().Topic(ref.Name); t != nil && n>>8%2 == 0 {
				ref = controller.TopicRef{ID: t.ID}
			}
			return q.ctl.DeleteTopics(q.ctx, []controller.TopicRef{ref})[0].Err
		}},
		{"topic deleted that is not there", true, func(q *process, n uint64) error {
			refs := []controller.TopicRef{{Name: "nowhere"}, {ID: messages.TopicID{1, 2, 3}}, {}, {Name: "both", ID: messages.TopicID{1}}}
			return q.ctl.DeleteTopics(q.ctx, refs[n%4:n%4+1])[0].Err
		}},
		{"partitions", false, func(q *process, n uint64) error {
			more := controller.NewPartitions{Topic: side(n), Count: int32(2 + n>>8%4)}
			if t := q.cell.Image().Topic(more.Topic); t != nil && n>>24%3 == 0 {
				more.Count = int32(len(t.Partitions) + 1)
				more.Assignments = [][]messages.BrokerID{q.s.shuffled(n)[:min(len(t.Partitions[0].Replicas), len(q.s.shuffled(n)))]}
			}
			return q.ctl.CreatePartitions(q.ctx, []controller.NewPartitions{more}, n>>16%4 == 0)[0].Err
		}},
		{"partitions of nonsense", true, func(q *process, n uint64) error {
			topic := q.s.cfg.topics[0].name
			wrong := []controller.NewPartitions{
				{Topic: topic, Count: 1}, {Topic: topic, Count: 0}, {Topic: "nowhere", Count: 5}, {Topic: topic, Count: 1 << 30},
				{Topic: topic, Count: 100, Assignments: [][]messages.BrokerID{{1}}}, {Topic: offsetsTopic, Count: 30},
			}
			return q.ctl.CreatePartitions(q.ctx, wrong[n%6:n%6+1], false)[0].Err
		}},
		{"settings", false, changedSettings},
		{"settings of nonsense", true, nonsenseSettings},
		{"unclean election", false, func(q *process, n uint64) error {
			tp := messages.TopicPartition{Topic: side(n)}
			return q.elect([]messages.TopicPartition{tp})
		}},
		{"election of nonsense", true, func(q *process, n uint64) error {
			tp := messages.TopicPartition{Topic: "nowhere"}
			kind := controller.ElectionKind(n % 3)
			results, err := q.ctl.ElectLeaders(q.ctx, kind, []messages.TopicPartition{tp, tp}, nil)
			for _, r := range results {
				err = r.Err
			}
			return err
		}},
		{"move of a side topic", false, func(q *process, n uint64) error {
			move := controller.Reassignment{Topic: side(n), Target: q.s.shuffled(n >> 4)[:1]}
			return q.ctl.Reassign(q.ctx, []controller.Reassignment{move}, n>>8%2 == 0)[0].Err
		}},
		{"the same twice", true, twice},
		{"in haste", false, (*process).hasty},
		{"producer ids of nonsense", true, func(q *process, n uint64) error {
			_, err := q.ctl.AllocateProducerIDs(q.ctx, []int64{0, -1, 1 << 40}[n%3])
			return err
		}},
		{"move of nonsense", true, nonsenseMove},
		{"node of nonsense", true, nonsenseNode},
	}
}

func (p *process) newTopic(t controller.NewTopic, validateOnly bool) error {
	return p.ctl.CreateTopics(p.ctx, []controller.NewTopic{t}, validateOnly)[0].Err
}

func nonsenseTopic(q *process, n uint64) error {
	wrong := []controller.NewTopic{
		{Name: "", Partitions: 1, ReplicationFactor: 1},
		{Name: "a/b", Partitions: 1, ReplicationFactor: 1},
		{Name: strings.Repeat("x", 300), Partitions: 1, ReplicationFactor: 1},
		{Name: q.s.cfg.topics[0].name, Partitions: 1, ReplicationFactor: 1},
		{Name: "wrong", Partitions: 0, ReplicationFactor: 1},
		{Name: "wrong", Partitions: 1, ReplicationFactor: 100},
		{Name: "wrong", Partitions: 1, ReplicationFactor: 0},
		{Name: "wrong", Partitions: 1 << 30, ReplicationFactor: 1},
		{Name: "wrong", Partitions: 1, ReplicationFactor: 1, Config: map[string]string{"no.such.setting": "1"}},
		{Name: "wrong", Partitions: 1, ReplicationFactor: 1, Config: map[string]string{"segment.bytes": "many"}},
		{Name: "wrong", Partitions: 2, ReplicationFactor: -1, Assignments: [][]messages.BrokerID{{1}}},
		{Name: "wrong", Partitions: 0, ReplicationFactor: -1},
		{Name: "wrong", Partitions: 10_001, ReplicationFactor: 1},
		{Name: "wrong", Partitions: 1, ReplicationFactor: 1, Assignments: [][]messages.BrokerID{{1}}},
		{Name: "wrong", Partitions: -1, ReplicationFactor: -1, Assignments: [][]messages.BrokerID{}},
		{Name: "wrong", Partitions: -1, ReplicationFactor: -1, Assignments: [][]messages.BrokerID{{1, 1}}},
		{Name: "wrong", Partitions: -1, ReplicationFactor: -1, Assignments: [][]messages.BrokerID{{99}}},
		{Name: "wrong", Partitions: -1, ReplicationFactor: -1, Assignments: [][]messages.BrokerID{{}}},
	}
	return q.newTopic(wrong[n%uint64(len(wrong))], n>>32%2 == 0)
}

// changedSettings changes what the model's topics do not depend on.
func changedSettings(q *process, n uint64) error {
	to := []controller.Resource{{Type: controller.TopicResource, Name: side(n)}, {Type: controller.BrokerResource}, {Type: controller.BrokerResource, Name: fmt.Sprint(q.m.id)}}[n%3]
	ops := [][]topicconfig.Op{
		{{Name: "retention.ms", Kind: topicconfig.Set, Value: "100000"}},
		{{Name: "retention.ms", Kind: topicconfig.Delete}},
		{{Name: "cleanup.policy", Kind: topicconfig.Append, Value: "compact"}},
		{{Name: "cleanup.policy", Kind: topicconfig.Subtract, Value: "compact"}},
		{{Name: "unclean.leader.election.enable", Kind: topicconfig.Set, Value: "true"}},
		{{Name: "unclean.leader.election.enable", Kind: topicconfig.Delete}},
	}[n>>8%6]
	change := controller.ConfigChange{Resource: to, Ops: ops, Replace: n>>24%4 == 0 && to.Type == controller.TopicResource}
	if to.Type == controller.BrokerResource {
		change.Ops = [][]topicconfig.Op{
			{{Name: "log.index.interval.bytes", Kind: topicconfig.Set, Value: "1000"}}, {{Name: "log.index.interval.bytes", Kind: topicconfig.Delete}},
		}[n>>8%2]
	}
	return q.ctl.AlterConfigs(q.ctx, []controller.ConfigChange{change}, n>>16%4 == 0)[0].Err
}

func nonsenseSettings(q *process, n uint64) error {
	topic := controller.Resource{Type: controller.TopicResource, Name: q.s.cfg.topics[0].name}
	set := func(r controller.Resource, name, value string) controller.ConfigChange {
		return controller.ConfigChange{Resource: r, Ops: []topicconfig.Op{{Name: name, Kind: topicconfig.Set, Value: value}}}
	}
	wrong := []controller.ConfigChange{
		set(topic, "no.such.setting", "1"), set(topic, "segment.bytes", "-5"), set(topic, "retention.ms", "soon"),
		set(controller.Resource{Type: controller.TopicResource, Name: "nowhere"}, "retention.ms", "1"),
		set(controller.Resource{Type: controller.BrokerResource, Name: "x"}, "log.index.interval.bytes", "1"),
		set(controller.Resource{Type: controller.BrokerResource}, "no.such.setting", "1"),
		set(controller.Resource{Type: 8, Name: "logger"}, "level", "debug"),
		between(topic, ""), between(controller.Resource{Type: controller.BrokerResource}, "log.cleaner."),
	}
	i := n % uint64(len(wrong))
	return q.ctl.AlterConfigs(q.ctx, wrong[i:i+1], n>>32%2 == 0)[0].Err
}

// between asks for compaction not before, and not after, times that leave none.
func between(r controller.Resource, prefix string) controller.ConfigChange {
	return controller.ConfigChange{Resource: r, Ops: []topicconfig.Op{
		{Name: prefix + "min.compaction.lag.ms", Kind: topicconfig.Set, Value: "10"},
		{Name: prefix + "max.compaction.lag.ms", Kind: topicconfig.Set, Value: "5"},
	}}
}

func nonsenseMove(q *process, n uint64) error {
	topic := q.s.cfg.topics[0].name
	wrong := []controller.Reassignment{
		{Topic: "nowhere", Target: []messages.BrokerID{1}}, {Topic: topic, Partition: 99, Target: []messages.BrokerID{1}},
		{Topic: topic, Target: []messages.BrokerID{1, 1}}, {Topic: topic, Target: []messages.BrokerID{99}}, {Topic: topic, Target: []messages.BrokerID{}},
	}
	return q.ctl.Reassign(q.ctx, wrong[n%5:n%5+1], true)[0].Err
}

func nonsenseNode(q *process, n uint64) error {
	switch n % 5 {
	case 0:
		return q.ctl.SetDraining(q.ctx, 99, true)
	case 1:
		return q.ctl.RemoveBroker(q.ctx, 99)
	case 2:
		return q.ctl.RemoveBroker(q.ctx, q.m.id) // it is up
	case 3:
		return q.ctl.BrokerUp(q.ctx, q.m.id, q.self.Epoch+1)
	default:
		old := q.self
		old.Epoch--
		if old.Epoch == 0 {
			old.ID = -1
		}
		_, err := q.ctl.RegisterBroker(q.ctx, old, true)
		return err
	}
}

// twice asks for the same, or for what contradicts itself, in one request.
func twice(q *process, n uint64) error {
	topic := q.s.cfg.topics[0].name
	switch n % 5 {
	case 0:
		t := controller.NewTopic{Name: "twice", Partitions: 1, ReplicationFactor: 1}
		return q.ctl.CreateTopics(q.ctx, []controller.NewTopic{t, t}, false)[1].Err
	case 1:
		ref := controller.TopicRef{Name: side(n)}
		return q.ctl.DeleteTopics(q.ctx, []controller.TopicRef{ref, ref})[1].Err
	case 2:
		more := controller.NewPartitions{Topic: topic, Count: 90}
		return q.ctl.CreatePartitions(q.ctx, []controller.NewPartitions{more, more}, true)[1].Err
	case 3:
		move := controller.Reassignment{Topic: topic, Target: q.s.shuffled(n)[:1]}
		return q.ctl.Reassign(q.ctx, []controller.Reassignment{move, move}, true)[1].Err
	default:
		change := controller.ConfigChange{
			Resource: controller.Resource{Type: controller.TopicResource, Name: topic},
			Ops:      []topicconfig.Op{{Name: "retention.ms", Kind: topicconfig.Set, Value: "1"}},
		}
		return q.ctl.AlterConfigs(q.ctx, []controller.ConfigChange{change, change}, true)[1].Err
	}
}
