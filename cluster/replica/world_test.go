package replica_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/batch"
)

// world is a partition's replicas in one process: their cores, their disks, the
// network between them and a controller. Nothing happens in it by itself: a
// script or a random history says what is delivered, flushed, lost or crashed.
type world struct {
	settings replica.Settings
	keys     int64   // how many there are: a batch's is its id modulo that number
	nodes    []*node // of ids 1..n
	net      []packet
	cut      map[[2]messages.BrokerID]bool // links that lose everything, by direction
	ctl      controller
	now      int64
	trace    func(format string, args ...any) // what happens, for people
	wrong    func(format string, args ...any) // an invariant does not hold

	committed      []record                                   // what any replica has ever held below its high watermark
	leaders        map[messages.LeaderEpoch]messages.BrokerID // who led
	acked          map[int64]record                           // by id: acknowledged with acks=all
	seen           map[string]int                             // how often it came to what
	wiped          bool                                       // a disk was replaced: copies are no longer where they were
	lossy          bool                                       // committed records may be lost: do not check
	allowedToBreak bool
}

// node is one broker with its replica of the partition.
type node struct {
	id     messages.BrokerID
	epoch  messages.BrokerEpoch
	up     bool
	r      *replica.Replica
	fx     replica.Effects
	disk   disk
	flush  []batch.Batch // what the outstanding flush covers
	inSync bool          // a flush is outstanding
	reads  []replica.Read
	open   map[any]bool // requests that are not answered yet
	known  int64        // high watermark up to which committed was compared
	last   replica.Status
	broken error
}

// packet is a message on its way.
type packet struct {
	from, to messages.BrokerID
	m        replica.Message
}

// record is a batch as the checks see it.
type record struct {
	id         int64
	base, next messages.Offset
	epoch      messages.LeaderEpoch
}

// disk is a log: what is written, what of it has reached the platter, and the
// high watermark that was recorded.
type disk struct {
	start   messages.Offset
	end     messages.Offset
	batches []batch.Batch // written
	synced  []batch.Batch // as of the last completed flush
	durable messages.Offset
	hw      messages.Offset
}

// newWorldWith makes a world of n nodes; prepare says where its traces and
// complaints go.
func newWorldWith(n int, s replica.Settings, prepare func(*world)) *world {
	w := &world{
		settings: s,
		keys:     1,
		cut:      map[[2]messages.BrokerID]bool{},
		leaders:  map[messages.LeaderEpoch]messages.BrokerID{},
		acked:    map[int64]record{},
		seen:     map[string]int{},
		trace:    func(string, ...any) {},
	}
	w.ctl = controller{w: w, down: map[messages.BrokerID]bool{}, unfit: map[messages.BrokerID]bool{}, meta: replica.Assignment{Epoch: 0, Leader: messages.NoBroker, Revision: 1}}
	for id := messages.BrokerID(1); int(id) <= n; id++ {
		w.nodes = append(w.nodes, &node{id: id})
		w.ctl.meta.Replicas = append(w.ctl.meta.Replicas, id)
		w.ctl.meta.ISR = append(w.ctl.meta.ISR, id)
	}
	prepare(w)
	for _, n := range w.nodes {
		w.start(n)
	}
	return w
}

var tp = messages.TopicPartition{Topic: "orders", Partition: 3}

func (w *world) node(id messages.BrokerID) *node { return w.nodes[id-1] }

// start opens a node's replica from its disk, as a broker does that begins anew:
// what the metadata then says about its leadership is history to it.
func (w *world) start(n *node) {
	n.epoch++
	w.open(n, w.ctl.meta.Epoch)
}

// open opens a replica, of a broker that has just begun, or again after it failed.
func (w *world) open(n *node, led messages.LeaderEpoch) {
	n.up, n.broken, n.open, n.reads, n.inSync = true, nil, map[any]bool{}, nil, false
	n.r = replica.New(replica.Member{ID: n.id, Epoch: n.epoch}, tp, w.settings, replica.LogState{
		Start: n.disk.start, End: n.disk.end, Durable: n.disk.durable, HighWatermark: n.disk.hw,
		LedEpoch: led, Epochs: n.disk.epochs(),
	})
	n.known, n.last = 0, replica.Status{}
	w.perform(n)
}

