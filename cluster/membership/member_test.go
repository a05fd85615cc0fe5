package membership

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"understudy/cluster/consul"
	"understudy/cluster/consul/fake"
	"understudy/messages"
)

func TestMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := w.join(1)
		s := w.session(m)
		if s.ID == "" {
			t.Fatal("a session without an id")
		}
		time.Sleep(time.Hour)
		if again := w.session(m); again.ID != s.ID {
			t.Error("another session after an hour of peace")
		}
		entries, err := List(ctx, w.client(), "test")
		must(t, err)
		if len(entries) != 1 || entries[0].Node != nodeOf(1) || !entries[0].Passing {
			t.Errorf("listed %+v", entries)
		}
		if got := w.told(); got != "node 1 is registered in consul\nnode 1 has session session-1" {
			t.Errorf("told %s", got)
		}
		beats := w.server.Calls("agent/check/update")
		if beats < 2*3600 || beats > 2*3600+10 {
			t.Errorf("%d beats in an hour", beats)
		}
		if n := w.server.Calls("agent/service/register"); n != 1 {
			t.Errorf("registered %d times", n)
		}
		must(t, m.Leave(ctx))
		<-s.Gone
		if got := w.list(); got != "" {
			t.Errorf("listed %s after it left", got)
		}
		_, err = m.Session(ctx)
		want(t, err, ErrLeft)
	})
}

func TestTagsAndMetaFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := w.join(1)
		s := w.session(m)
		m.SetController(true)
		m.SetEpoch(7)
		synctest.Wait()
		entries, err := List(ctx, w.client(), "test")
		must(t, err)
		if e := entries[0]; !e.Controller || e.Epoch != 7 || !e.Passing || m.Node() != e.Node {
			t.Errorf("listed %+v", e)
		}
		m.SetController(false)
		synctest.Wait()
		if entries, err = List(ctx, w.client(), "test"); err != nil || entries[0].Controller {
			t.Errorf("listed %+v, %v", entries, err)
		}
		if w.session(m).ID != s.ID {
			t.Error("registering again cost the session")
		}
	})
}

// TestKilledLosesTheLock: the lock is free soon after the last beat.
func TestKilledLosesTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := w.join(1)
		s := w.session(m)
		got, _, err := w.client().API().KV().Acquire(&api.KVPair{Key: "k", Session: s.ID}, nil)
		if !got || err != nil {
			t.Fatal(got, err)
		}
		time.Sleep(time.Minute + 100*time.Millisecond) // between two beats
		m.kill()
		begun := time.Now()
		for w.locked("k") {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(begun); took > DefaultTTL {
			t.Errorf("free after %v", took)
		}
		if got := w.list(); got != "1!" {
			t.Errorf("listed %s", got)
		}
	})
}

// TestEverythingHeals: whatever Consul forgets or ends, the node is registered and
// has a session again soon after, and who held the old one knows.
func TestEverythingHeals(t *testing.T) {
	ways := map[string]struct {
		harm  func(w *world, m *Member, s consul.Session)
		after time.Duration
		told  string
	}{
		"agent restarts":       {func(w *world, _ *Member, _ consul.Session) { w.server.RestartAgent() }, time.Second, "has ended"},
		"servers lose data":    {func(w *world, _ *Member, _ consul.Session) { w.server.LoseData() }, time.Second, "has ended"},
		"session is destroyed": {func(w *world, _ *Member, s consul.Session) { w.server.Expire(s.ID) }, time.Second, "has ended"},
		"all at once": {func(w *world, _ *Member, _ consul.Session) {
			w.server.LoseData()
			w.server.RestartAgent()
		}, time.Second, "has ended"},
		"somebody deregisters it": {func(w *world, m *Member, _ consul.Session) {
			must(w.t, w.client().API().Agent().ServiceDeregister(m.id))
		}, time.Second, "has ended"},
		"broker stalls": {func(w *world, _ *Member, _ consul.Session) {
			w.server.SetFault(failing("agent/", fake.Hang))
			time.Sleep(5 * time.Second)
			w.server.SetFault(nil)
		}, 2 * time.Second, "has ended"},
		"agent away for a minute": {func(w *world, _ *Member, _ consul.Session) {
			w.server.SetFault(failing("", fake.Drop))
			w.server.Break()
			time.Sleep(time.Minute)
			w.server.SetFault(nil)
		}, 2 * time.Second, "consul is well again"},
		"no leader for a minute, session expired": {func(w *world, _ *Member, s consul.Session) {
			w.server.SetFault(failing("", fake.NoLeader))
			w.server.Break()
			time.Sleep(time.Minute)
			w.server.Expire(s.ID)
			w.server.SetFault(nil)
		}, 2 * time.Second, "consul has no leader"},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				m := w.join(1)
				s := w.session(m)
				time.Sleep(time.Minute)
				way.harm(w, m, s)
				<-s.Gone
				begun := time.Now()
				again := w.session(m)
				for again.ID == s.ID || w.list() != "1" {
					time.Sleep(10 * time.Millisecond)
					again = w.session(m)
				}
				if took := time.Since(begun); took > way.after {
					t.Errorf("well again after %v", took)
				}
				if told := w.told(); !strings.Contains(told, way.told) {
					t.Errorf("told %s", told)
				}
				time.Sleep(time.Minute)
				if w.session(m).ID != again.ID || w.list() != "1" {
					t.Error("not for long")
				}
			})
		})
	}
}

