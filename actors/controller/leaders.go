package controller

import (
	"fmt"
	"slices"

	"understudy/cluster/election"
	"understudy/cluster/metadata"
	"understudy/cluster/topicconfig"
	"understudy/messages"
)

// ElectionKind says which leaders are asked for, with the protocol's numbers (KIP-460).
type ElectionKind int8

// The kinds of election.
const (
	PreferredElection ElectionKind = 0 // the first replica, if it is in sync
	UncleanElection   ElectionKind = 1 // any replica, where none that is in sync can lead
)

// Holding is what one replica is known to hold.
type Holding struct {
	Topic     string
	Partition int32
	Broker    messages.BrokerID
	Epoch     messages.LeaderEpoch // of its last record
	End       messages.Offset      // its log end
	Committed messages.Offset      // what it has heard was committed: more than its end if it has lost it, or never got it
}

// ElectionResult is what became of the election of one partition.
type ElectionResult struct {
	Topic     string
	Partition int32
	Losses    string // of an unclean one: what is lost, as far as it is known
	Err       error
}

// electLeaders elects leaders that somebody asks for, each partition for itself.
type electLeaders struct {
	kind       ElectionKind
	partitions []messages.TopicPartition // nil: all; only those are answered that were in need of it
	holdings   map[messages.TopicPartition][]Holding
	from       messages.TopicPartition  // where all begin
	next       *messages.TopicPartition // where they go on in the next transaction; nil: nowhere
	results    []ElectionResult
}

func (c *electLeaders) decide(d *decision) error {
	if err := d.lead(); err != nil {
		return err
	}
	if c.kind != PreferredElection && c.kind != UncleanElection {
		return refuse("elect leaders", messages.InvalidRequest, fmt.Sprint(c.kind), "is no kind of election")
	}
	c.results = nil
	e := elections{d: d, cause: election.Cause{Reason: election.AskedFor, Broker: messages.NoBroker}}
	seen := map[messages.TopicPartition]bool{}
	for _, tp := range c.partitions {
		if seen[tp] {
			err := refuse("elect leaders", messages.InvalidRequest, tp.String(), "comes more than once in the request")
			c.results = append(c.results, ElectionResult{Topic: tp.Topic, Partition: tp.Partition, Err: err})
			continue
		}
		seen[tp] = true
		c.results = append(c.results, c.elect(&e, tp))
	}
	if c.partitions == nil {
		c.electAll(&e)
	}
	e.end()
	return nil
}

// electAll elects for all partitions, as many as one transaction should change: what
// is to be decided at once, since a broker has fallen, does not wait for the rest.
func (c *electLeaders) electAll(e *elections) {
	c.next = nil
	for t := range e.d.image().Topics() {
		for n := range t.Partitions {
			tp := messages.TopicPartition{Topic: t.Name, Partition: int32(n)}
			if tp.Topic < c.from.Topic || tp.Topic == c.from.Topic && tp.Partition < c.from.Partition {
				continue
			}
			if len(e.changed) == maxRepairs {
				c.next = &tp
				return
			}
			if r := c.elect(e, tp); messages.KindOf(r.Err) != messages.ElectionNotNeeded {
				c.results = append(c.results, r)
			}
		}
	}
}

func (c *electLeaders) elect(e *elections, tp messages.TopicPartition) ElectionResult {
	r := ElectionResult{Topic: tp.Topic, Partition: tp.Partition}
	t, err := e.d.partition(tp)
	if err != nil {
		r.Err = err
		return r
	}
	s := election.State(t.Partitions[tp.Partition])
	next := s
	if c.kind == PreferredElection {
		next, err = e.d.prefer(s)
	} else if next, err = e.d.force(s, c.holdings[tp]); err == nil {
		r.Losses = losses(next.Leader, c.holdings[tp])
	}
	if err != nil {
		r.Err = about(tp, err)
		return r
	}
	e.cause.Detail = r.Losses
	e.become(t, int(tp.Partition), next)
	e.cause.Detail = "" // which was about this partition
	return r
}