// fail ends a replica, as a disk does that has failed, and tells its leader.
func (w *world) fail(n *node) {
	s := n.r.Status()
	n.r.Stop(messages.E("flush", messages.StorageError, "disk", nil))
	w.perform(n)
	if s.Leader != messages.NoBroker && s.Leader != n.id {
		w.net = append(w.net, packet{n.id, s.Leader, replica.Message{Type: replica.TypeFailed, Epoch: s.Epoch, BrokerEpoch: n.epoch}})
	}
}

// stop ends a node's process. What was written stays (in the page cache).
func (w *world) stop(n *node) {
	n.up, n.r, n.reads, n.inSync = false, nil, nil, false
	n.fx = replica.Effects{}
}

// cutPower ends a node and loses what was not synced, but for the first keep
// batches of it.
func (w *world) cutPower(n *node, keep int) {
	w.stop(n)
	d := &n.disk
	kept := 0
	for kept < len(d.batches) && (d.batches[kept].NextOffset() <= d.durable || keep > 0) {
		if d.batches[kept].NextOffset() > d.durable {
			keep--
		}
		kept++
	}
	d.batches = d.batches[:kept:kept]
	d.settleEnd()
}

// cutPowerOldTail is cutPower on a disk whose last truncation is lost as well:
// what was synced before it is back.
func (w *world) cutPowerOldTail(n *node) {
	w.stop(n)
	n.disk.batches = slices.Clone(n.disk.synced)
	n.disk.batches = slices.DeleteFunc(n.disk.batches, func(b batch.Batch) bool { return b.NextOffset() <= n.disk.start })
	n.disk.settleEnd()
}

func (d *disk) settleEnd() {
	d.end = d.start
	if len(d.batches) > 0 {
		d.end = d.batches[len(d.batches)-1].NextOffset()
	}
	d.durable = d.end
	d.synced = slices.Clone(d.batches)
}

// epochs is the epoch history that the batches show.
func (d *disk) epochs() []replica.EpochStart {
	var h []replica.EpochStart
	for _, b := range d.batches {
		if len(h) == 0 || h[len(h)-1].Epoch < b.LeaderEpoch() {
			h = append(h, replica.EpochStart{Epoch: b.LeaderEpoch(), Start: b.BaseOffset()})
		}
	}
	return h
}

// perform carries out a node's effects, in order, and checks what must hold.
func (w *world) perform(n *node) {
	for n.up && n.r.Take(&n.fx) {
		w.change(n)
		for _, o := range n.fx.Send {
			o.Message.Batches = slices.Clone(o.Message.Batches)
			w.net = append(w.net, packet{n.id, o.To, o.Message})
		}
		if n.fx.Flush {
			if n.inSync {
				w.wrong("%d: a second flush", n.id)
			}
			n.inSync, n.flush = true, slices.Clone(n.disk.batches)
		}
		if n.fx.Publish && n.r.Status().HighWatermark > n.disk.end {
			w.wrong("%d: high watermark %d above the log end %d", n.id, n.r.Status().HighWatermark, n.disk.end)
		}
		for _, a := range n.fx.Answers {
			w.answered(n, a)
		}
		n.reads = append(n.reads, n.fx.Reads...)
		if c := n.fx.ISRChange; c != nil {
			w.ctl.changes = append(w.ctl.changes, isrRequest{n.id, *c})
		}
		if c := n.fx.Resign; c != nil {
			w.ctl.resigned = append(w.ctl.resigned, resignRequest{n.id, *c})
		}
		if n.fx.Broken != nil {
			n.broken = n.fx.Broken
			if !w.allowedToBreak {
				w.wrong("%d: broken: %v", n.id, n.broken)
			}
		}
		for _, e := range n.fx.Events {
			w.trace("%d %v", n.id, e)
			w.happened(n, e)
		}
	}
	if n.up {
		w.check(n)
	}
}

