package understudy

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"understudy/actors/controller"
	"understudy/cluster/link"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// What the controller commits it sends to the other nodes, with what it decided,
// so that nobody has to read everything to learn of a change:
//
//	controller ──commit──▶ rendezvous ──its version, watched──▶ follow ─┐
//	    │                                                               │ not here soon
//	    └─▶ outbox of each node ──request──▶ learn ──▶ image            ▼
//	                                            └──a change missed──▶ catchUp ──reads──▶ image
//
// A change says from which version to which it leads. One that leads to what the
// image shows already changes nothing; one that begins later shows that another
// was missed. So it does no harm when they come twice, late or in any order.

const (
	// maxPush bounds the body of one request, in bytes.
	maxPush = link.MaxBody / 2
	// maxOutbox bounds what waits for one node, in bytes. A node for which more
	// would wait reads for itself.
	maxOutbox = 8 << 20
	// pushWithin bounds a request.
	pushWithin = 2 * time.Second
	// pushedSoon is how long a change that the rendezvous has may take to come from
	// the controller before it is read.
	pushedSoon = 200 * time.Millisecond
)

// item is something that the other nodes are told. One with neither is of a newer
// version, and passed over.
type item struct {
	Change *change `json:"change,omitempty"`
	Event  *Event  `json:"event,omitempty"`
}

// change is a transaction that was committed.
type change struct {
	Before  int64    `json:"before"`
	After   int64    `json:"after"`
	Puts    []put    `json:"puts,omitempty"`
	Deletes []string `json:"deletes,omitempty"`
	Left    bool     `json:"left,omitempty"` // what was written is too much, and left out
}

type put struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
}

// parcel is an item on its way to several nodes.
type parcel struct {
	size int // about, in bytes
	body func() (json.RawMessage, error)
}

func newParcel(it item, size int) *parcel {
	return &parcel{size, sync.OnceValues(func() (json.RawMessage, error) { return json.Marshal(it) })}
}

// outboxes are what waits to be sent to each of the other nodes.
type outboxes struct {
	poke chan struct{}
	mu   sync.Mutex
	all  map[messages.BrokerID]*outbox
}

type outbox struct {
	first int64 // number of the first parcel
	list  []*parcel
	size  int
	busy  bool // somebody sends them
	back  bool // the node has come back since it was last looked what waits
}

func newOutboxes() outboxes {
	return outboxes{poke: make(chan struct{}, 1), all: map[messages.BrokerID]*outbox{}}
}

// wake has whatever waits sent.
func (o *outboxes) wake() {
	select {
	case o.poke <- struct{}{}:
	default:
	}
}

// returned has what waits for a node that has come back sent. Whoever sends to it may
// still be about to give it up.
func (o *outboxes) returned(id messages.BrokerID) {
	o.mu.Lock()
	if box := o.all[id]; box != nil {
		box.back = true
	}
	o.mu.Unlock()
	o.wake()
}

// add has a parcel sent to nodes.
func (o *outboxes) add(to []messages.BrokerID, p *parcel) {
	o.mu.Lock()
	for _, id := range to {
		box := o.all[id]
		if box == nil {
			box = &outbox{}
			o.all[id] = box
		}
		if box.size+p.size > maxOutbox {
			box.drop(len(box.list))
		}
		box.list, box.size = append(box.list, p), box.size+p.size
	}
	o.mu.Unlock()
	o.wake()
}

// clear forgets what was to be sent to a node.
func (o *outboxes) clear(id messages.BrokerID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if box := o.all[id]; box != nil {
		box.drop(len(box.list))
	}
}

// drop forgets the first n parcels.
func (b *outbox) drop(n int) {
	for _, p := range b.list[:n] {
		b.size -= p.size
	}
	b.list, b.first = slices.Delete(b.list, 0, n), b.first+int64(n)
}

// begin lists the nodes for which something waits that nobody sends.
func (o *outboxes) begin() (ids []messages.BrokerID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, box := range o.all {
		if len(box.list) > 0 && !box.busy {
			box.busy = true
			ids = append(ids, id)
		}
	}
	return ids
}

// peek gives what is to be sent to a node next; nothing ends the sending. next is
// the number of what follows it.
func (o *outboxes) peek(id messages.BrokerID) (list []*parcel, next int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	box := o.all[id]
	box.back = false
	size := 0
	for _, p := range box.list {
		if size += p.size; size > maxPush && len(list) > 0 {
			break
		}
		list = append(list, p)
	}
	box.busy = len(list) > 0 // whoever adds more from now on has it begun anew
	return list, box.first + int64(len(list))
}

// sent forgets what comes before a number.
func (o *outboxes) sent(id messages.BrokerID, next int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if box := o.all[id]; next > box.first {
		box.drop(int(next - box.first))
	}
}

// rest ends the sending to a node with what waits still waiting, until the node is back.
func (o *outboxes) rest(id messages.BrokerID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	box := o.all[id]
	if box.busy = false; box.back {
		o.wake()
	}
}

// peers is how it stands with the other nodes, if there are any.
func (b *Broker) peers() []link.PeerStatus {
	if b.node == nil || b.node.link == nil {
		return nil
	}
	return b.node.link.Peers()
}

// connected lists the nodes that there is a connection to.
func (n *node) connected() (ids []messages.BrokerID) {
	for _, p := range n.b.peers() {
		if p.State == link.Connected || p.State == link.ConnectedSilent {
			ids = append(ids, p.Peer.ID)
		}
	}
	return ids
}

// committed has a change sent to the other nodes, if there are any.
func (b *Broker) committed(c controller.Commit) {
	if b.node != nil && c.After != c.Before {
		b.node.out.add(b.node.connected(), newParcel(parcelOf(c)))
	}
}

