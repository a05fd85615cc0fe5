package topicconfig

// Source says where a value is from, with the numbers of DescribeConfigs.
type Source int8

// The sources, from the strongest to the weakest.
const (
	DynamicTopic         Source = 1
	DynamicBroker        Source = 2
	DynamicDefaultBroker Source = 3
	StaticBroker         Source = 4
	DefaultValue         Source = 5
)

// Entry is one setting as DescribeConfigs shows it.
type Entry struct {
	Name      string
	Value     string
	Source    Source
	ReadOnly  bool
	Sensitive bool // its value must not be shown; none is yet
	Type      Type
	Doc       string
	Synonyms  []Synonym // all that have a value, the one in effect first
}

// Synonym is one place where a setting has a value.
type Synonym struct {
	Name   string
	Value  string
	Source Source
}

// DescribeTopic lists all settings of a topic by name, with the values in effect.
func DescribeTopic(overrides map[string]string, d Defaults) []Entry {
	list := make([]Entry, 0, len(Topic.settings))
	for i := range Topic.settings {
		s := &Topic.settings[i]
		var syn []Synonym
		if v, ok := overrides[s.Name]; ok {
			syn = append(syn, Synonym{Name: s.Name, Value: v, Source: DynamicTopic})
		}
		list = append(list, s.entry(d.synonyms(syn, s.Broker, s.Default)))
	}
	return list
}

// DescribeBroker lists all settings of a broker by name, with the values in effect.
func DescribeBroker(d Defaults) []Entry {
	list := make([]Entry, 0, len(Broker.settings))
	for i := range Broker.settings {
		s := &Broker.settings[i]
		list = append(list, s.entry(d.synonyms(nil, s.Name, s.Default)))
	}
	return list
}

// DescribeClusterDefault lists the settings that were changed for all brokers,
// which is what Kafka shows for the broker without a name.
func DescribeClusterDefault(d Defaults) []Entry {
	var list []Entry
	for i := range Broker.settings {
		s := &Broker.settings[i]
		if v, ok := d.Cluster[s.Name]; ok {
			list = append(list, s.entry([]Synonym{{Name: s.Name, Value: v, Source: DynamicDefaultBroker}}))
		}
	}
	return list
}

// synonyms adds the layers' values of a broker-level name, and the default.
func (d Defaults) synonyms(list []Synonym, name, fallback string) []Synonym {
	for _, layer := range d.layers() {
		if v, ok := layer.values[name]; ok {
			list = append(list, Synonym{Name: name, Value: v, Source: layer.source})
		}
	}
	return append(list, Synonym{Name: name, Value: fallback, Source: DefaultValue})
}

func (s *Setting) entry(syn []Synonym) Entry {
	return Entry{
		Name: s.Name, Value: syn[0].Value, Source: syn[0].Source,
		ReadOnly: s.Fixed, Type: s.Type, Doc: s.Doc, Synonyms: syn,
	}
}
