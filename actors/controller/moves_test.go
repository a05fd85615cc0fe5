package controller

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"understudy/cluster/election"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// four is a cluster of four brokers with a topic of three replicas, led by 1.
func four(t *testing.T, kv ...string) *stage {
	s := three(t, kv...)
	s.register(4, false)
	s.told()
	return s
}

// move asks for a move of a's only partition; without a target it is cancelled.
func (s *stage) move(target ...int32) error {
	s.t.Helper()
	return s.Reassign(ctx(s.t), []Reassignment{{Topic: "a", Target: target}}, false)[0].Err
}

// moving is a partition's replicas as "[1 2 3 4] adding [4] removing [1]".
func (s *stage) moving(topic string, n int32) string {
	p := s.Image().Partition(messages.TopicPartition{Topic: topic, Partition: n})
	if !p.Moving() {
		return fmt.Sprint(p.Replicas)
	}
	return fmt.Sprintf("%v adding %v removing %v", p.Replicas, p.Adding, p.Removing())
}

func (s *stage) wantMoving(state string) {
	s.t.Helper()
	if got := s.moving("a", 0); got != state {
		s.t.Errorf("have %s, want %s", got, state)
	}
}

func (s *stage) wantTold(lines ...string) {
	s.t.Helper()
	if got, want := s.told(), strings.Join(lines, "\n"); got != want {
		s.t.Errorf("told:\n%s\nwant:\n%s", got, want)
	}
}

func TestReplicasMove(t *testing.T) {
	s := four(t)
	if err := s.move(4, 2, 3); err != nil {
		t.Fatal(err)
	}
	s.wantMoving("[1 2 3 4] adding [4] removing [1]")
	s.wantTold("partition a-0: replicas [1 2 3] → [4 2 3] begin to move; cause: asked for")
	s.want("1/0 [1 2 3]")
	if _, err := isr(t, s, 1, []int32{1, 2, 3, 4}, nil); err != nil {
		t.Fatal(err)
	}
	s.wantMoving("[4 2 3]")
	s.want("4/1 [4 2 3]")
	s.wantTold(
		"partition a-0: leader 1 → 4, epoch 1, replicas [1 2 3 4] → [4 2 3], in sync [1 2 3] → [4 2 3]; cause: node 4 caught up",
		"partition a-0: replicas [1 2 3] → [4 2 3] have moved; cause: node 4 caught up")
}

func TestAMoveIsReplacedAndCancelled(t *testing.T) {
	s := four(t)
	s.register(5, false)
	s.told()
	for _, step := range []struct {
		target []int32
		want   string
	}{
		{[]int32{4, 2, 3}, "[1 2 3 4] adding [4] removing [1]"},
		{[]int32{1, 2, 5}, "[1 2 3 5] adding [5] removing [3]"},
		{nil, "[1 2 3]"},
		{[]int32{3, 1, 2}, "[3 1 2]"}, // another order: at once
		{[]int32{3, 1}, "[3 1]"},      // fewer: at once
	} {
		if err := s.move(step.target...); err != nil {
			t.Fatal(err)
		}
		s.wantMoving(step.want)
	}
	s.want("1/0 [3 1]")
	s.wantTold(
		"partition a-0: replicas [1 2 3] → [4 2 3] begin to move; cause: asked for",
		"partition a-0: replicas [1 2 3] → [1 2 5] begin to move; cause: asked for",
		"partition a-0: replicas [1 2 5] → [1 2 3] move back; cause: asked for",
		"partition a-0: replicas [1 2 3] → [3 1 2] begin to move; cause: asked for",
		"partition a-0: leader 1, epoch 0, replicas [1 2 3] → [3 1 2], in sync [1 2 3] → [3 1 2]; cause: asked for",
		"partition a-0: replicas [1 2 3] → [3 1 2] have moved; cause: asked for",
		"partition a-0: replicas [3 1 2] → [3 1] begin to move; cause: asked for",
		"partition a-0: leader 1, epoch 0, replicas [3 1 2] → [3 1], in sync [3 1 2] → [3 1]; cause: asked for",
		"partition a-0: replicas [3 1 2] → [3 1] have moved; cause: asked for")
}

func TestMovesThatCannotBe(t *testing.T) {
	s := four(t)
	s.register(5, false)
	if err := s.SetDraining(ctx(t), 5, true); err != nil {
		t.Fatal(err)
	}
	before := s.store.revision()
	for _, c := range []struct {
		target []int32
		fixed  bool
		kind   messages.Kind
		word   string
	}{
		{nil, false, messages.NoReassignment, "not being moved"},
		{[]int32{}, false, messages.InvalidReplicaAssignment, "no replicas"},
		{[]int32{1, 1}, false, messages.InvalidReplicaAssignment, "twice"},
		{[]int32{1, 9}, false, messages.InvalidReplicaAssignment, "broker 9"},
		{[]int32{1, -1}, false, messages.InvalidReplicaAssignment, "broker -1"},
		{[]int32{1, 2, 5}, false, messages.InvalidReplicaAssignment, "drained"},
		{[]int32{1, 2}, true, messages.InvalidReplicationFactor, "there are 3 replicas and would be 2"},
	} {
		r := s.Reassign(ctx(t), []Reassignment{{Topic: "a", Target: c.target}}, c.fixed)[0]
		wantKind(t, fmt.Sprint(c.target), r.Err, c.kind, c.word)
	}
	for _, tp := range []Reassignment{{Topic: "b", Target: []int32{1}}, {Topic: "a", Partition: 1, Target: []int32{1}}, {Topic: "a", Partition: -1, Target: []int32{1}}} {
		wantKind(t, tp.Topic, s.Reassign(ctx(t), []Reassignment{tp}, false)[0].Err, messages.UnknownTopicOrPartition, tp.Topic)
	}
	if s.store.revision() != before {
		t.Error("something was written")
	}
	twice := s.Reassign(ctx(t), []Reassignment{{Topic: "a", Target: []int32{1, 2, 4}}, {Topic: "a", Target: []int32{4}}}, false)
	if twice[0].Err != nil {
		t.Error(twice[0].Err)
	}
	wantKind(t, "twice", twice[1].Err, messages.InvalidRequest, "more than once")
	s.wantMoving("[1 2 3 4] adding [4] removing [3]")
}

