// Package placement decides on which brokers the replicas of new partitions
// are, which of them is to lead, and where those of a broker go that shall hold
// nothing ([Evacuate]). It is pure: the same brokers, loads and seed give the same
// placement.
//
// Every replica goes to the broker with the fewest so far, among those of racks
// that the partition is not in yet as long as there are any. Of a partition's
// replicas that whose broker leads the fewest comes first: it is the preferred
// leader; a last pass moves leaderships within the partitions until no move makes
// them more even. Ties are broken by the seed, so that the followers of one broker's
// partitions are spread over all others, and share the load when it falls.
package placement

import (
	"cmp"
	"fmt"
	"slices"

	"understudy/messages"
)

// Broker is a broker that can take replicas, with what it has already.
type Broker struct {
	ID       messages.BrokerID
	Rack     string // "": unknown, which counts as a rack of its own kind for all such brokers
	Replicas int    // of all topics
	Leaders  int    // partitions whose preferred leader it is
}

// Place gives each of so many new partitions its replicas, the preferred leader
// first. The error has the kind InvalidPartitions or InvalidReplicationFactor.
func Place(brokers []Broker, partitions, factor int, seed uint64) ([][]messages.BrokerID, error) {
	if partitions < 1 {
		return nil, messages.E("place", messages.InvalidPartitions, "", fmt.Errorf("%d partitions, want at least 1", partitions))
	}
	if factor < 1 || factor > len(brokers) {
		return nil, messages.E("place", messages.InvalidReplicationFactor, "",
			fmt.Errorf("replication factor %d, but %d brokers are up", factor, len(brokers)))
	}
	p := newPlacer(brokers, seed)
	placed := make([][]messages.BrokerID, partitions)
	for n := range placed {
		placed[n] = p.next(uint64(n), factor)
	}
	for p.level(placed) {
	}
	return placed, nil
}

// placer holds the loads as they rise with each partition placed.
type placer struct {
	loads []Broker
	seed  uint64
}

func newPlacer(brokers []Broker, seed uint64) *placer {
	p := &placer{loads: slices.Clone(brokers), seed: seed}
	slices.SortFunc(p.loads, func(a, b Broker) int { return cmp.Compare(a.ID, b.ID) })
	return p
}

// next places partition n.
func (p *placer) next(n uint64, factor int) []messages.BrokerID {
	chosen := make([]*Broker, 0, factor)
	taken, racks := make([]messages.BrokerID, 0, factor), make([]string, 0, factor)
	for range factor {
		b := p.pick(n, taken, racks)
		b.Replicas++
		chosen, taken, racks = append(chosen, b), append(taken, b.ID), append(racks, b.Rack)
	}
	leader := slices.MinFunc(chosen, func(a, b *Broker) int {
		return cmp.Or(cmp.Compare(a.Leaders, b.Leaders), p.tie(n, a, b))
	})
	leader.Leaders++
	replicas := make([]messages.BrokerID, 0, factor)
	replicas = append(replicas, leader.ID)
	slices.SortFunc(chosen, func(a, b *Broker) int { return p.tie(n, a, b) })
	for _, b := range chosen {
		if b != leader {
			replicas = append(replicas, b.ID)
		}
	}
	return replicas
}

// level moves the leadership of each partition to that of its replicas that
// leads least, if it leads two fewer at least, and reports whether it moved any.
// Each move makes the sum of the squares smaller, so that it comes to an end.
func (p *placer) level(placed [][]messages.BrokerID) (moved bool) {
	for _, replicas := range placed {
		leader := p.find(replicas[0])
		for i, id := range replicas[1:] {
			if b := p.find(id); b.Leaders+1 < leader.Leaders {
				replicas[0], replicas[i+1] = id, leader.ID
				b.Leaders++
				leader.Leaders--
				leader, moved = b, true
			}
		}
	}
	return moved
}

// pick finds the broker for one more replica of partition n, which has some on
// others, in these racks; nil if there is none.
func (p *placer) pick(n uint64, taken []messages.BrokerID, racks []string) *Broker {
	var best *Broker
	var bestShared int
	for i := range p.loads {
		b := &p.loads[i]
		if slices.Contains(taken, b.ID) {
			continue
		}
		shared := 0 // replicas that the partition has in this rack
		for _, rack := range racks {
			if rack == b.Rack {
				shared++
			}
		}
		if best == nil || cmp.Or(
			cmp.Compare(shared, bestShared),
			cmp.Compare(b.Replicas, best.Replicas),
			cmp.Compare(b.Leaders, best.Leaders),
			p.tie(n, b, best)) < 0 {
			best, bestShared = b, shared
		}
	}
	return best
}

// tie orders two brokers at random, but always the same way for one partition.
func (p *placer) tie(n uint64, a, b *Broker) int {
	return cmp.Or(cmp.Compare(p.draw(n, a), p.draw(n, b)), cmp.Compare(a.ID, b.ID))
}

// draw is a hash of seed, partition and broker (the finaliser of splitmix64).
func (p *placer) draw(n uint64, b *Broker) uint64 {
	x := p.seed ^ n*0x9e3779b97f4a7c15 ^ uint64(uint32(b.ID))*0xd1b54a32d192ed03
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Check says what is wrong with an assignment that a person made, or nil: every
// partition must have the same number of replicas (factor, unless that is 0),
// each on another broker, all of them known. The error has the kind
// InvalidReplicaAssignment.
func Check(assignments [][]messages.BrokerID, factor int, known func(messages.BrokerID) bool) error {
	for n, replicas := range assignments {
		if factor == 0 {
			factor = len(replicas)
		}
		if len(replicas) == 0 || len(replicas) != factor {
			return bad(n, fmt.Errorf("%d replicas, want %d", len(replicas), max(factor, 1)))
		}
		for i, id := range replicas {
			if slices.Contains(replicas[:i], id) {
				return bad(n, fmt.Errorf("broker %d twice in %v", id, replicas))
			}
			if !known(id) {
				return bad(n, fmt.Errorf("broker %d is not registered", id))
			}
		}
	}
	return nil
}

func bad(n int, cause error) error {
	return messages.E("place", messages.InvalidReplicaAssignment, fmt.Sprintf("partition %d", n), cause)
}
