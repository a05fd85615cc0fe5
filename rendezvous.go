package understudy

import (
	"context"

	"understudy/cluster/link"
	"understudy/cluster/local"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// rendezvous is where the nodes of a cluster find each other, agree on who is
// the controller, and keep the metadata. As a store it takes what the controller
// writes, and from nobody else. While it cannot be reached its calls wait.
type rendezvous interface {
	metadata.Store

	// Announce makes this node known to the others.
	Announce(metadata.Broker, link.Peer) error
	// Follow tells who is where, now and whenever it changes, until ctx ends.
	Follow(ctx context.Context, tell func(map[messages.BrokerID]link.Peer))
	// Acquire waits until this node is the one that may be the controller; lost is
	// closed when it may be no longer.
	Acquire(ctx context.Context) (lost <-chan struct{}, err error)
	// Release ends that.
	Release(context.Context) error
	// Depose ends it for another node, which is known to be gone.
	Depose(context.Context, messages.BrokerID) error
	// Alive reports whether a node is heard of there: a witness for whoever does not
	// hear it.
	Alive(messages.BrokerID) bool
	// Reachable reports whether calls succeed at the moment.
	Reachable() bool
	// Leave takes this node back.
	Leave(context.Context) error
}

var _ rendezvous = (*local.Seat)(nil)

// WithHub makes the broker one of a cluster within this process.
func WithHub(hub *local.Hub) Option {
	return func(b *Broker) {
		b.join = func(context.Context) (rendezvous, error) {
			var err error
			if b.identity, err = readIdentity(b.files, b.network.cluster, b.cfg.NodeID); err != nil {
				return nil, err
			}
			seat, err := hub.Join(b.cfg.NodeID)
			if err != nil {
				return nil, err
			}
			return seat, nil
		}
	}
}
