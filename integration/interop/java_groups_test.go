package interop

import (
	"fmt"
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
