package controller

import (
	"fmt"
	"strings"
	"testing"

	"understudy/cluster/election"
	"understudy/cluster/metadata"
	"understudy/cluster/topicconfig"
	"understudy/messages"
)

func TestTheFirstActivationNamesTheCluster(t *testing.T) {
	s := begin(t, &memStore{}, nil)
	b := s.activate(1, false)
	id := s.Image().ClusterID
	if len(id) != 22 || strings.HasPrefix(id, "-") || b.Epoch != 1 || s.Image().Controller != 1 {
		t.Errorf("cluster %q, broker epoch %d, controller %d", id, b.Epoch, s.Image().Controller)
	}
	if got := s.told(); !strings.Contains(got, "controller of cluster "+id) || !strings.Contains(got, "node 1 is up at localhost:9092, broker epoch 1") {
		t.Errorf("told: %s", got)
	}
	again := begin(t, s.store, nil)
	if b := again.activate(1, false); b.Epoch != 2 || again.Image().ClusterID != id {
		t.Errorf("again: broker epoch %d, cluster %q", b.Epoch, again.Image().ClusterID)
	}
	_, err := again.RegisterBroker(ctx(t), metadata.Broker{ID: -1}, false)
	wantKind(t, "bad id", err, messages.InvalidRequest, "-1")
}

func TestEveryStartBeginsNewEpochs(t *testing.T) {
	s := active(t, nil)
	for i := range 10 {
		s.create(fmt.Sprint("t", i), 100, 1)
	}
	intact := begin(t, s.store, nil)
	intact.activate(1, false)
	if got := intact.state("t3", 7); got != "1/1 [1]" {
		t.Errorf("after a start that has lost nothing: %s", got)
	}
	crashed := begin(t, s.store, nil)
	commits := s.store.commits
	crashed.activate(1, true)
	if got := s.store.commits - commits; got != 1 {
		t.Errorf("%d transactions", got)
	}
	for topic := range crashed.Image().Topics() {
		for n := range topic.Partitions {
			if got := crashed.state(topic.Name, int32(n)); got != "1/2 [1]" {
				t.Fatalf("%s-%d: %s", topic.Name, n, got)
			}
		}
	}
	if got := crashed.told(); !strings.Contains(got, "1000 partitions changed: 0 have another leader, 0 of them none; cause: node 1 started, and may have lost what was not on its disk") {
		t.Errorf("told: %s", got)
	}
}

func TestLeftoversAreClearedAway(t *testing.T) {
	store := &memStore{}
	store.meddle("partitions/gone/0", `{"replicas":[1],"isr":[1],"leader":1,"leaderEpoch":0}`)
	store.meddle("acls/x", `anything`)
	s := begin(t, store, nil)
	s.activate(1, false)
	if _, there := store.state.Entries["partitions/gone/0"]; there || s.Image().Leftovers() != 0 {
		t.Error("a partition without a topic is still there")
	}
	if _, there := store.state.Entries["acls/x"]; !there {
		t.Error("a key of another package was deleted")
	}
}

// three is a cluster of three brokers with a topic of three replicas, led by 1.
func three(t *testing.T, kv ...string) *stage {
	s := active(t, nil)
	s.register(2, false)
	s.register(3, false)
	r := s.try(NewTopic{Name: "a", Partitions: -1, ReplicationFactor: -1, Assignments: [][]int32{{1, 2, 3}}, Config: pairs(kv)})
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	s.told()
	return s
}

func (s *stage) down(id int32) {
	s.t.Helper()
	if err := s.BrokerDown(ctx(s.t), id, s.Image().Broker(id).Epoch, "redial refused"); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) want(state string) {
	s.t.Helper()
	if got := s.state("a", 0); got != state {
		s.t.Errorf("have %s, want %s", got, state)
	}
}

