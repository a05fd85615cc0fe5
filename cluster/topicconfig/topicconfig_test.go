package topicconfig

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"understudy/messages"
	"understudy/messages/batch"
)

func TestTablesAreSound(t *testing.T) {
	for _, table := range []*Table{Topic, Broker} {
		names := map[string]bool{}
		for _, s := range table.All() {
			if names[s.Name] {
				t.Errorf("%s is there twice", s.Name)
			}
			names[s.Name] = true
			if s.Name == "" || s.Doc == "" || s.Type == 0 || s.rule == nil {
				t.Errorf("%s is not complete", s.Name)
			}
			if s.Default != "" || !s.Fixed {
				if err := s.Check(s.Default); err != nil {
					t.Errorf("default of %s: %v", s.Name, err)
				}
			}
		}
	}
	for _, s := range Topic.All() {
		if _, err := Broker.Lookup(s.Broker); err != nil && s.Broker != "" {
			t.Errorf("%s: %v", s.Name, err)
		}
		if s.set == nil && !strings.Contains(s.Doc, "no effect: ") && !strings.HasPrefix(s.Name, "compression.") {
			t.Errorf("%s is read by nothing and does not say so", s.Name)
		}
	}
}

func TestDefaultsAreKafkas(t *testing.T) {
	got, err := Parse(nil, Defaults{})
	want := Settings{
		Compression:        Compression{AsProduced: true},
		TimestampBeforeMax: 1<<63 - 1,
		TimestampAfterMax:  3600_000,
		MaxMessageBytes:    1048588,
		MinInsyncReplicas:  1,
		Delete:             true,
		MinDirtyRatio:      0.5,
		MaxCompactionLagMs: 1<<63 - 1,
		DeleteRetentionMs:  24 * 3600_000,
		RetentionMs:        7 * 24 * 3600_000,
		RetentionBytes:     -1,
		SegmentBytes:       1 << 30,
		SegmentMs:          7 * 24 * 3600_000,
		IndexIntervalBytes: 4096,
		Preallocate:        true,
	}
	if err != nil || got != want {
		t.Errorf("%v\nhave %+v\nwant %+v", err, got, want)
	}
}

func TestCleanupPolicies(t *testing.T) {
	for text, want := range map[string][2]bool{
		"delete": {true, false}, "compact": {false, true}, "compact,delete": {true, true}, " delete , compact": {true, true},
	} {
		s, err := Parse(map[string]string{"cleanup.policy": text}, Defaults{})
		if err != nil || s.Delete != want[0] || s.Compact != want[1] {
			t.Errorf("%q: delete %t, compact %t, %v", text, s.Delete, s.Compact, err)
		}
	}
}

func TestTheNearestLayerWins(t *testing.T) {
	d := Defaults{
		Static:  map[string]string{"log.retention.ms": "1", "log.roll.ms": "10", "message.max.bytes": "5000", "other": "x"},
		Cluster: map[string]string{"log.retention.ms": "2", "log.roll.ms": "20"},
		Broker:  map[string]string{"log.retention.ms": "3"},
	}
	s, err := Parse(map[string]string{"retention.bytes": " 77 "}, d)
	if err != nil || s.RetentionMs != 3 || s.SegmentMs != 20 || s.MaxMessageBytes != 5000 || s.RetentionBytes != 77 {
		t.Errorf("%v %+v", err, s)
	}
	if s, _ := Parse(map[string]string{"retention.ms": "4"}, d); s.RetentionMs != 4 {
		t.Errorf("the topic's own value is not first: %d", s.RetentionMs)
	}
	if d.Int("log.retention.ms") != 3 || d.Int(NumPartitions) != 1 || !d.Bool(AutoCreateTopics) || d.Value("nonsense") != "" {
		t.Error("broker values")
	}
	bad := Defaults{Cluster: map[string]string{NumPartitions: "many"}}
	if bad.Int(NumPartitions) != 1 {
		t.Error("a value that cannot be must not be used")
	}
}

