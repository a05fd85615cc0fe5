package config

import (
	"errors"
	"flag"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"understudy/cluster/topicconfig"
	"understudy/messages"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, file, have string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(have), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if have != string(want) {
		t.Errorf("%s is not what was made (go test -update writes it anew):\n%s", file, have)
	}
}

func TestBadFilesAreRefusedWithPlaceAndReason(t *testing.T) {
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, _ := os.ReadFile(file)
			_, err := Parse(filepath.Base(file), text)
			if err == nil {
				t.Fatal("was accepted")
			}
			if messages.KindOf(err) != messages.InvalidConfig {
				t.Errorf("kind is %v", messages.KindOf(err))
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", err.Error()+"\n")
		})
	}
}

func TestReference(t *testing.T) {
	for _, format := range Formats {
		var b strings.Builder
		if err := Reference(&b, format); err != nil {
			t.Fatal(err)
		}
		golden(t, "testdata/reference."+format, b.String())
	}
	if Reference(&strings.Builder{}, "pdf") == nil {
		t.Error("a format that is not there was accepted")
	}
}

// The reference as YAML is a configuration; with the comment signs taken off it
// must say what the defaults say.
func TestReferenceAsFileIsTheDefaults(t *testing.T) {
	var b strings.Builder
	if err := Reference(&b, "yaml"); err != nil {
		t.Fatal(err)
	}
	var file strings.Builder
	for line := range strings.Lines(b.String()) {
		if rest, ok := strings.CutPrefix(line, "#"); ok && !strings.HasPrefix(rest, " ") && !strings.HasSuffix(rest, ":\n") {
			line = rest
		}
		file.WriteString(line)
	}
	have, err := Parse("reference.yaml", []byte(file.String()))
	if err != nil {
		t.Fatal(err)
	}
	want, _ := Default().Complete()
	have.sources, want.sources = nil, nil
	if !reflect.DeepEqual(have, want) {
		t.Errorf("have %+v\nwant %+v", have, want)
	}
}

// Every field of Config is one setting's, and every setting is wholly described.
func TestEveryFieldIsASetting(t *testing.T) {
	var c Config
	bound := make(map[uintptr]string)
	for _, s := range settings {
		p := reflect.ValueOf(s.field(&c)).Pointer()
		if other, ok := bound[p]; ok {
			t.Errorf("%s and %s are the same field", s.Key, other)
		}
		bound[p] = s.Key
		if s.Doc == "" || s.Group == "" || s.Type == "" || !strings.HasSuffix(s.Doc, ".") {
			t.Errorf("%s is not wholly described", s.Key)
		}
		if s.Default != "" && s.Derived != "" {
			t.Errorf("%s has two defaults", s.Key)
		}
	}
	fields(reflect.ValueOf(&c).Elem(), func(name string, p uintptr) {
		if bound[p] == "" {
			t.Errorf("field %s has no setting", name)
		}
	})
	if len(bound) != len(settings) {
		t.Error("two settings share a field")
	}
}

// What the Kafka protocol can see and change has the same default and the same
// meaning here and there.
func TestSettingsAgreeWithTheTopicTable(t *testing.T) {
	standard := Default()
	for _, known := range topicconfig.Broker.All() {
		s := Lookup(known.Name)
		if s == nil || known.Fixed {
			continue
		}
		raw := s.Raw(&standard)
		if raw == "-1" && known.Default == strconv.Itoa(math.MaxInt64) {
			raw = known.Default
		}
		if raw != known.Default {
			t.Errorf("%s is %s here and %s there", s.Key, raw, known.Default)
		}
		c := standard
		for _, bound := range []int64{s.Min, s.Max} {
			if s.Type != Int && s.Type != Size && s.Type != Duration || bound == 0 {
				continue
			}
			if err := s.parse(&c, s.format(bound)); err != nil {
				t.Error(err)
			} else if err := known.Check(s.Raw(&c)); err != nil {
				t.Errorf("a bound here is refused there: %v", err)
			}
		}
	}
	for _, known := range topicconfig.Topic.All() {
		if strings.Contains(known.Doc, "no effect") || known.Broker == "" {
			continue
		}
		if s := Lookup(known.Broker); s == nil || s.Topic != known.Name {
			t.Errorf("%s, the default of topic setting %s, is no setting", known.Broker, known.Name)
		}
	}
	c := standard
	c.Topics.TimestampAfterMax = Unlimited
	if have := c.StaticSettings()["log.message.timestamp.after.max.ms"]; have != "9223372036854775807" {
		t.Errorf("no bound is told as %q", have)
	}
}

func fields(v reflect.Value, f func(string, uintptr)) {
	for i := range v.NumField() {
		field := v.Field(i)
		switch {
		case !v.Type().Field(i).IsExported():
		case field.Kind() == reflect.Struct:
			fields(field, f)
		default:
			f(v.Type().Field(i).Name, field.Addr().Pointer())
		}
	}
}

