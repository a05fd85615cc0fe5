package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestGroupFromFirstReadingToDeletion(t *testing.T) {
	withBrokers(t, testGroupFromFirstReadingToDeletion)
}

func testGroupFromFirstReadingToDeletion(t *testing.T) {
	must(t, "", "topic", "create", "orders", "--partitions", "2")
	must(t, "a\nb\nc\n", "produce", "orders", "--partition", "1")
	if have := must(t, "", "consume", "orders", "--group", "billing", "--exit-at-end"); have != "a\nb\nc\n" {
		t.Errorf("the first reading: have %q", have)
	}
	must(t, "d\n", "produce", "orders", "--partition", "1")
	matches(t, must(t, "", "group", "list"), `(?m)^GROUP +STATE +TYPE +COORDINATOR`, `(?m)^billing +Empty +consumer +[01]`)
	matches(t, must(t, "", "group", "describe", "billing"), `^billing: Empty, 0 members, coordinator [01], lag 1\n`, `(?m)^orders +1 +3 +0 +4 +1\b`)
	matches(t, must(t, "", "group", "lag", "billing"), `(?m)^orders +1 +3 +0 +4 +1\b`, `(?m)^billing: Empty, 0 members, lag 1\n`)
	var listed []listedGroup
	decode(t, must(t, "", "group", "list", "-o", "json", "--state", "Empty"), &listed)
	if len(listed) != 1 || listed[0].Name != "billing" {
		t.Errorf("have %+v", listed)
	}
	var described []groupDescription
	decode(t, must(t, "", "group", "describe", "billing", "-o", "json"), &described)
	if len(described) != 1 || described[0].Lag != 1 || len(described[0].Members) != 0 {
		t.Errorf("have %+v", described)
	}
	if have := must(t, "", "consume", "orders", "--group", "billing", "--exit-at-end"); have != "d\n" {
		t.Errorf("the second reading: have %q", have)
	}
	if have := must(t, "", "consume", "orders", "--group", "billing", "--exit-at-end"); have != "" {
		t.Errorf("the third reading: have %q", have)
	}
	if have := must(t, "", "group", "delete", "billing"); have != "deleted billing\n" {
		t.Errorf("have %q", have)
	}
	if have := must(t, "", "group", "list", "-o", "json"); have != "[]\n" {
		t.Errorf("have %q", have)
	}
}

// A reading that was to end early commits what it wrote, and no more.
func TestConsumeInAGroupCommitsWhatItWrote(t *testing.T) {
	withBrokers(t, testConsumeInAGroupCommitsWhatItWrote)
}

func testConsumeInAGroupCommitsWhatItWrote(t *testing.T) {
	must(t, "1\n2\n3\n4\n5\n", "produce", "t")
	for _, want := range []string{"1\n2\n", "3\n4\n"} {
		if have := must(t, "", "consume", "t", "--group", "g", "--count", "2"); have != want {
			t.Errorf("have %q, want %q", have, want)
		}
	}
	if have := must(t, "", "consume", "t", "--group", "g", "--exit-at-end"); have != "5\n" {
		t.Errorf("have %q", have)
	}
	for from, want := range map[string]string{"end": "", "-2": "4\n5\n", "1h-ago": "1\n2\n3\n4\n5\n"} {
		if have := must(t, "", "consume", "t", "--group", "new"+strings.Trim(from, "-"), "--exit-at-end", "--from="+from); have != want {
			t.Errorf("from %s: have %q, want %q", from, have, want)
		}
	}
	refuse(t, exitUsage, "the group says which partitions are read", "consume", "t", "--group", "g", "--partition", "0")
	refuse(t, exitUsage, "understudy group reset-offsets", "consume", "t", "--group", "g", "--from", "3")
	refuse(t, exitFailed, "there is no topic none", "consume", "none", "--group", "g")
}

// member is a consumer in a group that runs beside a test.
type member struct {
	lines chan string
	stop  func() int // interrupts it and returns its exit code
}

func startMember(t *testing.T, topic, group string) member {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	in, out := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- Run(ctx, []string{"consume", topic, "--group", group, "--format", `%p %v\n`}, Streams{In: strings.NewReader(""), Out: out, Err: io.Discard})
		out.Close()
	}()
	m := member{lines: make(chan string, 1000), stop: func() int {
		interrupt()
		return <-done
	}}
	go func() {
		defer close(m.lines)
		var text []byte
		for buffer := make([]byte, 4096); ; {
			n, err := in.Read(buffer)
			text = append(text, buffer[:n]...)
			for {
				line, rest, ok := strings.Cut(string(text), "\n")
				if !ok {
					break
				}
				m.lines <- line
				text = []byte(rest)
			}
			if err != nil {
				return
			}
		}
	}()
	return m
}

func (m member) next(t *testing.T) string {
	t.Helper()
	select {
	case line, ok := <-m.lines:
		if !ok {
			t.Fatal("the member has ended")
		}
		return line
	case <-time.After(patience):
		t.Fatal("the member reads nothing")
	}
	return ""
}

