package understudy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"understudy/cluster/consul"
	"understudy/cluster/link"
	"understudy/cluster/membership"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// consulSeat is a node's place in a cluster whose nodes find each other in Consul.
type consulSeat struct {
	*consul.Store
	b      *Broker
	client *consul.Client
	member *membership.Member // nil before Announce
	nodes  *membership.Directory
	signs  [signKinds]atomic.Pointer[consul.Trouble] // what fails; nil: nothing
	told   atomic.Int64                              // when that was logged last, in Unix ns; 0: it is over

	mu   sync.Mutex
	hold *consul.Hold                           // the lock, if it is held
	seen map[messages.BrokerID]membership.Entry // every node that was ever registered
}

var _ rendezvous = (*consulSeat)(nil)

// Where signs of Consul's state come from. An agent may be well that has lost its
// servers, and a question that waits for a change takes long to fail.
const (
	fromAgent   = iota // called several times a second
	fromServers        // every few seconds
	fromStore          // the metadata, watched
	signKinds
)

// joinConsul claims this node's id and opens the metadata.
func (b *Broker) joinConsul(ctx context.Context) (rendezvous, error) {
	client, err := consul.Dial(b.consul)
	if err != nil {
		return nil, err
	}
	wanted := messages.NoBroker
	if b.cfg.Chosen("node.id") {
		wanted = b.cfg.NodeID
	}
	s := &consulSeat{b: b, client: client, seen: map[messages.BrokerID]membership.Entry{}}
	if err := s.settle(ctx, wanted); err != nil {
		return nil, err
	}
	if wanted == messages.NoBroker {
		wanted = b.identity.Node
	}
	id, err := s.claim(ctx, wanted, func() error { return b.identity.write(b.files) })
	if err != nil {
		return nil, err
	}
	b.identity.Node, b.cfg.NodeID = id, id
	b.static = b.cfg.StaticSettings()
	s.Store, err = consul.Open(consul.Options{
		Client: client, Cluster: b.cfg.Cluster, Broker: id, ClusterID: b.identity.ClusterID, Session: s.session,
		Events: s.stored,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// settle finds out whose the data directory is.
func (s *consulSeat) settle(ctx context.Context, wanted messages.BrokerID) (err error) {
	alone, err := ranAlone(s.b.files)
	if err == nil && alone && s.b.adopts {
		err = s.adopt(ctx, wanted)
	}
	if err != nil {
		return err
	}
	if s.b.identity, err = readIdentity(s.b.files, s.b.cfg.Cluster, wanted); err != nil {
		return err
	}
	return setAside(s.b.files)
}

// stored is what calls about the metadata show.
func (s *consulSeat) stored(e consul.Event) { s.heard(fromStore, e) }

// claim claims an id for this data directory, or any that is free. before is called
// when that is about to be written; nil: nothing is.
func (s *consulSeat) claim(ctx context.Context, wanted messages.BrokerID, before func() error) (messages.BrokerID, error) {
	host, port, err := s.b.cfg.Advertised(s.b.listener.Addr())
	if err != nil {
		return wanted, err
	}
	return membership.ClaimID(ctx, membership.ClaimOptions{
		Client: s.client, Cluster: s.b.cfg.Cluster, Node: wanted,
		Claim:  membership.Claim{Directory: s.b.identity.Directory, Host: host, Port: int32(port)},
		Before: before, Events: s.registered,
	})
}

func (s *consulSeat) session(ctx context.Context) (consul.Session, error) {
	return s.member.Session(ctx)
}

// Announce registers this node as a service.
func (s *consulSeat) Announce(self metadata.Broker, peer link.Peer) error {
	var err error
	s.member, err = membership.Join(membership.Options{
		Client: s.client, Cluster: s.b.cfg.Cluster,
		Node: membership.Node{
			ID: self.ID, Host: self.Host, Port: self.Port, Link: peer.Addr, Admin: self.Admin, Rack: self.Rack,
			Version: version(), Epoch: peer.Epoch,
		},
		Events: s.registered,
	})
	return err
}

// registered is what happens to this node's registration.
func (s *consulSeat) registered(e membership.Event) {
	switch e := e.(type) {
	case membership.Agent:
		s.heard(fromAgent, e.Event)
	case membership.Servers:
		s.heard(fromServers, e.Event)
	case membership.Forgotten:
		s.b.happened(zerolog.WarnLevel, Event{Kind: "registration-lost", Subject: nodeName(e.Node), Cause: e.Cause.Error(), Text: e.String()})
	case membership.Registered:
		if e.Again {
			s.b.happened(zerolog.InfoLevel, Event{Kind: "registration-renewed", Subject: nodeName(e.Node), Text: e.String()})
			return
		}
		s.b.log.Info().Msg(e.String())
	case membership.SessionEnded:
		if s.b.node.ctx.Err() != nil { // this node leaves
			s.b.log.Debug().Msg(e.String())
			return
		}
		s.b.happened(zerolog.WarnLevel, Event{Kind: "session-ended", Subject: nodeName(e.Node), Cause: e.Cause, Text: e.String()})
	default:
		s.b.log.Info().Msg(e.String())
	}
}

// reminded is how often trouble that lasts is logged. Several parts of this node
// have trouble with Consul at the same time; it is told as one.
const reminded = 25 * time.Second

// heard is what calls to Consul show of its state.
func (s *consulSeat) heard(from int, e consul.Event) {
	level := zerolog.InfoLevel
	switch e := e.(type) {
	case consul.Trouble:
		s.signs[from].Store(&e)
		now, last := time.Now().UnixNano(), s.told.Load()
		if level = zerolog.DebugLevel; now-last > int64(reminded) && s.told.CompareAndSwap(last, now) {
			level = zerolog.WarnLevel
		}
	case consul.Reached:
		s.signs[from].Store(nil)
		if s.agentTrouble() != nil || s.told.Swap(0) == 0 {
			level = zerolog.DebugLevel
		}
	case consul.DataLost:
		level = zerolog.DebugLevel // standing tells
		s.b.node.work.Go(s.reclaim)
	}
	s.b.log.WithLevel(level).Msg(e.String())
}

// agentTrouble is what fails, or nil.
func (s *consulSeat) agentTrouble() error {
	for i := range s.signs {
		if t := s.signs[i].Load(); t != nil {
			return errors.New(t.String())
		}
	}
	return nil
}

// Reachable reports whether calls succeed.
func (s *consulSeat) Reachable() bool { return s.agentTrouble() == nil }

// Trouble is what is wrong with Consul.
func (s *consulSeat) Trouble() error {
	if err := s.Store.Lost(); err != nil {
		return err
	}
	return s.agentTrouble()
}

// reclaim claims this node's id again, which Consul has forgotten with all the
// rest: a new node must not get it.
func (s *consulSeat) reclaim() {
	if _, err := s.claim(s.b.node.ctx, s.b.cfg.NodeID, nil); err != nil && s.b.node.ctx.Err() == nil {
		s.b.log.Error().Err(err).Msg("consul has forgotten who has this node's id, and it cannot be claimed again")
	}
}

// lostPause is how long it takes to look again whether metadata that was lost is
// there again.
const lostPause = 250 * time.Millisecond

// Watch is that of the Store, which is told first what the other nodes have told
// this one: it may never have read it.
func (s *consulSeat) Watch(ctx context.Context, after int64) (int64, error) {
	im := s.b.cell.Image()
	s.Store.Know(im.ClusterID, im.Revision)
	return s.Store.Watch(ctx, after)
}

// Load waits while the metadata is lost or not complete: what is there is not the
// cluster's.
func (s *consulSeat) Load(ctx context.Context) (metadata.State, error) {
	for first := true; ; first = false {
		state, err := s.Store.Load(ctx)
		if !errors.Is(err, consul.ErrDataLost) && !errors.Is(err, consul.ErrRestoring) {
			return state, err
		}
		if first {
			s.b.log.Info().Err(err).Msg("waiting for the metadata; `understudy cluster restore` writes it back")
		}
		select {
		case <-time.After(lostPause):
		case <-ctx.Done():
			return metadata.State{}, err
		}
	}
}

// Commit has who commits read again, and thereby wait, while the metadata is lost.
// Nothing was written then.
func (s *consulSeat) Commit(ctx context.Context, txn metadata.Txn) (int64, error) {
	revision, err := s.Store.Commit(ctx, txn)
	if errors.Is(err, consul.ErrDataLost) || errors.Is(err, consul.ErrRestoring) {
		err = fmt.Errorf("%w: %w", metadata.ErrConflict, err)
	}
	return revision, err
}

// Restore writes the metadata back.
func (s *consulSeat) Restore(ctx context.Context, state metadata.State, replace bool) error {
	return s.Store.Restore(ctx, state, consul.RestoreOptions{Replace: replace})
}

// Follow tells where the nodes are. One that is not registered any more stays
// known as long as it is a broker of the cluster: Consul may have forgotten it, and
// that makes nobody leave.
func (s *consulSeat) Follow(ctx context.Context, tell func(map[messages.BrokerID]link.Peer)) {
	s.nodes = membership.Follow(s.client, s.b.cfg.Cluster, func(list []membership.Entry, _ []membership.Event) {
		s.mu.Lock()
		brokers := s.b.cell.Image()
		for id, e := range s.seen {
			e.Passing = false
			s.seen[id] = e
			if brokers.Broker(id) == nil {
				delete(s.seen, id)
			}
		}
		for _, e := range list {
			if e.Link != "" {
				s.seen[e.ID] = e
			}
		}
		seen := maps.Clone(s.seen)
		s.mu.Unlock()
		peers := make(map[messages.BrokerID]link.Peer, len(seen))
		for id, e := range seen {
			peers[id] = link.Peer{Addr: e.Link, Epoch: e.Epoch}
		}
		tell(peers)
	})
	<-ctx.Done()
	s.nodes.Close()
}

// Acquire waits for the controller's lock.
func (s *consulSeat) Acquire(ctx context.Context) (<-chan struct{}, error) {
	hold, err := s.Store.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.hold = hold
	s.mu.Unlock()
	s.member.SetController(true)
	return hold.Lost(), nil
}

// Release lets the lock go, if it is held.
func (s *consulSeat) Release(ctx context.Context) error {
	s.mu.Lock()
	hold := s.hold
	s.hold = nil
	s.mu.Unlock()
	s.member.SetController(false)
	if hold == nil || hold.Cause() != nil {
		return nil
	}
	return hold.Release(ctx)
}

// Depose ends the session of a controller that is gone.
func (s *consulSeat) Depose(ctx context.Context, id messages.BrokerID) error {
	holder, err := s.Store.Holder(ctx)
	if err != nil || holder.Broker != id || holder.Session == "" {
		return err
	}
	return s.Store.Depose(ctx, holder.Session)
}

// Alive reports whether a node passes its check.
func (s *consulSeat) Alive(id messages.BrokerID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[id].Passing
}

// Forget frees a node's id.
func (s *consulSeat) Forget(ctx context.Context, id messages.BrokerID) error {
	return membership.ReleaseID(ctx, s.client, s.b.cfg.Cluster, id)
}

// Leave deregisters the node.
func (s *consulSeat) Leave(ctx context.Context) error {
	var err error
	if s.member != nil {
		err = s.member.Leave(ctx)
	}
	return errors.Join(err, s.Store.Close())
}

// reachable is where other nodes find a listener: under the name that clients are
// told, if it listens on every address.
func reachable(bound net.Addr, advertised string) (string, error) {
	host, port, err := net.SplitHostPort(bound.String())
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = advertised
	}
	return net.JoinHostPort(host, port), nil
}
