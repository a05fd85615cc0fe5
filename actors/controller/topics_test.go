package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"understudy/cluster/metadata"
	"understudy/cluster/topicconfig"
	"understudy/messages"
)

func TestATopicsLife(t *testing.T) {
	s := active(t, nil)
	s.told()
	r := s.create("orders", 3, 1, "retention.ms", "5000")
	topic := s.Image().Topic("orders")
	if topic == nil || topic.ID != r.ID || r.ID.IsZero() || s.Image().TopicByID(r.ID) != topic {
		t.Fatalf("%+v, %+v", r, topic)
	}
	if r.Partitions != 3 || r.ReplicationFactor != 1 || len(topic.Partitions) != 3 || topic.Config["retention.ms"] != "5000" || topic.Internal {
		t.Errorf("%+v, %+v", r, topic)
	}
	i := slices.IndexFunc(r.Config, func(e topicconfig.Entry) bool { return e.Name == "retention.ms" })
	if r.Config[i].Value != "5000" || r.Config[i].Source != topicconfig.DynamicTopic {
		t.Errorf("config %+v", r.Config[i])
	}
	if got := s.state("orders", 2); got != "1/0 [1]" {
		t.Errorf("partition 2: %s", got)
	}
	if p := s.CreatePartitions(ctx(t), []NewPartitions{{Topic: "orders", Count: 5}}, false); p[0].Err != nil || len(s.Image().Topic("orders").Partitions) != 5 {
		t.Errorf("%+v", p)
	}
	d := s.DeleteTopics(ctx(t), []TopicRef{{ID: r.ID}})
	if d[0].Err != nil || d[0].Name != "orders" || s.Image().TopicCount() != 0 {
		t.Errorf("%+v", d)
	}
	for key := range s.store.state.Entries {
		if strings.Contains(key, "orders") {
			t.Errorf("%s is left", key)
		}
	}
	if again := s.create("orders", 1, 1); again.ID == r.ID {
		t.Error("the same id again")
	}
	want := fmt.Sprintf("topic orders created: id %v, 3 partitions, 1 replicas, settings retention.ms=5000\ntopic orders: 5 partitions, before 3\ntopic orders deleted: id %v\n", r.ID, r.ID)
	if got := s.told(); !strings.HasPrefix(got, want) {
		t.Errorf("told:\n%s", got)
	}
}

func TestDefaultsOfTheBroker(t *testing.T) {
	s := active(t, func(o *Options) { o.Static = map[string]string{"num.partitions": "4", "log.retention.ms": "7"} })
	if r := s.create("a", -1, -1); r.Partitions != 4 || r.ReplicationFactor != 1 {
		t.Errorf("%+v", r)
	}
	s.AlterConfigs(ctx(t), []ConfigChange{{Resource: Resource{Type: BrokerResource}, Ops: []topicconfig.Op{{Name: "num.partitions", Value: "2"}}}}, false)
	if r := s.create("b", -1, -1); r.Partitions != 2 {
		t.Errorf("%+v", r)
	}
	if r := s.create("__consumer_offsets", 1, 1); !s.Image().TopicByID(r.ID).Internal {
		t.Error("not internal")
	}
}

