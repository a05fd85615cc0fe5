package interop

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// What the table of results has a column for.
const (
	administration = "topics and settings"
	everyCodec     = "produce with every codec"
	idempotence    = "idempotent"
	largeMessages  = "8 MiB"
	fromTheStart   = "consume from the start"
	fromATime      = "from a time"
	fromTheEnd     = "from the end"
	inGroups       = "in groups, and resume"
)

// results are the outcomes of all tests that count for the table.
var results struct {
	mu   sync.Mutex
	each map[[2]string]bool // client and feature to whether all is well
}

// feature makes the test's outcome count for the table.
func feature(t *testing.T, client, name string) {
	t.Cleanup(func() {
		results.mu.Lock()
		defer results.mu.Unlock()
		if results.each == nil {
			results.each = make(map[[2]string]bool)
		}
		key := [2]string{client, name}
		before, known := results.each[key]
		results.each[key] = !t.Failed() && (before || !known)
	})
}

// readmeEnv, when set, names the file whose table is written from the results.
const readmeEnv = "INTEROP_README"

// clients are the table's rows.
var clients = []struct{ name, words string }{
	{"java", "Kafka's Java clients and tools"},
	{"kcat", "kcat (librdkafka)"},
	{"confluent-kafka", "confluent-kafka (Python, librdkafka)"},
	{"franz-go", "franz-go (Go)"},
	{"sarama", "Sarama (Go)"},
	{"kafka-go", "kafka-go (Go)"},
	{"kafka-python", "kafka-python"},
	{"KafkaJS", "KafkaJS (JavaScript)"},
	{"rskafka", "rskafka (Rust)"},
}

// table shows the results in Markdown: what was tried and is well, and what was
// not tried.
func table() string {
	features := []string{administration, everyCodec, idempotence, largeMessages, fromTheStart, fromATime, fromTheEnd, inGroups}
	var b strings.Builder
	fmt.Fprintf(&b, "| client | %s |\n| --- %s|\n", strings.Join(features, " | "), strings.Repeat("| --- ", len(features)))
	for _, c := range clients {
		fmt.Fprintf(&b, "| %s ", c.words)
		for _, f := range features {
			mark := "–"
			if results.each[[2]string{c.name, f}] {
				mark = "✓"
			}
			fmt.Fprintf(&b, "| %s ", mark)
		}
		b.WriteString("|\n")
	}
	return b.String()
}

// writeTable puts the table between the marks in a file.
func writeTable(file string) error {
	const begin, end = "<!-- make interop-table writes from here -->\n", "<!-- to here -->\n"
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(text), begin)
	_, tail, also := strings.Cut(rest, end)
	if !ok || !also {
		return fmt.Errorf("%s has no marks for the table", file)
	}
	return os.WriteFile(file, []byte(head+begin+table()+end+tail), 0o600)
}