func TestBrokersFallAndReturn(t *testing.T) {
	s := three(t)
	s.want("1/0 [1 2 3]")
	s.down(1)
	s.want("2/1 [2 3]")
	if got := s.told(); got != "node 1 is down; cause: redial refused\n"+"partition a-0: leader 1 → 2, epoch 1, in sync [1 2 3] → [2 3]; cause: node 1 redial refused" {
		t.Errorf("told: %s", got)
	}
	s.down(1) // again: no news
	if s.told() != "" {
		t.Error("told twice")
	}
	s.down(3)
	s.want("2/1 [2]")
	s.down(2)
	s.want("-1/2 [2]")
	s.register(1, false) // was not in sync any more
	s.want("-1/2 [2]")
	s.register(2, false)
	s.want("2/3 [2]")
	if err := s.BrokerDown(ctx(t), 2, s.Image().Broker(2).Epoch-1, "late"); err != nil {
		t.Error(err)
	}
	s.want("2/3 [2]") // the news was of an earlier start
}

func TestWhoHasJustComeBackIsElectedLast(t *testing.T) {
	back := int32(2)
	s := begin(t, &memStore{}, func(o *Options) { o.Returned = func(id messages.BrokerID) bool { return id == back } })
	s.activate(1, false)
	s.register(2, false)
	s.register(3, false)
	if r := s.try(NewTopic{Name: "a", Partitions: -1, ReplicationFactor: -1, Assignments: [][]int32{{2, 1, 3}, {3, 2, 1}}}); r.Err != nil {
		t.Fatal(r.Err)
	}
	if got := s.state("a", 0); got != "2/0 [2 1 3]" {
		t.Errorf("a new partition: %s", got)
	}
	s.down(3)
	if got := s.state("a", 1); got != "1/1 [2 1]" {
		t.Errorf("instead of 3: %s", got)
	}
	s.down(1)
	if got := s.state("a", 1); got != "2/2 [2]" {
		t.Errorf("with nobody else: %s", got)
	}
}

func TestOfflineUntilUncleanIsAllowed(t *testing.T) {
	s := three(t)
	s.down(3)
	s.down(2)
	s.down(1)
	s.register(3, false)
	s.want("-1/1 [1]")
	r := s.AlterConfigs(ctx(t), []ConfigChange{{Resource: Resource{TopicResource, "a"}, Ops: []topicconfig.Op{{Name: "unclean.leader.election.enable", Value: "true"}}}}, false)
	if r[0].Err != nil {
		t.Fatal(r[0].Err)
	}
	s.want("3/2 [3]")
	if p := s.Image().Topic("a").Partitions[0]; p.UncleanEpoch != 2 {
		t.Errorf("%+v", p)
	}
	if got := s.told(); !strings.Contains(got, "UNCLEAN") || !strings.Contains(got, "cause: unclean elections were allowed") {
		t.Errorf("told: %s", got)
	}
}

func TestUncleanForAllBrokers(t *testing.T) {
	s := three(t)
	for id := int32(3); id >= 1; id-- {
		s.down(id)
	}
	s.register(2, false)
	r := s.AlterConfigs(ctx(t), []ConfigChange{{Resource: Resource{BrokerResource, ""}, Ops: []topicconfig.Op{{Name: "unclean.leader.election.enable", Value: "true"}}}}, false)
	if r[0].Err != nil {
		t.Fatal(r[0].Err)
	}
	s.want("2/2 [2]")
}

func TestAFallIsUncleanAtOnceWhereAllowed(t *testing.T) {
	s := three(t, "unclean.leader.election.enable", "true")
	isr(t, s, 1, []int32{1}, nil)
	s.down(1)
	s.want("2/1 [2]")
}

