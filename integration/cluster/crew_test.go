//go:build cluster

package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/integration/checker"
)

// crew is a consumer group whose members are processes, and all that they said.
type crew struct {
	*cluster
	order   order // of all members
	parts   int   // partitions of the topic
	admin   *kadm.Client
	started int

	mu      sync.Mutex
	events  []checker.GroupEvent
	wrong   []error
	members []*crewMember // that are there, frozen or not
}

// crewMember is one start of one member.
type crewMember struct {
	order
	name   string
	cmd    *exec.Cmd
	frozen bool
	ending bool // it was told to end; crew.mu
	held   map[int32]bool
	ended  chan struct{}
}

func (c *cluster) newCrew(group, topic string, parts int) *crew {
	c.t.Helper()
	cl, err := kgo.NewClient(append(quickly, kgo.SeedBrokers(c.seeds()...))...)
	must(c.t, err)
	c.t.Cleanup(cl.Close)
	cr := &crew{cluster: c, parts: parts, admin: kadm.NewClient(cl), order: order{Seeds: c.seeds(), Group: group, Topic: topic, Log: *clientLog}}
	c.t.Cleanup(func() {
		for _, m := range cr.there() {
			cr.kill(m)
		}
	})
	return cr
}

// there are the members that are there.
func (cr *crew) there() []*crewMember {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	return append([]*crewMember{}, cr.members...)
}

// hire starts a member.
func (cr *crew) hire(client, instance string) (*crewMember, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cr.started++
	m := &crewMember{order: cr.order, name: fmt.Sprintf("%s-%d", client, cr.started), held: map[int32]bool{}, ended: make(chan struct{})}
	m.Client, m.Instance = client, instance
	text, err := json.Marshal(m.order)
	if err != nil {
		return nil, err
	}
	noise, err := os.Create(filepath.Join(cr.dir, m.name+".log"))
	if err != nil {
		return nil, err
	}
	m.cmd = exec.Command(self)
	m.cmd.Env, m.cmd.Stderr = append(os.Environ(), memberEnv+"="+string(text)), noise
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := m.cmd.Start(); err != nil {
		return nil, err
	}
	cr.mu.Lock()
	cr.members = append(cr.members, m)
	cr.mu.Unlock()
	go func() {
		defer close(m.ended)
		defer noise.Close()
		cr.hear(m, out)
		err := m.cmd.Wait()
		cr.gone(m, err)
	}()
	return m, nil
}

// hear notes what a member says.
func (cr *crew) hear(m *crewMember, out io.Reader) {
	for scan := bufio.NewScanner(out); scan.Scan(); {
		e := checker.GroupEvent{Member: m.name, Partition: checker.Partition{Topic: m.Topic}}
		if _, err := fmt.Sscan(scan.Text(), &e.At, &e.Kind, &e.Partition.Number, &e.From, &e.To); err != nil {
			cr.fault("%s said %q", m.name, scan.Text())
			continue
		}
		cr.mu.Lock()
		cr.events = append(cr.events, e)
		switch e.Kind {
		case checker.Assigned:
			m.held[e.Partition.Number] = true
		case checker.Revoked, checker.Lost:
			delete(m.held, e.Partition.Number)
		}
		cr.mu.Unlock()
	}
}

func (cr *crew) gone(m *crewMember, err error) {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	for i, o := range cr.members {
		if o == m {
			cr.members = append(cr.members[:i], cr.members[i+1:]...)
			break
		}
	}
	if !m.ending {
		cr.wrong = append(cr.wrong, fmt.Errorf("%s has ended by itself: %v", m.name, err))
	}
	cr.events = append(cr.events, checker.GroupEvent{At: clockNow(), Kind: checker.Gone, Member: m.name})
}

func (cr *crew) fault(format string, args ...any) {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	cr.wrong = append(cr.wrong, fmt.Errorf(format, args...))
}

func (cr *crew) note(e checker.GroupEvent) {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	cr.events = append(cr.events, e)
}

// kill ends a member at once, and dismiss in order.
func (cr *crew) kill(m *crewMember)    { cr.end(m, syscall.SIGKILL) }
func (cr *crew) dismiss(m *crewMember) { cr.end(m, syscall.SIGTERM) }

func (cr *crew) end(m *crewMember, signal syscall.Signal) {
	cr.mu.Lock()
	m.ending = true
	cr.mu.Unlock()
	_ = m.cmd.Process.Signal(signal)
	select {
	case <-m.ended:
	case <-time.After(patience):
		cr.fault("%s did not end", m.name)
		_ = m.cmd.Process.Kill()
		<-m.ended
	}
}

// freeze has a member be silent, and thaw go on.
func (cr *crew) freeze(m *crewMember) {
	cr.note(checker.GroupEvent{At: clockNow(), Kind: checker.Silent, Member: m.name})
	m.frozen = true
	_ = m.cmd.Process.Signal(syscall.SIGSTOP)
}

func (cr *crew) thaw(m *crewMember) {
	// What it was assigned in between, of which it hears only now, does not count either.
	cr.note(checker.GroupEvent{At: clockNow(), Kind: checker.Silent, Member: m.name})
	m.frozen = false
	_ = m.cmd.Process.Signal(syscall.SIGCONT)
}

// settled says why the group has not settled, or nil: the coordinator knows all who
// are there and nobody else, and all partitions are assigned, as the members know.
func (cr *crew) settled(ctx context.Context) error {
	described, err := cr.admin.DescribeGroups(ctx, cr.order.Group)
	if err != nil {
		return err
	}
	g, assigned := described[cr.order.Group], 0
	for _, m := range g.Members {
		if a, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range a.Topics {
				assigned += len(t.Partitions)
			}
		}
	}
	cr.mu.Lock()
	defer cr.mu.Unlock()
	holders := map[int32]int{}
	for _, m := range cr.members {
		for p := range m.held {
			holders[p]++
		}
	}
	twice := 0
	for _, n := range holders {
		if n > 1 {
			twice++
		}
	}
	if g.State != "Stable" || len(g.Members) != len(cr.members) || assigned != cr.parts || len(holders) != cr.parts || twice > 0 {
		return fmt.Errorf("%s with %d of %d members; %d partitions are assigned, %d held, %d of them twice",
			g.State, len(g.Members), len(cr.members), assigned, len(holders), twice)
	}
	return nil
}

// observe notes what the group has committed until the context ends.
func (cr *crew) observe(ctx context.Context) {
	for ctx.Err() == nil {
		offsets, err := cr.admin.FetchOffsets(ctx, cr.order.Group)
		if err == nil && offsets.Error() == nil {
			at := clockNow()
			offsets.Each(func(o kadm.OffsetResponse) {
				cr.note(checker.GroupEvent{At: at, Kind: checker.Committed, Partition: checker.Partition{Topic: o.Topic, Number: o.Partition}, To: o.At})
			})
		}
		sleep(ctx, 100*time.Millisecond)
	}
}
