package placement

import (
	"cmp"
	"slices"

	"understudy/messages"
)

// Evacuate gives the replicas of partitions as they are to be when one broker holds
// none of them any more. Another takes its place: of those given, one that has
// no replica of the partition yet, in a rack that the partition is not in if there
// is one, with the fewest replicas. Where the one that goes was the preferred leader,
// that of the partition's brokers is who leads the fewest. Nil stands for a
// partition for which there is no broker left.
//
// Brokers are those that can take replicas, with what they have and are getting;
// rack tells the rack of any broker, since some that stay may take no more.
func Evacuate(brokers []Broker, rack func(messages.BrokerID) string, partitions [][]messages.BrokerID, leaving messages.BrokerID, seed uint64) [][]messages.BrokerID {
	p := newPlacer(brokers, seed)
	targets := make([][]messages.BrokerID, len(partitions))
	for n, replicas := range partitions {
		targets[n] = p.evacuate(uint64(n), replicas, leaving, rack)
	}
	return targets
}

func (p *placer) evacuate(n uint64, replicas []messages.BrokerID, leaving messages.BrokerID, rack func(messages.BrokerID) string) []messages.BrokerID {
	at := slices.Index(replicas, leaving)
	racks := make([]string, 0, len(replicas))
	for i, id := range replicas {
		if i != at {
			racks = append(racks, rack(id))
		}
	}
	to := p.pick(n, replicas, racks)
	if at < 0 || to == nil {
		return nil
	}
	to.Replicas++
	target := slices.Clone(replicas)
	target[at] = to.ID
	if at > 0 {
		return target
	}
	best := slices.MinFunc(target, func(a, b messages.BrokerID) int {
		return cmp.Or(cmp.Compare(p.leads(a), p.leads(b)), p.tie(n, &Broker{ID: a}, &Broker{ID: b}))
	})
	if b := p.find(best); b != nil {
		b.Leaders++
	}
	i := slices.Index(target, best)
	return slices.Insert(slices.Delete(target, i, i+1), 0, best)
}

// leads is how many partitions a broker leads; of one that takes no replicas more
// than of any that does.
func (p *placer) leads(id messages.BrokerID) int {
	if b := p.find(id); b != nil {
		return b.Leaders
	}
	return 1 << 30
}

// find finds a broker's load, or nil.
func (p *placer) find(id messages.BrokerID) *Broker {
	i, ok := slices.BinarySearchFunc(p.loads, id, func(b Broker, id messages.BrokerID) int { return cmp.Compare(b.ID, id) })
	if !ok {
		return nil
	}
	return &p.loads[i]
}
