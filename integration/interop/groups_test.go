package interop

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// grouped is a client that can take part in a consumer group. A new member begins
// at the start of partitions in which the group has committed nothing.
type grouped interface {
	join(ctx context.Context, group, topic string) (member, error)
}

// member is one member of a group. All its methods are called by one goroutine.
type member interface {
	// poll gives the records that have come, and waits a moment when there are none.
	poll(ctx context.Context) ([]record, error)
	// commit commits all that poll has given; a client that commits by itself does nothing.
	commit(ctx context.Context) error
	leave(ctx context.Context) error
}

// How long members wait for records, and how often they say that they live: often,
// so that they learn soon of those who come and go.
const (
	pollTime  = 200 * time.Millisecond
	heartbeat = 500 * time.Millisecond
)

// crew is a group whose members work until they are told to leave, each in a
// goroutine of its own.
type crew struct {
	t     *testing.T
	ctx   context.Context
	group string
	topic string
	admin *kadm.Client

	mu   sync.Mutex
	seen map[string]int // how often each record came, by partition and offset
	news chan struct{}  // something has been seen
}

func newCrew(t *testing.T, topic string) *crew {
	cl, err := franz{}.client()
	check(t, err)
	t.Cleanup(cl.Close)
	return &crew{
		t: t, ctx: patience(t), group: topicName("group"), topic: topic, admin: kadm.NewClient(cl),
		seen: make(map[string]int), news: make(chan struct{}, 1),
	}
}

// hire has a member join and work. What it gives back has it leave.
func (c *crew) hire(client grouped) (dismiss func()) {
	c.t.Helper()
	m, err := client.join(c.ctx, c.group, c.topic)
	check(c.t, err)
	leave, left := make(chan struct{}), make(chan error, 1)
	go func() { left <- c.work(m, leave) }()
	return sync.OnceFunc(func() {
		close(leave)
		if err := <-left; err != nil {
			c.t.Error(err)
		}
	})
}

func (c *crew) work(m member, leave chan struct{}) error {
	for {
		select {
		case <-leave:
			return m.leave(c.ctx)
		default:
		}
		records, err := m.poll(c.ctx)
		if err != nil {
			return errors.Join(err, m.leave(c.ctx))
		}
		if len(records) == 0 {
			continue
		}
		c.note(records)
		if err := m.commit(c.ctx); err != nil {
			return errors.Join(err, m.leave(c.ctx))
		}
	}
}

func (c *crew) note(records []record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range records {
		c.seen[string(r.value)]++
	}
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// perRound is how many records each partition gets in a round.
const perRound = 5

// round produces some records to every partition and waits until all have been
// seen, each once, and committed.
func (c *crew) round(name string, partitions int) {
	c.t.Helper()
	var sent []record
	for p := range int32(partitions) {
		for i := range perRound {
			sent = append(sent, record{partition: p, time: time.Now(), value: fmt.Appendf(nil, "%s, record %d of partition %d", name, i, p)})
		}
	}
	check(c.t, franz{}.produce(c.ctx, c.topic, "none", sent))
	c.await(name, len(sent))
	c.awaitCommitted()
	for value, times := range c.seen {
		if times != 1 {
			c.t.Errorf("%s came %d times", value, times)
		}
	}
	if len(c.seen) != len(sent) {
		c.t.Errorf("%d records were seen of %d", len(c.seen), len(sent))
	}
	clear(c.seen)
}

func (c *crew) await(what string, n int) {
	c.t.Helper()
	for {
		c.mu.Lock()
		have := len(c.seen)
		c.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-c.news:
		case <-c.ctx.Done():
			c.t.Fatalf("%s: %d records were seen of %d", what, have, n)
		}
	}
}

// awaitCommitted waits until the group has committed all that there is.
func (c *crew) awaitCommitted() {
	c.t.Helper()
	c.until(func() (bool, error) {
		lags, err := c.admin.Lag(c.ctx, c.group)
		l := lags[c.group]
		return err == nil && l.Error() == nil && l.Lag.Total() == 0, err
	})
}