// TestAMoveDoesNotDropTheOnlyCopy has all fall but the replica that was added.
func TestAMoveDoesNotDropTheOnlyCopy(t *testing.T) {
	s := four(t)
	s.register(5, false)
	if err := s.move(4, 5); err != nil {
		t.Fatal(err)
	}
	if _, err := isr(t, s, 1, []int32{1, 2, 3, 4}, nil); err != nil {
		t.Fatal(err)
	}
	s.down(1)
	s.down(2)
	s.down(3)
	s.want("4/3 [4]")
	wantKind(t, "cancelled", s.move(), messages.InvalidReplicaAssignment, "only replica in sync")
	wantKind(t, "replaced", s.move(5), messages.InvalidReplicaAssignment, "only replica in sync")
	s.wantMoving("[1 2 3 4 5] adding [4 5] removing [1 2 3]")
}

// TestTheSwitchWaitsForEnoughInSync keeps a move from taking a partition below
// min.insync.replicas.
func TestTheSwitchWaitsForEnoughInSync(t *testing.T) {
	s := four(t, "min.insync.replicas", "2")
	if _, err := isr(t, s, 1, []int32{1, 2}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.move(4, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := isr(t, s, 1, []int32{1, 2, 4}, nil); err != nil {
		t.Fatal(err)
	}
	s.wantMoving("[1 2 3 4] adding [4] removing [1 2]")
	if _, err := isr(t, s, 1, []int32{1, 2, 3, 4}, nil); err != nil {
		t.Fatal(err)
	}
	s.wantMoving("[4 3]")
	s.want("4/1 [4 3]")
}

// TestAMoveSurvivesItsController has another one take over half-way.
func TestAMoveSurvivesItsController(t *testing.T) {
	s := four(t)
	if err := s.move(4, 2, 3); err != nil {
		t.Fatal(err)
	}
	next := begin(t, s.store, nil)
	two := *s.Image().Broker(2)
	if _, err := next.TakeOver(ctx(t), Takeover{Self: two, Down: func(b metadata.Broker) string {
		if b.ID == 1 {
			return "process gone"
		}
		return ""
	}}); err != nil {
		t.Fatal(err)
	}
	next.wantMoving("[1 2 3 4] adding [4] removing [1]")
	next.want("2/1 [2 3]")
	if _, err := isr(t, next, 2, []int32{2, 3, 4}, nil); err != nil {
		t.Fatal(err)
	}
	next.wantMoving("[4 2 3]")
	next.want("2/1 [4 2 3]")
}

// TestAnISRChangeThatIsRefusedByTheStoreMovesNothing fails the commit of a switch.
func TestAnISRChangeThatIsRefusedByTheStoreMovesNothing(t *testing.T) {
	s := four(t)
	if err := s.move(4, 2, 3); err != nil {
		t.Fatal(err)
	}
	s.told()
	s.store.intercept(func(*memStore, metadata.Txn) error { return errDisk })
	if _, err := isr(t, s, 1, []int32{1, 2, 3, 4}, nil); !errors.Is(err, errDisk) {
		t.Errorf("answered with %v", err)
	}
	s.store.intercept(nil)
	if s.told() != "" {
		t.Error("told of what did not happen")
	}
	s.wantMoving("[1 2 3 4] adding [4] removing [1]")
}

// TestADeadNodeDidNotFallBehind has a leader ask for an in-sync set without a
// member, in different circumstances.
func TestADeadNodeDidNotFallBehind(t *testing.T) {
	s := three(t)
	why := func(r election.Reason) func(*election.Change) { return func(c *election.Change) { c.Why = r } }
	for _, c := range []struct {
		why  election.Reason
		want string
	}{
		{0, "node 3 fell behind"},
		{election.ISRShrunk, "node 3 fell behind"},
		{election.ISRCutOff, "node 3 cannot be reached by the leader"},
		{election.ISRLost, "node 3 lost part of its log"},
		{election.ISRFailed, "node 3 says that its log has failed"},
	} {
		if _, err := isr(t, s, 1, []int32{1, 2}, why(c.why)); err != nil {
			t.Fatal(err)
		}
		s.wantTold("partition a-0: leader 1, epoch 0, in sync [1 2 3] → [1 2]; cause: " + c.want)
		if _, err := isr(t, s, 1, []int32{1, 2, 3}, nil); err != nil {
			t.Fatal(err)
		}
		s.told()
	}
	s.down(3)
	s.wantTold("node 3 is down; cause: redial refused", "partition a-0: leader 1, epoch 0, in sync [1 2 3] → [1 2]; cause: node 3 redial refused")
}