// TestForgotten: an agent that knows nothing of the node is told, also while there
// can be no session.
func TestForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := w.join(1)
		w.session(m)
		w.server.SetFault(failing("session/", fake.NoLeader))
		w.server.RestartAgent()
		time.Sleep(time.Second)
		if got := w.list(); got != "1" {
			t.Errorf("listed %s", got)
		}
		if told := w.told(); !strings.Contains(told, "consul has forgotten node 1") || !strings.Contains(told, "registered in consul again") {
			t.Errorf("told %s", told)
		}
	})
}

// TestShortTroubleCostsNothing: a few lost calls end no session.
func TestShortTroubleCostsNothing(t *testing.T) {
	for _, endpoint := range []string{"agent/", "session/", ""} {
		for _, f := range []fake.Fault{fake.Drop, fake.DropAnswer, fake.NoLeader, fake.Overload} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				m := w.join(1)
				s := w.session(m)
				for range 20 {
					w.server.SetFault(failing(endpoint, f))
					time.Sleep(300 * time.Millisecond)
					w.server.SetFault(nil)
					time.Sleep(3 * time.Second)
				}
				if w.session(m).ID != s.ID {
					t.Errorf("fault %d at %q cost the session: %s", f, endpoint, w.told())
				}
			})
		}
	}
}

// TestAgentAwayKeepsTheSession: servers that do not hear of a failed check keep the
// session until its TTL, and the session is used again if it lives.
func TestServersAwayForShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := w.join(1)
		s := w.session(m)
		w.server.SetFault(failing("session/", fake.NoLeader))
		time.Sleep(12 * time.Second)
		w.server.SetFault(nil)
		time.Sleep(time.Minute)
		if w.session(m).ID != s.ID {
			t.Errorf("another session: %s", w.told())
		}
	})
}

// TestRestartedAtOnce: a node that is back before its check has failed gets a new
// session, and what its earlier life had locked is free.
func TestRestartedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := w.join(1)
		s := w.session(m)
		if got, _, err := w.client().API().KV().Acquire(&api.KVPair{Key: "k", Session: s.ID}, nil); !got || err != nil {
			t.Fatal(got, err)
		}
		m.kill()
		again := w.session(w.join(1))
		if again.ID == s.ID || w.locked("k") {
			t.Error("the earlier life's session goes on")
		}
	})
}

// TestSessionWithoutAnswer: a session that was made without our hearing of it is
// ended, lest it live on.
func TestSessionWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.SetFault(failingOnce("session/create", fake.DropAnswer))
		w.session(w.join(1))
		sessions, _, err := w.client().API().Session().List(nil)
		must(t, err)
		if len(sessions) != 1 {
			t.Errorf("%d sessions", len(sessions))
		}
	})
}

func TestConsulComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.SetFault(failing("", fake.Drop))
		m := w.join(1)
		time.Sleep(10 * time.Minute)
		told := w.told()
		if n := strings.Count(told, "consul does not answer"); n < 10 || n > 30 {
			t.Errorf("told %d times:\n%s", n, told)
		}
		w.server.SetFault(nil)
		w.session(m)
		if got := w.list(); got != "1" {
			t.Errorf("listed %s", got)
		}
	})
}

func TestRefusedTokenIsToldAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.SetToken("secret")
		m := w.join(1)
		time.Sleep(time.Minute)
		if told := w.told(); !strings.Contains(told, "consul refuses the token (register)") {
			t.Errorf("told %s", told)
		}
		w.server.SetToken("")
		w.session(m)
	})
}

func TestLeaveWhileConsulIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := w.join(1)
		s := w.session(m)
		w.server.SetFault(failing("", fake.Hang))
		short, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		if err := m.Leave(short); err == nil {
			t.Error("left without a word to Consul")
		}
		<-s.Gone
	})
}

func TestJoinRefuses(t *testing.T) {
	w := newWorld(t)
	for _, o := range []Options{
		{Client: w.client(), Cluster: "a/b"},
		{Cluster: "test"},
		{Client: w.client(), Cluster: "test", Node: Node{ID: messages.NoBroker}},
	} {
		if _, err := Join(o); messages.KindOf(err) != messages.InvalidConfig {
			t.Errorf("%+v: got error %v", o, err)
		}
	}
}
