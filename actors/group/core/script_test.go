package core

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

// TestScripts runs testdata/*.txt. A script is a list of commands, each followed
// by what comes of it:
//
//	settings delay=N size=N retention=N     begin with a group that is not there
//	join NAME [id=ID] [instance=I] [session=MS] [rebalance=MS] [type=T] [protocols=P:topic+topic,P] [require] [skip]
//	                                        with the id that NAME was told last, unless one is given
//	sync NAME [generation=N] [protocol=P] [ID=assignment]...
//	heartbeat NAME [generation=N]
//	leave NAME... | leave instance=I
//	hangup NAME                             the connection ends that its last join or sync came on
//	commit NAME|- topic-partition=offset... [generation=N] [metadata=TEXT] [retention=MS]
//	offsets | describe
//	delete-offsets topic-partition... | delete | expire [gone=TOPIC] | grow TOPIC
//	after MS                                time passes; what was to happen has happened
//	hold | written [fails] | lost           writes wait to be told how they end; or are there, and nobody is told
//	move                                    another node takes over, from what was written
//
// Times are in ms; what happens by the clock is told with its time. UPDATE=1 go
// test ./actors/group/core writes down what happens instead.
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
	w := &script{t: t}
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
		w.out = &out
		w.do(strings.Fields(command))
		w.settle()
		check(t, w.g)
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

// script is a group that obeys a script's commands.
type script struct {
	t        *testing.T
	out      *strings.Builder
	g        *Group
	settings Settings
	now      Time
	began    int64
	disk     disk
	ids      map[string]string // what each client was told is its id
	told     map[string]int32  // and its generation
	asked    map[string]any    // the last request that it may be waiting with
	fresh    int
	hold     bool
	waiting  []Write
}

func (s *script) say(format string, args ...any) {
	fmt.Fprintf(s.out, "  "+format+"\n", args...)
}

// settle carries effects out.
func (s *script) settle() {
	var e Effects
	for s.g.Take(&e) {
		for _, w := range e.Writes {
			s.sayWrite(w)
			if s.waiting = append(s.waiting, w); !s.hold {
				s.written(nil)
			}
		}
		for _, event := range e.Events {
			s.say("* %s", strings.TrimPrefix(event.String(), `group "g": `))
		}
		for _, a := range e.Answers {
			name := a.To.(*string)
			s.say("%s: %s", *name, describe(a.Value))
			if j, ok := a.Value.(Joined); ok && j.MemberID != "" {
				s.ids[*name], s.told[*name] = j.MemberID, j.Generation
			}
		}
	}
}

func (s *script) sayWrite(w Write) {
	var parts []string
	for _, o := range w.Offsets {
		parts = append(parts, fmt.Sprintf("%v=%d", o.TopicPartition, o.Offset))
	}
	for _, tp := range w.Dropped {
		parts = append(parts, fmt.Sprintf("no %v", tp))
	}
	if w.Forget {
		parts = append(parts, "no group")
	}
	if m := w.Metadata; m != nil {
		parts = append(parts, fmt.Sprintf("generation %d", m.Generation))
		for _, r := range m.Members {
			parts = append(parts, fmt.Sprintf("%s=%q", r.MemberID, r.Assignment))
		}
	}
	s.say("write %s", strings.Join(parts, " "))
}

func (s *script) written(err error) {
	if len(s.waiting) == 0 {
		s.say("nothing is being written")
		return
	}
	if err == nil {
		s.disk.apply(s.waiting[0])
	}
	s.waiting = s.waiting[1:]
	s.g.Written(s.now, err)
}

func (s *script) do(words []string) {
	if words[0] == "settings" {
		s.begin(words)
		return
	}
	command := commands[words[0]]
	if command == nil {
		s.t.Fatalf("unknown command %q", words[0])
	}
	command(s, words)
}

func (s *script) begin(words []string) {
	d := DefaultSettings()
	*s = script{t: s.t, out: s.out, began: 1_000_000, now: Time{1_000_000, 1_700_000_000_000}, ids: map[string]string{}, told: map[string]int32{}, asked: map[string]any{}}
	s.settings = d
	s.settings.InitialDelay = s.number(words, "delay", d.InitialDelay)
	s.settings.MaxSize = int(s.number(words, "size", int64(d.MaxSize)))
	s.settings.Retention = s.number(words, "retention", d.Retention)
	s.g = New("g", &s.settings)
}

var commands = map[string]func(s *script, words []string){
	"join": (*script).join, "sync": (*script).sync, "after": (*script).after, "commit": (*script).commit, "leave": (*script).leave,
	"heartbeat": func(s *script, words []string) {
		err := s.g.Heartbeat(s.now, s.member(words))
		if err != nil {
			s.say("%s: %s", words[1], messages.KindOf(err))
		}
	},
	"delete":         func(s *script, words []string) { s.g.Delete(s.now, &words[0]) },
	"delete-offsets": func(s *script, words []string) { s.g.DeleteOffsets(s.now, s.partitions(words[1:]), &words[0]) },
	"expire": func(s *script, words []string) {
		s.g.Expire(s.now, func(topic string) bool { return topic == option(words, "gone") })
	},
	"hangup": func(s *script, words []string) { s.g.Withdraw(s.now, s.asked[words[1]]) },
	"grow":   func(s *script, words []string) { s.g.Grew(s.now, words[1]) },
	"offsets": func(s *script, _ []string) {
		all := s.g.Offsets(nil)
		for _, tp := range sorted(all) {
			s.say("%v=%d %s", tp, all[tp].Offset, all[tp].Metadata)
		}
	},
	"describe": func(s *script, _ []string) {
		d := s.g.Describe()
		s.say("%s %s %s, generation %d%s", d.State, d.ProtocolType, d.Protocol, s.g.generation, map[bool]string{true: ", gone"}[s.g.Gone()])
		for _, m := range d.Members {
			s.say("%s %s%q", m.MemberID, m.InstanceID, m.Assignment)
		}
	},
	"hold": func(s *script, _ []string) { s.hold = true },
	"written": func(s *script, words []string) {
		if slices.Contains(words, "fails") {
			s.written(errDisk)
			return
		}
		s.written(nil)
	},
	"lost": func(s *script, _ []string) {
		if len(s.waiting) > 0 {
			s.disk.apply(s.waiting[0])
		}
		s.written(errDisk)
	},
	"move": func(s *script, _ []string) {
		s.waiting = nil
		s.g = s.disk.load(s.now, &s.settings)
	},
}