// isr has the leader ask for another in-sync set; change may spoil the request.
func isr(t *testing.T, s *stage, from int32, set []int32, change func(*election.Change)) (metadata.Partition, error) {
	t.Helper()
	p := s.Image().Topic("a").Partitions[0]
	c := election.Change{From: election.Member{ID: from, Epoch: s.Image().Broker(from).Epoch}, Epoch: p.LeaderEpoch, Revision: p.Revision}
	for _, id := range set {
		c.ISR = append(c.ISR, election.Member{ID: id, Epoch: s.Image().Broker(id).Epoch})
	}
	if change != nil {
		change(&c)
	}
	type answer struct {
		p   metadata.Partition
		err error
	}
	got := make(chan answer, 1)
	s.ChangeISR(messages.TopicPartition{Topic: "a"}, c, func(p metadata.Partition, err error) { got <- answer{p, err} })
	a := <-got
	return a.p, a.err
}

func TestLeadersChangeTheInSyncSet(t *testing.T) {
	s := three(t)
	if p, err := isr(t, s, 1, []int32{1, 3}, nil); err != nil || fmt.Sprint(p.ISR) != "[1 3]" {
		t.Errorf("%+v, %v", p, err)
	}
	s.want("1/0 [1 3]")
	if _, err := isr(t, s, 1, []int32{3, 2, 1}, nil); err != nil {
		t.Error(err)
	}
	s.want("1/0 [1 2 3]")
	if got := s.told(); !strings.Contains(got, "cause: node 2 fell behind\n") || !strings.HasSuffix(got, "cause: node 2 caught up") {
		t.Errorf("told: %s", got)
	}
	before := s.store.revision()
	p, err := isr(t, s, 1, []int32{1}, func(c *election.Change) { c.Revision-- })
	wantKind(t, "old revision", err, messages.InvalidRequest, "changed meanwhile")
	if fmt.Sprint(p.ISR) != "[1 2 3]" {
		t.Errorf("a refusal tells the present state: %+v", p)
	}
	_, err = isr(t, s, 2, []int32{1, 2}, nil)
	wantKind(t, "not the leader", err, messages.NotLeader, "leader is 1")
	_, err = isr(t, s, 1, []int32{1}, func(c *election.Change) { c.Epoch-- })
	wantKind(t, "old epoch", err, messages.FencedLeaderEpoch, "epoch -1, now 0")
	_, err = isr(t, s, 1, []int32{1}, func(c *election.Change) { c.From.Epoch-- })
	wantKind(t, "old start", err, messages.NotLeader, "epoch")
	_, err = isr(t, s, 1, []int32{1, 2}, func(c *election.Change) { c.ISR[1].Epoch-- })
	wantKind(t, "old start of a member", err, messages.ReplicaNotAvailable, "broker 2")
	gone := make(chan error, 1)
	s.ChangeISR(messages.TopicPartition{Topic: "b"}, election.Change{}, func(_ metadata.Partition, err error) { gone <- err })
	wantKind(t, "no such partition", <-gone, messages.UnknownTopicOrPartition, "b-0")
	if s.store.revision() != before {
		t.Error("something was written")
	}
}

func TestLeadersResign(t *testing.T) {
	s := three(t)
	resign := func(id int32, epoch int32, lost bool) error {
		done := make(chan error, 1)
		s.Resign(messages.TopicPartition{Topic: "a"}, Resignation{
			From: election.Member{ID: id, Epoch: s.Image().Broker(id).Epoch}, Epoch: epoch, Lost: lost, Detail: "why",
		}, func(err error) { done <- err })
		return <-done
	}
	if err := resign(1, 0, false); err != nil {
		t.Error(err)
	}
	s.want("1/1 [1 2 3]")
	wantKind(t, "old epoch", resign(1, 0, false), messages.FencedLeaderEpoch, "epoch 1")
	if err := resign(1, 1, true); err != nil {
		t.Error(err)
	}
	s.want("2/2 [2 3]")
	if got := s.told(); !strings.Contains(got, "cause: node 1 refused to lead: why") {
		t.Errorf("told: %s", got)
	}
}