func TestCompression(t *testing.T) {
	for kind, want := range map[string]Compression{
		"producer":     {AsProduced: true},
		"uncompressed": {},
		"gzip":         {Codec: batch.Gzip, Level: 7},
		"snappy":       {Codec: batch.Snappy},
		"lz4":          {Codec: batch.LZ4, Level: 9},
		"zstd":         {Codec: batch.Zstd, Level: -5},
	} {
		s, err := Parse(map[string]string{"compression.type": kind, "compression.gzip.level": "7", "compression.zstd.level": "-5"}, Defaults{})
		if err != nil || s.Compression != want {
			t.Errorf("%s: %+v, %v", kind, s.Compression, err)
		}
	}
}

func TestBadSettingsAreRefusedByName(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"retention.ms", "abc", `retention.ms: "abc" is not a whole number of -1 or more`},
		{"retention.ms", "-2", "-1 or more"},
		{"retention.ms", "99999999999999999999", "-1 or more"},
		{"segment.bytes", "10", "from 1024 to 2147483647"},
		{"segment.bytes", "2147483648", "from 1024 to 2147483647"},
		{"min.insync.replicas", "0", "from 1"},
		{"compression.type", "lzma", "producer, uncompressed, gzip, snappy, lz4, zstd"},
		{"compression.gzip.level", "0", "-1 nor"},
		{"message.timestamp.type", "createtime", "CreateTime, LogAppendTime"},
		{"cleanup.policy", "compact", ""},
		{"cleanup.policy", "compact, delete", ""},
		{"cleanup.policy", "delete,delete", "is not delete, compact or both"},
		{"cleanup.policy", "none", "is not delete"},
		{"cleanup.policy", "", "is not delete"},
		{"write.caching", "1", "neither true nor false"},
		{"min.cleanable.dirty.ratio", "NaN", "from 0 to 1"},
		{"min.compaction.lag.ms", "9223372036854775807", ""},
		{"retension.ms", "1", "did you mean retention.ms?"},
		{"log.retention.ms", "1", "no such topic setting"},
		{"Retention.MS", "1", "no such topic setting"},
		{strings.Repeat("x", 5000), "1", "..."},
		{"retention.ms", strings.Repeat("9", 5000), "..."},
	} {
		_, err := Parse(map[string]string{c.name: c.value}, Defaults{})
		if c.want == "" {
			if err != nil {
				t.Errorf("%s=%s: %v", c.name, c.value, err)
			}
			continue
		}
		if messages.KindOf(err) != messages.InvalidConfig || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 300 {
			t.Errorf("%.30s=%.30s: %v", c.name, c.value, err)
		}
	}
	err := Check(map[string]string{"min.compaction.lag.ms": "10", "max.compaction.lag.ms": "9"}, Defaults{})
	if err == nil || !strings.Contains(err.Error(), "min.compaction.lag.ms: 10 is more than max.compaction.lag.ms, 9") {
		t.Errorf("have %v", err)
	}
}

func TestAlter(t *testing.T) {
	current := map[string]string{"retention.ms": "5", "from.the.future": "x"}
	for _, c := range []struct {
		what string
		ops  []Op
		want map[string]string
		err  string
	}{
		{"set and delete", []Op{{Name: "segment.ms", Value: " 7 "}, {Name: "retention.ms", Kind: Delete}},
			map[string]string{"segment.ms": "7", "from.the.future": "x"}, ""},
		{"delete what is not set", []Op{{Name: "segment.ms", Kind: Delete}}, current, ""},
		{"delete what this version does not know", []Op{{Name: "from.the.future", Kind: Delete}}, map[string]string{"retention.ms": "5"}, ""},
		{"append what is there", []Op{{Name: "cleanup.policy", Kind: Append, Value: "delete"}},
			map[string]string{"retention.ms": "5", "from.the.future": "x", "cleanup.policy": "delete"}, ""},
		{"append compact", []Op{{Name: "cleanup.policy", Kind: Append, Value: "compact"}},
			map[string]string{"retention.ms": "5", "from.the.future": "x", "cleanup.policy": "delete,compact"}, ""},
		{"subtract all", []Op{{Name: "cleanup.policy", Kind: Subtract, Value: "delete"}}, nil, "is not delete"},
		{"append to a number", []Op{{Name: "retention.ms", Kind: Append, Value: "1"}}, nil, "is not a list"},
		{"unknown", []Op{{Name: "retention", Value: "1"}}, nil, "no such topic setting"},
		{"delete unknown", []Op{{Name: "retention", Kind: Delete}}, nil, "no such topic setting"},
		{"twice", []Op{{Name: "segment.ms", Value: "1"}, {Name: "segment.ms", Value: "2"}}, nil, "changed twice"},
		{"no value", []Op{{Name: "segment.ms", Null: true}}, nil, "has no value"},
		{"bad operation", []Op{{Name: "segment.ms", Kind: 9}}, nil, "operation 9"},
	} {
		got, err := Topic.Alter(current, c.ops, Defaults{})
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v", c.what, err)
			}
			continue
		}
		if err != nil || !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, %v", c.what, got, err)
		}
	}
	if len(current) != 2 || current["retention.ms"] != "5" {
		t.Errorf("the current overrides were changed: %v", current)
	}
	if _, err := Broker.Alter(nil, []Op{{Name: "node.id", Value: "3"}}, Defaults{}); err == nil || !strings.Contains(err.Error(), "while the broker runs") {
		t.Errorf("node.id: %v", err)
	}
}