// change carries out the effects on the log.
func (w *world) change(n *node) {
	fx, d := &n.fx, &n.disk
	switch fx.Cut.Kind {
	case replica.CutTail:
		if fx.Cut.To < d.start || fx.Cut.To > d.end {
			w.wrong("%d: cut to %d of [%d,%d)", n.id, fx.Cut.To, d.start, d.end)
		}
		d.batches = cutTail(d.batches, fx.Cut.To)
		d.settleCut(max(fx.Cut.To, d.start))
	case replica.CutAll:
		d.batches, d.synced, d.start = nil, nil, fx.Cut.To
		n.flush = nil // what it covers is gone for good
		d.hw = min(d.hw, d.start)
		d.settleCut(fx.Cut.To)
	}
	for _, b := range fx.Append {
		if b.BaseOffset() != d.end {
			w.wrong("%d: appends %d at the log end %d", n.id, b.BaseOffset(), d.end)
		}
		d.batches = append(d.batches, b)
		d.end = b.NextOffset()
	}
	if fx.Start != 0 {
		if fx.Start > d.end {
			w.wrong("%d: log start %d above the log end %d", n.id, fx.Start, d.end)
		}
		d.setStart(fx.Start)
	}
	if len(fx.Append) > 0 {
		w.trace("%d appends [%d,%d)", n.id, fx.Append[0].BaseOffset(), d.end)
	}
}

// cutTail is what is left of batches below an offset; of a gap, its beginning.
func cutTail(batches []batch.Batch, to messages.Offset) (left []batch.Batch) {
	for _, b := range batches {
		switch {
		case b.NextOffset() <= to:
			left = append(left, b)
		case b.IsGap() && b.BaseOffset() < to:
			left = append(left, batch.Gap(nil, b.BaseOffset(), to-1, b.LeaderEpoch()))
		}
	}
	return left
}

func (d *disk) setStart(start messages.Offset) {
	d.start, d.durable = start, max(d.durable, start)
	d.batches = slices.DeleteFunc(slices.Clone(d.batches), func(b batch.Batch) bool { return b.NextOffset() <= start })
}

func (d *disk) settleCut(to messages.Offset) {
	d.end, d.durable, d.hw = to, min(d.durable, to), min(d.hw, to)
	if len(d.batches) > 0 && d.batches[len(d.batches)-1].NextOffset() != to {
		d.end = d.batches[len(d.batches)-1].NextOffset()
	}
	d.durable = max(d.durable, d.start)
}

// flushed completes a node's flush.
func (w *world) flushed(n *node) {
	if !n.up || !n.inSync {
		return
	}
	n.inSync = false
	d := &n.disk
	d.synced = n.flush
	end := d.start
	for _, b := range n.flush { // durable is what was flushed and is still there
		is := func(x batch.Batch) bool { return &x[0] == &b[0] }
		if b.NextOffset() > d.start && !slices.ContainsFunc(d.batches, is) {
			break
		}
		end = max(end, b.NextOffset())
	}
	d.durable = max(d.durable, end)
	reported := d.start
	if len(n.flush) > 0 {
		reported = n.flush[len(n.flush)-1].NextOffset()
	}
	n.r.Flushed(reported)
	w.perform(n)
}

