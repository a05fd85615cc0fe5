package replica_test

import (
	"testing"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/batch"
)

func alone() *replica.Replica {
	r := replica.New(replica.Member{ID: 1, Epoch: 1}, tp, replica.Settings{}, replica.LogState{LedEpoch: messages.NoEpoch})
	r.Assign(replica.Assignment{Epoch: 1, Leader: 1, Replicas: []messages.BrokerID{1}, ISR: []messages.BrokerID{1}, Revision: 1})
	return r
}

func aRequest() replica.Proposal {
	return replica.Proposal{Batches: []batch.Batch{makeBatch(1, 1, 1024)}, Acks: messages.AcksAll, Token: &request{}}
}

// produceAlone is a single broker's produce path with acks=all, n requests for
// each flush: append, flush, commit, answer. It reports the answers.
func produceAlone(n int) func() int {
	r, p := alone(), aRequest()
	var fx replica.Effects
	return func() (answers int) {
		for range n {
			r.Propose(p)
		}
		for r.Take(&fx) {
		}
		r.Flushed(r.Status().End)
		for r.Take(&fx) {
			answers += len(fx.Answers)
		}
		return answers
	}
}

// produceThree is the same with a leader and two followers over a network
// without cost.
func produceThree() func() int {
	ids := []messages.BrokerID{1, 2, 3}
	var rs [3]*replica.Replica
	var fx [3]replica.Effects
	var inbox [3][]replica.Outgoing
	var arena []batch.Batch // holds the slices of batches that are on their way
	var flush [3]bool
	answered := 0
	for i, id := range ids {
		rs[i] = replica.New(replica.Member{ID: id, Epoch: 1}, tp, replica.Settings{}, replica.LogState{LedEpoch: messages.NoEpoch})
		rs[i].Assign(replica.Assignment{Epoch: 1, Leader: 1, Replicas: ids, ISR: ids, Revision: 1})
	}
	turn := func(i int) {
		for rs[i].Take(&fx[i]) {
			for _, o := range fx[i].Send {
				n := len(arena)
				arena = append(arena, o.Message.Batches...)
				o.Message.Batches = arena[n:len(arena):len(arena)]
				inbox[o.To-1] = append(inbox[o.To-1], replica.Outgoing{To: ids[i], Message: o.Message})
			}
			flush[i] = flush[i] || fx[i].Flush
			answered += len(fx[i].Answers)
		}
	}
	settle := func() {
		for busy := true; busy; {
			busy = false
			for i := range rs {
				for _, o := range inbox[i] {
					rs[i].Receive(o.To, o.Message)
					busy = true
				}
				inbox[i] = inbox[i][:0]
				turn(i)
				if flush[i] {
					flush[i], busy = false, true
					rs[i].Flushed(rs[i].Status().End)
					turn(i)
				}
			}
		}
	}
	for i := range rs {
		turn(i)
	}
	settle()
	p := aRequest()
	return func() int {
		answered, arena = 0, arena[:0]
		rs[0].Propose(p)
		turn(0)
		settle()
		return answered
	}
}

func BenchmarkAlone(b *testing.B) { benchmark(b, produceAlone(1), 1) }

// BenchmarkGroupCommit counts 32 requests, and one flush, as one operation.
func BenchmarkGroupCommit(b *testing.B) { benchmark(b, produceAlone(32), 32) }

func BenchmarkThree(b *testing.B) { benchmark(b, produceThree(), 1) }

func benchmark(b *testing.B, produce func() int, want int) {
	b.ReportAllocs()
	for b.Loop() {
		if n := produce(); n != want {
			b.Fatalf("%d of %d requests were answered", n, want)
		}
	}
}

// TestSteadyStateDoesNotAllocate: neither alone nor with followers.
func TestSteadyStateDoesNotAllocate(t *testing.T) {
	for name, produce := range map[string]func() int{"alone": produceAlone(1), "group commit": produceAlone(32), "three": produceThree()} {
		if n := testing.AllocsPerRun(1000, func() { produce() }); n != 0 {
			t.Errorf("%s: %v allocations for each request", name, n)
		}
	}
}
