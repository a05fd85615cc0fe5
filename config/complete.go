package config

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"understudy/cluster/topicconfig"
	"understudy/messages"
)

// Source is where a value came from.
type Source string

// The sources that are not a place. A value from a file, the environment or a
// flag has the place as its source: "broker.yaml:3", "UNDERSTUDY_LISTEN", "--listen".
const (
	FromDefault Source = "default"
	FromMachine Source = "derived" // worked out from the machine or from other settings
	FromProgram Source = "program" // set by the program that embeds the broker
)

// Source says where the value of a setting came from.
func (c *Config) Source(key string) Source {
	if from, ok := c.sources[key]; ok {
		return from
	}
	s := Lookup(key)
	if s == nil {
		return ""
	}
	standard := Default()
	if s.Raw(c) == s.Raw(&standard) {
		return FromDefault
	}
	return FromProgram
}

// Chosen reports whether someone chose the value: it is not a default and was
// not derived.
func (c *Config) Chosen(key string) bool {
	from := c.Source(key)
	return from != FromDefault && from != FromMachine
}

// StaticSettings are the settings as Kafka's tools see them: under Kafka's names,
// written as Kafka writes them ("log.retention.ms" is "604800000"), as far as
// cluster/topicconfig knows them. Those that may be changed while running are
// there only if they were chosen, since their defaults stand in its table.
func (c *Config) StaticSettings() map[string]string {
	m := map[string]string{
		"broker.id":            Lookup("node.id").Raw(c),
		"node.id":              Lookup("node.id").Raw(c),
		"broker.rack":          c.Rack,
		"listeners":            "PLAINTEXT://" + c.Listen,
		"advertised.listeners": "PLAINTEXT://" + cmp.Or(c.Advertise, c.Listen),
		"log.dirs":             c.DataDir,
	}
	for _, known := range topicconfig.Broker.All() {
		s := Lookup(known.Name)
		if s == nil || known.Fixed || !c.Chosen(s.Key) {
			continue
		}
		v := s.Raw(c)
		if v == "-1" && known.Check(v) != nil {
			v = strconv.Itoa(math.MaxInt64) // how that setting says "no bound"
		}
		m[s.Key] = v
	}
	return m
}

// Complete derives what was left open and checks every value and how they fit
// together. The error is a Problems.
func (c Config) Complete() (Config, error) { return c.complete(machineMemory) }

func (c Config) complete(memory func() int64) (Config, error) {
	c.derive(memory)
	problems := c.checkEach()
	if len(problems) == 0 {
		problems = c.checkRelations()
	}
	if len(problems) > 0 {
		return c, problems
	}
	return c, nil
}

// derive fills the fields that were left zero. A derived value gives way to what
// was set, so that one small limit does not contradict another's default.
func (c *Config) derive(memory func() int64) {
	sources := make(map[string]Source, len(c.sources)+5)
	for k, v := range c.sources {
		sources[k] = v
	}
	c.sources = sources
	l := &c.Limits
	for _, d := range []struct {
		key   string
		field *int64
		value func() int64
	}{
		{"memory.limit", &c.MemoryLimit, func() int64 { return max(64*mib, memory()/4/mib*mib) }},
		{"queued.max.request.bytes", &l.InFlightBytes, func() int64 { return c.MemoryLimit / 2 }},
		{"connection.queued.max.request.bytes", &l.ConnectionInFlightBytes, func() int64 { return min(32*mib, l.InFlightBytes/4) }},
		{"socket.request.max.bytes", &l.RequestBytes, func() int64 { return min(100*mib, l.InFlightBytes/2) }},
		{"fetch.max.bytes", &l.FetchBytes, func() int64 { return min(55*mib, c.MemoryLimit/4) }},
	} {
		if *d.field == 0 {
			*d.field = d.value()
			c.sources[d.key] = FromMachine
		}
	}
}

func (c *Config) checkEach() Problems {
	var problems Problems
	for _, s := range settings {
		if err := s.check(c); err != nil {
			problems = append(problems, Problem{Where: string(c.Source(s.Key)), Key: s.Key, Message: err.Error()})
		}
	}
	return problems
}