// Two members share the partitions; when one goes the other has them all, and
// nothing is read twice or left out.
func TestConsumersShareAGroup(t *testing.T) { withBrokers(t, testConsumersShareAGroup) }

func testConsumersShareAGroup(t *testing.T) {
	set(t, &groupSession, time.Minute) // for as long as that the machine may stand still
	must(t, "", "topic", "create", "t", "--partitions", "4")
	round := func(text string) {
		for p := range 4 {
			must(t, text+"\n", "produce", "t", "--partition", itoa(p))
		}
	}
	want := func(text string, have ...string) {
		t.Helper()
		slices.Sort(have)
		if all := strings.Join(have, ","); all != fmt.Sprintf("0 %[1]s,1 %[1]s,2 %[1]s,3 %[1]s", text) {
			t.Errorf("%s: have %s", text, all)
		}
	}
	a := startMember(t, "t", "g")
	round("first")
	want("first", a.next(t), a.next(t), a.next(t), a.next(t))

	b := startMember(t, "t", "g")
	awaitMembers(t, "g", 2, 4)
	refuse(t, exitFailed, "group g has members\nstop them first; see who they are with: understudy group describe g", "group", "delete", "g")
	refuse(t, exitFailed, "group g has members", "group", "reset-offsets", "g", "--topic", "t", "--to", "start")
	matches(t, must(t, "", "group", "describe", "g"), `^g: Stable, 2 members, strategy \S+, coordinator [01], lag `, `understudy-cli +127\.0\.0\.1\S* +t:`, `(?m)^t +3 +1 +0 +1 +0 +understudy-cli@127\.0\.0\.1`)
	round("second")
	want("second", a.next(t), a.next(t), b.next(t), b.next(t))
	if code := a.stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	awaitMembers(t, "g", 1, 4)
	round("third")
	want("third", b.next(t), b.next(t), b.next(t), b.next(t))
	if code := b.stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	for _, m := range []member{a, b} {
		if line, more := <-m.lines; more {
			t.Errorf("%s was read once too often", line)
		}
	}
}

// awaitMembers waits until a group is stable with so many members, to which so
// many partitions are assigned.
func awaitMembers(t *testing.T, name string, members, partitions int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		r := run(t, nil, "group", "describe", name, "-o", "json")
		var described []groupDescription
		if json.Unmarshal([]byte(r.out), &described) == nil && len(described) == 1 {
			assigned, g := 0, described[0]
			for _, m := range g.Members {
				if len(m.Assigned) > 0 {
					assigned += len(m.Assigned["t"])
				}
			}
			if g.State == "Stable" && len(g.Members) == members && assigned == partitions {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("group %s does not settle: %s%s", name, r.out, r.err)
		}
	}
}

func TestGroupResetOffsets(t *testing.T) { withBrokers(t, testGroupResetOffsets) }

func testGroupResetOffsets(t *testing.T) {
	must(t, "", "topic", "create", "t", "--partitions", "2")
	must(t, "a\nb\nc\nd\ne\n", "produce", "t", "--partition", "0")
	must(t, "f\n", "produce", "t", "--partition", "1")
	change := func(to string, more ...string) []reset {
		t.Helper()
		var have []reset
		decode(t, must(t, "", append([]string{"group", "reset-offsets", "g", "--topic", "t", "--to", to, "-o", "json"}, more...)...), &have)
		return have
	}
	committed := func() (offsets []int64) {
		var described []groupDescription
		decode(t, must(t, "", "group", "describe", "g", "-o", "json"), &described)
		for _, p := range described[0].Partitions {
			offsets = append(offsets, p.Committed)
		}
		return offsets
	}
	if have := change("3"); !slices.Equal(have, []reset{{"t", 0, -1, 3, 2}, {"t", 1, -1, 1, 0}}) {
		t.Errorf("a new group: have %+v", have)
	}
	for _, test := range []struct {
		to   string
		want []int64
	}{
		{"start", []int64{0, 0}}, {"end", []int64{5, 1}}, {"shift:-2", []int64{3, 0}}, {"shift:+1", []int64{4, 1}}, {"shift:1", []int64{5, 1}},
		{"2", []int64{2, 1}}, {"-1", []int64{4, 0}}, {"duration:1h", []int64{0, 0}}, {"2001-01-01", []int64{0, 0}}, {"@99999999999999", []int64{5, 1}},
	} {
		if change(test.to); !slices.Equal(committed(), test.want) {
			t.Errorf("%s: have %v, want %v", test.to, committed(), test.want)
		}
	}
	if have := change("start", "--dry-run"); have[0] != (reset{"t", 0, 5, 0, 5}) || !slices.Equal(committed(), []int64{5, 1}) {
		t.Errorf("a dry run: have %+v, %v", have, committed())
	}
	matches(t, must(t, "", "group", "reset-offsets", "g", "--topic", "t:0", "--to", "1"), `(?m)^TOPIC +PARTITION +BEFORE +AFTER +LAG`, `(?m)^t +0 +5 +1 +4\s*$`)
	if have := committed(); !slices.Equal(have, []int64{1, 1}) {
		t.Errorf("one partition: have %v", have)
	}
	if have := must(t, "", "consume", "t", "--group", "g", "--exit-at-end"); have != "b\nc\nd\ne\n" {
		t.Errorf("have %q", have)
	}
	refuse(t, exitUsage, `"soon" is no place`, "group", "reset-offsets", "g", "--topic", "t", "--to", "soon")
	refuse(t, exitUsage, `"x" is not a number of records`, "group", "reset-offsets", "g", "--topic", "t", "--to", "shift:x")
	refuse(t, exitUsage, `say which topic: --topic`, "group", "reset-offsets", "g", "--to", "start")
	refuse(t, exitUsage, `"x" is not a partition`, "group", "reset-offsets", "g", "--to", "start", "--topic", "t:1,x")
	refuse(t, exitUsage, `"1-0" is not a partition`, "group", "reset-offsets", "g", "--to", "start", "--topic", "t:1-0")
	refuse(t, exitUsage, `"0-1073741823" is not a partition`, "group", "reset-offsets", "g", "--to", "start", "--topic", "t:0-1073741823")
	matches(t, must(t, "", "group", "reset-offsets", "g", "--topic", "t:0-1", "--to", "start", "--dry-run"), `(?m)^t +0 `, `(?m)^t +1 `)
	refuse(t, exitUsage, `name each topic once`, "group", "reset-offsets", "g", "--to", "start", "--topic", "t", "--topic", "t:1")
	refuse(t, exitFailed, "topic t has no partition 7\nit has 0 to 1", "group", "reset-offsets", "g", "--to", "start", "--topic", "t:7")
	refuse(t, exitFailed, "there is no topic none", "group", "reset-offsets", "g", "--to", "start", "--topic", "none")
	refuse(t, exitFailed, "group new has committed nothing in t:0", "group", "reset-offsets", "new", "--to", "shift:1", "--topic", "t:0")
}

