//go:build consul

package consul

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"understudy/cluster/consul"
	"understudy/cluster/membership"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// servers starts a cluster of three servers.
func servers(t *testing.T) []*realAgent {
	t.Helper()
	var list []*realAgent
	for range 3 {
		list = append(list, newAgent(t, "-server", "-bootstrap-expect=3"))
	}
	for i, a := range list {
		a.join(list[:i]...)
		a.start(t)
	}
	for _, a := range list {
		a.ready(t)
	}
	return list
}

// TestServerLeaderKilled: the leader of the servers is killed while a controller
// on another server commits. It goes on, with its lock.
func TestServerLeaderKilled(t *testing.T) {
	list := servers(t)
	var leader *realAgent
	wait(t, "a leader", func() bool {
		i := slices.IndexFunc(list, func(a *realAgent) bool { return a.leads(t) })
		if i >= 0 {
			leader = list[i]
		}
		return i >= 0
	})
	other := list[0]
	if other == leader {
		other = list[1]
	}
	c := &cluster{t: t, agent: other, name: "leader-killed"}
	n := c.node(1)
	h := n.lock()
	n.save(activate)
	leader.kill(t)
	worst := time.Duration(0)
	for i := range 100 {
		e := metadata.NewEdit(metadata.Empty())
		e.SetNextProducerID(int64(i))
		txn := e.Txn()
		txn.Checks = nil
		begun := time.Now()
		limited, cancel := context.WithTimeout(ctx, soon)
		_, err := n.store.Commit(limited, txn)
		cancel()
		must(t, err)
		worst = max(worst, time.Since(begun))
	}
	t.Logf("longest commit while the servers elected: %v", worst.Round(time.Millisecond))
	if h.Cause() != nil {
		t.Errorf("the lock was lost: %v", h.Cause())
	}
}

// TestNoLeaderYet: a server that waits for others has no leader, which is said,
// and waited for.
func TestNoLeaderYet(t *testing.T) {
	list := []*realAgent{newAgent(t, "-server", "-bootstrap-expect=2"), newAgent(t, "-server", "-bootstrap-expect=2")}
	list[1].join(list[0])
	list[0].start(t)
	wait(t, "an agent", func() bool {
		_, err := list[0].api(t).Status().Leader()
		return err == nil
	})
	n := (&cluster{t: t, agent: list[0], name: "no-leader"}).node(1)
	short, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := n.store.Load(short); err == nil || !strings.Contains(err.Error(), "consul has no leader") {
		t.Errorf("got error %v", err)
	}
	list[1].start(t)
	n.lock()
	n.save(activate)
	if told := n.told(); !strings.Contains(told, "consul has no leader") || !strings.Contains(told, "well again") {
		t.Errorf("told\n%s", told)
	}
}

// leastRights is the policy of a broker's token: its cluster's keys, its service,
// its session on any node, and to see which nodes there are.
const leastRights = `
key_prefix "understudy/%s/" { policy = "write" }
service "understudy"        { policy = "write" }
session_prefix ""           { policy = "write" }
node_prefix ""              { policy = "read" }
`

