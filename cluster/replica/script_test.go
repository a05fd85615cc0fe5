package replica_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"understudy/cluster/replica"
	"understudy/messages"
)

var updateFlag = flag.Bool("update", false, "record what the scripts in testdata print now")

// TestScripts runs the scripts in testdata. A script is a list of cases, with
// an empty line between them:
//
//	# why this is done
//	command argument key=value
//	another command
//	----
//	what is expected to be printed
//
// Commands are listed in script_commands_test.go. With -update the expectations
// are replaced by what is printed now; read the difference before keeping it.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(text))
			if got == string(text) {
				return
			}
			if *updateFlag {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, have := strings.Split(string(text), "\n"), strings.Split(got, "\n")
			for i := range want {
				if i >= len(have) || want[i] != have[i] {
					t.Fatalf("%s:%d differs; the whole is now:\n%s", path, i+1, got)
				}
			}
			t.Fatalf("%s: prints more:\n%s", path, got)
		})
	}
}

// script is a world that obeys a script's commands.
type script struct {
	*world
	t       *testing.T
	out     strings.Builder
	names   map[string]*request
	seq     int64
	talk    bool // print messages
	flushes bool // flushes are done only when told
}

// runScript runs a script and returns it as it should have been.
func runScript(t *testing.T, text string) string {
	s := &script{t: t, names: map[string]*request{}, talk: true}
	var done strings.Builder
	for i, part := range strings.Split(strings.TrimRight(text, "\n"), "\n\n") {
		if i > 0 {
			done.WriteString("\n")
		}
		commands, _, isCase := strings.Cut(part+"\n", "----\n")
		if !isCase {
			done.WriteString(strings.TrimRight(part, "\n") + "\n")
			continue
		}
		s.out.Reset()
		for line := range strings.Lines(commands) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				s.run(line)
			}
		}
		if strings.Contains(s.out.String(), "WRONG") {
			t.Errorf("an invariant does not hold after:\n%s%s", commands, s.out.String())
		}
		done.WriteString(commands + "----\n" + s.out.String())
	}
	return done.String()
}

// run obeys one command.
func (s *script) run(line string) {
	words := strings.Fields(line)
	c := call{s: s, line: line, keys: map[string]string{}}
	for _, w := range words[1:] {
		if k, v, ok := strings.Cut(w, "="); ok {
			c.keys[k] = v
		} else {
			c.args = append(c.args, w)
		}
	}
	command := commands[words[0]]
	if command == nil {
		s.t.Fatalf("no such command: %s", line)
	}
	if s.world == nil && words[0] != "new" {
		s.t.Fatalf("a script begins with new, not with: %s", line)
	}
	command(s, c)
}

func (s *script) printf(format string, args ...any) {
	fmt.Fprintf(&s.out, format+"\n", args...)
}

// call is a command's arguments.
type call struct {
	s    *script
	line string
	args []string
	keys map[string]string
}

func (c call) number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		c.s.t.Fatalf("%s: not a number: %q", c.line, text)
	}
	return n
}

func (c call) arg(i int) string {
	if i >= len(c.args) {
		c.s.t.Fatalf("%s: argument %d is missing", c.line, i+1)
	}
	return c.args[i]
}

func (c call) key(name string, otherwise int64) int64 {
	if v, ok := c.keys[name]; ok {
		return c.number(v)
	}
	return otherwise
}

// node is the node that the i-th argument names.
func (c call) node(i int) *node {
	id := c.number(c.arg(i))
	if id < 1 || int(id) > len(c.s.nodes) {
		c.s.t.Fatalf("%s: no node %d", c.line, id)
	}
	return c.s.nodes[id-1]
}

// nodes are those that the arguments from the i-th on name; all, if there are none.
func (c call) nodes(i int) []*node {
	if i >= len(c.args) {
		return c.s.nodes
	}
	var ns []*node
	for ; i < len(c.args); i++ {
		ns = append(ns, c.node(i))
	}
	return ns
}

// link is the sender and receiver that "1>2" names; 0: any.
func (c call) link(i int) (from, to messages.BrokerID) {
	if i >= len(c.args) {
		return 0, 0
	}
	a, b, both := strings.Cut(c.arg(i), ">")
	if !both {
		a, b = "", a
	}
	return messages.BrokerID(c.number(cmp.Or(a, "0"))), messages.BrokerID(c.number(cmp.Or(b, "0")))
}

func (c call) settings(s replica.Settings) replica.Settings {
	for k, v := range c.keys {
		switch k {
		case "min":
			s.MinInSync = int(c.number(v))
		case "lag":
			s.LagTimeMax = c.number(v)
		case "window":
			s.Window = c.number(v)
		case "caching":
			s.WriteCaching = v == "on"
		case "unclean":
			s.UncleanElection = v == "on"
		default:
			c.s.t.Fatalf("%s: no setting %s", c.line, k)
		}
	}
	return s
}

// matching are the indexes of the packets on a link, oldest first.
func (s *script) matching(from, to messages.BrokerID) []int {
	var found []int
	for i, p := range s.net {
		if (from == 0 || p.from == from) && (to == 0 || p.to == to) {
			found = append(found, i)
		}
	}
	return found
}

// request is a new request of that name.
func (s *script) request(n *node, name string) *request {
	s.seq++
	req := &request{name: name, id: s.seq, records: 1, acks: messages.AcksAll}
	s.names[name] = req
	n.open[req] = true
	return req
}

// isMessage recognizes a traced line that tells of a message.
func isMessage(format string) bool {
	return slices.Contains([]string{"%d→%d %v", "%d appends [%d,%d)"}, format)
}
