package understudy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"understudy/actors/controller"
	"understudy/cluster/link"
	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/kafka"
	"understudy/messages"
)

// node is what makes a broker one of several: its connections to the others, its
// part in choosing a controller, and its eye on who is up.
//
//	rendezvous ──who is where──▶ link ◀──messages of replicas──▶ other nodes
//	    │  ▲                      │  ▲
//	    │  └──the lock── govern   │  └──requests── ask, wishes, push
//	    │                         └──what is seen──▶ watch ──▶ controller, replicas
//	    └──metadata──▶ follow, learn ──▶ cell
type node struct {
	b    *Broker
	r    rendezvous
	self metadata.Broker // Epoch is this start's

	began    time.Time
	doubtful bool // what the last run wrote may be missing
	unsure   bool // the metadata is lost, and the image is this node's own copy
	link     *link.Link

	active atomic.Bool // this node's controller decides
	dead   atomic.Bool // set by tests: nothing is done in order any more
	wishes wishes
	eye    eye
	out    outboxes
	lore   lore

	throttle *throttle // of what replicas elsewhere are sent to catch up

	ctx  context.Context // ends when the node stops
	stop context.CancelFunc

	candidacy context.Context // ends when the node begins to stop: it becomes the controller no more
	abstain   context.CancelFunc
	work      sync.WaitGroup
}

// network is where and how a node listens and dials; tests put something in between.
type network struct {
	cluster string // name of the cluster
	addr    string // host:port for the other nodes
	listen  func(ctx context.Context, addr string) (net.Listener, error)
	dial    func(ctx context.Context, addr string) (net.Conn, error)
}

func listenTCP(ctx context.Context, addr string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", addr)
}

func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

func (n *node) member() replica.Member { return replica.Member{ID: n.self.ID, Epoch: n.self.Epoch} }

// openCluster joins the cluster: it returns when this broker is registered, so
// that every epoch it led before has ended.
func (b *Broker) openCluster(ctx context.Context) error {
	r, err := b.join(ctx)
	if err != nil {
		return err
	}
	n := &node{b: b, r: r, began: time.Now(), wishes: newWishes(), eye: newEye(), out: newOutboxes(), lore: newLore(), throttle: newThrottle(b.cfg.NodeID, b.static)}
	n.ctx, n.stop = context.WithCancel(context.Background())
	n.candidacy, n.abstain = context.WithCancel(n.ctx)
	b.node = n
	if b.returned == nil {
		b.returned = n.returned
	}
	b.onStop("leave the cluster", func(ctx context.Context) error {
		if err := r.Leave(ctx); err != nil { // the others see it by themselves, as that of a node that was killed
			b.log.Warn().Err(err).Msg("the cluster was not told that this node has stopped")
		}
		return nil
	})
	if err := n.identify(ctx); err != nil {
		return err
	}
	if err := b.startController(r); err != nil {
		return err
	}
	b.onStop("end the node's work", func(context.Context) error {
		n.stop()
		n.work.Wait()
		return nil
	})
	// The links end before the lock is let go: the next controller finds this node gone.
	if err := n.connect(ctx); err != nil {
		return err
	}
	for _, work := range []func(){n.follow, n.catchUp, n.push, n.govern, n.watch, n.wish} {
		n.work.Go(work)
	}
	if n.unsure { // whoever is to write it back must be able to ask for it
		if err := b.serveAdmin(ctx); err != nil {
			return err
		}
	}
	if err := n.register(ctx); err != nil {
		return err
	}
	b.self = n.self
	b.identity.ClusterID = b.cell.Image().ClusterID
	b.identity.Run = b.thisRun()
	n.work.Go(n.keepCopy)
	return errors.Join(b.identity.write(b.files), b.refuseForgotten())
}

// identify reads the metadata, from which follows which start of the broker
// this is. Nobody else has this id, so nobody else takes the number.
func (n *node) identify(ctx context.Context) error {
	image, err := n.firstImage(ctx)
	if err != nil {
		return err
	}
	if err := n.b.identity.refuseOther(image); err != nil {
		return err
	}
	host, port, err := n.b.cfg.Advertised(n.b.listener.Addr())
	if err != nil {
		return err
	}
	n.self = metadata.Broker{
		ID: n.b.cfg.NodeID, Epoch: max(image.NextEpoch(n.b.cfg.NodeID), n.b.identity.Run.Epoch+1), Host: host, Port: int32(port), Rack: n.b.cfg.Rack, Admin: n.b.adminAddress(host),
		Directory: n.b.identity.Directory,
	}
	if err := controller.CheckDirectory(image, n.self, n.b.static); err != nil {
		return err
	}
	if err := n.b.identity.write(n.b.files); err != nil {
		return err
	}
	n.doubtful = !n.b.keptAll(n.self.Epoch)
	n.b.events.identify(n.self.ID, n.self.Epoch)
	n.b.cell.Publish(metadata.Change{New: image})
	return nil
}

// read reads the metadata anew.
func (n *node) read(ctx context.Context) (*metadata.Image, error) {
	state, err := n.r.Load(ctx)
	if err != nil {
		return nil, err
	}
	return metadata.Build(state)
}

