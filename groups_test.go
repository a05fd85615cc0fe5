package understudy_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/integration/checker"
)

// groupPatience is how long these tests wait for what takes a moment.
const groupPatience = 2 * time.Minute

// take polls until n records have come, and gives their values.
func take(t *testing.T, client *kgo.Client, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), groupPatience)
	defer cancel()
	var values []string
	for len(values) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(values), n, err)
		}
		for _, r := range fetches.Records() {
			values = append(values, string(r.Value))
		}
	}
	return values
}

// TestAGroupGoesOnWhereItWas has a consumer commit and go; the next one begins there.
func TestAGroupGoesOnWhereItWas(t *testing.T) {
	cfg := testConfig(t.TempDir())
	b := start(t, cfg)
	createTopic(t, b, "orders", 1, nil)
	produce(t, b, "orders", 1, 0, 20)
	began := time.Now()
	one := connect(t, b, kgo.ConsumerGroup("g"), kgo.ConsumeTopics("orders"), kgo.DisableAutoCommit())
	values := take(t, one, 20)
	t.Logf("the first record came after %v at most", time.Since(began).Round(time.Millisecond))
	if values[0] != "0" || len(values) != 20 {
		t.Fatalf("have %v", values)
	}
	if err := one.CommitUncommittedOffsets(t.Context()); err != nil {
		t.Fatal(err)
	}
	one.Close()
	produce(t, b, "orders", 1, 20, 5)
	two := connect(t, b, kgo.ConsumerGroup("g"), kgo.ConsumeTopics("orders"), kgo.DisableAutoCommit())
	if values := take(t, two, 5); values[0] != "20" {
		t.Errorf("begins at %s", values[0])
	}
	if err := two.CommitUncommittedOffsets(t.Context()); err != nil {
		t.Fatal(err)
	}
	two.Close()
	stop(t, b)

	b = start(t, cfg)
	produce(t, b, "orders", 1, 25, 1)
	three := connect(t, b, kgo.ConsumerGroup("g"), kgo.ConsumeTopics("orders"))
	if values := take(t, three, 1); values[0] != "25" {
		t.Errorf("after a restart it begins at %s", values[0])
	}
}

// TestOperatorsSeeAndDeleteGroups asks for what Kafka's tools ask for.
func TestOperatorsSeeAndDeleteGroups(t *testing.T) {
	b := start(t, testConfig(t.TempDir()))
	createTopic(t, b, "orders", 2, nil)
	produce(t, b, "orders", 2, 0, 10)
	admin := kadm.NewClient(connect(t, b))
	member := connect(t, b, kgo.ConsumerGroup("g"), kgo.ConsumeTopics("orders"), kgo.DisableAutoCommit())
	take(t, member, 20)
	if err := member.CommitUncommittedOffsets(t.Context()); err != nil {
		t.Fatal(err)
	}
	lags, err := admin.Lag(t.Context(), "g")
	if err != nil {
		t.Fatal(err)
	}
	if g := lags["g"]; g.Error() != nil || g.State != "Stable" || g.ProtocolType != "consumer" || len(g.Members) != 1 || g.Lag.Total() != 0 || len(g.Lag["orders"]) != 2 {
		t.Errorf("have %+v", g)
	}
	if groups, err := admin.ListGroups(t.Context()); err != nil || groups["g"].Coordinator != 1 || groups["g"].State != "Stable" {
		t.Errorf("have %+v, %v", groups, err)
	}
	if r, err := admin.DeleteGroup(t.Context(), "g"); err == nil && r.Err == nil {
		t.Error("a group with members was deleted")
	}
	member.Close()
	if r, err := admin.DeleteGroup(t.Context(), "g"); err != nil || r.Err != nil {
		t.Error(err, r.Err)
	}
	if offsets, err := admin.FetchOffsets(t.Context(), "g"); err != nil || len(offsets) != 0 {
		t.Errorf("have %v, %v", offsets, err)
	}
	topics, err := admin.ListTopicsWithInternal(t.Context(), "__consumer_offsets")
	if d := topics["__consumer_offsets"]; err != nil || !d.IsInternal || len(d.Partitions) != 50 {
		t.Errorf("have %d partitions, internal %v, %v", len(d.Partitions), d.IsInternal, err)
	}
}

