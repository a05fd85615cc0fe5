package understudy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"understudy/cluster/link"
	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/internal/beat"
	"understudy/messages"
)

const (
	// lookInterval is how often the controller looks at who is up, beside when the
	// link tells that something has changed.
	lookInterval = 100 * time.Millisecond
	// graceTime is how long a new controller waits to hear from a node before it
	// asks others about it: the link's bound for silence, and a little for dialing.
	graceTime = 2 * time.Second
	// silentTime is for how long a node must not be heard for others to be asked.
	silentTime = 1500 * time.Millisecond
	// witnessTime bounds how long witnesses are waited for.
	witnessTime = 400 * time.Millisecond
)

// eye is what a node has seen of the others. The replicas here are told at once;
// what is to follow is the controller's to decide, in watch.
type eye struct {
	poke     chan struct{} // something was seen
	resign   chan struct{} // this node hears nobody: another must be the controller
	findings chan finding
	terms    atomic.Int64 // how often this node became the controller

	rendezvous standing
	refused    chan error // why this node cannot be one of the cluster; has room for one

	mu   sync.Mutex
	last map[messages.BrokerID]messages.BrokerEpoch // of the last connection
	gone map[messages.BrokerID]messages.BrokerEpoch // whose process is gone
	away map[messages.BrokerID]messages.BrokerEpoch // whom most nodes do not hear, nor this one since
	ends map[messages.BrokerID]time.Time            // when they said that they stop
}

// term is what watch has found out since this node became the controller.
type term struct {
	number int64
	began  time.Time
	asked  map[messages.BrokerID]time.Time // when witnesses were asked last
}

// finding is what witnesses say of a node that is not heard.
type finding struct {
	broker metadata.Broker
	down   bool
	detail string
}

func newEye() eye {
	return eye{
		refused: make(chan error, 1),
		poke:    make(chan struct{}, 1), resign: make(chan struct{}, 1), findings: make(chan finding, 16),
		last: map[messages.BrokerID]messages.BrokerEpoch{}, gone: map[messages.BrokerID]messages.BrokerEpoch{},
		away: map[messages.BrokerID]messages.BrokerEpoch{}, ends: map[messages.BrokerID]time.Time{},
	}
}

// begin has watch forget what an earlier time as the controller has found out.
func (e *eye) begin() {
	select {
	case <-e.resign:
	default:
	}
	e.terms.Add(1)
	e.wake()
}

// term is the present one, if t is an earlier one.
func (e *eye) term(t term) term {
	number := e.terms.Load()
	if number == t.number {
		return t
	}
	return term{
		number: number, began: time.Now(),
		asked: map[messages.BrokerID]time.Time{},
	}
}

// refuse says why this node cannot be one of the cluster.
func (e *eye) refuse(why error) {
	select {
	case e.refused <- why:
	default:
	}
}

func (e *eye) wake() {
	select {
	case e.poke <- struct{}{}:
	default:
	}
}

// kinds are the link's events that an operator may want to know.
var kinds = map[link.EventKind]string{
	link.Up: "node-up", link.Gone: "node-gone", link.Silent: "node-silent", link.Back: "node-back", link.Refused: "node-refused",
}

// saw takes what the link sees. It runs in the link's goroutines.
func (n *node) saw(ev link.Event) {
	level := zerolog.DebugLevel
	switch {
	case ev.Kind == link.Refused && lasting(ev.Cause):
		level = zerolog.WarnLevel
	case ev.Kind == link.Gone || ev.Kind == link.Silent || ev.Kind == link.Refused:
		level = zerolog.InfoLevel
	}
	if kind := kinds[ev.Kind]; kind != "" {
		e := Event{Kind: kind, Subject: nodeName(ev.Peer.ID), Text: ev.String()}
		if ev.Cause != nil {
			e.Cause = ev.Cause.Error()
		}
		n.b.happened(level, e)
	} else {
		n.b.log.WithLevel(level).Msg(ev.String())
	}
	id := ev.Peer.ID
	switch ev.Kind {
	case link.Up, link.Back:
		n.eye.mu.Lock()
		n.eye.last[id] = ev.Peer.Epoch
		delete(n.eye.gone, id)
		delete(n.eye.away, id)
		delete(n.eye.ends, id)
		n.eye.mu.Unlock()
		n.b.replicas.PeerUp(ev.Peer)
		n.out.returned(id)
		n.work.Go(func() { n.recall(id) })
	case link.Gone:
		n.eye.mu.Lock()
		n.eye.gone[id] = n.eye.last[id]
		n.eye.mu.Unlock()
		n.b.replicas.PeerDown(id)
		n.out.clear(id)
		if n.b.cell.Image().Controller == id {
			n.work.Go(func() { n.depose(id) })
		}
	case link.Silent:
		n.b.replicas.PeerDown(id)
		if n.b.cell.Image().Controller == id {
			n.work.Go(func() { n.deposeSilent(id) })
		}
	case link.Refused:
		if cannotTalk(ev.Cause) {
			n.eye.refuse(fmt.Errorf("node %d: %w", id, ev.Cause))
		}
	case link.Lost:
	}
	n.eye.wake()
}

