package controller

import (
	"cmp"
	"fmt"
	"slices"

	"understudy/cluster/election"
	"understudy/cluster/metadata"
	"understudy/cluster/topicconfig"
	"understudy/messages"
)

// registerBroker enters a broker that has started and elects leaders for its
// partitions.
type registerBroker struct {
	broker   metadata.Broker // Epoch 0: the next one; Revision is not looked at
	doubtful bool            // see start
	result   metadata.Broker
}

func (c *registerBroker) decide(d *decision) error {
	if err := d.lead(); err != nil {
		return err
	}
	var err error
	c.result, err = d.register(c.broker, c.doubtful)
	return err
}

func (d *decision) register(b metadata.Broker, doubtful bool) (metadata.Broker, error) {
	if b.ID < 0 {
		return b, refuse("register broker", messages.InvalidRequest, fmt.Sprint(b.ID), "is no broker id")
	}
	next := d.image().NextEpoch(b.ID)
	switch {
	case b.Epoch == 0:
		b.Epoch = next
	case b.Epoch < next:
		return b, refuse("register broker", messages.InvalidRequest, fmt.Sprint(b.ID), fmt.Sprintf("broker epoch %d is not newer than %d", b.Epoch, next-1))
	}
	if err := CheckDirectory(d.image(), b, d.c.o.Static); err != nil {
		return b, err
	}
	start := start{id: b.ID, anew: true, doubtful: doubtful, emptied: emptied(d.image(), b)}
	b.Down, b.Draining = "", d.isDraining(b.ID)
	d.starting = messages.NoBroker
	d.edit.SetBroker(b)
	d.forgetLoads()
	d.event(Registered{Broker: b, Emptied: start.emptied})
	d.started(start)
	return b, nil
}

// start is one start of a broker, as far as elections care.
type start struct {
	id       messages.BrokerID
	anew     bool // it is a new process, and not one that was taken for down
	doubtful bool // what it wrote may be missing: its machine went down before it was synced
	emptied  bool // its data directory is another one than it had: what it held is gone
}

// CheckDirectory refuses a broker with another data directory than it had, as long
// as the cluster counts on it for the only in-sync copy of anything whose topic
// does not prefer going on: what only it had would be lost in silence. static is
// what this broker was started with. The error has the kind InvalidConfig.
func CheckDirectory(im *metadata.Image, b metadata.Broker, static map[string]string) error {
	if !emptied(im, b) {
		return nil
	}
	count, first := 0, messages.TopicPartition{}
	for t := range im.Topics() {
		s, err := topicconfig.Parse(t.Config, Defaults(im, b.ID, static))
		if err == nil && s.UncleanElection {
			continue
		}
		for n := range t.Partitions {
			if !election.State(t.Partitions[n]).IsLast(b.ID) {
				continue
			}
			if count++; count == 1 {
				first = messages.TopicPartition{Topic: t.Name, Partition: int32(n)}
			}
		}
	}
	if count == 0 {
		return nil
	}
	return refuse("register broker", messages.InvalidConfig, fmt.Sprintf("node %d", b.ID), fmt.Sprintf(
		"the data directory is a new one, but the cluster counts on this node for the only in-sync copy of %d partitions, %v among them: start it with its old directory, or give those copies up first (unclean elections, or deleting the topics)", count, first))
}

// emptied reports whether a broker has another data directory than it had.
func emptied(im *metadata.Image, b metadata.Broker) bool {
	old := im.Broker(b.ID)
	return old != nil && old.Directory != "" && old.Directory != b.Directory
}

// Takeover is a broker's wish to be the controller.
type Takeover struct {
	Self     metadata.Broker // as registered, or to be
	Register bool            // it has not been registered since it started
	Doubtful bool            // and may miss what it wrote; see Client.RegisterBroker

	// Down says which of the other brokers are known to be down, and how that is
	// known; "": not known to be. Those stay what they were for the controller before.
	// It is called in the controller's turn and must not block. nil: none is.
	Down func(metadata.Broker) (detail string)
}

// takeOver makes this controller the one that decides, and tidies up after the
// one before it.
type takeOver struct {
	Takeover
	result metadata.Broker
}

func (c *takeOver) decide(d *decision) error {
	// An earlier try may have registered this start, without an answer that said so.
	c.Register = c.Register && !isRegistered(d.image(), c.Self)
	if c.Register { // who cannot be registered keeps nobody from it
		if err := CheckDirectory(d.image(), c.Self, d.c.o.Static); err != nil {
			return err
		}
	}
	d.active, d.self = true, c.Self.ID
	if d.image().ClusterID == "" {
		d.edit.SetClusterID(d.newClusterID())
	}
	d.edit.SetController(d.self)
	d.edit.DeleteLeftovers()
	d.event(Activated{Broker: d.self, ClusterID: d.image().ClusterID})
	if err := d.lead(); err != nil {
		return err
	}
	if self := d.image().Broker(d.self); self != nil && c.Register {
		d.setDown(*self, "is being started") // until it is registered, below
		d.starting = d.self
	}
	var fallen []Fallen
	for _, b := range d.image().Brokers {
		if detail := c.why(b); detail != "" && b.Up() {
			fallen = append(fallen, Fallen{b, detail})
		}
	}
	d.ended(fallen...)
	c.result = c.Self
	if c.Register {
		var err error
		c.result, err = d.register(c.Self, c.Doubtful)
		return err
	}
	if self := d.image().Broker(d.self); self != nil && !self.Up() {
		d.returned(*self)
	}
	return nil
}

