package membership

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"understudy/cluster/consul/fake"
)

// listener keeps what a Directory tells.
type listener struct {
	mu    sync.Mutex
	lines []string
	lists []string
}

func (l *listener) tell(list []Entry, events []Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		l.lines = append(l.lines, e.String())
	}
	l.lists = append(l.lists, words(list))
}

func (l *listener) take() (lines, last string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines = strings.Join(l.lines, "\n")
	if len(l.lists) > 0 {
		last = l.lists[len(l.lists)-1]
	}
	l.lines = nil
	return lines, last
}

// anything is told, or nothing, when a node is registered again before the
// Directory has looked.
const anything = "*"

func TestDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := newWorld(t), &listener{}
		d := Follow(w.client(), "test", l.tell)
		defer d.Close()
		one := w.join(1)
		w.session(one)
		two := w.join(2)
		steps := []struct {
			do    func()
			after time.Duration
			want  string
			list  string
		}{
			{func() {}, 0, "node 1 has joined at host1:9092, link host1:9192\nnode 2 has joined at host2:9092, link host2:9192", "1 2"},
			{func() { one.SetEpoch(3) }, 0, "node 1 is at host1:9092, link host1:9192, broker epoch 3", "1 2"},
			{func() { two.kill() }, DefaultTTL + 100*time.Millisecond, "node 2 fails its check: TTL expired", "1 2!"},
			{func() { two = w.join(2) }, 0, "node 2 passes its check again", "1 2"},
			{func() { must(t, two.Leave(ctx)) }, 0, "node 2 is not registered any more", "1"},
			{func() { w.server.RestartAgent() }, time.Second, anything, "1"},
			{func() { w.server.LoseData() }, 2 * time.Second, anything, "1"},
		}
		for i, step := range steps {
			step.do()
			time.Sleep(step.after)
			synctest.Wait()
			lines, list := l.take()
			// Breaking connections is told too; that is not what this test is about.
			var kept []string
			for line := range strings.Lines(lines) {
				if !strings.Contains(line, "consul ") {
					kept = append(kept, strings.TrimSpace(line))
				}
			}
			if got := strings.Join(kept, "\n"); got != step.want && step.want != anything || list != step.list {
				t.Errorf("step %d: told\n%s\n(%s), want\n%s\n(%s)", i, got, list, step.want, step.list)
			}
		}
		if got := words(d.Entries()); got != "1" {
			t.Errorf("entries %s", got)
		}
	})
}

// TestConsulAwayMakesNobodyLeave, and what happened meanwhile is told afterwards.
func TestConsulAwayMakesNobodyLeave(t *testing.T) {
	for _, f := range []fake.Fault{fake.Drop, fake.Hang, fake.NoLeader, fake.Overload} {
		synctest.Test(t, func(t *testing.T) {
			w, l := newWorld(t), &listener{}
			d := Follow(w.client(), "test", l.tell)
			defer d.Close()
			w.join(1)
			synctest.Wait()
			l.take()
			w.server.SetFault(failing("health", f))
			w.server.Break()
			w.join(2)
			time.Sleep(10 * time.Minute)
			lines, list := l.take()
			if list != "1" || strings.Contains(lines, "node ") || !strings.Contains(lines, "consul") {
				t.Errorf("(%s) %s", list, lines)
			}
			w.server.SetFault(nil)
			time.Sleep(time.Minute)
			lines, list = l.take()
			if list != "1 2" || !strings.Contains(lines, "node 2 has joined") {
				t.Errorf("(%s) %s", list, lines)
			}
		})
	}
}

// TestEntries of services as Consul lists them.
func TestEntries(t *testing.T) {
	service := func(id, node, status string, created uint64) *api.ServiceEntry {
		return &api.ServiceEntry{
			Node:    &api.Node{Node: node},
			Service: &api.AgentService{ID: id, Address: node, Meta: map[string]string{"node": id}, CreateIndex: created},
			Checks: api.HealthChecks{
				{CheckID: "serfHealth", Status: api.HealthPassing},
				{ServiceID: id, Status: status, Output: "said " + status},
			},
		}
	}
	entries := entriesOf([]*api.ServiceEntry{
		service("3", "old", api.HealthCritical, 9), service("3", "new", api.HealthPassing, 5),
		service("2", "old", api.HealthCritical, 5), service("2", "new", api.HealthCritical, 9),
		service("x", "n", api.HealthPassing, 1), service("-1", "n", api.HealthPassing, 1),
		service("1", "n", api.HealthWarning, 1),
	})
	if got := words(entries); got != "1! 2! 3" {
		t.Fatalf("got %s", got)
	}
	if entries[1].Agent != "new" || entries[2].Agent != "new" || entries[1].Output != "said critical" {
		t.Errorf("got %+v", entries)
	}
}