func (s *script) join(words []string) {
	j := Join{
		MemberID: s.ids[words[1]], InstanceID: option(words, "instance"), Client: Client{ID: words[1], Host: "/127.0.0.1"},
		SessionTimeout: s.number(words, "session", 10_000), RebalanceTimeout: s.number(words, "rebalance", 60_000),
		ProtocolType: "consumer", RequireMemberID: slices.Contains(words, "require"), CanSkipAssignment: slices.Contains(words, "skip"),
	}
	if given(words, "id") {
		j.MemberID = option(words, "id")
	}
	if given(words, "type") {
		j.ProtocolType = option(words, "type")
	}
	protocols := "range:orders"
	if given(words, "protocols") {
		protocols = option(words, "protocols")
	}
	for p := range strings.SplitSeq(protocols, ",") {
		if name, topics, _ := strings.Cut(p, ":"); name != "" {
			j.Protocols = append(j.Protocols, Protocol{name, subscription(strings.Split(topics, "+")...)})
		}
	}
	if j.MemberID == "" {
		s.fresh++
	}
	s.asked[words[1]] = &words[1]
	s.g.Join(s.now, j, strconv.Itoa(s.fresh), &words[1])
}

// member is who speaks: with what it was told, unless the command says otherwise.
func (s *script) member(words []string) Member {
	m := Member{MemberID: s.ids[words[1]], InstanceID: option(words, "instance"), Generation: s.told[words[1]]}
	if words[1] == "-" {
		m.Generation = -1
	}
	if given(words, "id") {
		m.MemberID = option(words, "id")
	}
	m.Generation = int32(s.number(words, "generation", int64(m.Generation)))
	return m
}

func (s *script) sync(words []string) {
	sync := Sync{Member: s.member(words), Protocol: option(words, "protocol"), Assignments: map[string][]byte{}}
	for _, w := range words[2:] {
		if id, a, _ := strings.Cut(w, "="); s.g.byID[id] != nil {
			sync.Assignments[id] = []byte(a)
		}
	}
	s.asked[words[1]] = &words[1]
	s.g.Sync(s.now, sync, &words[1])
}

func (s *script) leave(words []string) {
	var leaving []Leaving
	for _, w := range words[1:] {
		if instance, ok := strings.CutPrefix(w, "instance="); ok {
			leaving = append(leaving, Leaving{InstanceID: instance})
		} else {
			leaving = append(leaving, Leaving{MemberID: s.ids[w]})
		}
	}
	errs, _ := s.g.Leave(s.now, leaving)
	for i, err := range errs {
		if err != nil {
			s.say("%s: %s", words[1+i], messages.KindOf(err))
		}
	}
}

func (s *script) commit(words []string) {
	c := Commit{Member: s.member(words), Offsets: map[messages.TopicPartition]Committed{}, Retention: s.number(words, "retention", 0)}
	for _, w := range words[2:] {
		if name, offset, _ := strings.Cut(w, "="); strings.Contains(name, "-") {
			c.Offsets[s.partitions([]string{name})[0]] = Committed{Offset: s.parse(offset), Metadata: option(words, "metadata")}
		}
	}
	s.g.Commit(s.now, c, &words[1])
}

// after lets time pass, and tells the group whenever it wants to be told.
func (s *script) after(words []string) {
	end := s.now.Clock + s.parse(words[1])
	for s.g.Deadline() > 0 && s.g.Deadline() <= end {
		s.pass(s.g.Deadline())
		before := s.out.Len()
		s.g.Tick(s.now)
		at := s.out.String()
		s.settle()
		if rest := s.out.String()[before:]; rest != "" {
			s.out.Reset()
			fmt.Fprintf(s.out, "%s  %d ms:\n%s", at, s.now.Clock-s.began, rest)
		}
		if s.g.Deadline() > 0 && s.g.Deadline() <= s.now.Clock {
			s.t.Fatalf("at %d the group wants to be told the time at %d", s.now.Clock, s.g.Deadline())
		}
	}
	s.pass(end)
}

func (s *script) pass(to int64) {
	if to > s.now.Clock {
		s.now = Time{to, s.now.Wall + to - s.now.Clock}
	}
}

func (s *script) partitions(words []string) []messages.TopicPartition {
	var tps []messages.TopicPartition
	for _, w := range words {
		topic, p, _ := strings.Cut(w, "-")
		tps = append(tps, messages.TopicPartition{Topic: topic, Partition: int32(s.parse(p))})
	}
	return tps
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

func given(words []string, name string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, name+"=") })
}

func (s *script) number(words []string, name string, otherwise int64) int64 {
	if !given(words, name) {
		return otherwise
	}
	return s.parse(option(words, name))
}

func (s *script) parse(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}