// TestWhoWaitsWhenABrokerStopsLooksForAnother has a broker that is alone stop while a member
// waits for another one to join.
func TestWhoWaitsWhenABrokerStopsLooksForAnother(t *testing.T) {
	b := start(t, testConfig(t.TempDir()))
	client := connect(t, b)
	admin := kadm.NewClient(client)
	if err := admin.FindGroupCoordinators(t.Context(), "g").Error(); err != nil {
		t.Fatal(err)
	}
	join := func(instance string) (code int16, err error) {
		req := kmsg.NewPtrJoinGroupRequest()
		req.Group, req.InstanceID, req.ProtocolType = "g", &instance, "consumer"
		req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 60_000, 60_000
		req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
		resp, err := client.Broker(1).Request(t.Context(), req)
		if err != nil {
			return 0, err
		}
		return resp.(*kmsg.JoinGroupResponse).ErrorCode, nil
	}
	if code, err := join("one"); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	told := make(chan error, 1)
	go func() {
		code, err := join("two")
		if err == nil && code != kerr.NotCoordinator.Code {
			err = fmt.Errorf("is told %w", kerr.ErrorForCode(code))
		}
		told <- err
	}()
	for deadline := time.Now().Add(groupPatience); ; {
		groups, err := admin.DescribeGroups(t.Context(), "g")
		if err != nil {
			t.Fatal(err)
		}
		if len(groups["g"].Members) == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody waits: %+v", groups)
		}
	}
	stop(t, b)
	if err := <-told; err != nil {
		t.Error(err)
	}
}

// worker is a member of a group that notes what it processes.
type worker struct {
	client   *kgo.Client
	assigned chan map[string][]int32
	ended    chan struct{}
}

// work processes records until the context ends, and commits after each poll.
func (c *cluster) work(ctx context.Context, group string, done func(partition int32, value string)) *worker {
	w := &worker{assigned: make(chan map[string][]int32, 1000), ended: make(chan struct{})}
	w.client = c.client(kgo.ConsumerGroup(group), kgo.ConsumeTopics("orders"), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.HeartbeatInterval(100*time.Millisecond), kgo.SessionTimeout(groupPatience), kgo.RequestRetries(10_000),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, added map[string][]int32) {
			if len(added) > 0 {
				w.assigned <- added
			}
		}))
	go func() {
		defer close(w.ended)
		for ctx.Err() == nil {
			fetches := w.client.PollFetches(ctx)
			fetches.EachRecord(func(r *kgo.Record) { done(r.Partition, string(r.Value)) })
			_ = w.client.CommitUncommittedOffsets(ctx) // what is not committed is processed again
			w.client.AllowRebalance()
		}
	}()
	return w
}

// forget forgets, and counts, the assignments that have come.
func (w *worker) forget() int {
	for n := 0; ; n++ {
		select {
		case <-w.assigned:
		default:
			return n
		}
	}
}

// awaitShared waits until so many members share the partitions of topic orders.
func (c *cluster) awaitShared(group string, members int) {
	c.t.Helper()
	admin := kadm.NewClient(c.client())
	ctx, cancel := context.WithTimeout(c.t.Context(), groupPatience)
	defer cancel()
	for {
		described, err := admin.DescribeGroups(ctx, group)
		g := described[group]
		busy := 0
		for _, m := range g.Members {
			if a, ok := m.Assigned.AsConsumer(); ok && len(a.Topics) > 0 {
				busy++
			}
		}
		if err == nil && g.State == "Stable" && busy == members {
			return
		}
		if ctx.Err() != nil {
			c.t.Fatalf("%d members do not share: %+v, %v", members, g, err)
		}
	}
}