// TestAFailedReplicaMakesWay for another that is in sync, if there is one.
func TestAFailedReplicaMakesWay(t *testing.T) {
	s := three(t)
	for _, step := range []struct {
		leader int32
		epoch  int32
		want   string
	}{{1, 0, "2/1 [2 3]"}, {2, 1, "3/2 [3]"}, {3, 2, "3/2 [3]"}} {
		done := make(chan error, 1)
		s.Resign(messages.TopicPartition{Topic: "a"}, Resignation{
			From: election.Member{ID: step.leader, Epoch: s.Image().Broker(step.leader).Epoch}, Epoch: step.epoch, Failed: true,
		}, func(err error) { done <- err })
		if err := <-done; err != nil {
			t.Error(err)
		}
		s.want(step.want)
	}
}

func TestPlacementUsesBrokersThatAreUp(t *testing.T) {
	s := three(t)
	s.down(3)
	s.create("b", 10, 2)
	for _, p := range s.Image().Topic("b").Partitions {
		for _, id := range p.Replicas {
			if id == 3 {
				t.Fatal("a replica on a broker that is down")
			}
		}
	}
	r := s.try(NewTopic{Name: "c", Partitions: 1, ReplicationFactor: 3})
	wantKind(t, "three replicas", r.Err, messages.InvalidReplicationFactor, "2 brokers are up")
	byHand := s.try(NewTopic{Name: "d", Partitions: -1, ReplicationFactor: -1, Assignments: [][]int32{{3, 1}}})
	if byHand.Err != nil {
		t.Fatal(byHand.Err)
	}
	if got := s.state("d", 0); got != "1/0 [1]" {
		t.Errorf("led by %s", got)
	}
	wantKind(t, "all down", s.try(NewTopic{Name: "e", Partitions: -1, ReplicationFactor: -1, Assignments: [][]int32{{3}}}).Err, messages.InvalidReplicaAssignment, "is up")
}

func TestAControllerWithoutASuccessor(t *testing.T) {
	e := Deposed{Self: 1, By: messages.NoBroker}
	if got := e.String(); got != "node 1 is no longer the controller; nobody is" {
		t.Error(got)
	}
}

