package controller

import (
	"fmt"
	"slices"

	"understudy/cluster/election"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// registerBroker enters a broker that has started and elects leaders for its
// partitions.
type registerBroker struct {
	broker metadata.Broker // Epoch 0: the next one; Revision is not looked at
	clean  bool            // it was stopped cleanly, or is new
	result metadata.Broker
}

func (c *registerBroker) decide(d *decision) error {
	if err := d.lead(); err != nil {
		return err
	}
	var err error
	c.result, err = d.register(c.broker, c.clean)
	return err
}

func (d *decision) register(b metadata.Broker, clean bool) (metadata.Broker, error) {
	if b.ID < 0 {
		return b, refuse("register broker", messages.InvalidRequest, fmt.Sprint(b.ID), "is no broker id")
	}
	last := messages.BrokerEpoch(0)
	if old := d.image().Broker(b.ID); old != nil {
		last = old.Epoch
	}
	switch {
	case b.Epoch == 0:
		b.Epoch = last + 1
	case b.Epoch <= last:
		return b, refuse("register broker", messages.InvalidRequest, fmt.Sprint(b.ID), fmt.Sprintf("broker epoch %d is not newer than %d", b.Epoch, last))
	}
	d.edit.SetBroker(b)
	d.live[b.ID] = b.Epoch
	d.forgetLoads()
	d.event(Registered{Broker: b, Clean: clean})
	d.started(b.ID, clean)
	return b, nil
}

// Takeover is a broker's wish to be the controller.
type Takeover struct {
	Self     metadata.Broker // as registered, or to be
	Register bool            // it has not been registered since it started
	Unclean  bool            // and was not stopped cleanly before

	// Down says which of the other brokers are known to be down, and how that is
	// known; "": not known to be. Those count as up until BrokerDown. It is called
	// in the controller's turn and must not block. nil: none is.
	Down func(metadata.Broker) (detail string)
}

// takeOver makes this controller the one that decides, and tidies up after the
// one before it.
type takeOver struct {
	Takeover
	result metadata.Broker
}

func (c *takeOver) decide(d *decision) error {
	d.active, d.self = true, c.Self.ID
	clear(d.live)
	if d.image().ClusterID == "" {
		d.edit.SetClusterID(d.newClusterID())
	}
	d.edit.SetController(d.self)
	d.edit.DeleteLeftovers()
	d.event(Activated{Broker: d.self, ClusterID: d.image().ClusterID})
	if err := d.lead(); err != nil {
		return err
	}
	brokers := slices.Clone(d.image().Brokers)
	for _, b := range brokers {
		if b.ID != d.self || !c.Register {
			d.live[b.ID] = b.Epoch
		}
	}
	for _, b := range brokers {
		if detail := c.why(b); detail != "" {
			d.ended(b.ID, detail)
		}
	}
	c.result = c.Self
	if !c.Register {
		return nil
	}
	var err error
	c.result, err = d.register(c.Self, !c.Unclean)
	return err
}

// why is why a broker counts as down; "": it does not.
func (c *takeOver) why(b metadata.Broker) string {
	if c.Down == nil || b.ID == c.Self.ID {
		return ""
	}
	return c.Down(b)
}

// standDown ends the time as the controller.
type standDown struct{}

func (*standDown) decide(d *decision) error {
	if d.active {
		d.active = false
		d.event(Deposed{Self: d.self, By: messages.NoBroker})
	}
	return nil
}

// started elects for the partitions of a broker that is up again. After a stop
// that was not clean it may have lost what it wrote without a flush: where
// others are in sync it is not, and where it leads alone it leads a new epoch.
func (d *decision) started(id messages.BrokerID, clean bool) {
	e := elections{d: d, cause: election.Cause{Reason: election.BrokerStarted, Broker: id}}
	if !clean {
		e.cause.Reason = election.BrokerCrashed
	}
	for t := range d.image().Topics() {
		for n := range t.Partitions {
			p := &t.Partitions[n]
			if !slices.Contains(p.Replicas, id) {
				continue
			}
			c := ordinary
			if !clean {
				c.Suspect, c.NewEpoch = id, p.Leader == id
			}
			e.elect(t, n, c)
		}
	}
	e.end()
}

// brokerDown elects other leaders for the partitions of a broker that is down.
type brokerDown struct {
	id     messages.BrokerID
	epoch  messages.BrokerEpoch // of the start that is over; an older one's end is no news
	detail string
}

func (c *brokerDown) decide(d *decision) error {
	if err := d.lead(); err != nil {
		return err
	}
	if epoch, up := d.live[c.id]; !up || epoch != c.epoch {
		return nil
	}
	d.ended(c.id, c.detail)
	return nil
}

// ended elects others for the partitions of a broker that is down.
func (d *decision) ended(id messages.BrokerID, detail string) {
	delete(d.live, id)
	d.forgetLoads()
	e := elections{d: d, cause: election.Cause{Reason: election.BrokerDown, Broker: id, Detail: detail}}
	for t := range d.image().Topics() {
		for n := range t.Partitions {
			if slices.Contains(t.Partitions[n].ISR, id) {
				e.elect(t, n, ordinary)
			}
		}
	}
	e.end()
}

// brokerUp takes back that a broker is down.
type brokerUp struct {
	id    messages.BrokerID
	epoch messages.BrokerEpoch
}

func (c *brokerUp) decide(d *decision) error {
	if err := d.lead(); err != nil {
		return err
	}
	if b := d.image().Broker(c.id); b == nil || b.Epoch != c.epoch {
		return refuse("broker up", messages.InvalidRequest, fmt.Sprint(c.id), fmt.Sprintf("is not registered with epoch %d", c.epoch))
	}
	if _, up := d.live[c.id]; up {
		return nil
	}
	d.live[c.id] = c.epoch
	d.forgetLoads()
	d.started(c.id, true)
	return nil
}