func TestReplaceGivesExactlyWhatIsWanted(t *testing.T) {
	current := map[string]string{"retention.ms": "5", "segment.ms": "6"}
	wanted := map[string]string{"segment.ms": "7", "flush.ms": "8"}
	got, err := Topic.Alter(current, Replace(current, wanted), Defaults{})
	if err != nil || !maps.Equal(got, wanted) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestDescribe(t *testing.T) {
	d := Defaults{
		Static:  map[string]string{"log.retention.ms": "1", "node.id": "4"},
		Cluster: map[string]string{"log.retention.ms": "2", "num.partitions": "3"},
	}
	list := DescribeTopic(map[string]string{"retention.ms": "9"}, d)
	if !slices.IsSortedFunc(list, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) }) || len(list) != len(Topic.All()) {
		t.Error("not all settings in order")
	}
	e := find(t, list, "retention.ms")
	want := []Synonym{
		{"retention.ms", "9", DynamicTopic},
		{"log.retention.ms", "2", DynamicDefaultBroker},
		{"log.retention.ms", "1", StaticBroker},
		{"log.retention.ms", "604800000", DefaultValue},
	}
	if e.Value != "9" || e.Source != DynamicTopic || e.Type != Long || !slices.Equal(e.Synonyms, want) {
		t.Errorf("%+v", e)
	}
	if e := find(t, list, "segment.ms"); e.Source != DefaultValue || e.Value != "604800000" || e.Doc == "" {
		t.Errorf("%+v", e)
	}
	list = DescribeBroker(d)
	if e := find(t, list, "node.id"); !e.ReadOnly || e.Value != "4" || e.Source != StaticBroker {
		t.Errorf("%+v", e)
	}
	if e := find(t, list, NumPartitions); e.ReadOnly || e.Value != "3" || e.Source != DynamicDefaultBroker {
		t.Errorf("%+v", e)
	}
	if list := DescribeClusterDefault(d); len(list) != 2 || list[0].Name != "log.retention.ms" {
		t.Errorf("%+v", list)
	}
}

func find(t *testing.T, list []Entry, name string) Entry {
	t.Helper()
	i := slices.IndexFunc(list, func(e Entry) bool { return e.Name == name })
	if i < 0 {
		t.Fatalf("%s is not listed", name)
	}
	return list[i]
}

func FuzzParse(f *testing.F) {
	f.Add("retention.ms", "1")
	f.Add("cleanup.policy", "delete, compact")
	f.Fuzz(func(t *testing.T, name, text string) {
		if _, err := Parse(map[string]string{name: text}, Defaults{}); err != nil && messages.KindOf(err) != messages.InvalidConfig {
			t.Errorf("kind %v", messages.KindOf(err))
		}
	})
}

func BenchmarkParse(b *testing.B) {
	overrides := map[string]string{"retention.ms": "1000", "min.insync.replicas": "2"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(overrides, Defaults{}); err != nil {
			b.Fatal(err)
		}
	}
}