// prefer elects the preferred leader.
func (d *decision) prefer(s election.State) (election.State, error) {
	preferred := s.Replicas[0]
	if s.Leader == preferred {
		return s, refuse("elect leaders", messages.ElectionNotNeeded, "", fmt.Sprintf("node %d leads already", preferred))
	}
	c := d.ordinary()
	c.Preferred = true
	next := election.Elect(s, c)
	if next.Leader == preferred {
		return next, nil
	}
	why := "is not in sync"
	switch b := d.image().Broker(preferred); {
	case !b.Up():
		why = "is down"
	case b.Draining:
		why = "is being drained"
	}
	return s, refuse("elect leaders", messages.PreferredLeaderNotAvailable, "", fmt.Sprintf("node %d %s", preferred, why))
}

// force elects whoever is up for a partition without a leader, and of several who
// is known to hold the most.
func (d *decision) force(s election.State, known []Holding) (election.State, error) {
	if !s.Offline() {
		return s, refuse("elect leaders", messages.ElectionNotNeeded, "", fmt.Sprintf("node %d leads", s.Leader))
	}
	c := d.ordinary()
	if best, ok := most(known); ok {
		c.Best = best.Broker
	}
	next := election.Force(s, c)
	if next.Offline() {
		return s, refuse("elect leaders", messages.EligibleLeadersNotAvailable, "", fmt.Sprintf("none of the replicas %v is up", s.Replicas))
	}
	return next, nil
}

// most finds who holds the most: of the newest epoch, the longest log.
func most(known []Holding) (best Holding, ok bool) {
	for _, h := range known {
		if !ok || h.Epoch > best.Epoch || h.Epoch == best.Epoch && h.End > best.End {
			best, ok = h, true
		}
	}
	return best, ok
}

// losses says what is lost with a leader, as far as the replicas that are up know.
func losses(leader messages.BrokerID, known []Holding) string {
	i := slices.IndexFunc(known, func(h Holding) bool { return h.Broker == leader })
	if i < 0 {
		return "what is lost is not known"
	}
	committed := known[i].Committed
	for _, h := range known {
		committed = max(committed, h.Committed)
	}
	if end := known[i].End; committed > end {
		return fmt.Sprintf("node %d holds records below offset %d, and %d at least were committed: %d records or more are lost", leader, end, committed, committed-end)
	}
	return fmt.Sprintf("node %d holds records below offset %d; whether more were committed is not known", leader, known[i].End)
}

// tend does what is to be done by and by: it goes on moving replicas off brokers
// that are being drained, has leaders return to the preferred ones that have been
// back for a while, and repairs what a fault has kept from being repaired.
type tend struct {
	steady  func(messages.BrokerID) bool // has been up for long enough to lead again
	leaders int                          // how many leaders may return at a time
	pending bool                         // there is more to be done
}

func (c *tend) decide(d *decision) error {
	if err := d.lead(); err != nil {
		return err
	}
	d.repair()
	for _, b := range slices.Clone(d.image().Brokers) {
		if b.Draining {
			d.evacuate(b.ID)
		}
	}
	if d.defaults().Bool(topicconfig.AutoLeaderRebalance) {
		c.pending = d.rebalance(c.steady, c.leaders)
	}
	return nil
}

// rebalance has up to so many leaders return, and reports whether there are more.
func (d *decision) rebalance(steady func(messages.BrokerID) bool, most int) (more bool) {
	by := map[messages.BrokerID]*elections{}
	for t := range d.image().Topics() {
		for n := range t.Partitions {
			next, returns := d.mayReturn(&t.Partitions[n], steady)
			if !returns {
				continue
			}
			if most--; most < 0 {
				more = true
				break
			}
			e := by[next.Leader]
			if e == nil {
				e = &elections{d: d, cause: election.Cause{Reason: election.BrokerSteady, Broker: next.Leader}}
				by[next.Leader] = e
			}
			e.become(t, n, next)
		}
	}
	for _, b := range d.image().Brokers { // in an order that does not depend on chance
		if e := by[b.ID]; e != nil {
			e.end()
		}
	}
	return more
}

// mayReturn is the state in which the preferred leader leads again, if it should.
func (d *decision) mayReturn(p *metadata.Partition, steady func(messages.BrokerID) bool) (election.State, bool) {
	preferred := p.Replicas[0]
	if p.Leader == preferred || p.Leader == messages.NoBroker || p.Moving() || !slices.Contains(p.ISR, preferred) || !steady(preferred) {
		return election.State{}, false
	}
	next, err := d.prefer(election.State(*p))
	return next, err == nil
}