// isRegistered reports whether a start of a broker is registered.
func isRegistered(im *metadata.Image, b metadata.Broker) bool {
	now := im.Broker(b.ID)
	return now != nil && now.Epoch == b.Epoch && now.Directory == b.Directory
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

// started elects for the partitions of a broker that is up again. A new process
// leads in new epochs alone. If it may have lost what it wrote, it is in sync only
// where nobody else is. With another disk it is in sync nowhere, whether or not
// others are up.
func (d *decision) started(s start) {
	e := elections{d: d, cause: election.Cause{Reason: election.BrokerStarted, Broker: s.id}}
	switch {
	case s.emptied:
		e.cause.Reason = election.BrokerEmpty
	case s.doubtful:
		e.cause.Reason = election.BrokerCrashed
	}
	for t := range d.image().Topics() {
		for n := range t.Partitions {
			p := &t.Partitions[n]
			if !slices.Contains(p.Replicas, s.id) {
				continue
			}
			c := d.ordinary()
			c.NewEpoch = s.anew && !s.emptied && p.Leader == s.id
			switch {
			case s.emptied:
				c.Emptied = s.id
			case s.doubtful:
				c.Suspect = s.id
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
	if b := d.image().Broker(c.id); b.Up() && b.Epoch == c.epoch {
		d.ended(Fallen{*b, c.detail})
	}
	return nil
}

// setDown records that a broker is down, and why.
func (d *decision) setDown(b metadata.Broker, detail string) {
	b.Down = cmp.Or(detail, "is down")
	d.edit.SetBroker(b)
	d.forgetLoads()
}

// ended has others lead what brokers led that are down.
func (d *decision) ended(fallen ...Fallen) {
	for _, f := range fallen {
		d.setDown(f.Broker, f.Cause)
		d.event(f)
	}
	d.repair()
}

// maxRepairs is how many partitions lose a broker that is down in one transaction:
// few enough that the first ones are led again long before the last are written.
const maxRepairs = 500

// repair elects for partitions that count on brokers that are down: first for those
// that have no leader, then for those that wait for a follower. If there are more
// than one transaction should hold, the rest follows in the next ones. Of brokers
// that are down at once none counts as a successor of the others: a partition that
// loses all of its in-sync set keeps it as it was, and any of them can bring it
// back.
func (d *decision) repair() {
	down := d.fallen()
	by, room := map[messages.BrokerID]*elections{}, d.c.o.Portion
	for _, broken := range []func(*metadata.Partition) messages.BrokerID{
		func(p *metadata.Partition) messages.BrokerID { return among([]messages.BrokerID{p.Leader}, down) },
		func(p *metadata.Partition) messages.BrokerID { return among(p.ISR, down) },
	} {
		for t := range d.image().Topics() {
			for n := range t.Partitions {
				p := &t.Partitions[n]
				if p.Leader == messages.NoBroker {
					continue
				}
				id := broken(p)
				if id == messages.NoBroker {
					continue
				}
				if room--; room < 0 {
					d.more = true
					break
				}
				if by[id] == nil {
					by[id] = &elections{d: d, cause: election.Cause{Reason: election.BrokerDown, Broker: id, Detail: down[id]}}
				}
				by[id].elect(t, n, d.ordinary())
			}
		}
	}
	for _, b := range d.image().Brokers { // in an order that does not depend on chance
		if e := by[b.ID]; e != nil {
			e.end()
		}
	}
}

// fallen are the brokers that are down, and why.
func (d *decision) fallen() map[messages.BrokerID]string {
	down := map[messages.BrokerID]string{}
	for _, b := range d.image().Brokers {
		if !b.Up() && b.ID != d.starting {
			down[b.ID] = b.Down
		}
	}
	return down
}

// among finds the first of some brokers that is down; NoBroker: none.
func among(ids []messages.BrokerID, down map[messages.BrokerID]string) messages.BrokerID {
	for _, id := range ids {
		if _, ok := down[id]; ok {
			return id
		}
	}
	return messages.NoBroker
}

// repairs goes on with what was too much for one transaction.
type repairs struct{}

func (*repairs) decide(d *decision) error {
	if err := d.lead(); err != nil {
		return err
	}
	d.repair()
	return nil
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
	b := d.image().Broker(c.id)
	if b == nil || b.Epoch != c.epoch {
		return refuse("broker up", messages.InvalidRequest, fmt.Sprint(c.id), fmt.Sprintf("is not registered with epoch %d", c.epoch))
	}
	if !b.Up() {
		d.returned(*b)
	}
	return nil
}

// returned has a broker up again in the start in which it was taken for down.
func (d *decision) returned(b metadata.Broker) {
	d.event(Returned{Broker: b, Was: b.Down})
	b.Down = ""
	d.edit.SetBroker(b)
	d.forgetLoads()
	d.started(start{id: b.ID})
}
