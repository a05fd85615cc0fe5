package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"understudy/cluster/metadata"
	"understudy/messages"
)

// tendAll has what is to be done by and by done, with all brokers steady.
func (s *stage) tend(steady func(messages.BrokerID) bool, leaders int) (more bool) {
	s.t.Helper()
	more, err := s.Tend(ctx(s.t), steady, leaders)
	if err != nil {
		s.t.Fatal(err)
	}
	return more
}

func all(messages.BrokerID) bool  { return true }
func none(messages.BrokerID) bool { return false }

func (s *stage) drain(id int32, on bool) {
	s.t.Helper()
	if err := s.SetDraining(ctx(s.t), id, on); err != nil {
		s.t.Fatal(err)
	}
}

// catchUp has all replicas that are up of all partitions be in sync.
func (s *stage) catchUp() {
	s.t.Helper()
	done, asked := make(chan error, 100_000), 0
	for topic := range s.Image().Topics() {
		for n := range topic.Partitions {
			p := &topic.Partitions[n]
			c := s.inSync(p)
			if p.Leader == messages.NoBroker || len(c.ISR) == len(p.ISR) {
				continue
			}
			asked++
			s.ChangeISR(messages.TopicPartition{Topic: topic.Name, Partition: int32(n)}, c, func(_ metadata.Partition, err error) { done <- err })
		}
	}
	for range asked {
		if err := <-done; err != nil {
			s.t.Fatal(err)
		}
	}
}

// count gives how many partitions have a replica on a broker, and how many it leads.
func (s *stage) count(id int32) (replicas, leaders int) {
	for topic := range s.Image().Topics() {
		for _, p := range topic.Partitions {
			if slices.Contains(p.Replicas, id) {
				replicas++
			}
			if p.Leader == id {
				leaders++
			}
		}
	}
	return replicas, leaders
}

func TestABrokerIsDrained(t *testing.T) {
	s := active(t, nil)
	for id := int32(2); id <= 5; id++ {
		s.register(id, false)
	}
	s.create("a", 50, 3)
	s.told()
	s.drain(3, true)
	if replicas, leaders := s.count(3); replicas != 30 || leaders != 0 {
		t.Errorf("at first it has %d replicas and %d leaders", replicas, leaders)
	}
	if got := s.told(); !strings.HasPrefix(got, "node 3 is being drained") || !strings.Contains(got, "10 partitions changed: 10 have another leader, 0 of them none; cause: node 3 is drained") ||
		!strings.Contains(got, "replicas of 30 partitions begin to move; cause: node 3 is drained") {
		t.Errorf("told: %s", got)
	}
	s.create("b", 10, 4)
	if replicas, _ := s.count(3); replicas != 30 {
		t.Error("a new topic has replicas on a broker that is being drained")
	}
	s.catchUp()
	if replicas, leaders := s.count(3); replicas != 0 || leaders != 0 {
		t.Errorf("in the end it has %d replicas and %d leaders", replicas, leaders)
	}
	if got := s.told(); !strings.HasSuffix(got, "node 3 is drained: it holds nothing") || strings.Count(got, "it holds nothing") != 1 {
		t.Errorf("told: %s", got)
	}
	for _, id := range []int32{1, 2, 4, 5} {
		if replicas, _ := s.count(id); replicas < 45 || replicas > 50 { // 150 + 40 on four
			t.Errorf("broker %d has %d replicas", id, replicas)
		}
	}
	s.register(3, true) // a restart changes nothing
	if !s.Image().Broker(3).Draining {
		t.Error("a restart ends the drain")
	}
	s.drain(3, true)
	s.drain(3, false)
	s.drain(3, false)
	if s.create("c", 1, 5); s.Image().Broker(3).Draining {
		t.Error("still being drained")
	}
}

func TestADrainGoesOnInPortions(t *testing.T) {
	s := active(t, nil)
	s.register(2, false)
	s.register(3, false)
	s.create("a", 900, 2)
	s.drain(3, true)
	rounds := 0
	for replicas := 1; replicas > 0; rounds++ {
		moving := 0
		for _, p := range s.Image().Topic("a").Partitions {
			if p.Moving() {
				moving++
			}
		}
		if moving == 0 || moving > maxMoves {
			t.Fatalf("%d partitions are moved at a time", moving)
		}
		s.catchUp()
		s.tend(none, 0)
		replicas, _ = s.count(3)
	}
	if rounds != 3 {
		t.Errorf("drained in %d rounds", rounds)
	}
}

func TestADrainThatCannotBe(t *testing.T) {
	s := three(t)
	wantKind(t, "nowhere to go", s.SetDraining(ctx(t), 3, true), messages.InvalidReplicationFactor, "a-0 has 3 replicas")
	wantKind(t, "unknown", s.SetDraining(ctx(t), 9, true), messages.InvalidRequest, "not a broker")
	if s.Image().Broker(3).Draining || s.told() != "" {
		t.Error("it is drained all the same")
	}
	s.register(4, false)
	s.drain(4, true)
	wantKind(t, "only to one that is drained itself", s.SetDraining(ctx(t), 3, true), messages.InvalidReplicationFactor, "a-0")
}

