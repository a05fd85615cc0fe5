package election

import (
	"math/rand/v2"
	"slices"
	"testing"

	"understudy/messages"
)

// TestNobodyLeadsWhoMayLack draws circumstances at random and checks what must
// hold whatever happens.
func TestNobodyLeadsWhoMayLack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		s := State{Replicas: []int32{1, 2, 3, 4}[:1+r.IntN(4)], LeaderEpoch: 5, Leader: messages.NoBroker}
		for _, id := range s.Replicas {
			if r.IntN(2) == 0 || id == 1 {
				s.ISR = append(s.ISR, id)
			}
		}
		if r.IntN(3) > 0 {
			s.Leader = s.ISR[r.IntN(len(s.ISR))]
		}
		up := r.IntN(32)
		c := Circumstances{
			Live:    func(id messages.BrokerID) bool { return up&(1<<id) != 0 },
			Unclean: r.IntN(4) == 0, Preferred: r.IntN(4) == 0, NewEpoch: r.IntN(4) == 0,
			Suspect: int32(r.IntN(6)), Barred: int32(r.IntN(6)),
		}
		before := slices.Clone(s.ISR)
		checkElection(t, s, Elect(s, c), c)
		if !slices.Equal(before, s.ISR) {
			t.Fatal("the given state was changed")
		}
	}
}

func checkElection(t *testing.T, old, now State, c Circumstances) {
	t.Helper()
	fail := func(why string) { t.Fatalf("%s: %+v → %+v, %+v", why, old, now, c) }
	for _, id := range now.ISR {
		if !slices.Contains(old.Replicas, id) {
			fail("in sync without a replica")
		}
	}
	if now.Leader != old.Leader && now.LeaderEpoch != old.LeaderEpoch+1 {
		fail("another leader in the same epoch")
	}
	if now.Offline() {
		if !slices.Equal(now.ISR, old.ISR) {
			fail("an offline partition forgot who was in sync")
		}
		return
	}
	if !c.Live(now.Leader) || !slices.Contains(now.ISR, now.Leader) {
		fail("the leader is down or not in sync")
	}
	if unclean := now.UncleanEpoch != old.UncleanEpoch; unclean {
		if !c.Unclean || now.UncleanEpoch != now.LeaderEpoch || len(now.ISR) != 1 {
			fail("unclean, but not allowed or not recorded")
		}
		return
	}
	if now.Leader == c.Barred {
		fail("one that is barred leads")
	}
	for _, id := range now.ISR {
		if !slices.Contains(old.ISR, id) {
			fail("somebody came into the in-sync set by an election")
		}
	}
}

func TestEventsInWords(t *testing.T) {
	old := State{Replicas: []int32{2, 1}, ISR: []int32{2, 1}, Leader: 2, LeaderEpoch: 7}
	e := Event{Partition: messages.TopicPartition{Topic: "orders", Partition: 3}, Old: old}
	e.New = State{Replicas: []int32{2, 1}, ISR: []int32{1}, Leader: 1, LeaderEpoch: 8}
	e.Cause = Cause{Reason: BrokerDown, Broker: 2, Detail: "process gone, redial refused"}
	want := "partition orders-3: leader 2 → 1, epoch 8, in sync [2 1] → [1]; cause: node 2 process gone, redial refused"
	if e.String() != want {
		t.Errorf("have %s\nwant %s", e, want)
	}
	e.New = State{Replicas: []int32{2, 1}, ISR: []int32{2, 1}, Leader: messages.NoBroker, LeaderEpoch: 8, UncleanEpoch: 8}
	e.Cause = Cause{Reason: AskedFor, Broker: messages.NoBroker}
	want = "partition orders-3: leader 2 → none, epoch 8, UNCLEAN: committed records may be lost; cause: asked for"
	if e.String() != want {
		t.Errorf("have %s\nwant %s", e, want)
	}
}
