package controller

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"understudy/cluster/election"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// changeISR is a leader's wish for another in-sync set.
type changeISR struct {
	tp     messages.TopicPartition
	change election.Change
	result metadata.Partition
}

func (c *changeISR) decide(d *decision) error {
	if err := d.lead(); err != nil {
		return err
	}
	t, err := d.partition(c.tp)
	if err != nil {
		return err
	}
	old := election.State(t.Partitions[c.tp.Partition])
	c.result = metadata.Partition(old)
	if epoch, up := d.start(c.change.From.ID); !up || epoch != c.change.From.Epoch {
		return refuse("change in-sync set", messages.NotLeader, c.tp.String(), fmt.Sprintf("broker %d is not up with epoch %d", c.change.From.ID, c.change.From.Epoch))
	}
	change := c.change
	change.ISR = d.known(old, change.ISR)
	next, err := election.ChangeISR(old, change, d.start)
	if err != nil {
		return messages.E("controller", messages.Unknown, c.tp.String(), err)
	}
	e := elections{d: d, cause: d.isrCause(old, next, change.Why)}
	e.become(t, int(c.tp.Partition), next)
	e.end()
	c.result = *d.image().Partition(c.tp)
	if election.State(c.result).Equal(old) {
		// A new revision also if it is the set that is there: that voids whatever else
		// the leader has asked for on the old one, for which it would wait for ever.
		d.edit.SetPartition(c.tp, c.result)
	}
	return nil
}

// known fills in the starts of members that the leader has not heard of since it
// leads. Those that are in the set already may stay in it.
func (d *decision) known(s election.State, members []election.Member) []election.Member {
	members = slices.Clone(members)
	for i, m := range members {
		if epoch, up := d.start(m.ID); m.Epoch < 0 && up && slices.Contains(s.ISR, m.ID) {
			members[i].Epoch = epoch
		}
	}
	return members
}

// isrCause names the first broker that left or came. Of one that is down the
// cause is that, and not what its leader makes of it.
func (d *decision) isrCause(old, next election.State, why election.Reason) election.Cause {
	for _, id := range old.ISR {
		if slices.Contains(next.ISR, id) {
			continue
		}
		if b := d.image().Broker(id); b != nil && !b.Up() {
			return election.Cause{Reason: election.BrokerDown, Broker: id, Detail: b.Down}
		}
		return election.Cause{Reason: cmp.Or(why, election.ISRShrunk), Broker: id}
	}
	for _, id := range next.ISR {
		if !slices.Contains(old.ISR, id) {
			return election.Cause{Reason: election.ISRGrown, Broker: id}
		}
	}
	return election.Cause{Broker: messages.NoBroker}
}

// Resignation is a replica's refusal to lead the epoch it was given.
type Resignation struct {
	From  election.Member
	Epoch messages.LeaderEpoch
	// Lost says that it lacks what was committed, so that another must lead.
	// Otherwise it may lead the next epoch.
	Lost bool
	// Failed says that it cannot serve for now, so that another should lead, if one
	// in sync can.
	Failed bool
	Detail string
}

type resign struct {
	tp messages.TopicPartition
	r  Resignation
}

func (c *resign) decide(d *decision) error {
	if err := d.lead(); err != nil {
		return err
	}
	t, err := d.partition(c.tp)
	if err != nil {
		return err
	}
	p := t.Partitions[c.tp.Partition]
	if epoch, up := d.start(c.r.From.ID); !up || epoch != c.r.From.Epoch || p.Leader != c.r.From.ID || p.LeaderEpoch != c.r.Epoch {
		return refuse("resign", messages.FencedLeaderEpoch, c.tp.String(), fmt.Sprintf("leader is %d in epoch %d", p.Leader, p.LeaderEpoch))
	}
	how := d.ordinary()
	switch {
	case c.r.Lost:
		how.Barred = c.r.From.ID
	case c.r.Failed:
		how.Suspect = c.r.From.ID
	default:
		how.NewEpoch = true
	}
	e := elections{d: d, cause: election.Cause{Reason: election.LeaderResigned, Broker: c.r.From.ID, Detail: c.r.Detail}}
	e.elect(t, int(c.tp.Partition), how)
	e.end()
	return nil
}

// partition finds a partition's topic.
func (d *decision) partition(tp messages.TopicPartition) (*metadata.Topic, error) {
	if d.image().Partition(tp) == nil {
		return nil, messages.E("controller", messages.UnknownTopicOrPartition, tp.String(), nil)
	}
	return d.image().Topic(tp.Topic), nil
}

// allocateProducerIDs hands out a block of producer ids, never twice.
type allocateProducerIDs struct {
	n     int64
	first messages.ProducerID
}

// maxProducerIDs bounds a block: nobody needs more at a time, and there are 2⁶³.
const maxProducerIDs = 1_000_000

func (c *allocateProducerIDs) decide(d *decision) error {
	if err := d.lead(); err != nil {
		return err
	}
	if c.n < 1 || c.n > maxProducerIDs {
		return refuse("allocate producer ids", messages.InvalidRequest, fmt.Sprint(c.n), fmt.Sprintf("want from 1 to %d", maxProducerIDs))
	}
	c.first = d.image().NextProducerID
	if c.first > math.MaxInt64-c.n {
		return refuse("allocate producer ids", messages.Unknown, fmt.Sprint(c.n), "there are no more")
	}
	d.edit.SetNextProducerID(c.first + c.n)
	return nil
}
