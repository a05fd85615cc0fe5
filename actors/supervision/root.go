package supervision

import (
	"context"
	"slices"

	"github.com/asynkron/protoactor-go/actor"
)

// Root is the actor at the top of a broker's tree:
//
//	broker ─┬─ controller   decides: topics, settings, leaders
//	        ├─ groups        consumer groups, by the partition of the offsets topic that has them
//	        └─ partitions ─┬─ orders-0   one actor per local replica
//	                       ├─ orders-1
//	                       └─ …
//
// It does nothing but restart its children when they fail.
type Root struct {
	system *actor.ActorSystem
	pid    *actor.PID
}

type spawn struct {
	name  string
	props *actor.Props
	reply chan spawned // has room for one
}

type spawned struct {
	pid *actor.PID
	err error
}

type stop struct {
	pid   *actor.PID
	ended chan struct{} // closed when it has ended
}

// NewRoot starts an actor system and the actor at its top.
func NewRoot(strategy actor.SupervisorStrategy) (*Root, error) {
	system := NewSystem()
	props := actor.PropsFromProducer(func() actor.Actor { return &root{ending: map[string][]chan struct{}{}} },
		actor.WithSupervisor(strategy))
	pid, err := system.Root.SpawnNamed(props, "broker")
	if err != nil {
		system.Shutdown()
		return nil, err
	}
	return &Root{system, pid}, nil
}

// root is the actor. It learns of a child's end as its parent, which is after the
// end of all that is below: a watcher that comes while an actor is stopping is
// told at once that it has.
type root struct{ ending map[string][]chan struct{} }

func (r *root) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *spawn:
		pid, err := c.SpawnNamed(m.props, m.name)
		m.reply <- spawned{pid, err}
	case *stop:
		if !slices.ContainsFunc(c.Children(), m.pid.Equal) {
			close(m.ended)
			return
		}
		r.ending[m.pid.Id] = append(r.ending[m.pid.Id], m.ended)
		c.Stop(m.pid)
	case *actor.Terminated:
		for _, ended := range r.ending[m.Who.Id] {
			close(ended)
		}
		delete(r.ending, m.Who.Id)
	}
}

// System is the actor system that the tree is in.
func (r *Root) System() *actor.ActorSystem { return r.system }

// Spawn starts an actor below the root.
func (r *Root) Spawn(name string, props *actor.Props) (*actor.PID, error) {
	m := &spawn{name, props, make(chan spawned, 1)}
	r.system.Root.Send(r.pid, m)
	s := <-m.reply
	return s.pid, s.err
}

// Stop stops an actor that was spawned here and all that are below it, and
// returns when they have ended or with the context's error.
func (r *Root) Stop(ctx context.Context, pid *actor.PID) error {
	m := &stop{pid, make(chan struct{})}
	r.system.Root.Send(r.pid, m)
	select {
	case <-m.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Shutdown ends the tree and the system. It does not wait for the actors: stop
// those that have something to finish before.
func (r *Root) Shutdown() {
	r.system.Root.Stop(r.pid)
	r.system.Shutdown()
}
