package partition

import (
	"fmt"
	"sync"
	"time"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/persistence/log"
)

// A disk may hang: its calls neither fail nor come back. A replica on it counts as
// failed then, as with any other error of its disk, so that another can lead. Two
// kinds of call are watched, because an actor waits for the one and not for the
// other:
//
//	a flush, which is carried out beside the actor     Machine.Tick finds that it is late
//	a write, a new file, in the actor's turn           the keeper finds that the turn is (findHung)
//
// What hangs cannot be called back, so the log stays open until it has ended, and
// the replica is not opened again before. Until then the supervisor tries.

// hangs is the error of a disk that has not answered for so many ms.
func hangs(ms int64) error {
	return fmt.Errorf("the disk has not answered for %v", (time.Duration(ms) * time.Millisecond).Round(100*time.Millisecond))
}

// age is for how long something has lasted while this process was running, in ms. One
// that was frozen, or starved of processor time, must not take its disk for hung
// when it wakes.
type age struct {
	ms   int64
	seen int64 // on the clock; 0: not yet
}

// maxStep bounds, in ms, what counts between two looks, which are a tick apart when
// all is well.
const maxStep = 500

// grow looks at the clock, and gives the age.
func (a *age) grow(now int64) int64 {
	if a.seen != 0 {
		a.ms += min(now-a.seen, maxStep)
	}
	a.seen = now
	return a.ms
}

// remains is the log of a machine that was abandoned.
type remains struct {
	log     *log.Log
	suspect bool          // a flush has failed
	pending bool          // or was under way
	closed  chan struct{} // closed when the log is
}

// close closes the log, when whatever it is doing has ended.
func (l *remains) close() {
	_ = l.log.Close(false) // why the machine was abandoned is what counts
	close(l.closed)
}

func (l *remains) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// trusted is up to where the log on disk may be believed, or NoOffset if all of it
// may; ok is false if the log is not closed yet.
func (l *remains) trusted() (end messages.Offset, ok bool) {
	if !l.isClosed() {
		return messages.NoOffset, false
	}
	if l.suspect || l.pending && l.log.Err() != nil {
		return l.log.Durable(), true
	}
	return messages.NoOffset, true
}

// takeOver makes what the last incarnation has left this one's.
func (sl *slot) takeOver() {
	if sl.left == nil {
		return
	}
	trusted, ok := sl.left.trusted()
	if !ok {
		panic(messages.E("open partition", messages.StorageError, sl.handle.tp.String(), errStillHung))
	}
	sl.left, sl.trusted = nil, trusted
}

var errStillHung = fmt.Errorf("the disk has not answered yet what it was asked before")

// turn is the turn that a replica's actor is in.
type turn struct {
	mu    sync.Mutex
	under bool  // there is one
	lasts age   // as the keeper has seen it
	hung  error // it has taken too long, and the replica was declared failed
}

func (t *turn) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.under, t.lasts = true, age{}
}

// end ends the turn, and gives the error if the replica was declared failed.
func (t *turn) end() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	hung := t.hung
	t.under, t.hung = false, nil
	return hung
}

// overdue gives an error if the turn takes longer than limit, once. The lock is held.
func (t *turn) overdue(now, limit int64) error {
	if !t.under || t.lasts.grow(now) < limit || t.hung != nil {
		return nil
	}
	t.hung = hangs(t.lasts.ms)
	return t.hung
}

// findHung declares failed the replicas whose actors are held up by their disk.
func (s *Shared) findHung() {
	limit := s.Tuning.DiskTimeout
	if limit == 0 {
		return
	}
	now := s.Stage.clock()
	for _, h := range s.Registry.All() {
		s.lookAtTurn(h, now, limit)
	}
}

// lookAtTurn declares a replica failed if its turn takes too long. The turn cannot end
// meanwhile: what is done here must not be done to the next incarnation.
func (s *Shared) lookAtTurn(h *Handle, now, limit int64) {
	h.turn.mu.Lock()
	defer h.turn.mu.Unlock()
	if err := h.turn.overdue(now, limit); err != nil {
		s.declareFailed(h, err)
	}
}

// declareFailed does for a replica whose actor cannot what it does when it fails
// (replicaActor.fail), as far as that can be done from without. The actor fails
// when its turn ends at last.
func (s *Shared) declareFailed(h *Handle, err error) {
	view := h.View()
	if view == nil {
		return
	}
	cause := messages.E("partition", messages.StorageError, h.tp.String(), err)
	h.publish(&View{Leader: messages.NoBroker, Epoch: view.Epoch, Err: cause})
	h.mail.Divert(refuseWith(cause))
	s.tellFailed(h, view.Leader, view.Epoch)
	s.Log.Error().Err(err).Stringer("partition", h.tp).Msg("a replica is held up by its disk, and counts as failed")
}

// tellFailed lets others go on without a replica that has failed: another may lead in
// its place, and its leader need not wait for it. Nothing is lost if the leader does
// not hear it, or is of a version that does not know what it says: then the replica
// leaves the in-sync set when it has been behind for too long.
func (s *Shared) tellFailed(h *Handle, leader messages.BrokerID, epoch messages.LeaderEpoch) {
	switch leader {
	case messages.NoBroker:
	case s.Self.ID:
		s.Cluster.Resign(h.tp, replica.Resignation{Epoch: epoch, Cause: replica.StorageFailed})
	default:
		m := replica.Message{Type: replica.TypeFailed, Epoch: epoch, BrokerEpoch: s.Self.Epoch}
		_ = s.Cluster.Send(leader, h.topicID, h.tp, &m, nil) // see above
	}
}
