package election

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"understudy/messages"
)

// world is what a script acts on: one partition and the brokers' epochs.
type world struct {
	state  State
	starts map[messages.BrokerID]messages.BrokerEpoch // how often each broker was started
	up     map[messages.BrokerID]bool
	avoid  map[messages.BrokerID]bool
	back   map[messages.BrokerID]bool
}

// TestScripts runs testdata/*.txt. A script is a list of commands, each followed
// by the state or error it leads to:
//
//	partition replicas=1,2,3 isr=1,2 leader=1 epoch=4   the state to begin with
//	up 1 2              brokers start, each with its next epoch
//	down 1              brokers go down
//	avoid 1 2           brokers shall not lead; without any: all may
//	returned 1 2        brokers came back a moment ago; without any: none did
//	elect [unclean] [preferred] [newepoch] [suspect=N] [barred=N] [emptied=N] [best=N]
//	move 4,2,3          replicas begin to move
//	cancel              and shall not after all
//	arrive [min=N]      the switch, if it is time
//	isr [from=N] [epoch=N] [stale] [restarted=N] ISR    the leader asks for ISR
//
// UPDATE=1 go test ./cluster/election writes down what happens instead.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScript(t, file) })
	}
}

func runScript(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{starts: map[messages.BrokerID]messages.BrokerEpoch{}, up: map[messages.BrokerID]bool{}, avoid: map[messages.BrokerID]bool{}, back: map[messages.BrokerID]bool{}}
	var out strings.Builder
	for line := range strings.Lines(string(text)) {
		command := strings.TrimRight(line, "\n")
		if strings.HasPrefix(command, "  ") {
			continue // the result of an earlier run
		}
		out.WriteString(command + "\n")
		if command == "" || command[0] == '#' {
			continue
		}
		if result := w.do(t, strings.Fields(command)); result != "" {
			out.WriteString("  " + result + "\n")
		}
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if out.String() != string(text) {
		t.Errorf("%s went otherwise:\n%s", file, out.String())
	}
}

func (w *world) do(t *testing.T, words []string) string {
	switch words[0] {
	case "partition":
		w.state = State{
			Replicas: list(t, option(words, "replicas")), ISR: list(t, option(words, "isr")),
			Leader: number(t, option(words, "leader")), LeaderEpoch: number(t, option(words, "epoch")), Revision: 1,
		}
		return ""
	case "up", "down":
		for _, word := range words[1:] {
			id := number(t, word)
			if w.up[id] = words[0] == "up"; w.up[id] {
				w.starts[id]++
			}
		}
		return ""
	case "avoid", "returned":
		set := map[string]map[messages.BrokerID]bool{"avoid": w.avoid, "returned": w.back}[words[0]]
		clear(set)
		for _, word := range words[1:] {
			set[number(t, word)] = true
		}
		return ""
	case "elect":
		return w.elect(t, words)
	case "move":
		return w.becomeIf(t)(Begin(w.state, list(t, words[1]), w.ordinary()))
	case "cancel":
		return w.becomeIf(t)(Cancel(w.state, w.ordinary()))
	case "arrive":
		minISR := 1
		if s := option(words, "min"); s != "" {
			minISR = int(number(t, s))
		}
		return w.become(t, Arrive(w.state, w.ordinary(), minISR))
	case "isr":
		return w.isr(t, words)
	}
	t.Fatalf("unknown command %q", words[0])
	return ""
}

func (w *world) elect(t *testing.T, words []string) string {
	c := w.ordinary()
	c.Unclean, c.Preferred = slices.Contains(words, "unclean"), slices.Contains(words, "preferred")
	c.NewEpoch = slices.Contains(words, "newepoch")
	for name, id := range map[string]*messages.BrokerID{"suspect": &c.Suspect, "barred": &c.Barred, "emptied": &c.Emptied, "best": &c.Best} {
		if s := option(words, name); s != "" {
			*id = number(t, s)
		}
	}
	return w.become(t, Elect(w.state, c))
}

func (w *world) ordinary() Circumstances {
	c := Ordinary(func(id messages.BrokerID) bool { return w.up[id] }, func(id messages.BrokerID) bool { return w.avoid[id] })
	c.Returned = func(id messages.BrokerID) bool { return w.back[id] }
	return c
}

// becomeIf is become for what may fail.
func (w *world) becomeIf(t *testing.T) func(State, error) string {
	return func(next State, err error) string {
		if err != nil {
			return err.Error()
		}
		return w.become(t, next)
	}
}

// become takes the next state over after checking what holds in every state.
func (w *world) become(t *testing.T, next State) string {
	t.Helper()
	old := w.state
	if len(next.ISR) == 0 || !next.Offline() && !slices.Contains(next.ISR, next.Leader) {
		t.Errorf("%+v: empty in-sync set, or the leader is not in it", next)
	}
	if next.Leader != old.Leader && next.LeaderEpoch != old.LeaderEpoch+1 {
		t.Errorf("leader %d → %d with epoch %d → %d", old.Leader, next.Leader, old.LeaderEpoch, next.LeaderEpoch)
	}
	if next.UncleanEpoch == old.UncleanEpoch && !next.Offline() && !slices.Contains(old.ISR, next.Leader) {
		t.Errorf("leader %d was not in sync: %v", next.Leader, old.ISR)
	}
	if next.Equal(old) {
		return "unchanged"
	}
	next.Revision++
	w.state = next
	s := fmt.Sprintf("leader=%s epoch=%d isr=%s", who(next.Leader), next.LeaderEpoch, commas(next.ISR))
	if next.Target != nil {
		s += fmt.Sprintf(" replicas=%s target=%s adding=%s removing=%s", commas(next.Replicas), commas(next.Target), commas(next.Adding), commas(next.Removing()))
	} else if !slices.Equal(next.Replicas, old.Replicas) {
		s += " replicas=" + commas(next.Replicas)
	}
	if next.UncleanEpoch != old.UncleanEpoch {
		s += " UNCLEAN"
	}
	return s
}

func (w *world) isr(t *testing.T, words []string) string {
	c := Change{From: Member{ID: w.state.Leader}, Epoch: w.state.LeaderEpoch, Revision: w.state.Revision}
	if s := option(words, "from"); s != "" {
		c.From.ID = number(t, s)
	}
	if s := option(words, "epoch"); s != "" {
		c.Epoch = number(t, s)
	}
	if slices.Contains(words, "stale") {
		c.Revision--
	}
	for _, id := range list(t, words[len(words)-1]) {
		c.ISR = append(c.ISR, Member{ID: id, Epoch: w.starts[id]})
		if s := option(words, "restarted"); s != "" && number(t, s) == id {
			c.ISR[len(c.ISR)-1].Epoch--
		}
	}
	next, err := ChangeISR(w.state, c, func(id messages.BrokerID) (messages.BrokerEpoch, bool) { return w.starts[id], w.up[id] })
	if err != nil {
		return err.Error()
	}
	return w.become(t, next)
}

func commas(ids []int32) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(ids), " ", ","), "[]")
}

// option finds the value of name=value among the words; "" if it is not there.
func option(words []string, name string) string {
	for _, word := range words {
		if v, ok := strings.CutPrefix(word, name+"="); ok {
			return v
		}
	}
	return ""
}

func number(t *testing.T, s string) int32 {
	t.Helper()
	if s == "none" {
		return messages.NoBroker
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return int32(n)
}

func list(t *testing.T, s string) []int32 {
	t.Helper()
	var ids []int32
	for word := range strings.SplitSeq(s, ",") {
		ids = append(ids, number(t, word))
	}
	return ids
}