// TestADrainFindsAnotherWay has the broker fall to which a replica was to go.
func TestADrainFindsAnotherWay(t *testing.T) {
	s := four(t)
	s.register(5, false)
	s.drain(3, true)
	p := s.Image().Topic("a").Partitions[0]
	first := p.Adding[0]
	other := 9 - first // 4 and 5
	s.down(first)
	s.tend(none, 0)
	s.wantMoving(fmt.Sprintf("[1 2 3 %d] adding [%d] removing [3]", other, other))
	s.catchUp()
	if replicas, _ := s.count(3); replicas != 0 {
		t.Error("not drained")
	}
}

// TestADrainWaitsWhereItMust has nowhere to go for a while.
func TestADrainWaitsWhereItMust(t *testing.T) {
	s := four(t)
	s.drain(3, true)
	s.down(4)
	s.tend(none, 0)
	s.wantMoving("[1 2 3 4] adding [4] removing [3]")
	s.register(4, true)
	s.catchUp()
	s.wantMoving("[1 2 4]")
}

// TestABrokerThatIsDownIsDrained is how a node that will not come back is taken out.
func TestABrokerThatIsDownIsDrained(t *testing.T) {
	s := four(t)
	s.down(3)
	wantKind(t, "with replicas", s.RemoveBroker(ctx(t), 3), messages.InvalidRequest, "has 1 replicas; drain it first")
	s.drain(3, true)
	wantKind(t, "half-way", s.RemoveBroker(ctx(t), 3), messages.InvalidRequest, "drain it first")
	s.catchUp()
	s.want("1/0 [1 2 4]")
	s.told()
	if err := s.RemoveBroker(ctx(t), 3); err != nil {
		t.Fatal(err)
	}
	s.wantTold("node 3 is forgotten; cause: asked for")
	if s.Image().Broker(3) != nil {
		t.Error("still registered")
	}
	wantKind(t, "again", s.RemoveBroker(ctx(t), 3), messages.InvalidRequest, "not a broker")
	wantKind(t, "one that is up", s.RemoveBroker(ctx(t), 2), messages.InvalidRequest, "is up")
	if b := s.register(3, false); b.Epoch != 2 || b.Draining {
		t.Errorf("registered anew as %+v", b)
	}
}

// TestALonelyLeaderStaysWhileItIsDrained has nobody else in sync.
func TestALonelyLeaderStaysWhileItIsDrained(t *testing.T) {
	s := four(t)
	if _, err := isr(t, s, 1, []int32{1}, nil); err != nil {
		t.Fatal(err)
	}
	s.drain(1, true)
	s.want("1/0 [1]")
	s.catchUp()
	if p := s.Image().Topic("a").Partitions[0]; p.Moving() || p.Leader == 1 || slices.Contains(p.Replicas, 1) {
		t.Errorf("%+v", p)
	}
}

func TestADrainSurvivesItsController(t *testing.T) {
	s := four(t)
	s.drain(3, true)
	next := begin(t, s.store, nil)
	if _, err := next.TakeOver(ctx(t), Takeover{Self: *s.Image().Broker(2)}); err != nil {
		t.Fatal(err)
	}
	next.told()
	next.catchUp()
	next.tend(none, 0)
	if replicas, _ := next.count(3); replicas != 0 || !next.Image().Broker(3).Draining {
		t.Errorf("%d replicas are left", replicas)
	}
	if got := next.told(); !strings.HasSuffix(got, "node 3 is drained: it holds nothing") {
		t.Errorf("told: %s", got)
	}
}

// TestWhatCannotMoveHoldsUpNothingElse has more partitions that can go nowhere than
// are moved at a time, and one behind them that can.
func TestWhatCannotMoveHoldsUpNothingElse(t *testing.T) {
	s := active(t, nil)
	for id := int32(2); id <= 4; id++ {
		s.register(id, false)
	}
	stuck := slices.Repeat([][]messages.BrokerID{{1, 2, 4}}, maxMoves+10)
	for _, topic := range []NewTopic{{Name: "a", Assignments: stuck}, {Name: "b", Assignments: [][]messages.BrokerID{{4, 1}}}} {
		topic.Partitions, topic.ReplicationFactor = -1, -1
		if r := s.try(topic); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	s.drain(4, true)
	s.down(3)
	s.tend(none, 0)
	s.catchUp()
	if p := s.Image().Topic("b").Partitions[0]; slices.Contains(p.Replicas, 4) {
		t.Errorf("b-0 is on %v still", p.Replicas)
	}
}
