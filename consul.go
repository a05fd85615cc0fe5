package understudy

import (
	"context"
	"errors"
	"maps"
	"net"
	"sync"
	"sync/atomic"

	"understudy/cluster/consul"
	"understudy/cluster/link"
	"understudy/cluster/membership"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// consulSeat is a node's place in a cluster whose nodes find each other in Consul.
type consulSeat struct {
	*consul.Store
	b       *Broker
	client  *consul.Client
	member  *membership.Member // nil before Announce
	nodes   *membership.Directory
	trouble atomic.Bool // calls to the agent fail

	mu   sync.Mutex
	hold *consul.Hold                           // the lock, if it is held
	seen map[messages.BrokerID]membership.Entry // every node that was ever registered
}

var _ rendezvous = (*consulSeat)(nil)

// joinConsul claims this node's id and opens the metadata.
func (b *Broker) joinConsul(ctx context.Context) (rendezvous, error) {
	client, err := consul.Dial(consul.Config{Address: b.cfg.Consul})
	if err != nil {
		return nil, err
	}
	host, port, err := b.cfg.Advertised(b.listener.Addr())
	if err != nil {
		return nil, err
	}
	wanted := messages.NoBroker
	if b.cfg.Chosen("node.id") {
		wanted = b.cfg.NodeID
	}
	if b.identity, err = readIdentity(b.files, b.cfg.Cluster, wanted); err != nil {
		return nil, err
	}
	if wanted == messages.NoBroker {
		wanted = b.identity.Node
	}
	id, err := membership.ClaimID(ctx, membership.ClaimOptions{
		Client: client, Cluster: b.cfg.Cluster, Node: wanted,
		Claim:  membership.Claim{Directory: b.identity.Directory, Host: host, Port: int32(port)},
		Events: func(e membership.Event) { b.log.Info().Msg(e.String()) },
	})
	if err != nil {
		return nil, err
	}
	b.identity.Node, b.cfg.NodeID = id, id
	b.static = b.cfg.StaticSettings()
	s := &consulSeat{b: b, client: client, seen: map[messages.BrokerID]membership.Entry{}}
	s.Store, err = consul.Open(consul.Options{
		Client: client, Cluster: b.cfg.Cluster, Broker: id, ClusterID: b.identity.ClusterID, Session: s.session,
		Events: func(e consul.Event) { b.log.Info().Msg(e.String()) },
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *consulSeat) session(ctx context.Context) (consul.Session, error) {
	return s.member.Session(ctx)
}

// Announce registers this node as a service.
func (s *consulSeat) Announce(self metadata.Broker, peer link.Peer) error {
	var err error
	s.member, err = membership.Join(membership.Options{
		Client: s.client, Cluster: s.b.cfg.Cluster,
		Node:   membership.Node{ID: self.ID, Host: self.Host, Port: self.Port, Link: peer.Addr, Rack: self.Rack, Epoch: peer.Epoch},
		Events: s.told,
	})
	return err
}

// told is what happens to the registration. The agent is called several times a
// second, so that it is known at once whether it can be reached.
func (s *consulSeat) told(e membership.Event) {
	if agent, ok := e.(membership.Agent); ok {
		_, trouble := agent.Event.(consul.Trouble)
		s.trouble.Store(trouble)
	}
	s.b.log.Info().Msg(e.String())
}

// Follow tells where the nodes are. One that is not registered any more stays
// known: Consul may have forgotten it, and that makes nobody leave.
func (s *consulSeat) Follow(ctx context.Context, tell func(map[messages.BrokerID]link.Peer)) {
	s.nodes = membership.Follow(s.client, s.b.cfg.Cluster, func(list []membership.Entry, _ []membership.Event) {
		s.mu.Lock()
		for id, e := range s.seen {
			e.Passing = false
			s.seen[id] = e
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

// Reachable reports whether the agent answers.
func (s *consulSeat) Reachable() bool { return !s.trouble.Load() }

// Leave deregisters the node.
func (s *consulSeat) Leave(ctx context.Context) error {
	var err error
	if s.member != nil {
		err = s.member.Leave(ctx)
	}
	return errors.Join(err, s.Store.Close())
}

// linkAddr is where other nodes find a listener: under the name that clients are
// told, if it listens on every address.
func linkAddr(bound net.Addr, advertised string) (string, error) {
	host, port, err := net.SplitHostPort(bound.String())
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = advertised
	}
	return net.JoinHostPort(host, port), nil
}