// checkRelations says which settings contradict each other.
func (c *Config) checkRelations() Problems {
	var problems Problems
	l, t := &c.Limits, &c.Topics
	for _, r := range []struct {
		small, large string
		holds        bool
		why          string
	}{
		{"queued.max.request.bytes", "memory.limit", l.InFlightBytes <= c.MemoryLimit, "requests are held in that memory"},
		{"connection.queued.max.request.bytes", "queued.max.request.bytes", l.ConnectionInFlightBytes <= l.InFlightBytes, "one connection's share is part of it"},
		{"socket.request.max.bytes", "queued.max.request.bytes", l.RequestBytes <= l.InFlightBytes, "a larger request could never be read"},
		{"fetch.max.bytes", "memory.limit", l.FetchBytes <= c.MemoryLimit, "answers are held in that memory"},
		{"message.max.bytes", "socket.request.max.bytes", t.MaxMessageBytes <= l.RequestBytes, "a batch comes within a request"},
		{"message.max.bytes", "log.segment.bytes", t.MaxMessageBytes <= t.SegmentBytes, "a batch lies within one file"},
		{"log.index.interval.bytes", "log.segment.bytes", int64(t.IndexIntervalBytes) <= t.SegmentBytes, "an index would have no entry"},
		{"max.connections.per.ip", "max.connections", l.ConnectionsPerIP <= l.Connections || !c.Chosen("max.connections.per.ip"), "one address's share is part of it"},
		{"log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms", t.MaxCompactionLag == Unlimited || t.MinCompactionLag <= t.MaxCompactionLag, "no topic could keep to both"},
		{"group.min.session.timeout.ms", "group.max.session.timeout.ms", c.Groups.MinSession <= c.Groups.MaxSession, "no member could join any group"},
		{"min.insync.replicas", "default.replication.factor", t.MinInsyncReplicas <= t.ReplicationFactor, "topics made with these defaults could never be written to with acks=all"},
	} {
		if !r.holds {
			small, large := Lookup(r.small), Lookup(r.large)
			problems = append(problems, Problem{Where: string(c.Source(r.small)), Key: r.small, Message: fmt.Sprintf(
				"%s is more than %s, which is %s (%s): %s", small.Get(c), r.large, large.Get(c), c.Source(r.large), r.why)})
		}
	}
	problems = append(problems, c.checkLinkTLS()...)
	if c.AdminListen == c.Listen && !strings.HasSuffix(c.Listen, ":0") {
		problems = append(problems, Problem{Where: string(c.Source("admin.listen")), Key: "admin.listen",
			Message: c.AdminListen + " is also where Kafka clients connect (listen); give one of them another port"})
	}
	return problems
}

// checkLinkTLS says which of the files is missing that TLS between nodes needs.
func (c *Config) checkLinkTLS() (problems Problems) {
	keys := []string{"link.tls.cert.file", "link.tls.key.file", "link.tls.ca.file"}
	set := slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return Lookup(key).Get(c) == "" })
	if len(set) == 0 || len(set) == len(keys) {
		return nil
	}
	for _, key := range keys {
		if !slices.Contains(set, key) {
			problems = append(problems, Problem{Where: string(c.Source(set[0])), Key: key, Message: fmt.Sprintf("is missing, though there is %s: TLS between nodes needs all of %s", set[0], strings.Join(keys, ", "))})
		}
	}
	return problems
}

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Where   string `json:"where"`             // file:line:column, variable or flag
	Key     string `json:"key,omitempty"`     // the setting
	Message string `json:"message"`           //
	Snippet string `json:"snippet,omitempty"` // the lines of the file around it
}

// String reads "broker.yaml:3:1: num.partitions: 0 is out of range …", with the
// lines of the file below.
func (p Problem) String() string {
	parts := slices.DeleteFunc([]string{p.Where, p.Key, p.Message}, func(s string) bool { return s == "" })
	s := strings.Join(parts, ": ")
	if p.Snippet != "" {
		s += "\n" + p.Snippet
	}
	return s
}

// Problems is everything that is wrong with a configuration, as an error of kind
// InvalidConfig.
type Problems []Problem

// Error has a line for each problem, and the lines of the file where there is one.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// Unwrap classifies the error.
func (p Problems) Unwrap() error {
	return messages.E("configuration", messages.InvalidConfig, "", errors.New("see the problems listed"))
}