func TestDefaults(t *testing.T) {
	for _, memory := range []int64{128 << 20, 512 << 20, 2 << 30, 1 << 40} {
		c, err := Default().complete(func() int64 { return memory })
		if err != nil {
			t.Errorf("with %s of memory: %v", FormatSize(memory), err)
		}
		if c.Source("memory.limit") != FromMachine || c.Chosen("memory.limit") || c.Source("listen") != FromDefault {
			t.Error("sources of defaults are wrong")
		}
	}
	c, _ := Default().complete(func() int64 { return 8 << 30 })
	if c.MemoryLimit != 2<<30 || c.Limits.InFlightBytes != 1<<30 || c.Limits.RequestBytes != 100<<20 {
		t.Errorf("derived %d, %d, %d", c.MemoryLimit, c.Limits.InFlightBytes, c.Limits.RequestBytes)
	}
	if n := machineMemory(); n < 64<<20 {
		t.Errorf("this machine has %d bytes?", n)
	}
}

func TestSetByTheProgram(t *testing.T) {
	c := Default()
	c.Listen = "127.0.0.1:0"
	c.MemoryLimit = 64 << 20
	c, err := c.Complete()
	if err != nil {
		t.Fatal(err)
	}
	if c.Source("listen") != FromProgram || !c.Chosen("listen") || c.Source("memory.limit") != FromProgram {
		t.Errorf("listen is from %q, memory.limit from %q", c.Source("listen"), c.Source("memory.limit"))
	}
	c.Topics.Partitions = -3
	if _, err = c.Complete(); err == nil || !strings.Contains(err.Error(), "num.partitions: -3 is out of range") {
		t.Errorf("have %v", err)
	}
	if _, err := (Config{}).Complete(); err == nil {
		t.Error("an empty Config was accepted")
	}
}

func TestPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "broker.yaml")
	text := "# comment\nnode.id: 1\nnum.partitions: 2\nlog:\n  retention.ms: 3d\n  segment: {bytes: 64MiB}\nlisten: '[::1]:0'\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, warnings, err := Load(Inputs{
		File: file,
		Env: []string{"UNDERSTUDY_NODE_ID=12", "UNDERSTUDY_NUM_PARTITIONS=13", "UNDERSTUDY_PORT=tcp://10.0.0.1:9092", "HOME=/root",
			"UNDERSTUDY_BROKERS=x", "UNDERSTUDY_LOG_LEVLE=debug"},
		Flags: map[string]string{"node.id": "22"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.NodeID != 22 || c.Topics.Partitions != 13 || c.Topics.Retention != 3*day || c.Topics.SegmentBytes != 64*mib || c.Listen != "[::1]:0" {
		t.Errorf("have %+v", c)
	}
	for key, want := range map[string]Source{
		"node.id": "--node-id", "num.partitions": "UNDERSTUDY_NUM_PARTITIONS", "log.retention.ms": Source(file + ":5"),
		"log.segment.bytes": Source(file + ":6"), "data.dir": FromDefault, "fetch.max.bytes": FromMachine,
	} {
		if have := c.Source(key); have != want {
			t.Errorf("%s is from %q, want %q", key, have, want)
		}
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "UNDERSTUDY_LOG_LEVEL?") {
		t.Errorf("warnings: %q", warnings)
	}
	static := c.StaticSettings()
	if static["log.retention.ms"] != "259200000" || static["log.segment.bytes"] != "67108864" || static["num.partitions"] != "13" || static["node.id"] != "22" {
		t.Errorf("static settings: %v", static)
	}
	if _, ok := static["log.roll.ms"]; ok {
		t.Error("a default is among the static settings")
	}
	if entries := c.Entries(); len(entries) != len(settings) || entries[0].Value != "22" || entries[0].Source != "--node-id" {
		t.Errorf("entries: %+v", entries[0])
	}
}

