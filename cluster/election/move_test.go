package election

import (
	"math/rand/v2"
	"slices"
	"testing"

	"understudy/messages"
)

// TestMovesLoseNoCopy moves replicas to and fro while brokers fall, return and
// catch up, and checks after every step that nobody was dropped who was needed.
func TestMovesLoseNoCopy(t *testing.T) {
	switches := 0
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 7))
		s := State{Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2, 3}, Leader: 1, LeaderEpoch: 1}
		up := 0xff
		for range 40 {
			c := Ordinary(func(id messages.BrokerID) bool { return up&(1<<id) != 0 }, func(id messages.BrokerID) bool { return id == 5 })
			before, next := slices.Clone(s.Replicas), s
			switch r.IntN(6) {
			case 0:
				up ^= 1 << (1 + r.IntN(6))
				next = Elect(s, c)
			case 1:
				if moved, err := Begin(s, randomTarget(r), c); err == nil {
					next = moved
				}
			case 2:
				if back, err := Cancel(s, c); err == nil {
					next = back
				}
			case 3:
				next = Elect(s, c)
			default:
				next = Arrive(joined(s, up), c, 1+r.IntN(3))
			}
			if !slices.Equal(before, s.Replicas) {
				t.Fatal("the given state was changed")
			}
			if s.Target != nil && next.Target == nil && slices.Equal(next.Replicas, s.Target) {
				switches++
			}
			checkMove(t, seed, s, next)
			s = next
		}
	}
	if switches < 500 {
		t.Errorf("only %d moves came to their end", switches)
	}
}

// joined is the state after one more replica that is up has caught up.
func joined(s State, up int) State {
	if s.Offline() {
		return s
	}
	for _, id := range s.Replicas {
		if !slices.Contains(s.ISR, id) && up&(1<<id) != 0 {
			s.ISR = s.inOrder(append(slices.Clone(s.ISR), id))
			break
		}
	}
	return s
}

func randomTarget(r *rand.Rand) []messages.BrokerID {
	ids := []messages.BrokerID{1, 2, 3, 4, 5, 6}
	r.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	return ids[:1+r.IntN(4)]
}

func checkMove(t *testing.T, seed uint64, old, now State) {
	t.Helper()
	fail := func(why string) { t.Fatalf("seed %d: %s:\n%+v\n%+v", seed, why, old, now) }
	known := func(messages.BrokerID) bool { return true }
	if len(now.ISR) == 0 || CheckTarget(now.Replicas, known) != nil {
		fail("nobody in sync, or replicas doubled")
	}
	for _, id := range now.ISR {
		if !slices.Contains(now.Replicas, id) {
			fail("in sync without a replica")
		}
	}
	if !now.Offline() && !slices.Contains(now.ISR, now.Leader) {
		fail("led by one that is not in sync")
	}
	if now.Leader != old.Leader && now.LeaderEpoch != old.LeaderEpoch+1 {
		fail("another leader in the same epoch")
	}
	if now.Target == nil && now.Adding != nil {
		fail("adds without a target")
	}
	original := now.Original()
	for _, id := range now.Target {
		if slices.Contains(original, id) == slices.Contains(now.Adding, id) {
			fail("the target is neither there nor added")
		}
	}
	if now.Target != nil && old.Target != nil && !slices.Equal(original, old.Original()) {
		fail("another move has changed what was there before")
	}
}

// TestAllThatWereAddedAreInSync checks what the switch promises.
func TestAllThatWereAddedAreInSync(t *testing.T) {
	s := State{Replicas: []int32{1, 2}, ISR: []int32{1, 2}, Leader: 1}
	c := Ordinary(func(messages.BrokerID) bool { return true }, nil)
	s, err := Begin(s, []int32{3, 4}, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, isr := range [][]int32{{1}, {1, 2}, {1, 2, 3}, {2, 4}, {3}} {
		s.ISR, s.Leader = isr, isr[0]
		if next := Arrive(s, c, 1); !next.Equal(s) {
			t.Errorf("with %v in sync: %+v", isr, next)
		}
	}
	s.ISR = []int32{3, 4}
	if next := Arrive(s, c, 1); !slices.Equal(next.Replicas, []int32{3, 4}) || next.Target != nil || next.LeaderEpoch != s.LeaderEpoch {
		t.Errorf("with all in sync: %+v", next)
	}
}

func TestTargetsThatCannotBe(t *testing.T) {
	known := func(id messages.BrokerID) bool { return id >= 1 && id <= 3 }
	for _, target := range [][]int32{nil, {1, 1}, {4}, {-1}, {1, 2, 3, 4}} {
		if err := CheckTarget(target, known); messages.KindOf(err) != messages.InvalidReplicaAssignment {
			t.Errorf("%v: %v", target, err)
		}
	}
	if err := CheckTarget([]int32{3, 1}, known); err != nil {
		t.Error(err)
	}
}