func TestTopicsThatCannotBe(t *testing.T) {
	s := active(t, func(o *Options) { o.Static = map[string]string{topicconfig.MaxPartitions: "50"} })
	s.create("there", 1, 1)
	s.create("with.dot", 1, 1)
	before := s.store.revision()
	for _, c := range []struct {
		topic NewTopic
		kind  messages.Kind
		word  string
	}{
		{NewTopic{Name: "there", Partitions: 1, ReplicationFactor: 1}, messages.TopicExists, "there"},
		{NewTopic{Name: "with_dot", Partitions: 1, ReplicationFactor: 1}, messages.InvalidTopic, "with.dot"},
		{NewTopic{Name: "a/b", Partitions: 1, ReplicationFactor: 1}, messages.InvalidTopic, "a/b"},
		{NewTopic{Partitions: 1, ReplicationFactor: 1}, messages.InvalidTopic, "empty"},
		{NewTopic{Name: "a", Partitions: 0, ReplicationFactor: 1}, messages.InvalidPartitions, "0 partitions"},
		{NewTopic{Name: "a", Partitions: -2, ReplicationFactor: 1}, messages.InvalidPartitions, "-2"},
		{NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 0}, messages.InvalidReplicationFactor, "0"},
		{NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 2}, messages.InvalidReplicationFactor, "1 brokers are up"},
		{NewTopic{Name: "a", Partitions: 1 << 30, ReplicationFactor: 1}, messages.PolicyViolation, "10000 partitions in one request"},
		{NewTopic{Name: "a", Partitions: 49, ReplicationFactor: 1}, messages.PolicyViolation, "max.partitions.per.broker"},
		{NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 1, Config: pairs([]string{"retention.ms", "x"})}, messages.InvalidConfig, "retention.ms"},
		{NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 1, Config: pairs([]string{"retention", "1"})}, messages.InvalidConfig, "retention.ms"},
		{NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 1, Config: pairs([]string{"cleanup.policy", "squash"})}, messages.InvalidConfig, "is not delete"},
		{NewTopic{Name: "a", Partitions: 1, ReplicationFactor: -1, Assignments: [][]int32{{1}}}, messages.InvalidRequest, "both"},
		{NewTopic{Name: "a", Partitions: -1, ReplicationFactor: -1, Assignments: [][]int32{}}, messages.InvalidReplicaAssignment, "no partitions"},
		{NewTopic{Name: "a", Partitions: -1, ReplicationFactor: -1, Assignments: [][]int32{{1}, {2}}}, messages.InvalidReplicaAssignment, "broker 2"},
		{NewTopic{Name: "a", Partitions: -1, ReplicationFactor: -1, Assignments: [][]int32{{1}, {}}}, messages.InvalidReplicaAssignment, "partition 1"},
	} {
		r := s.try(c.topic)
		wantKind(t, fmt.Sprintf("%+v", c.topic), r.Err, c.kind, c.word)
		if r.Name != c.topic.Name {
			t.Errorf("result of %q names %q", c.topic.Name, r.Name)
		}
	}
	if s.store.revision() != before {
		t.Error("something was written")
	}
	twice := s.CreateTopics(ctx(t), []NewTopic{{Name: "x", Partitions: 1, ReplicationFactor: 1}, {Name: "y", Partitions: 1, ReplicationFactor: 1}, {Name: "x", Partitions: 2, ReplicationFactor: 1}}, false)
	wantKind(t, "twice", twice[0].Err, messages.InvalidRequest, "more than once")
	wantKind(t, "twice", twice[2].Err, messages.InvalidRequest, "more than once")
	if twice[1].Err != nil {
		t.Error(twice[1].Err)
	}
}

func TestOneRequestHasALimitInAll(t *testing.T) {
	s := active(t, nil)
	r := s.CreateTopics(ctx(t), []NewTopic{{Name: "a", Partitions: 6000, ReplicationFactor: 1}, {Name: "b", Partitions: 6000, ReplicationFactor: 1}, {Name: "c", Partitions: 4000, ReplicationFactor: 1}}, true)
	wantKind(t, "b", r[1].Err, messages.PolicyViolation, "one request")
	if r[0].Err != nil || r[2].Err != nil {
		t.Error(r[0].Err, r[2].Err)
	}
}

func TestValidateOnlyWritesNothing(t *testing.T) {
	s := active(t, nil)
	s.create("there", 2, 1)
	before, told := s.store.revision(), s.told()
	r := s.CreateTopics(ctx(t), []NewTopic{{Name: "a", Partitions: 2, ReplicationFactor: -1}, {Name: "there", Partitions: 1, ReplicationFactor: 1}}, true)
	if r[0].Err != nil || r[0].Partitions != 2 || !r[0].ID.IsZero() || len(r[0].Config) == 0 {
		t.Errorf("%+v", r[0])
	}
	wantKind(t, "there", r[1].Err, messages.TopicExists, "there")
	p := s.CreatePartitions(ctx(t), []NewPartitions{{Topic: "there", Count: 4}, {Topic: "not", Count: 4}}, true)
	wantKind(t, "not", p[1].Err, messages.UnknownTopicOrPartition, "not")
	set := func(name, v string) []topicconfig.Op { return []topicconfig.Op{{Name: name, Value: v}} }
	c := s.AlterConfigs(ctx(t), []ConfigChange{
		{Resource: Resource{TopicResource, "there"}, Ops: set("retention.ms", "1")},
		{Resource: Resource{BrokerResource, ""}, Ops: set("log.retention.ms", "1")},
		{Resource: Resource{BrokerResource, "1"}, Ops: set("log.retention.ms", "x")},
	}, true)
	wantKind(t, "broker", c[2].Err, messages.InvalidConfig, "log.retention.ms")
	if p[0].Err != nil || c[0].Err != nil || c[1].Err != nil {
		t.Error(p[0].Err, c[0].Err, c[1].Err)
	}
	if s.store.revision() != before || s.told() != "" || told == "" || s.Image().TopicCount() != 1 {
		t.Error("something was written or told")
	}
}