func TestLoadReportsEverySourceAtOnce(t *testing.T) {
	_, _, err := Load(Inputs{
		Env:   []string{"UNDERSTUDY_NODE_ID=many"},
		Flags: map[string]string{"memory.limit": "little", "no.such": "1"},
	})
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 3 {
		t.Fatalf("have %v", err)
	}
	for i, want := range []string{`UNDERSTUDY_NODE_ID: node.id: "many" is not a whole number`, `--memory-limit: memory.limit: "little" is not a size`, `unknown setting "no.such"`} {
		if have := problems[i].String(); !strings.Contains(have, want) {
			t.Errorf("have %q, want %q", have, want)
		}
	}
	if _, _, err := Load(Inputs{File: "testdata/none.yaml"}); err == nil || !strings.Contains(err.Error(), "testdata/none.yaml: no such file") {
		t.Errorf("have %v", err)
	}
	if _, err := Parse("big", make([]byte, maxFile+1)); err == nil {
		t.Error("a huge file was read")
	}
	if _, err := Parse("empty", []byte("# nothing\n")); err != nil {
		t.Errorf("an empty file: %v", err)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "-1": -1, "1048588": 1048588, "64MiB": 64 << 20, "64 mib": 64 << 20, "1.5GiB": 3 << 29, "10kB": 10000, "2GB": 2e9, "7B": 7, "1TiB": 1 << 40,
		"9223372036854775807": math.MaxInt64,
	} {
		if have, err := ParseSize(text); err != nil || have != want {
			t.Errorf("%q: have %d, %v, want %d", text, have, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "1.3B", "1e30GiB", "-2MiB", "64MiBs", "0x10", "NaNMiB", "InfGiB", "1 000"} {
		if have, err := ParseSize(text); err == nil {
			t.Errorf("%q was read as %d", text, have)
		}
	}
	for n, want := range map[int64]string{0: "0", -1: "-1", 1000: "1000", 1024: "1KiB", 3 << 29: "1536MiB", 1 << 40: "1TiB"} {
		if have := FormatSize(n); have != want {
			t.Errorf("%d is written %q, want %q", n, have, want)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "-1": Unlimited, "250": 250 * time.Millisecond, "250ms": 250 * time.Millisecond, "7d": 7 * day, "2w": 2 * week, "1w2d3h": week + 2*day + 3*time.Hour,
		"1h30m": 90 * time.Minute, "9223372036854775807": Unlimited, "604800000": 7 * day,
	} {
		if have, err := ParseDuration(text); err != nil || have != want {
			t.Errorf("%q: have %v, %v, want %v", text, have, err, want)
		}
	}
	for _, text := range []string{"", "d", "-2", "-7d", "1d-2h", "soon", "7dd", "1d2w", "99999999999999d", "7 d"} {
		if have, err := ParseDuration(text); err == nil {
			t.Errorf("%q was read as %v", text, have)
		}
	}
	for d, want := range map[time.Duration]string{0: "0", Unlimited: "-1", 7 * day: "7d", 90 * time.Minute: "1h30m", time.Hour: "1h", 250 * time.Millisecond: "250ms", 90 * time.Second: "1m30s"} {
		if have := FormatDuration(d); have != want {
			t.Errorf("%d is written %q, want %q", d, have, want)
		}
	}
	if Millis(Unlimited) != -1 || Millis(day) != 86400000 {
		t.Error("milliseconds are wrong")
	}
}

func TestAdvertised(t *testing.T) {
	resolve := func(host string) ([]netip.Addr, error) {
		switch host {
		case "good":
			return []netip.Addr{netip.MustParseAddr("10.1.2.3")}, nil
		case "self":
			return []netip.Addr{netip.MustParseAddr("127.0.1.1")}, nil
		}
		return nil, errors.New("no such host")
	}
	name, _ := os.Hostname()
	for _, c := range []struct{ listen, bound, advertise, host, warning string }{
		{"127.0.0.1:0", "127.0.0.1:4711", "", "127.0.0.1", ""},
		{"[::1]:0", "[::1]:4711", "", "::1", ""},
		{"localhost:4711", "127.0.0.1:4711", "", "127.0.0.1", ""},
		{"10.1.2.3:4711", "10.1.2.3:4711", "", "10.1.2.3", ""},
		{":4711", "[::]:4711", "good:4711", "good", ""},
		{":4711", "[::]:4711", "", name, "*"},
		{":4711", "[::]:4711", "bad:4711", "bad", "cannot resolve"},
		{":4711", "[::]:4711", "self:4711", "self", "resolves to itself alone"},
		{"0.0.0.0:4711", "0.0.0.0:4711", "0.0.0.0:4711", "0.0.0.0", "no address of any machine"},
		{"0.0.0.0:4711", "0.0.0.0:4711", "[::]:4711", "::", "no address of any machine"},
		{"0.0.0.0:4711", "0.0.0.0:4711", "localhost:4711", "localhost", "leads them to themselves"},
		{"127.0.0.1:4711", "127.0.0.1:4711", "good:4711", "good", "open to this machine alone"},
	} {
		bound, err := net.ResolveTCPAddr("tcp", c.bound)
		if err != nil {
			t.Fatal(err)
		}
		cfg := Default()
		cfg.Listen, cfg.Advertise = c.listen, c.advertise
		host, port, err := cfg.Advertised(bound)
		if err != nil || host != c.host || port != 4711 {
			t.Errorf("%+v: clients are told %s, %d, %v", c, host, port, err)
		}
		warning := cfg.AdvertiseWarning(bound, resolve)
		if c.warning != "*" && (c.warning == "") != (warning == "") || c.warning != "*" && !strings.Contains(warning, c.warning) {
			t.Errorf("%+v: warning %q", c, warning)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := Parse("fuzz.yaml", text); err != nil {
			_ = err.Error()
		}
	})
}

func TestTLSBetweenNodesNeedsAllItsFiles(t *testing.T) {
	c := Default()
	c.LinkTLS = TLS{CertFile: "node.pem", CAFile: "ca.pem"}
	if _, err := c.Complete(); err == nil || !strings.Contains(err.Error(), "link.tls.key.file: is missing") {
		t.Errorf("without a key: %v", err)
	}
	c.LinkTLS.KeyFile = "node.key"
	if _, err := c.Complete(); err != nil {
		t.Error(err)
	}
}
