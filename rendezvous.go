package understudy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"understudy/cluster/consul"
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
	// Trouble is what is wrong: that it cannot be reached, or consul.ErrDataLost. nil:
	// nothing.
	Trouble() error
	// Restore writes back metadata that was lost. What is there must be nothing, or
	// is replaced.
	Restore(ctx context.Context, state metadata.State, replace bool) error
	// Forget frees the id of a node that was removed from the cluster for good.
	Forget(context.Context, messages.BrokerID) error
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

// standing is how it stands with the rendezvous.
//
//	well ◀──reached again── away
//	 │ ▲                     ▲ │
//	 │ └──written back── lost ◀┘   it has forgotten the metadata
type standing struct {
	mu      sync.Mutex
	trouble error // nil: well
	since   time.Time
}

// String says it in words: "ok", or "away since 2026-03-01T12:00:00Z: ...".
func (s *standing) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble == nil {
		return "ok"
	}
	word := "away"
	if lost(s.trouble) {
		word = "metadata lost"
	}
	return fmt.Sprintf("%s since %s: %v", word, s.since.UTC().Format(time.RFC3339), s.trouble)
}

// lost reports whether the metadata is what is in trouble.
func lost(trouble error) bool { return errors.Is(trouble, consul.ErrDataLost) }

// review takes note of how it stands, and gives the event if that is another way.
func (s *standing) review(trouble error) (e Event, level zerolog.Level, news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, since := s.trouble, time.Since(s.since).Round(time.Millisecond)
	if (trouble == nil) == (before == nil) && lost(trouble) == lost(before) {
		return e, 0, false
	}
	s.trouble, s.since = trouble, time.Now()
	e.Subject = "rendezvous"
	switch {
	case lost(trouble):
		e.Kind, e.Cause = "metadata-lost", trouble.Error()
		e.Text = "the cluster's metadata is lost: this node goes on with its own copy, and nothing can be decided; `understudy cluster restore` writes it back; cause: " + e.Cause
		return e, zerolog.ErrorLevel, true
	case trouble != nil:
		e.Kind, e.Cause = "rendezvous-away", trouble.Error()
		e.Text = "the rendezvous is away: partitions go on as they are, and nothing can be decided; cause: " + e.Cause
		return e, zerolog.WarnLevel, true
	case lost(before):
		e.Kind, e.Text = "metadata-back", fmt.Sprintf("the cluster's metadata is there again after %v", since)
	default:
		e.Kind, e.Text = "rendezvous-back", fmt.Sprintf("the rendezvous is back after %v", since)
	}
	return e, zerolog.InfoLevel, true
}

// blame gives an error that comes of the rendezvous being away, or having lost the
// metadata, its cause. Whoever asked may ask again.
func (n *node) blame(err error) error {
	kind := messages.KindOf(err)
	if err == nil || kind != messages.RequestTimedOut && kind != messages.NotController {
		return err
	}
	if trouble := n.r.Trouble(); trouble != nil {
		return messages.E("controller", messages.RequestTimedOut, "", fmt.Errorf("nothing can be decided at the moment: %w", trouble))
	}
	return err
}