// TestAGroupSurvivesItsCoordinator kills the coordinator of a group again and
// again: its members go on, every record is processed, and what was committed does
// not go back. Most times nobody is assigned anything anew; but a client whose
// connection ends at the wrong moment takes that for the end of its membership.
func TestAGroupSurvivesItsCoordinator(t *testing.T) {
	c := newCluster(t)
	c.createTopic("orders", 6, nil)
	c.awaitInSync("orders", 3)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	processed := map[string]bool{}
	var workers []*worker
	for range 2 {
		workers = append(workers, c.work(ctx, "g", func(p int32, value string) {
			mu.Lock()
			defer mu.Unlock()
			processed[fmt.Sprint(p, ":", value)] = true
		}))
	}
	producer := c.client(kgo.DefaultProduceTopic("orders"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	next := 0
	// round produces a little and waits until all of it is processed.
	round := func() {
		t.Helper()
		var records []*kgo.Record
		for p := range int32(6) {
			records = append(records, &kgo.Record{Partition: p, Value: fmt.Append(nil, next)})
		}
		if err := producer.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(groupPatience); ; {
			mu.Lock()
			missing := 0
			for p := range 6 {
				if !processed[fmt.Sprint(p, ":", next)] {
					missing++
				}
			}
			mu.Unlock()
			if missing == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("of round %d the records of %d partitions were never processed", next, missing)
			}
			time.Sleep(time.Millisecond)
		}
		next++
	}
	round()
	c.awaitShared("g", 2)
	for _, w := range workers { // each has been told, then
		<-w.assigned
		w.forget()
	}
	committed := map[int32]int64{}
	for range 3 {
		coordinator := c.coordinator("g")
		c.kill(coordinator, 0)
		round()
		round()
		for p, o := range c.committed("g") {
			if o < committed[p] {
				t.Errorf("partition %d was committed at %d and is at %d", p, committed[p], o)
			}
			committed[p] = o
		}
		c.start(coordinator)
		c.awaitInSync("orders", 3)
		c.awaitInSync("__consumer_offsets", 3)
		for i, w := range workers {
			if n := w.forget(); n > 0 {
				t.Logf("worker %d was assigned partitions anew %d times", i, n)
			}
		}
	}
	cancel()
	for _, w := range workers {
		<-w.ended
	}
}

// story is what the members of a group have done, in order.
type story struct {
	mu     sync.Mutex
	events []checker.GroupEvent
	seen   map[string]bool // records, by partition and value
	news   chan struct{}   // something was seen
}

// storySession is the session of the members of a story: as long as a member counts
// that has left while nobody coordinated.
const storySession = 30 * time.Second

func (s *story) note(kind checker.GroupEventKind, member string, partition int32, from, to int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, checker.GroupEvent{
		At: int64(len(s.events)), Kind: kind, Member: member, Partition: checker.Partition{Topic: "orders", Number: partition}, From: from, To: to,
	})
}

// tell has a member work, under a name, and tell what it does, until the function
// that is given back is called: the member leaves then, unless it is static.
func (s *story) tell(c *cluster, name string, options ...kgo.Opt) (leave func()) {
	each := func(kind checker.GroupEventKind) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			for _, p := range partitions["orders"] {
				s.note(kind, name, p, 0, 0)
			}
		}
	}
	client := c.client(append(options, kgo.ConsumerGroup("g"), kgo.ConsumeTopics("orders"), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.HeartbeatInterval(100*time.Millisecond), kgo.SessionTimeout(storySession), kgo.RequestRetries(10_000),
		kgo.OnPartitionsAssigned(each(checker.Assigned)), kgo.OnPartitionsRevoked(each(checker.Revoked)), kgo.OnPartitionsLost(each(checker.Lost)))...)
	ctx, cancel := context.WithCancel(c.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				s.note(checker.Processed, name, r.Partition, r.Offset, r.Offset+1)
				s.mu.Lock()
				s.seen[fmt.Sprint(r.Partition, ":", string(r.Value))] = true
				s.mu.Unlock()
				select {
				case s.news <- struct{}{}:
				default:
				}
			})
			_ = client.CommitUncommittedOffsets(ctx) // what is not committed is processed again
			client.AllowRebalance()
		}
	}()
	return func() {
		cancel()
		<-ended
		client.CloseAllowingRebalance()
		s.note(checker.Gone, name, 0, 0, 0)
	}
}

