package replica_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/batch"
)

// TestNonsense sends a replica messages that make no sense: it must neither
// panic nor come to a state that makes none.
func TestNonsense(t *testing.T) {
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		r := replica.New(replica.Member{ID: 1, Epoch: 1}, tp, replica.Settings{WriteCaching: seed%2 == 0, UncleanElection: seed%3 == 0}, replica.LogState{
			End: 10, Durable: 10, HighWatermark: 5, LedEpoch: messages.NoEpoch, Epochs: []replica.EpochStart{{Epoch: 1, Start: 0}, {Epoch: 3, Start: 4}},
		})
		ids := []messages.BrokerID{1, 2, 3}
		r.Assign(replica.Assignment{Epoch: 5, Leader: 1 + messages.BrokerID(seed%2), Replicas: ids, ISR: ids, Revision: 1})
		var fx replica.Effects
		for range 50 {
			m := nonsense(rnd)
			r.Receive(1+rnd.Int32N(4), m)
			for r.Take(&fx) {
				for _, e := range fx.Events {
					_ = e.String()
				}
			}
			r.Flushed(number(rnd))
			r.Tick(rnd.Int64N(10_000))
			s := r.Status()
			if s.LogStart > s.HighWatermark || s.HighWatermark > s.End || s.Durable > s.End || s.LogStart < 0 {
				t.Fatalf("seed %d: %v leads to %+v", seed, &m, s)
			}
		}
	}
}

// nonsense is a message of mostly small numbers, some of which fit, and a few
// very large or negative ones.
func nonsense(rnd *rand.Rand) replica.Message {
	m := replica.Message{
		Type:        replica.MessageType(rnd.IntN(7)),
		Epoch:       5 + rnd.Int32N(2)*rnd.Int32N(2),
		BrokerEpoch: 1,
		Probe:       uint32(rnd.IntN(4)),
		Revision:    rnd.Int64N(8) * rnd.Int64N(2),
		LogStart:    number(rnd), EpochStart: number(rnd), HighWatermark: number(rnd), Base: number(rnd), End: number(rnd),
		Durable: number(rnd), AgreeEnd: number(rnd), AgreeEpoch: rnd.Int32N(8) - 1, PrevEpoch: rnd.Int32N(8) - 1,
	}
	next := m.Base
	for range rnd.IntN(4) {
		b := makeBatch(1, 1+rnd.IntN(3), 100)
		b.Stamp(next, rnd.Int32N(7))
		switch rnd.IntN(10) {
		case 0:
			b.Stamp(number(rnd), rnd.Int32N(7))
		case 1:
			b = b[:rnd.IntN(len(b))]
		}
		if len(b) >= batch.HeaderSize {
			next = b.NextOffset()
		}
		m.Batches = append(m.Batches, b)
	}
	return m
}

func number(rnd *rand.Rand) int64 {
	switch rnd.IntN(12) {
	case 0:
		return math.MaxInt64 - rnd.Int64N(3)
	case 1:
		return -rnd.Int64N(3)
	}
	return rnd.Int64N(16)
}
