package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestJavaConsumerGroups has Kafka's console consumer take part in a group, and
// Kafka's own tool look at the group, move it and delete it.
func TestJavaConsumerGroups(t *testing.T) {
	t.Parallel()
	feature(t, "java", fromATime)
	topic, group, sent := topicName("java-groups"), topicName("java-group"), samples()
	check(t, franz{}.create(timeout(t), topic, 1, nil))
	check(t, franz{}.produce(timeout(t), topic, "zstd", sent))
	consume := func(n int) string {
		t.Helper()
		return ask(t, "", tools+"consumer.ConsoleConsumer", "--topic", topic, "--group", group, "--from-beginning", "--max-messages", fmt.Sprint(n),
			"--formatter-property", "print.offset=true", "--formatter-property", "print.value=false")
	}
	groups := func(args ...string) string {
		t.Helper()
		return ask(t, "", tools+"consumer.group.ConsumerGroupCommand", args...)
	}
	describe := func() string { return groups("--describe", "--group", group) }
	reset := func(to ...string) string {
		return groups(append([]string{"--reset-offsets", "--group", group, "--topic", topic, "--execute"}, to...)...)
	}

	mustMatch(t, consume(20), `(?m)^Offset:0$`, `(?m)^Offset:19$`)
	mustMatch(t, groups("--list"), `(?m)^`+group+`$`)
	mustMatch(t, describe(), `(?m)^`+group+`\s+`+topic+`\s+0\s+20\s+20\s+0\b`)
	mustMatch(t, groups("--describe", "--group", group, "--state"), `(?m)^`+group+`\s.*\bEmpty\b`)

	mustMatch(t, reset("--to-datetime", sent[7].time.UTC().Format("2006-01-02T15:04:05.000Z")), `(?m)^`+group+`\s+`+topic+`\s+0\s+7\b`)
	if have := consume(13); !strings.HasPrefix(have, "Offset:7\n") {
		t.Errorf("after the reset to a time: have %q", have)
	}
	mustMatch(t, reset("--shift-by", "-5"), topic+`\s+0\s+15\b`)
	mustMatch(t, describe(), topic+`\s+0\s+15\s+20\s+5\b`)
	mustMatch(t, groups("--delete-offsets", "--group", group, "--topic", topic), topic+`\s+0\s+Successful`)
	mustMatch(t, groups("--delete", "--group", group), `Deletion of requested consumer groups .* was successful`)
	if have := groups("--list"); strings.Contains(have, group+"\n") {
		t.Errorf("the group is still there: %s", have)
	}
}

// TestJavaVerifiableProducer has Kafka's tools for system tests and for load write
// and read, the latter in a group of its own.
func TestJavaVerifiableProducer(t *testing.T) {
	t.Parallel()
	topic := topicName("java-verifiable")
	check(t, franz{}.create(timeout(t), topic, 3, nil))
	const records = 1000
	have := ask(t, "", tools+"VerifiableProducer", "--topic", topic, "--max-messages", fmt.Sprint(records), "--acks", "-1")
	mustMatch(t, have, fmt.Sprintf(`"name":"tool_data","sent":%[1]d,"acked":%[1]d`, records))
	if n := strings.Count(have, `"name":"producer_send_success"`); n != records {
		t.Errorf("%d records were acknowledged of %d", n, records)
	}
	mustMatch(t, ask(t, "", tools+"ConsumerPerformance", "--topic", topic, "--num-records", fmt.Sprint(records), "--hide-header"),
		fmt.Sprintf(`, %d, `, records))
}

// TestJavaMovesReplicas asks with Kafka's tools for elections and for replicas to be
// moved, which on one broker are where they should be.
func TestJavaMovesReplicas(t *testing.T) {
	t.Parallel()
	feature(t, "java", administration)
	topic := topicName("java-moves")
	check(t, franz{}.create(timeout(t), topic, 2, nil))
	mustHavePartitions(t, franz{}, topic, 2)
	mustMatch(t, ask(t, "", tools+"LeaderElectionCommand", "--election-type", "preferred", "--topic", topic, "--partition", "1"),
		`Valid replica already elected for partitions? `+topic+`-1`)
	plan := filepath.Join(t.TempDir(), "plan.json")
	check(t, os.WriteFile(plan, fmt.Appendf(nil, `{"version":1,"partitions":[{"topic":%q,"partition":0,"replicas":[1]}]}`, topic), 0o600))
	reassign := func(args ...string) string {
		return ask(t, "", tools+"reassign.ReassignPartitionsCommand", append([]string{"--reassignment-json-file", plan}, args...)...)
	}
	mustMatch(t, reassign("--execute"), `Successfully started partition reassignment for `+topic+`-0`)
	mustMatch(t, reassign("--verify"), `Reassignment of partition `+topic+`-0 is completed`)
}

// TestJavaLargeMessage has Kafka's clients write and read a record of 8 MiB.
func TestJavaLargeMessage(t *testing.T) {
	t.Parallel()
	feature(t, "java", largeMessages)
	topic, large := topicName("java-large"), strings.Repeat("0123456789abcdef", 8<<20/16)
	check(t, franz{}.create(timeout(t), topic, 1, map[string]string{"max.message.bytes": "10000000"}))
	ask(t, large+"\n", tools+"ConsoleProducer", "--topic", topic, "--command-property", "max.request.size=16000000",
		"--command-property", "buffer.memory=64000000")
	have := ask(t, "", tools+"consumer.ConsoleConsumer", "--topic", topic, "--from-beginning", "--max-messages", "1")
	if strings.TrimSpace(have) != large {
		t.Errorf("%d bytes came back of %d", len(have), len(large))
	}
}