func TestGroupDeleteOffsets(t *testing.T) { withBrokers(t, testGroupDeleteOffsets) }

func testGroupDeleteOffsets(t *testing.T) {
	must(t, "", "topic", "create", "t", "--partitions", "3")
	must(t, "", "topic", "create", "u")
	must(t, "", "group", "reset-offsets", "g", "--topic", "t", "--topic", "u", "--to", "start")
	if have := must(t, "", "group", "delete-offsets", "g", "--topic", "t:0,2"); have != "deleted t:0,2\n" {
		t.Errorf("have %q", have)
	}
	if have := must(t, "", "group", "delete-offsets", "g", "--topic", "t", "--topic", "u"); have != "deleted t:1\ndeleted u:0\n" {
		t.Errorf("have %q", have)
	}
	refuse(t, exitFailed, "group g has no such offsets", "group", "delete-offsets", "g", "--topic", "t")
}

func TestGroupErrorsSayWhatToDo(t *testing.T) { withBrokers(t, testGroupErrorsSayWhatToDo) }

func testGroupErrorsSayWhatToDo(t *testing.T) {
	matches(t, run(t, nil, "group", "list").err, `there are no groups`)
	refuse(t, exitFailed, "there is no group none\nsee what there is with: understudy group list", "group", "describe", "none")
	refuse(t, exitFailed, "there is no group none", "group", "lag", "none")
	refuse(t, exitFailed, "there is no group none", "group", "delete", "none")
	refuse(t, exitUsage, "say which group: understudy group lag NAME", "group", "lag")
	refuse(t, exitUsage, "--every 0s: it is a time between two looks", "group", "lag", "g", "--every", "0s")
}

// The lag is shown again and again, as it changes.
func TestGroupLagWatched(t *testing.T) { withBrokers(t, testGroupLagWatched) }

func testGroupLagWatched(t *testing.T) {
	must(t, "", "topic", "create", "t")
	must(t, "", "group", "reset-offsets", "g", "--topic", "t", "--to", "start")
	ctx, interrupt := context.WithCancel(t.Context())
	in, out := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- Run(ctx, []string{"group", "lag", "g", "--watch", "--every", "1ms", "-o", "json"}, Streams{In: strings.NewReader(""), Out: out, Err: io.Discard})
		out.Close()
	}()
	looks := json.NewDecoder(in)
	for produced := int64(0); produced < 3; produced++ {
		for {
			var g groupDescription
			if err := looks.Decode(&g); err != nil {
				t.Fatal(err)
			}
			if g.Lag > produced {
				t.Errorf("lag %d of %d records", g.Lag, produced)
			}
			if g.Lag == produced {
				break
			}
		}
		cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(os.Getenv(brokersEnv), ",")...), kgo.DefaultProduceTopic("t"))
		if err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(ctx, kgo.StringRecord("one")).FirstErr(); err != nil {
			t.Fatal(err)
		}
		cl.Close()
	}
	interrupt()
	if _, err := io.Copy(io.Discard, io.MultiReader(looks.Buffered(), in)); err != nil {
		t.Error(err)
	}
	if code := <-done; code != exitOK {
		t.Errorf("exit code %d", code)
	}
}
