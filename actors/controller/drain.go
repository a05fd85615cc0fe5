package controller

import (
	"fmt"
	"slices"

	"understudy/cluster/election"
	"understudy/cluster/metadata"
	"understudy/cluster/placement"
	"understudy/messages"
)

// setDraining has a broker hold nothing from now on, or ends that. Its
// leaderships move at once, its replicas by and by, as tend finds them; moves that
// are under way when it ends come to their end.
type setDraining struct {
	id messages.BrokerID
	on bool
}

func (c *setDraining) decide(d *decision) error {
	if err := d.lead(); err != nil {
		return err
	}
	known := d.image().Broker(c.id)
	if known == nil {
		return refuse("drain", messages.InvalidRequest, fmt.Sprintf("node %d", c.id), "is not a broker of this cluster")
	}
	if known.Draining == c.on {
		return nil
	}
	b := *known
	if c.on {
		if err := d.canDrain(c.id); err != nil {
			return err
		}
	}
	b.Draining = c.on
	d.edit.SetBroker(b)
	d.forgetLoads()
	d.event(Draining{Broker: c.id, On: c.on})
	if !c.on {
		return nil
	}
	e := elections{d: d, cause: election.Cause{Reason: election.BrokerDrains, Broker: c.id}}
	for t := range d.image().Topics() {
		for n := range t.Partitions {
			if t.Partitions[n].Leader == c.id {
				e.elect(t, n, d.ordinary())
			}
		}
	}
	e.end()
	d.leave([]messages.BrokerID{c.id}) // it may hold nothing as it is
	d.evacuate(c.id)
	return nil
}

// canDrain refuses to drain a broker some of whose replicas could go nowhere.
func (d *decision) canDrain(id messages.BrokerID) error {
	held, _ := d.heldBy(id)
	for n, target := range d.targets(held, id) {
		if target == nil {
			return refuse("drain", messages.InvalidReplicationFactor, fmt.Sprintf("node %d", id), fmt.Sprintf(
				"%v has %d replicas, and too few other brokers are up and not being drained themselves", held[n].tp, len(held[n].replicas)))
		}
	}
	return nil
}

// held is a partition that has a replica on some broker, and nowhere yet to move it.
type held struct {
	tp       messages.TopicPartition
	replicas []messages.BrokerID // as they are to be in the end
}

// heldBy lists the partitions of which a broker is to keep a replica, as things
// stand, and counts those that are being moved off it.
func (d *decision) heldBy(id messages.BrokerID) (list []held, leaving int) {
	for t := range d.image().Topics() {
		for n := range t.Partitions {
			p := &t.Partitions[n]
			tp := messages.TopicPartition{Topic: t.Name, Partition: int32(n)}
			switch {
			case slices.Contains(wanted(p), id):
				list = append(list, held{tp, wanted(p)})
			case d.isStuck(p, id):
				list = append(list, held{tp, election.State(*p).Original()})
			case slices.Contains(p.Replicas, id):
				leaving++
			}
		}
	}
	return list, leaving
}

// isStuck reports whether a replica is moved off a broker to one that takes none
// any more: another is to be found for it.
func (d *decision) isStuck(p *metadata.Partition, id messages.BrokerID) bool {
	return len(p.Adding) == 1 && slices.Equal(p.Removing(), []messages.BrokerID{id}) && !d.takesReplicas(p.Adding[0])
}

func (d *decision) takesReplicas(id messages.BrokerID) bool { return d.isUp(id) && !d.isDraining(id) }

// targets are where partitions are to be without a broker; nil for one that can
// go nowhere.
func (d *decision) targets(list []held, id messages.BrokerID) [][]messages.BrokerID {
	replicas := make([][]messages.BrokerID, len(list))
	for i := range list {
		replicas[i] = list[i].replicas
	}
	others := slices.DeleteFunc(slices.Clone(d.loads()), func(b placement.Broker) bool { return b.ID == id })
	rack := func(id messages.BrokerID) string {
		if b := d.image().Broker(id); b != nil {
			return b.Rack
		}
		return ""
	}
	return placement.Evacuate(others, rack, replicas, id, d.seed())
}

// maxMoves is how many partitions are moved at a time to drain a broker: the
// next ones begin as these come to their end.
const maxMoves = 256

// evacuate begins to move replicas off a broker that is being drained, as many
// as there is room for. Those that can go nowhere at the moment stay, and take no room.
func (d *decision) evacuate(id messages.BrokerID) {
	list, leaving := d.heldBy(id)
	room := maxMoves - leaving
	if len(list) == 0 || room <= 0 {
		return
	}
	run := moving{elections: elections{d: d, cause: election.Cause{Reason: election.BrokerDrains, Broker: id}}}
	for n, target := range d.targets(list, id) {
		if target == nil {
			continue
		}
		// What would drop the only copy in sync cannot begin, and is tried again.
		if run.begin(d.image().Topic(list[n].tp.Topic), list[n].tp, target) != nil {
			continue
		}
		if room--; room == 0 {
			break
		}
	}
	run.end()
}

// leave takes note of who may have lost the last replica: of a broker that is
// being drained that is news, told when the decision is complete.
func (d *decision) leave(ids []messages.BrokerID) {
	for _, id := range ids {
		if d.isDraining(id) && !slices.Contains(d.left, id) {
			d.left = append(d.left, id)
		}
	}
}

// conclude tells what follows from all commands together.
func (d *decision) conclude() {
	for _, id := range d.left {
		if d.isDraining(id) && d.replicasOn(id) == 0 {
			d.event(Drained{Broker: id})
		}
	}
	d.left = nil
}

// replicasOn counts the replicas on a broker, those included that come or go.
func (d *decision) replicasOn(id messages.BrokerID) (count int) {
	for t := range d.image().Topics() {
		for n := range t.Partitions {
			if slices.Contains(t.Partitions[n].Replicas, id) {
				count++
			}
		}
	}
	return count
}

// removeBroker forgets a broker that is down and holds nothing.
type removeBroker struct{ id messages.BrokerID }

func (c *removeBroker) decide(d *decision) error {
	if err := d.lead(); err != nil {
		return err
	}
	b := d.image().Broker(c.id)
	subject := fmt.Sprintf("node %d", c.id)
	switch {
	case b == nil:
		return refuse("remove", messages.InvalidRequest, subject, "is not a broker of this cluster")
	case b.Up():
		return refuse("remove", messages.InvalidRequest, subject, "is up; stop it first")
	}
	if n := d.replicasOn(c.id); n > 0 {
		return refuse("remove", messages.InvalidRequest, subject, fmt.Sprintf("has %d replicas; drain it first", n))
	}
	d.edit.RemoveBroker(c.id)
	d.forgetLoads()
	d.event(Removed{Broker: *b})
	return nil
}