// parcelOf is a commit as it is sent, and about how large that is, in bytes.
func parcelOf(c controller.Commit) (item, int) {
	news := &change{Before: c.Before, After: c.After, Deletes: c.Txn.Deletes}
	size := 64
	for _, p := range c.Txn.Puts {
		news.Puts = append(news.Puts, put{Key: p.Key, Value: p.Value})
		size += len(p.Key) + len(p.Value) + 24
	}
	for _, key := range c.Txn.Deletes {
		size += len(key) + 3
	}
	if size > maxPush {
		return item{Change: &change{Before: c.Before, After: c.After, Left: true}}, 64
	}
	return item{Change: news}, size
}

// push sends what waits, to each node on its own.
func (n *node) push() {
	var sending sync.WaitGroup
	defer sending.Wait()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.out.poke:
		}
		for _, id := range n.out.begin() {
			sending.Go(func() { n.deliver(id) })
		}
	}
}

// deliver sends a node what waits for it, until there is nothing left or the
// connection is lost. What had no answer is sent again.
func (n *node) deliver(id messages.BrokerID) {
	for {
		list, next := n.out.peek(id)
		if len(list) == 0 {
			return
		}
		err := n.hand(id, list)
		if err == nil {
			n.out.sent(id, next)
			continue
		}
		n.b.log.Debug().Err(err).Int32("node", id).Msg("a node was not told of changes")
		if !slices.Contains(n.connected(), id) || !n.pause(retryPause) {
			n.out.rest(id)
			return
		}
	}
}

// hand sends parcels in one request. One that cannot be put into words is left
// out: the node finds that it has missed something.
func (n *node) hand(id messages.BrokerID, list []*parcel) error {
	bodies := make([]json.RawMessage, 0, len(list))
	for _, p := range list {
		body, err := p.body()
		if err != nil {
			n.b.log.Error().Err(err).Msg("a change cannot be sent to the other nodes")
			continue
		}
		bodies = append(bodies, body)
	}
	ctx, cancel := context.WithTimeout(n.ctx, pushWithin)
	defer cancel()
	var none struct{}
	return request(ctx, n, id, telling, bodies, &none)
}

// learn takes what another node tells.
func (n *node) learn(items []json.RawMessage) error {
	for _, raw := range items {
		var it item
		if err := json.Unmarshal(raw, &it); err != nil {
			return messages.E("learn of changes", messages.InvalidRequest, "", err)
		}
		if it.Event != nil {
			n.b.events.receive(*it.Event)
		}
		if it.Change != nil {
			n.apply(it.Change)
		}
	}
	return nil
}

// lore is how this node keeps its image fresh.
type lore struct {
	applying sync.Mutex
	want     atomic.Int64  // a version that there is
	poke     chan struct{} // it may have to be read

	applied, read atomic.Uint64 // changes applied, and times that everything was read
}

func newLore() lore { return lore{poke: make(chan struct{}, 1)} }

// heard says that there is a version, which is to be read if it is not known.
func (l *lore) heard(revision int64) {
	for {
		known := l.want.Load()
		if revision <= known || l.want.CompareAndSwap(known, revision) {
			break
		}
	}
	select {
	case l.poke <- struct{}{}:
	default:
	}
}

// apply makes the image that a change leads to. A transaction that was written
// in several steps may have been read between two of them: carrying out all of
// it then leads to the same.
func (n *node) apply(c *change) {
	n.lore.applying.Lock()
	defer n.lore.applying.Unlock()
	im := n.b.cell.Image()
	if c.After <= im.Revision {
		return
	}
	if c.Left || c.Before > im.Revision {
		n.lore.heard(c.After)
		return
	}
	txn := metadata.Txn{Deletes: c.Deletes}
	for _, p := range c.Puts {
		txn.Puts = append(txn.Puts, metadata.Put{Key: p.Key, Value: p.Value})
	}
	_, ch, err := im.Apply(txn, c.After)
	if err != nil {
		n.b.log.Warn().Err(err).Int64("version", c.After).Msg("a change of the metadata cannot be applied; everything is read instead")
		n.lore.heard(c.After)
		return
	}
	n.lore.applied.Add(1)
	n.b.cell.Publish(ch)
}

// follow watches the version of the metadata, and sees to it that what the
// controller does not send is read.
func (n *node) follow() {
	after := n.b.cell.Image().Revision
	for n.ctx.Err() == nil {
		revision, err := n.r.Watch(n.ctx, after)
		if err != nil {
			n.pause(retryPause)
			continue
		}
		wait := pushedSoon
		if len(n.connected()) == 0 && !n.active.Load() {
			wait = 0 // there is nobody who could send it
		}
		if !n.awaitRevision(n.ctx, wait, revision) {
			n.lore.heard(revision)
		}
		after = revision
	}
}

// catchUp reads the metadata when a version is heard of that the image does not
// show.
func (n *node) catchUp() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.lore.poke:
		}
		for n.b.cell.Image().Revision < n.lore.want.Load() {
			im, err := n.read(n.ctx)
			if err == nil {
				n.lore.read.Add(1)
				n.b.cell.Publish(metadata.Change{New: im})
				break // what is still missing is told of again
			}
			if !n.pause(retryPause) {
				return
			}
		}
	}
}

// recall asks a node that was met for what was decided while it was not heard.
func (n *node) recall(id messages.BrokerID) {
	ctx, cancel := context.WithTimeout(n.ctx, pushWithin)
	defer cancel()
	var events []Event
	if err := request(ctx, n, id, recounting, struct{}{}, &events); err != nil {
		n.b.log.Debug().Err(err).Int32("node", id).Msg("a node was not asked for earlier decisions")
		return
	}
	for _, e := range events {
		n.b.events.receive(e)
	}
}