// TestATakeoverKeepsTheLivingAndReplacesTheDead has a controller that was started
// before all else take over from one that has died with its broker.
func TestATakeoverKeepsTheLivingAndReplacesTheDead(t *testing.T) {
	store := &memStore{}
	next := begin(t, store, nil)
	if _, err := next.AllocateProducerIDs(ctx(t), 1); messages.KindOf(err) != messages.NotController {
		t.Errorf("one that is not the controller answered %v", err)
	}
	s := begin(t, store, nil)
	s.activate(1, false)
	two := s.register(2, false)
	s.register(3, false)
	if r := s.try(NewTopic{Name: "a", Partitions: -1, ReplicationFactor: -1, Assignments: [][]int32{{1, 2, 3}}}); r.Err != nil {
		t.Fatal(r.Err)
	}
	_, err := next.TakeOver(ctx(t), Takeover{Self: two, Down: func(b metadata.Broker) string {
		if b.ID == 1 {
			return "process gone"
		}
		return ""
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got := next.state("a", 0); got != "2/1 [2 3]" || next.Image().Broker(2).Epoch != two.Epoch || next.Image().Controller != 2 {
		t.Errorf("%s; broker 2: %+v", got, *next.Image().Broker(2))
	}
	_, err = s.AllocateProducerIDs(ctx(t), 1) // it does not know yet that it was replaced
	wantKind(t, "the old controller", err, messages.NotController, "")
}

func TestABrokerThatWasTakenForDownComesBackInItsOldStart(t *testing.T) {
	s := three(t)
	if err := s.BrokerDown(ctx(t), 1, 1, "silent"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "another start", s.BrokerUp(ctx(t), 1, 7), messages.InvalidRequest, "epoch 7")
	if err := s.BrokerUp(ctx(t), 1, 1); err != nil {
		t.Fatal(err)
	}
	if got := s.state("a", 0); got != "2/1 [2 3]" {
		t.Errorf("%s", got)
	}
	for _, id := range []int32{2, 3} {
		if err := s.BrokerDown(ctx(t), id, 1, "silent"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.BrokerUp(ctx(t), 3, 1); err != nil {
		t.Fatal(err)
	}
	if got := s.state("a", 0); got != "3/4 [3]" && got != "3/3 [3]" {
		t.Errorf("the last in sync is back: %s", got)
	}
}

func TestOneThatStandsDownDecidesNothing(t *testing.T) {
	s := three(t)
	if err := s.StandDown(ctx(t)); err != nil {
		t.Fatal(err)
	}
	_, err := s.AllocateProducerIDs(ctx(t), 1)
	wantKind(t, "after standing down", err, messages.NotController, "")
}

func TestABrokerNamesItsOwnEpoch(t *testing.T) {
	s := three(t)
	b, err := s.RegisterBroker(ctx(t), metadata.Broker{ID: 2, Epoch: 9}, true)
	if err != nil || b.Epoch != 9 {
		t.Errorf("registered as %+v: %v", b, err)
	}
	_, err = s.RegisterBroker(ctx(t), metadata.Broker{ID: 2, Epoch: 9}, true)
	wantKind(t, "the same start twice", err, messages.InvalidRequest, "not newer")
}

// TestAGrantedSetIsANewRevisionEvenIfItIsTheSame lets a leader void what it has
// asked for before.
func TestAGrantedSetIsANewRevisionEvenIfItIsTheSame(t *testing.T) {
	s := three(t)
	p := s.Image().Partition(messages.TopicPartition{Topic: "a"})
	same := election.Change{From: election.Member{ID: 1, Epoch: 1}, Epoch: p.LeaderEpoch, Revision: p.Revision,
		ISR: []election.Member{{ID: 1, Epoch: 1}, {ID: 2, Epoch: -1}, {ID: 3, Epoch: 1}}}
	got := make(chan error, 1)
	s.ChangeISR(messages.TopicPartition{Topic: "a"}, same, func(_ metadata.Partition, err error) { got <- err })
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if now := s.Image().Partition(messages.TopicPartition{Topic: "a"}); now.Revision <= p.Revision || len(now.ISR) != 3 {
		t.Errorf("before %+v, now %+v", *p, *now)
	}
}

// TestTheFirstToReturnStaysInSync has all brokers die at once, so that nobody has
// taken note of it, and one come back as the controller.
func TestTheFirstToReturnStaysInSync(t *testing.T) {
	for _, doubtful := range []bool{false, true} {
		s := three(t)
		next := begin(t, s.store, nil)
		self := *s.Image().Broker(2)
		self.Epoch++
		if _, err := next.TakeOver(ctx(t), Takeover{Self: self, Register: true, Doubtful: doubtful}); err != nil {
			t.Fatal(err)
		}
		want, then := "1/0 [1 2 3]", "2/1 [2]"
		if doubtful { // what it had may be with the others alone
			want, then = "1/0 [1 3]", "-1/2 [3]"
		}
		next.want(want)
		next.down(1)
		next.down(3)
		next.want(then)
	}
}

// TestATakeoverWhoseAnswerWasLostIsTriedAgain: the first try has registered the node,
// which nobody has told it.
func TestATakeoverWhoseAnswerWasLostIsTriedAgain(t *testing.T) {
	s := three(t)
	self := *s.Image().Broker(2)
	self.Epoch++
	wish := Takeover{Self: self, Register: true}
	if _, err := begin(t, s.store, nil).TakeOver(ctx(t), wish); err != nil {
		t.Fatal(err)
	}
	again := begin(t, s.store, nil)
	b, err := again.TakeOver(ctx(t), wish)
	if err != nil || b.Epoch != self.Epoch {
		t.Errorf("taken over as %+v: %v", b, err)
	}
	if b := again.Image().Broker(2); !b.Up() || b.Epoch != self.Epoch {
		t.Errorf("registered as %+v", *b)
	}
	again.want("1/0 [1 2 3]")
	again.down(1)
	again.down(3)
	again.want("2/1 [2]")
}