// cannotTalk reports whether a refusal is one that will not pass, so that a node had
// better not start: this one has called a node of its own cluster, and they have no
// version of the protocol, or no secret, in common. Others may be of who lives now
// where a node was that is gone.
func cannotTalk(cause error) bool {
	called, ok := errors.AsType[*messages.Error](cause)
	no, is := errors.AsType[*link.Refusal](cause)
	return ok && called.Op == "link handshake" && is && (no.Reason == link.Incompatible || no.Reason == link.WrongSecret)
}

// lasting reports whether a refusal is of the kind that somebody has to do
// something about; others come and go while nodes do.
func lasting(cause error) bool {
	no, is := errors.AsType[*link.Refusal](cause)
	return is && (no.Reason == link.Incompatible || no.Reason == link.WrongSecret || no.Reason == link.NotALink || no.Reason == link.OtherCluster)
}

// goneEpoch is the start of a node whose process is known to be gone, or 0.
func (n *node) goneEpoch(id messages.BrokerID) messages.BrokerEpoch {
	n.eye.mu.Lock()
	defer n.eye.mu.Unlock()
	return n.eye.gone[id]
}

// miss takes note that most nodes do not hear one, as this one does not.
func (e *eye) miss(id messages.BrokerID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.away[id] = e.last[id]
}

// stops notes that a node has said that it stops.
func (e *eye) stops(id messages.BrokerID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ends[id] = time.Now()
}

// stopping reports whether a node has said so within the last so long.
func (e *eye) stopping(id messages.BrokerID, within time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	said, known := e.ends[id]
	return known && time.Since(said) < within
}

// knownDown says why a broker counts as down for one who takes over; "": unknown.
func (n *node) knownDown(b metadata.Broker) string {
	if n.goneEpoch(b.ID) == b.Epoch {
		return "process gone, redial refused"
	}
	n.eye.mu.Lock()
	away := n.eye.away[b.ID] == b.Epoch
	n.eye.mu.Unlock()
	if p := n.peers()[b.ID]; away && p.Silence >= silentTime {
		return fmt.Sprintf("silent for %v, to most nodes", p.Silence.Round(time.Millisecond))
	}
	return ""
}

// peers is how it stands with the other nodes.
func (n *node) peers() map[messages.BrokerID]link.PeerStatus {
	peers := map[messages.BrokerID]link.PeerStatus{}
	for _, p := range n.link.Peers() {
		peers[p.Peer.ID] = p
	}
	return peers
}

// hears reports whether a start of a broker is heard.
func hears(p link.PeerStatus, epoch messages.BrokerEpoch) bool {
	return p.State == link.Connected && p.Peer.Epoch == epoch
}

// cutOff reports whether this node hears nobody though others are alive, so that
// it should not be the controller. Of two nodes neither can say who it is.
func (n *node) cutOff() bool {
	brokers := n.b.cell.Image().Brokers
	if len(brokers) < 3 {
		return false
	}
	for _, p := range n.peers() {
		if p.State == link.Connected {
			return false
		}
	}
	return n.othersAlive(messages.NoBroker) >= 2
}

// watch looks at who is up, as the controller, and whether this node can go on leading.
func (n *node) watch() {
	tick := beat.NewTicker(lookInterval)
	defer tick.Stop()
	isolated := false
	var t term
	for {
		var found *finding
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
		case <-n.eye.poke:
		case f := <-n.eye.findings:
			found = &f
		}
		if e, level, news := n.eye.rendezvous.review(n.r.Trouble()); news {
			n.b.happened(level, e)
		}
		if now := n.isolated(); now != isolated {
			isolated = now
			n.b.replicas.Isolate(now)
		}
		if !n.active.Load() {
			continue
		}
		t = n.eye.term(t)
		if found != nil {
			n.conclude(*found)
		}
		peers := n.peers()
		for _, b := range n.b.cell.Image().Brokers {
			if b.ID != n.self.ID {
				n.judge(&t, b, peers[b.ID])
			}
		}
	}
}

