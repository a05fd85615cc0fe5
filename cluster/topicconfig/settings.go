package topicconfig

import (
	"fmt"
	"maps"
	"slices"

	"understudy/messages"
	"understudy/messages/batch"
)

// Settings are a topic's settings, typed. Sizes are bytes, times milliseconds,
// -1 in a retention means without bound.
type Settings struct {
	Compression        Compression
	TimestampType      batch.TimestampType
	TimestampBeforeMax int64 // how far a record's time may lie behind the broker's, ms
	TimestampAfterMax  int64 // and ahead, ms
	MaxMessageBytes    int32 // of one batch, as it comes and as it is stored
	MinInsyncReplicas  int
	UncleanElection    bool
	WriteCaching       bool
	Delete             bool    // old segments are removed, by RetentionMs and RetentionBytes
	Compact            bool    // of each key only the last record stays
	MinDirtyRatio      float64 // share of a log that must be uncompacted before it is compacted
	MinCompactionLagMs int64
	MaxCompactionLagMs int64
	DeleteRetentionMs  int64 // of tombstones
	RetentionMs        int64
	RetentionBytes     int64
	SegmentBytes       int64
	SegmentMs          int64
	IndexIntervalBytes int
	Preallocate        bool
	LeaderThrottled    Throttled // leaders whose sending to replicas that catch up is throttled
	FollowerThrottled  Throttled // replicas whose catching up is throttled
}

// Compression says how batches are to be stored.
type Compression struct {
	AsProduced bool        // as they come; else:
	Codec      batch.Codec // None means uncompressed
	Level      int         // the codec's own scale; snappy has none
}

// Defaults are the layers below a topic's own overrides, by the broker's names
// of settings ("log.retention.ms"). Any may be nil. Names that are not in the
// Broker table are passed over.
type Defaults struct {
	Broker  map[string]string // changed for this broker while running
	Cluster map[string]string // changed for all brokers while running
	Static  map[string]string // what this broker was started with
}

// of finds the value for a broker-level name and where it is from.
func (d Defaults) of(name string) (string, Source, bool) {
	for _, layer := range d.layers() {
		if v, ok := layer.values[name]; ok {
			return v, layer.source, true
		}
	}
	return "", DefaultValue, false
}

type layer struct {
	source Source
	values map[string]string
}

func (d Defaults) layers() []layer {
	return []layer{{DynamicBroker, d.Broker}, {DynamicDefaultBroker, d.Cluster}, {StaticBroker, d.Static}}
}

// Parse gives the effective settings of a topic with the given overrides. The
// error is the first, by name, of an override that is unknown or cannot be.
func Parse(overrides map[string]string, d Defaults) (Settings, error) {
	s, _, err := parse(overrides, d)
	return s, err
}

// Check says what is wrong with settings that are about to be made, or nil: also that
// two of them do not go together. Parse lets that pass: a topic must not fail because a
// default of brokers has changed.
func Check(overrides map[string]string, d Defaults) error {
	_, parsed, err := parse(overrides, d)
	if err != nil {
		return err
	}
	return relations(parsed)
}

func parse(overrides map[string]string, d Defaults) (s Settings, parsed map[string]value, err error) {
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		if _, err := Topic.Lookup(name); err != nil {
			return s, nil, err
		}
	}
	parsed = make(map[string]value, len(Topic.settings))
	for i := range Topic.settings {
		setting := &Topic.settings[i]
		text, ok := overrides[setting.Name]
		if !ok {
			if text, _, ok = d.of(setting.Broker); !ok {
				text = setting.Default
			}
		}
		v, err := setting.parse(text)
		if err != nil {
			return s, nil, err
		}
		parsed[setting.Name] = v
		if setting.set != nil {
			setting.set(&s, v)
		}
	}
	s.Compression.Level = compressionLevel(s.Compression.Codec, parsed)
	return s, parsed, nil
}

func compressionLevel(c batch.Codec, parsed map[string]value) int {
	switch c {
	case batch.Gzip, batch.LZ4, batch.Zstd:
		return int(parsed["compression."+c.String()+".level"].num)
	}
	return 0
}

// relations checks what must hold between settings. Kafka does not ask that a
// segment holds the largest message, nor do we: the size of a segment is when
// the next one begins, and a batch larger than a segment is refused by itself.
func relations(parsed map[string]value) error {
	const low, high = "min.compaction.lag.ms", "max.compaction.lag.ms"
	if parsed[low].num > parsed[high].num {
		return messages.E("config", messages.InvalidConfig, low,
			fmt.Errorf("%d is more than %s, %d", parsed[low].num, high, parsed[high].num))
	}
	return nil
}

// Value is the effective value of a broker's setting, checked; the default for
// one that is unknown or cannot be, which only a newer version's writing brings about.
func (d Defaults) Value(name string) string {
	s, err := Broker.Lookup(name)
	if err != nil {
		return ""
	}
	if text, _, ok := d.of(name); ok && s.Check(text) == nil {
		return text
	}
	return s.Default
}

// Int is Value of a setting that is a whole number.
func (d Defaults) Int(name string) int64 {
	i, ok := Broker.index[name]
	if !ok {
		return 0
	}
	v, err := Broker.settings[i].parse(d.Value(name))
	if err != nil {
		return 0
	}
	return v.num
}

// Bool is Value of a setting that is true or false.
func (d Defaults) Bool(name string) bool {
	v, err := yesNo{}.parse(d.Value(name))
	return err == nil && v.yes
}