// connect starts the link and makes it known where it is.
func (n *node) connect(ctx context.Context) error {
	listener, err := n.b.network.listen(ctx, n.b.network.addr)
	if err != nil {
		return err
	}
	o := link.Options{
		Self: n.member(), ClusterID: n.b.network.cluster, Listener: listener, Dial: n.b.network.dial,
		OnMessage: n.b.replicas.Deliver, OnEvent: n.saw, OnRequest: n.answer,
		MaxPayload: maxPayload(n.b.cfg.Limits.RequestBytes), Versions: link.Known.UpTo(uint8(n.b.cfg.LinkVersionMax)),
	}
	if err = n.b.trust(&o); err == nil {
		n.link, err = link.New(o)
	}
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	n.b.onStop("close the links", func(context.Context) error { n.link.Close(); return nil })
	addr := n.b.cfg.LinkAdvertise
	if addr == "" {
		if addr, err = reachable(listener.Addr(), n.self.Host); err != nil {
			return err
		}
	}
	if err := n.r.Announce(n.self, link.Peer{Addr: addr, Epoch: n.self.Epoch}); err != nil {
		return err
	}
	n.work.Go(func() { n.r.Follow(n.ctx, n.link.SetPeers) })
	return nil
}

// maxPayload is the most bytes of batches that one message between nodes may hold,
// if clients' requests have so many: a batch that was taken must get through, also one
// that the broker has unpacked or packed again, whatever the request's size.
func maxPayload(request int64) int {
	const least, most = kafka.MaxUnpacked + kafka.MaxUnpacked/8, 1 << 30
	return int(min(max(request+request/8, least), most))
}

// register enters this start of the broker into the metadata, and returns when
// the image shows it.
func (n *node) register(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case err := <-n.eye.refused:
			cancel(err)
		case <-ctx.Done():
		}
	}()
	for {
		if n.registered(n.b.cell.Image()) {
			return nil
		}
		if err := n.overtaken(); err != nil {
			return err
		}
		// An error may mean that an earlier attempt was carried out after all, or
		// that there is no controller yet: the image tells.
		_, err := ask(ctx, n, registering, registration{n.self, n.doubtful})
		switch {
		case ctx.Err() != nil:
			return errors.Join(errors.New("no controller has registered this node"), context.Cause(ctx), err)
		case messages.KindOf(err) == messages.InvalidConfig:
			return err
		}
		if err != nil && messages.KindOf(err) != messages.InvalidRequest {
			n.b.log.Warn().Err(err).Msg("not registered with the controller yet")
		}
		n.awaitImage(ctx, retryPause, n.registered)
	}
}

// registered reports whether an image has this start of the broker.
func (n *node) registered(im *metadata.Image) bool {
	b := im.Broker(n.self.ID)
	return b != nil && b.Epoch == n.self.Epoch
}

// overtaken says why this start of the node can never be registered, or is not any more:
// its broker epoch is not newer than those of brokers that were removed from the cluster,
// this one perhaps, since the node began to start. nil: it can, or is.
func (n *node) overtaken() error {
	im := n.b.cell.Image()
	if n.registered(im) || im.NextEpoch(n.self.ID) <= n.self.Epoch {
		return nil
	}
	return messages.E("register broker", messages.InvalidConfig, fmt.Sprint("node ", n.self.ID),
		fmt.Errorf("brokers were removed from the cluster since this start of the node, in broker epoch %d; the next would be %d: start it again", n.self.Epoch, im.NextEpoch(n.self.ID)))
}

// awaitRevision waits until the image is as new as that of a revision, or for at most
// so long, and reports whether it is.
func (n *node) awaitRevision(ctx context.Context, most time.Duration, revision int64) bool {
	return n.awaitImage(ctx, most, func(im *metadata.Image) bool { return im.Revision >= revision })
}

// awaitImage waits until the image is as wanted, or for at most so long, and
// reports whether it is.
func (n *node) awaitImage(ctx context.Context, most time.Duration, wanted func(*metadata.Image) bool) bool {
	timer := time.NewTimer(most)
	defer timer.Stop()
	for {
		im, next := n.b.cell.Next()
		if wanted(im) {
			return true
		}
		select {
		case <-next:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		case <-n.ctx.Done():
			return false
		}
	}
}

// handOverWithin bounds how long a node that stops waits for others to lead in
// its place.
const handOverWithin = time.Second

// handOver has others lead what this node leads. It is the first step of an
// orderly stop: clients are told where to go while they are still served.
func (n *node) handOver(ctx context.Context) error {
	if n.dead.Load() {
		return nil
	}
	n.abstain()
	ctx, cancel := leavingTime(ctx, handOverWithin, 0)
	defer cancel()
	n.depart(ctx)
	if _, err := ask(ctx, n, leaving, n.member()); err != nil {
		n.b.log.Warn().Err(err).Msg("stopping without having handed over what this node leads")
		return nil
	}
	n.awaitImage(ctx, handOverWithin, func(im *metadata.Image) bool { return !leads(im, n.self.ID) })
	return nil
}

// depart tells the other nodes that this one will not be in sync for long.
func (n *node) depart(ctx context.Context) {
	var told sync.WaitGroup
	for id, p := range n.peers() {
		if p.State == link.Connected {
			told.Go(func() {
				var none struct{}
				if err := request(ctx, n, id, departing, n.member(), &none); err != nil {
					n.b.log.Debug().Err(err).Int32("node", id).Msg("a node was not told that this one stops")
				}
			})
		}
	}
	told.Wait()
}

// leads reports whether a broker leads any partition.
func leads(im *metadata.Image, id messages.BrokerID) bool {
	for t := range im.Topics() {
		for i := range t.Partitions {
			if t.Partitions[i].Leader == id {
				return true
			}
		}
	}
	return false
}

// takeover is the node's wish to be the controller, as things stand.
func (n *node) takeover() controller.Takeover {
	return controller.Takeover{Self: n.self, Register: !n.registered(n.b.cell.Image()), Doubtful: n.doubtful, Down: n.knownDown}
}