// isolated reports whether this node hears neither the metadata nor as many
// nodes as could replace it as a leader.
func (n *node) isolated() bool {
	if n.r.Reachable() {
		return false
	}
	brokers := n.b.cell.Image().Brokers
	peers, heard := n.peers(), 1
	for _, b := range brokers {
		if hears(peers[b.ID], b.Epoch) {
			heard++
		}
	}
	return heard <= len(brokers)/2
}

// stopsInOrder is why a node is down that has said so itself. It stays down, though
// it is heard until it has let its clients go: what is up is its next start.
const stopsInOrder = "stops in order"

// judge decides whether a broker is up, as far as one look can tell.
func (n *node) judge(t *term, b metadata.Broker, p link.PeerStatus) {
	switch {
	case hears(p, b.Epoch):
		delete(t.asked, b.ID)
		if !b.Up() && b.Down != stopsInOrder {
			n.tell(b, false, "")
		}
	case !b.Up():
	case n.goneEpoch(b.ID) == b.Epoch:
		n.tell(b, true, "process gone, redial refused")
	case p.Silence < silentTime && time.Since(t.began) < graceTime:
	case p.Silence < silentTime && p.State != link.ProcessGone && p.Addr != "":
		// Heard a moment ago, or in another start than is registered: it will show.
	case time.Since(t.asked[b.ID]) > time.Second:
		t.asked[b.ID] = time.Now()
		n.work.Go(func() { n.inquire(b, p.Silence) })
	}
}

// tell has the controller take a broker for down or up.
func (n *node) tell(b metadata.Broker, down bool, detail string) {
	ctx, cancel := context.WithTimeout(n.ctx, graceTime)
	defer cancel()
	var err error
	if down {
		err = n.b.controller.BrokerDown(ctx, b.ID, b.Epoch, detail)
	} else {
		err = n.b.controller.BrokerUp(ctx, b.ID, b.Epoch)
	}
	if err != nil {
		n.b.log.Warn().Err(err).Int32("node", b.ID).Msg("the controller could not be told how it stands with a node")
	}
}

// inquire asks the other nodes whether they hear one that is not heard here.
func (n *node) inquire(b metadata.Broker, silence time.Duration) {
	ctx, cancel := context.WithTimeout(n.ctx, witnessTime)
	defer cancel()
	answers := make(chan answer, 16)
	asked := 0
	for id, p := range n.peers() {
		if id != b.ID && p.State == link.Connected {
			asked++
			go func() { answers <- n.askWitness(ctx, id, b) }()
		}
	}
	witnesses := 0
	for range asked {
		switch <-answers {
		case heard:
			return
		case notHeard:
			witnesses++
		}
	}
	f := finding{broker: b, down: true, detail: fmt.Sprintf("silent for %v, to %d other nodes as well", silence.Round(time.Millisecond), witnesses)}
	if witnesses == 0 && n.r.Alive(b.ID) {
		// It may be this node that nobody hears. Only if there is nobody else who
		// could be asked, it has to decide by itself.
		f.down = n.othersAlive(b.ID) == 0
		f.detail = fmt.Sprintf("silent for %v, and there is nobody else to ask", silence.Round(time.Millisecond))
		if !f.down && !n.cutOff() {
			return
		}
	}
	select {
	case n.eye.findings <- f:
	case <-n.ctx.Done():
	}
}

// othersAlive counts the brokers beside this one and another that are heard of
// at the rendezvous.
func (n *node) othersAlive(but messages.BrokerID) (alive int) {
	for _, b := range n.b.cell.Image().Brokers {
		if b.ID != but && b.ID != n.self.ID && n.r.Alive(b.ID) {
			alive++
		}
	}
	return alive
}

// conclude acts on what witnesses have said.
func (n *node) conclude(f finding) {
	switch {
	case !f.down:
		n.b.log.Warn().Msg("this node hears no other: it gives up being the controller")
		select {
		case n.eye.resign <- struct{}{}:
		default:
		}
	case !hears(n.peers()[f.broker.ID], f.broker.Epoch):
		n.tell(f.broker, true, f.detail)
	}
}

// answer is what a witness says.
type answer uint8

const (
	unknown answer = iota
	heard
	notHeard
)

func (n *node) askWitness(ctx context.Context, id messages.BrokerID, b metadata.Broker) answer {
	var hears bool
	err := request(ctx, n, id, witness, replica.Member{ID: b.ID, Epoch: b.Epoch}, &hears)
	switch {
	case err != nil:
		return unknown
	case hears:
		return heard
	}
	return notHeard
}