// awaitMembers waits until the group has settled with so many members, which
// share so many partitions.
func (c *crew) awaitMembers(members, partitions int) {
	c.t.Helper()
	var last kadm.DescribedGroup
	defer func() {
		if c.t.Failed() {
			c.t.Logf("wanted %d members that share %d partitions, have %s", members, partitions, describe(last))
		}
	}()
	state := "Stable"
	if members == 0 {
		state = "Empty"
	}
	c.until(func() (bool, error) {
		described, err := c.admin.DescribeGroups(c.ctx, c.group)
		g, assigned, idle := described[c.group], 0, 0
		last = g
		for _, m := range g.Members {
			n := partitionsOf(m)
			if assigned += n; n == 0 {
				idle++
			}
		}
		return g.State == state && len(g.Members) == members && assigned == partitions && idle == 0, err
	})
}

// describe shows a group with what its members were assigned.
func describe(g kadm.DescribedGroup) string {
	text := g.State
	for _, m := range g.Members {
		text += fmt.Sprintf("; %s: %d", m.MemberID, partitionsOf(m))
	}
	return text
}

func partitionsOf(m kadm.DescribedGroupMember) (n int) {
	if a, ok := m.Assigned.AsConsumer(); ok {
		for _, t := range a.Topics {
			n += len(t.Partitions)
		}
	}
	return n
}

// until asks again and again until the answer is yes.
func (c *crew) until(yes func() (bool, error)) {
	c.t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		done, err := yes()
		check(c.t, err)
		if done {
			return
		}
		select {
		case <-again.C:
		case <-c.ctx.Done():
			c.t.Fatal(c.ctx.Err())
		}
	}
}

// TestGroups has members of a group come and go; whoever comes later goes on
// where the group was.
func TestGroups(t *testing.T) {
	for _, client := range groupClients() {
		t.Run(client.name, func(t *testing.T) {
			t.Parallel()
			feature(t, client.name, inGroups)
			const partitions = 4
			c := newCrew(t, topicName("shared"))
			check(t, franz{}.create(c.ctx, c.topic, partitions, nil))
			first := c.hire(client.client)
			defer first()
			c.round("one member", partitions)

			second := c.hire(client.client)
			defer second()
			c.awaitMembers(2, partitions)
			c.round("two members", partitions)

			first()
			c.awaitMembers(1, partitions)
			c.round("one has left", partitions)

			second()
			c.awaitMembers(0, 0)
			third := c.hire(client.client)
			defer third()
			c.round("all have left, another has come", partitions)
		})
	}
}

// TestAGroupOfManyClients has members by different clients in one group, as far as
// they know the same strategy: whichever of them leads, it assigns to all.
func TestAGroupOfManyClients(t *testing.T) {
	with := map[string][]namedGroup{
		"range":              {{"franz-go", franzRange{}}},
		"cooperative-sticky": {{"franz-go", franz{}}, {"java", javaCooperative{}}},
	}
	for _, other := range groupClients() {
		switch other.name {
		case "franz-go": // is there already
		case "KafkaJS": // has a strategy of its own
		case "kafka-go": // is assigned nothing by librdkafka, when that leads
		case "confluent-kafka":
			with["cooperative-sticky"] = append(with["cooperative-sticky"], other)
		default:
			with["range"] = append(with["range"], other)
		}
	}
	for strategy, clients := range with {
		t.Run(strategy, func(t *testing.T) {
			t.Parallel()
			comeAndGo(t, clients)
		})
	}
}

// comeAndGo has members come and leave, one after the other.
func comeAndGo(t *testing.T, clients []namedGroup) {
	t.Helper()
	c := newCrew(t, topicName("mixed"))
	partitions := 2 * len(clients)
	check(t, franz{}.create(c.ctx, c.topic, partitions, nil))
	var leave []func()
	for i, client := range clients {
		leave = append(leave, c.hire(client.client))
		defer leave[i]()
		c.awaitMembers(i+1, partitions)
		c.round(client.name+" has come", partitions)
	}
	for i, client := range clients[1:] { // whoever leads goes first
		leave[i]()
		c.awaitMembers(len(clients)-i-1, partitions)
		c.round(client.name+" may lead", partitions)
	}
}

// namedGroup is a client that can take part in groups, with its name.
type namedGroup struct {
	name   string
	client grouped
}

func groupClients() []namedGroup {
	clients := []namedGroup{{"kcat", kcatClient{}}, {"java", javaClient{}}}
	for _, l := range libraries {
		if g, able := l.client.(grouped); able {
			clients = append(clients, namedGroup{l.name, g})
		}
	}
	return clients
}
