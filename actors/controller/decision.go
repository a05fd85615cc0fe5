package controller

import (
	"encoding/base64"
	"encoding/binary"
	"io"
	"strings"

	"understudy/cluster/election"
	"understudy/cluster/metadata"
	"understudy/cluster/placement"
	"understudy/cluster/topicconfig"
	"understudy/messages"
)

// decision is what commands work on: the metadata as the commands before have
// left it, and the events to be told once it is committed.
type decision struct {
	c      *Controller
	edit   *metadata.Edit
	active bool
	self   messages.BrokerID
	events []Event

	load      []placement.Broker  // of brokers that can take replicas; nil until wanted
	replicas  int                 // on all brokers, if load is not nil
	lookalike map[string]string   // names with '.' made '_' → the topic; nil until wanted
	left      []messages.BrokerID // brokers that are drained and have lost a replica
	starting  messages.BrokerID   // the controller's own broker, before it is registered; else NoBroker
	more      bool                // there is more to repair, in the next transaction
}

// image is the metadata as it is so far.
func (d *decision) image() *metadata.Image { return d.edit.Image() }

func (d *decision) defaults() topicconfig.Defaults {
	return Defaults(d.image(), d.self, d.c.o.Static)
}

func (d *decision) event(e Event) { d.events = append(d.events, e) }

// lead checks that this controller may decide, and makes the transaction check
// it again.
func (d *decision) lead() error {
	if !d.active {
		return messages.E("controller", messages.NotController, "", nil)
	}
	d.edit.Require(metadata.ControllerKey)
	return nil
}

func (d *decision) isUp(id messages.BrokerID) bool { return d.image().Broker(id).Up() }

// start is the epoch of a broker's present start, if it is up.
func (d *decision) start(id messages.BrokerID) (messages.BrokerEpoch, bool) {
	b := d.image().Broker(id)
	if !b.Up() {
		return 0, false
	}
	return b.Epoch, true
}

func (d *decision) isDraining(id messages.BrokerID) bool {
	b := d.image().Broker(id)
	return b != nil && b.Draining
}

// ordinary are circumstances without any suspicion.
func (d *decision) ordinary() election.Circumstances {
	c := election.Ordinary(d.isUp, d.isDraining)
	c.Returned = d.c.o.Returned
	return c
}

// loads are the brokers that can take replicas, with what each has or is getting.
// They are counted when first wanted and kept up by placed.
func (d *decision) loads() []placement.Broker {
	if d.load != nil {
		return d.load
	}
	at := map[messages.BrokerID]int{}
	d.load, d.replicas = []placement.Broker{}, 0
	for _, b := range d.image().Brokers {
		if b.Up() && !b.Draining {
			at[b.ID] = len(d.load)
			d.load = append(d.load, placement.Broker{ID: b.ID, Rack: b.Rack})
		}
	}
	for t := range d.image().Topics() {
		for n := range t.Partitions {
			d.count(at, wanted(&t.Partitions[n]))
		}
	}
	return d.load
}

// wanted are the replicas that a partition is to have in the end.
func wanted(p *metadata.Partition) []messages.BrokerID {
	if p.Moving() {
		return p.Target
	}
	return p.Replicas
}

// count enters the replicas of one partition into the loads.
func (d *decision) count(at map[messages.BrokerID]int, replicas []messages.BrokerID) {
	d.replicas += len(replicas)
	for n, id := range replicas {
		if i, ok := at[id]; ok {
			d.load[i].Replicas++
			if n == 0 {
				d.load[i].Leaders++
			}
		}
	}
}

// placed enters new partitions into the loads.
func (d *decision) placed(assignments [][]messages.BrokerID) {
	d.loads()
	at := map[messages.BrokerID]int{}
	for i, b := range d.load {
		at[b.ID] = i
	}
	for _, replicas := range assignments {
		d.count(at, replicas)
	}
}

// forgetLoads has them counted anew, after a deletion or a broker's coming or going.
func (d *decision) forgetLoads() { d.load, d.lookalike = nil, nil }

// collision finds a topic whose name differs from name in '.' and '_' only:
// metrics could not tell the two apart. Kafka refuses such names too.
func (d *decision) collision(name string) (string, bool) {
	if !strings.ContainsAny(name, "._") {
		return "", false
	}
	if d.lookalike == nil {
		d.lookalike = map[string]string{}
		for t := range d.image().Topics() {
			if strings.ContainsAny(t.Name, "._") {
				d.lookalike[flatten(t.Name)] = t.Name
			}
		}
	}
	other, ok := d.lookalike[flatten(name)]
	return other, ok
}

func flatten(name string) string { return strings.ReplaceAll(name, ".", "_") }

// entropy fills b. An operating system that has no randomness is no state to go on in.
func (d *decision) entropy(b []byte) {
	if _, err := io.ReadFull(d.c.o.Entropy, b); err != nil {
		panic(messages.E("controller", messages.Unknown, "randomness", err))
	}
}

func (d *decision) seed() uint64 {
	var b [8]byte
	d.entropy(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// newTopicID draws an id that no topic has. As in Kafka none begins with '-',
// which command lines would take for a flag, and small numbers are reserved.
func (d *decision) newTopicID() (id messages.TopicID) {
	for {
		d.entropy(id[:])
		id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // a version 4 UUID
		if id.String()[0] != '-' && d.image().TopicByID(id) == nil {
			return id
		}
	}
}

// newClusterID draws a cluster id in Kafka's form: 22 characters of base64.
func (d *decision) newClusterID() string {
	for {
		var b [16]byte
		d.entropy(b[:])
		if s := base64.RawURLEncoding.EncodeToString(b[:]); s[0] != '-' {
			return s
		}
	}
}