// TestLeastRights has a broker do everything with a token that may do no more.
func TestLeastRights(t *testing.T) {
	a := newAgent(t, "-server", "-bootstrap-expect=1")
	a.policy = "deny"
	a.start(t)
	a.ready(t)
	const name = "least-rights"
	_, _, err := a.api(t).ACL().PolicyCreate(&api.ACLPolicy{Name: "understudy", Rules: fmt.Sprintf(leastRights, name)}, nil)
	must(t, err)
	token, _, err := a.api(t).ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{Name: "understudy"}}}, nil)
	must(t, err)
	c := &cluster{t: t, agent: tokenAgent{a, token.SecretID}, name: name}
	n, other := c.node(1), c.node(2)
	h := n.lock()
	n.save(activate)
	n.save(func(e *metadata.Edit) { e.CreateTopic(topic("t", 100)) })
	wait(t, "both to be listed", func() bool { return len(n.list()) == 2 })
	id, err := membership.ClaimID(ctx, membership.ClaimOptions{Client: n.client, Cluster: name, Node: 1, Claim: membership.Claim{Directory: "d", Host: "127.0.0.1", Port: 9001}})
	must(t, err)
	must(t, membership.ReleaseID(ctx, n.client, name, id))
	must(t, other.store.Depose(ctx, h.Session()))
	other.lock()
	state, err := consul.StateOf(other.image())
	must(t, err)
	must(t, other.store.Restore(ctx, state, consul.RestoreOptions{Replace: true}))

	c = &cluster{t: t, agent: tokenAgent{a, ""}, name: "no-rights"}
	if _, err := c.node(3).store.Load(ctx); err == nil || !strings.Contains(err.Error(), "consul refuses the token") {
		t.Errorf("without a token: %v", err)
	}
	keysOnly, _, err := a.api(t).ACL().PolicyCreate(&api.ACLPolicy{Name: "keys", Rules: `key_prefix "" { policy = "write" }`}, nil)
	must(t, err)
	token, _, err = a.api(t).ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{ID: keysOnly.ID}}}, nil)
	must(t, err)
	cfg := a.client(t)
	cfg.Token = token.SecretID
	client, err := consul.Dial(cfg)
	must(t, err)
	if list, err := membership.List(ctx, client, name); err == nil || !strings.Contains(err.Error(), "consul refuses the token") {
		t.Errorf("nodes that may not be seen: %v, %v", list, err)
	}
}

// tokenAgent is an agent for those who have a token.
type tokenAgent struct {
	*realAgent
	secret string
}

func (a tokenAgent) client(t *testing.T) consul.Config {
	cfg := a.realAgent.client(t)
	cfg.Token = a.secret
	return cfg
}

// TestMachineGone: node and agent are gone at once, so that nobody fails the
// node's check. The session's own TTL frees the lock, or whoever deposes it.
func TestMachineGone(t *testing.T) {
	server := startAgent(t).(*realAgent)
	local := newAgent(t)
	local.join(server)
	local.start(t)
	local.ready(t)
	one := (&cluster{t: t, agent: local, name: "machine-gone"}).node(1)
	two := (&cluster{t: t, agent: server, name: "machine-gone"}).node(2)
	one.lock()
	two.session()
	local.kill(t)
	begun := time.Now()
	two.lock()
	t.Logf("the lock is free %v after node and agent are gone", time.Since(begun).Round(time.Millisecond))
}

// TestFigures measures one server and three, on disk.
func TestFigures(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n, " servers"), func(t *testing.T) {
			var a *realAgent
			if n == 1 {
				a = startAgent(t).(*realAgent)
			} else {
				a = servers(t)[0]
			}
			for _, ops := range []int{64, 128} {
				c := &cluster{t: t, agent: a, name: fmt.Sprint("figures-", n, "-", ops)}
				figures(t, c.node(1, func(o *consul.Options) { o.MaxOps = ops }), c.node(2), ops)
			}
		})
	}
}

