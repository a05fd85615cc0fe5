package understudy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"understudy/actors/controller"
	"understudy/messages"
)

// Event is something that was decided, or has happened, and that an operator may
// want to know. Decisions are the controller's, and all nodes have them; what
// happened to a node's connections is told by that node alone.
type Event struct {
	Seq     int64             `json:"seq"`  // counts the events of the node that is asked, from 1 at its start
	Time    time.Time         `json:"time"` // by the clock of Node
	Node    messages.BrokerID `json:"node"` // who decided, or saw it
	ID      string            `json:"id"`   // the same on all nodes: node, broker epoch, number
	Kind    string            `json:"kind"` // "leader-elected"
	Subject string            `json:"subject"`
	Cause   string            `json:"cause,omitempty"`
	Text    string            `json:"text"` // one line that says it all

	decision bool // of a controller, and not what this node saw
}

const (
	// maxEvents is how many events are kept.
	maxEvents = 1024
	// maxEventText bounds the text of one, in bytes, so that all of them fit into
	// one request between nodes.
	maxEventText = 480
)

// chronicle keeps the latest events.
type chronicle struct {
	counts *prometheus.CounterVec // of this node's own, by kind

	mu      sync.Mutex
	node    messages.BrokerID
	start   messages.BrokerEpoch
	own     int64   // number of this node's last event
	list    []Event // oldest first
	last    int64
	gone    map[messages.BrokerID]eventID // of each node's events the last that is not kept any more
	changed chan struct{}                 // closed at the next event
}

// eventID is an event's ID in numbers: the node's broker epoch, and the event's number.
type eventID struct{ start, number int64 }

func idOf(e Event) (id eventID) {
	var node int64
	_, _ = fmt.Sscanf(e.ID, "%d.%d.%d", &node, &id.start, &id.number) // of another form it is as old as can be
	return id
}

func (id eventID) after(other eventID) bool {
	return id.start > other.start || id.start == other.start && id.number > other.number
}

func newChronicle(registry *prometheus.Registry) *chronicle {
	c := &chronicle{
		gone: map[messages.BrokerID]eventID{}, changed: make(chan struct{}),
		counts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "understudy_events_total", Help: "Decisions of this node's controller, and what this node saw happen, by kind.",
		}, []string{"kind"}),
	}
	registry.MustRegister(c.counts)
	return c
}

// identify says whose events these are.
func (c *chronicle) identify(node messages.BrokerID, start messages.BrokerEpoch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.node, c.start = node, start
}

// record enters an event of this node's own, which stands for so many things, and
// returns it as it is kept.
func (c *chronicle) record(e Event, count int) Event {
	c.counts.WithLabelValues(e.Kind).Add(float64(count))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own++
	e.Node, e.ID = c.node, fmt.Sprintf("%d.%d.%d", c.node, c.start, c.own)
	e.Time = time.Now().UTC()
	e.Text, e.Cause = shorten(e.Text), shorten(e.Cause)
	c.append(e)
	return e
}

// shorten cuts a text that is too long, at the end of a character.
func shorten(s string) string {
	if len(s) <= maxEventText {
		return s
	}
	return strings.ToValidUTF8(s[:maxEventText], "") + "…"
}

// receive enters an event of another node's, unless it is known already, or was once.
func (c *chronicle) receive(e Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if gone, any := c.gone[e.Node]; e.ID == "" || any && !idOf(e).after(gone) || slices.ContainsFunc(c.list, func(known Event) bool { return known.ID == e.ID }) {
		return
	}
	e.Text, e.Cause, e.decision = shorten(e.Text), shorten(e.Cause), true
	c.append(e)
}

// decisions are the events that all nodes have.
func (c *chronicle) decisions() []Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.list), func(e Event) bool { return !e.decision })
}

// append enters an event. The lock is held.
func (c *chronicle) append(e Event) {
	c.last++
	e.Seq = c.last
	if len(c.list) == maxEvents {
		oldest := c.list[0]
		if id := idOf(oldest); id.after(c.gone[oldest.Node]) {
			c.gone[oldest.Node] = id
		}
		c.list = slices.Delete(c.list, 0, 1)
	}
	c.list = append(c.list, e)
	close(c.changed)
	c.changed = make(chan struct{})
}

// since gives the events after a number; those of before this node's start, which
// has counted anew, are all before. next is the number to go on from.
func (c *chronicle) since(seq int64) (events []Event, next int64, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if seq > c.last {
		seq = 0
	}
	i, _ := slices.BinarySearchFunc(c.list, seq+1, func(e Event, seq int64) int { return int(e.Seq - seq) })
	return slices.Clone(c.list[i:]), c.last, c.changed
}

// await is since, but waits for an event until ctx ends if there is none.
func (c *chronicle) await(ctx context.Context, seq int64) (events []Event, next int64) {
	for {
		events, next, changed := c.since(seq)
		if len(events) > 0 {
			return events, next
		}
		seq = next
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, next
		}
	}
}

// Events gives the events after the one with the number since, 0 for all that are
// kept, and waits for one until ctx ends if there is none. next is the number to
// go on from.
func (b *Broker) Events(ctx context.Context, since int64) (events []Event, next int64) {
	return b.events.await(ctx, since)
}

// decided tells what the controller has decided. In a cluster that is news, and
// the other nodes are told.
func (b *Broker) decided(e controller.Event) {
	level := zerolog.DebugLevel
	if b.node != nil {
		level = zerolog.InfoLevel
	}
	b.log.WithLevel(level).Msg(e.String())
	var others []messages.BrokerID
	if b.node != nil {
		others = b.node.connected()
	}
	for _, r := range e.Records() {
		one := b.events.record(Event{Kind: string(r.Kind), Subject: r.Subject, Cause: r.Cause, Text: r.Text, decision: true}, r.Count)
		if len(others) > 0 {
			b.node.out.add(others, newParcel(item{Event: &one}, eventSize+len(one.Text)+len(one.Cause)))
		}
	}
}

// eventSize is about what an event takes in a request beside its text, in bytes.
const eventSize = 200

// happened tells what this node has seen.
func (b *Broker) happened(level zerolog.Level, e Event) {
	b.log.WithLevel(level).Msg(e.Text)
	b.events.record(e, 1)
}

func nodeName(id messages.BrokerID) string { return fmt.Sprintf("node %d", id) }