func TestPartitionsThatCannotBeAdded(t *testing.T) {
	s := active(t, nil)
	s.create("a", 3, 1)
	s.create("__consumer_offsets", 3, 1)
	for _, c := range []struct {
		want NewPartitions
		kind messages.Kind
		word string
	}{
		{NewPartitions{Topic: "b", Count: 3}, messages.UnknownTopicOrPartition, "b"},
		{NewPartitions{Topic: "a", Count: 3}, messages.InvalidPartitions, "3 partitions already"},
		{NewPartitions{Topic: "a", Count: 2}, messages.InvalidPartitions, "not 2"},
		{NewPartitions{Topic: "a", Count: -1}, messages.InvalidPartitions, "-1"},
		{NewPartitions{Topic: "a", Count: 1 << 30}, messages.PolicyViolation, "one request"},
		{NewPartitions{Topic: "a", Count: 5, Assignments: [][]int32{{1}}}, messages.InvalidReplicaAssignment, "2 new partitions"},
		{NewPartitions{Topic: "a", Count: 4, Assignments: [][]int32{{9}}}, messages.InvalidReplicaAssignment, "broker 9"},
		{NewPartitions{}, messages.InvalidRequest, "neither name nor id"},
		{NewPartitions{Topic: "__consumer_offsets", Count: 4}, messages.InvalidPartitions, "internal"},
	} {
		wantKind(t, fmt.Sprintf("%+v", c.want), s.CreatePartitions(ctx(t), []NewPartitions{c.want}, false)[0].Err, c.kind, c.word)
	}
	if r := s.CreatePartitions(ctx(t), []NewPartitions{{Topic: "a", Count: 4, Assignments: [][]int32{{1}}}}, false); r[0].Err != nil {
		t.Error(r[0].Err)
	}
}

func TestDeletionsThatCannotBe(t *testing.T) {
	s := active(t, nil)
	r := s.create("a", 1, 1)
	got := s.DeleteTopics(ctx(t), []TopicRef{{Name: "b"}, {ID: messages.TopicID{1}}, {}, {Name: "a", ID: r.ID}})
	wantKind(t, "name", got[0].Err, messages.UnknownTopicOrPartition, "b")
	wantKind(t, "id", got[1].Err, messages.UnknownTopicID, "AQAA")
	wantKind(t, "neither", got[2].Err, messages.InvalidRequest, "neither")
	wantKind(t, "both", got[3].Err, messages.InvalidRequest, "by name and by id")
	got = s.DeleteTopics(ctx(t), []TopicRef{{Name: "a"}, {ID: r.ID}})
	wantKind(t, "twice", got[0].Err, messages.InvalidRequest, "more than once")
	wantKind(t, "twice", got[1].Err, messages.InvalidRequest, "more than once")
	s.AlterConfigs(ctx(t), []ConfigChange{{Resource: Resource{BrokerResource, ""}, Ops: []topicconfig.Op{{Name: "delete.topic.enable", Value: "false"}}}}, false)
	wantKind(t, "disabled", s.DeleteTopics(ctx(t), []TopicRef{{Name: "a"}})[0].Err, messages.TopicDeletionDisabled, "delete.topic.enable")
	if s.Image().Topic("a") == nil {
		t.Error("it is gone")
	}
}

