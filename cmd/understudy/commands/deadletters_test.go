package commands

import (
	"strings"
	"testing"
)

func TestDeadLettersGoBack(t *testing.T) {
	withBrokers(t, func(t *testing.T) {
		must(t, "", "topic", "create", "orders", "--partitions", "1")
		must(t, "", "topic", "create", "orders.dead", "--partitions", "1")
		must(t, "a:1\n", "produce", "orders.dead", "--key-separator", ":", "--header", "dead-letter.topic=orders", "--header", "dead-letter.group=payments", "--header", "mine=yes")
		must(t, "b:2\n", "produce", "orders.dead", "--key-separator", ":", "--header", "dead-letter.topic=orders", "--header", "dead-letter.group=stock")
		if out := must(t, "", "dead-letters", "replay", "orders.dead", "--of-group", "payments"); out != "sent back 1 record\n" {
			t.Errorf("%q", out)
		}
		if out := must(t, "", "dead-letters", "replay", "orders.dead"); out != "sent back 0 records\n" {
			t.Errorf("%q", out)
		}
		if out := must(t, "", "dead-letters", "replay", "orders.dead", "--group", "again"); out != "sent back 2 records\n" {
			t.Errorf("%q", out)
		}
		out := must(t, "", "consume", "orders", "--from", "start", "--exit-at-end", "--format", "%k=%v %h\n")
		if want := "a=1 mine=yes\na=1 mine=yes\nb=2 \n"; out != want {
			t.Errorf("%q instead of %q", out, want)
		}
		must(t, "c:\nd:4\n", "produce", "orders.dead", "--key-separator", ":", "--header", "dead-letter.topic=orders", "--header", "dead-letter.cut=value")
		must(t, "e:5\n", "produce", "orders.dead", "--key-separator", ":", "--header", "dead-letter.topic=orders")
		if r := run(t, nil, "dead-letters", "replay", "orders.dead"); r.code != exitFailed || !strings.HasPrefix(r.err, "1 record sent back") || !strings.Contains(r.err, "letters that are not whole have not gone back: 2") {
			t.Errorf("%+v", r)
		}
		if r := run(t, nil, "dead-letters", "replay", "nowhere"); r.code != exitFailed || !strings.Contains(r.err, "nowhere") {
			t.Errorf("%+v", r)
		}
	})
}