func figures(t *testing.T, n, reader *node, ops int) {
	n.lock()
	n.save(activate)
	n.save(func(e *metadata.Edit) { e.CreateTopic(topic("small", 1)) })
	var took []time.Duration
	for i := range 200 {
		e := metadata.NewEdit(n.image())
		e.SetPartition(messages.TopicPartition{Topic: "small"}, partition(0, messages.LeaderEpoch(i+2)))
		begun := time.Now()
		_, err := n.store.Commit(ctx, e.Txn())
		must(t, err)
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	t.Logf("%d operations: commit of one key: median %v, 99%% %v", ops, round(took[100]), round(took[198]))
	measure := func(what string, f func(*metadata.Edit)) {
		e := metadata.NewEdit(n.image())
		f(e)
		txn := e.Txn()
		begun := time.Now()
		_, err := n.store.Commit(ctx, txn)
		must(t, err)
		t.Logf("%d operations: %s: %v", ops, what, round(time.Since(begun)))
	}
	measure("create 1,000 partitions", func(e *metadata.Edit) { e.CreateTopic(topic("thousand", 1000)) })
	measure("move 333 leaderships", func(e *metadata.Edit) {
		for i := range 333 {
			e.SetPartition(messages.TopicPartition{Topic: "thousand", Partition: int32(i)}, partition(i, 2))
		}
	})
	measure("create 9,000 more", func(e *metadata.Edit) {
		for i := range 9 {
			e.CreateTopic(topic(fmt.Sprint("many", i), 1000))
		}
	})
	begun := time.Now()
	state, err := reader.store.Load(ctx)
	must(t, err)
	loaded := time.Since(begun)
	begun = time.Now()
	im, err := metadata.Build(state)
	must(t, err)
	t.Logf("%d operations: load %d partitions: %v, and build the image: %v", ops, im.PartitionCount(), round(loaded), round(time.Since(begun)))
	measure("delete 10,000", func(e *metadata.Edit) {
		for x := range e.Image().Topics() {
			e.DeleteTopic(x.Name)
		}
	})
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

// TestBrokersServerLeaderKilled: each broker has a server of its own, and the leader
// of the servers is killed: its broker is cut off, the others go on deciding. When
// the server is back, all is as before.
func TestBrokersServerLeaderKilled(t *testing.T) {
	agents := servers(t)
	c := &cluster{t: t, agent: agents[0], name: "brokers-leader-killed"}
	list := c.brokers(agents[0], agents[1], agents[2])
	w := begin(t, list)
	w.more(20)
	before := w.leaders()
	leader := slices.IndexFunc(agents, func(a *realAgent) bool { return a.leads(t) })
	if leader < 0 {
		t.Fatal("the servers have no leader")
	}
	agents[leader].kill(t)
	killed := time.Now()
	w.more(20)
	w.create("meanwhile")
	t.Logf("a topic is created %v after the leader of the servers was killed", time.Since(killed).Round(time.Millisecond))
	wait(t, "its broker to say so", func() bool { return strings.HasPrefix(list[leader].state(t).Rendezvous, "away") })
	if now := w.leaders(); now != before {
		t.Errorf("before:\n%safter:\n%s", before, now)
	}
	agents[leader].start(t)
	agents[leader].ready(t)
	for _, b := range list {
		wait(t, "all to be well", func() bool { return b.state(t).Rendezvous == "ok" })
	}
	w.create("after")
	w.more(20)
	if now := w.leaders(); now != before {
		t.Errorf("before:\n%safter:\n%s", before, now)
	}
	w.end()
}

// TestABrokerWaitsForALeader: it is started at a server that has none.
func TestABrokerWaitsForALeader(t *testing.T) {
	agents := []*realAgent{newAgent(t, "-server", "-bootstrap-expect=2"), newAgent(t, "-server", "-bootstrap-expect=2")}
	agents[1].join(agents[0])
	agents[0].start(t)
	wait(t, "an agent", func() bool {
		_, err := agents[0].api(t).Status().Leader()
		return err == nil
	})
	c := &cluster{t: t, agent: agents[0], name: "broker-waits"}
	b := &broker{door: newDoor(t, agents[0])}
	started := make(chan struct{})
	go func() {
		defer close(started)
		b.start(c)
	}()
	wait(t, "it to say so", func() bool { return strings.Contains(b.log.String(), "consul has no leader") })
	agents[1].start(t)
	<-started
	if !t.Failed() && b.state(t).Controller != 1 {
		t.Errorf("it says %+v", b.state(t))
	}
}

// TestServersForgetANode: the servers forget what its agent takes for known to them. The
// agent would look again after a minute or two.
func TestServersForgetANode(t *testing.T) {
	a := newAgent(t, "-server", "-bootstrap-expect=1")
	a.start(t)
	a.ready(t)
	n := (&cluster{t: t, agent: a, name: "forgotten"}).node(1)
	first := n.session()
	for range 3 {
		gone := &api.CatalogDeregistration{Node: a.name, ServiceID: "understudy-forgotten-1"}
		_, err := a.api(t).Catalog().Deregister(gone, nil)
		must(t, err)
		begun := time.Now()
		<-first.Gone
		first = n.session()
		if ids := n.list(); len(ids) != 1 {
			t.Errorf("%v are listed", ids)
		}
		took := time.Since(begun)
		t.Logf("a new session after %v", took.Round(time.Millisecond))
		if took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
	}
}