func TestAltersOfConfigs(t *testing.T) {
	s := active(t, nil)
	s.create("a", 1, 1, "retention.ms", "1", "segment.ms", "2")
	topic, all, one := Resource{TopicResource, "a"}, Resource{BrokerResource, ""}, Resource{BrokerResource, "1"}
	alter := func(r Resource, replace bool, ops ...topicconfig.Op) error {
		t.Helper()
		return s.AlterConfigs(ctx(t), []ConfigChange{{Resource: r, Ops: ops, Replace: replace}}, false)[0].Err
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	must(alter(topic, false, topicconfig.Op{Name: "segment.ms", Kind: topicconfig.Delete}, topicconfig.Op{Name: "retention.bytes", Value: "9"}))
	if got := fmt.Sprint(s.Image().Topic("a").Config); got != "map[retention.bytes:9 retention.ms:1]" {
		t.Error(got)
	}
	must(alter(topic, true, topicconfig.Op{Name: "segment.ms", Value: "3"}))
	if got := fmt.Sprint(s.Image().Topic("a").Config); got != "map[segment.ms:3]" {
		t.Error(got)
	}
	must(alter(topic, true))
	if s.Image().Topic("a").Config != nil {
		t.Error("overrides are left")
	}
	must(alter(all, false, topicconfig.Op{Name: "log.retention.ms", Value: "8"}))
	must(alter(one, false, topicconfig.Op{Name: "log.retention.ms", Value: "9"}))
	if v, err := topicconfig.Parse(nil, Defaults(s.Image(), 1, nil)); err != nil || v.RetentionMs != 9 {
		t.Errorf("%+v, %v", v, err)
	}
	before := s.store.revision()
	must(alter(one, false, topicconfig.Op{Name: "log.retention.ms", Value: "9"}))
	if s.store.revision() != before {
		t.Error("a change of nothing was written")
	}
	wantKind(t, "topic", alter(Resource{TopicResource, "b"}, false), messages.UnknownTopicOrPartition, "b")
	wantKind(t, "broker", alter(Resource{BrokerResource, "7"}, false), messages.InvalidRequest, "broker 7")
	wantKind(t, "broker", alter(Resource{BrokerResource, "x"}, false), messages.InvalidRequest, "broker x")
	wantKind(t, "type", alter(Resource{8, "x"}, false), messages.InvalidRequest, "type 8")
	wantKind(t, "fixed", alter(one, false, topicconfig.Op{Name: "node.id", Value: "2"}), messages.InvalidConfig, "node.id")
	wantKind(t, "relation", alter(topic, false, topicconfig.Op{Name: "max.compaction.lag.ms", Value: "1"}, topicconfig.Op{Name: "min.compaction.lag.ms", Value: "2"}), messages.InvalidConfig, "min.compaction.lag.ms")
	twice := s.AlterConfigs(ctx(t), []ConfigChange{{Resource: topic}, {Resource: topic}}, false)
	wantKind(t, "twice", twice[1].Err, messages.InvalidRequest, "topic a")
}

// BenchmarkCreate1000Partitions creates and deletes a topic of 1,000 partitions.
func BenchmarkCreate1000Partitions(b *testing.B) {
	s := active(b, nil)
	for b.Loop() {
		s.create("big", 1000, 1)
		if r := s.DeleteTopics(b.Context(), []TopicRef{{Name: "big"}}); r[0].Err != nil {
			b.Fatal(r[0].Err)
		}
	}
}

// BenchmarkUncleanStart bumps the leader epochs of 10,000 partitions.
func BenchmarkUncleanStart(b *testing.B) {
	s := active(b, nil)
	for i := range 10 {
		s.create(fmt.Sprint("t", i), 1000, 1)
	}
	for b.Loop() {
		if _, err := s.TakeOver(b.Context(), Takeover{Self: metadata.Broker{ID: 1}, Register: true, Doubtful: true}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestDefaultsThatDoNotGoWithATopic: each of two changes can be, and together they
// cannot. What the topic has goes on.
func TestDefaultsThatDoNotGoWithATopic(t *testing.T) {
	s := active(t, nil)
	s.create("a", 1, 1, "min.compaction.lag.ms", "100")
	lag := []topicconfig.Op{{Name: "log.cleaner.max.compaction.lag.ms", Value: "50"}}
	if r := s.AlterConfigs(ctx(t), []ConfigChange{{Resource: Resource{BrokerResource, ""}, Ops: lag}}, false)[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	v, err := topicconfig.Parse(s.Image().Topic("a").Config, Defaults(s.Image(), 1, nil))
	if err != nil || v.MinCompactionLagMs != 100 || v.MaxCompactionLagMs != 50 {
		t.Errorf("the topic's settings cannot be used any more: %v", err)
	}
	one := []topicconfig.Op{{Name: "log.cleaner.min.compaction.lag.ms", Value: "60"}}
	r := s.AlterConfigs(ctx(t), []ConfigChange{{Resource: Resource{BrokerResource, "1"}, Ops: one}}, false)[0]
	wantKind(t, "one broker", r.Err, messages.InvalidConfig, "min.compaction.lag.ms")
}