// await waits until a value was seen in all partitions.
func (s *story) await(t *testing.T, value, partitions int) {
	t.Helper()
	for late := time.After(2 * groupPatience); ; {
		s.mu.Lock()
		missing := 0
		for p := range partitions {
			if !s.seen[fmt.Sprint(p, ":", value)] {
				missing++
			}
		}
		s.mu.Unlock()
		if missing == 0 {
			return
		}
		select {
		case <-s.news:
		case <-late:
			t.Fatalf("of round %d the records of %d partitions were never processed", value, missing)
		}
	}
}

// TestMembersComeAndGoWhileBrokersFall has members of a group come, leave, and be
// started again, while one broker after the other is killed: every record is
// processed, no partition is two members' at once, and what is committed stays.
func TestMembersComeAndGoWhileBrokersFall(t *testing.T) {
	const partitions = 8
	c := newCluster(t)
	c.createTopic("orders", partitions, nil)
	c.awaitInSync("orders", 3)
	s := &story{seen: map[string]bool{}, news: make(chan struct{}, 1)}
	producer := c.client(kgo.DefaultProduceTopic("orders"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	rounds := 0
	round := func() {
		t.Helper()
		var records []*kgo.Record
		for p := range int32(partitions) {
			records = append(records, &kgo.Record{Partition: p, Value: fmt.Append(nil, rounds)})
		}
		if err := producer.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		s.await(t, rounds, partitions)
		for p, at := range c.committed("g") {
			s.note(checker.Committed, "", p, 0, at)
		}
		rounds++
	}
	leave := []func(){s.tell(c, "first"), s.tell(c, "second"), s.tell(c, "static", kgo.InstanceID("static"))}
	round()
	for i, change := range []func(){
		func() { leave = append(leave, s.tell(c, "third")) },
		func() { leave[0]() },
		func() {
			leave[2]()
			leave[2] = s.tell(c, "static again", kgo.InstanceID("static"))
		},
	} {
		c.kill(i, 0)
		change()
		round()
		c.start(i)
		round()
		c.awaitInSync("orders", 3)
		c.awaitInSync("__consumer_offsets", 3)
	}
	for _, end := range leave[1:] {
		end()
	}
	ends := map[checker.Partition]int64{}
	for p := range int32(partitions) {
		ends[checker.Partition{Topic: "orders", Number: p}] = int64(rounds)
	}
	for _, f := range checker.CheckGroup(s.events, ends) {
		t.Error(f)
	}
}

// coordinator is the index of the broker that coordinates a group.
func (c *cluster) coordinator(group string) int {
	c.t.Helper()
	admin := kadm.NewClient(c.client())
	ctx, cancel := context.WithTimeout(c.t.Context(), groupPatience)
	defer cancel()
	for {
		found := admin.FindGroupCoordinators(ctx, group)
		if f := found[group]; f.Err == nil {
			return int(f.NodeID) - 1
		}
		if ctx.Err() != nil {
			c.t.Fatal("nobody coordinates the group")
		}
	}
}

// committed are the offsets of a group of topic orders.
func (c *cluster) committed(group string) map[int32]int64 {
	c.t.Helper()
	admin := kadm.NewClient(c.client()) // one that has not known an earlier coordinator
	ctx, cancel := context.WithTimeout(c.t.Context(), groupPatience)
	defer cancel()
	for {
		offsets, err := admin.FetchOffsets(ctx, group)
		if err == nil && offsets.Error() == nil {
			byPartition := map[int32]int64{}
			offsets.Each(func(o kadm.OffsetResponse) { byPartition[o.Partition] = o.At })
			return byPartition
		}
		if ctx.Err() != nil {
			c.t.Fatal(err, offsets.Error())
		}
	}
}