// answered checks an answer: once for each request, and if it is a success with
// acks=all, of a record that is committed.
func (w *world) answered(n *node, a replica.Answer) {
	req := a.Token.(*request)
	if !n.open[req] {
		w.wrong("%d: %s answered twice", n.id, req.name)
	}
	delete(n.open, req)
	switch {
	case a.Err != nil:
		w.seen["answer: "+messages.KindOf(a.Err).String()]++
		w.trace("%d answers %s: %v", n.id, req.name, messages.KindOf(a.Err))
	case req.deletes:
		w.seen["deleted"]++
		w.trace("%d answers %s: low watermark %d", n.id, req.name, a.Base)
	case req.confirms:
		w.seen["confirmed"]++
		w.trace("%d answers %s: it leads", n.id, req.name)
		w.checkConfirmed(n, req.known)
	default:
		w.trace("%d answers %s: offset %d", n.id, req.name, a.Base)
		if req.acks == messages.AcksAll {
			w.check(n) // brings committed up to date
			rec := record{id: req.id, base: a.Base, next: a.Base + int64(req.records)}
			w.acked[req.id] = rec
			w.seen["acked"]++
			w.checkAcked(rec)
			w.checkCopies(n, rec)
		}
	}
}

// request is somebody's wish for an answer.
type request struct {
	name    string
	id      int64
	records int
	acks    messages.Acks
	deletes bool

	confirms bool
	known    []record // of a confirm: what was committed when it was asked for
}

// makeBatch is a batch of records whose payload is its id, filled up to size.
func makeBatch(id int64, records, size int) batch.Batch {
	payload := make([]byte, max(8, size-batch.HeaderSize))
	binary.BigEndian.PutUint64(payload, uint64(id))
	f := batch.NoProducer
	f.NumRecords, f.LastOffsetDelta = int32(records), int32(records-1)
	return batch.Assemble(nil, f, payload)
}

// recordOf is the record that a batch stands for; a gap has the id -1.
func recordOf(b batch.Batch) record {
	if b.IsGap() {
		return record{id: -1, base: b.BaseOffset(), next: b.NextOffset(), epoch: b.LeaderEpoch()}
	}
	return record{id: int64(binary.BigEndian.Uint64(b.Payload())), base: b.BaseOffset(), next: b.NextOffset(), epoch: b.LeaderEpoch()}
}

func (w *world) propose(n *node, req *request, size int, deadline int64) {
	n.open[req] = true
	b := makeBatch(req.id, req.records, size)
	n.r.Propose(replica.Proposal{Batches: []batch.Batch{b}, Acks: req.acks, Deadline: deadline, Token: req})
	w.perform(n)
}

// deliver hands the i-th packet over, unless its link is cut.
// confirm has a replica make sure that it leads.
func (w *world) confirm(n *node, req *request, deadline int64) {
	req.confirms, req.known = true, slices.Clone(w.committed)
	n.open[req] = true
	n.r.Confirm(deadline, req)
	w.perform(n)
}

func (w *world) deliver(i int) {
	p := w.net[i]
	w.net = slices.Delete(w.net, i, i+1)
	w.receive(p)
}

func (w *world) receive(p packet) {
	to := w.node(p.to)
	if w.cut[[2]messages.BrokerID{p.from, p.to}] || !to.up {
		w.trace("%d→%d %v: lost", p.from, p.to, &p.m)
		return
	}
	w.trace("%d→%d %v", p.from, p.to, &p.m)
	to.r.Receive(p.from, p.m)
	w.perform(to)
}

// load answers a node's oldest read from its disk.
func (w *world) load(n *node) {
	q := n.reads[0]
	n.reads = n.reads[1:]
	var found []batch.Batch
	size := int64(0)
	for _, b := range n.disk.batches {
		if b.NextOffset() <= q.From {
			continue
		}
		if size += int64(len(b)); len(found) > 0 && size > q.MaxBytes {
			break
		}
		found = append(found, b)
	}
	n.r.Loaded(q, found)
	w.perform(n)
}

func (w *world) tick(n *node) {
	if n.r.Idle() {
		before := len(w.net)
		n.r.Tick(w.now)
		w.perform(n)
		if len(w.net) != before {
			w.wrong("%d: was idle, and sends", n.id)
		}
		return
	}
	n.r.Tick(w.now)
	w.perform(n)
}

var errStopped = errors.New("stopped")

func (w *world) String() string {
	s := ""
	for _, n := range w.nodes {
		s += fmt.Sprintf("%d: %s\n", n.id, n)
	}
	return s
}
