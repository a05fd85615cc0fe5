package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/consul/api"

	"understudy/cluster/metadata"
	"understudy/messages"
)

// Session is a session of Consul's that this broker keeps alive. It ends by
// itself soon after the broker no longer does.
type Session struct {
	ID   string
	Gone <-chan struct{} // closed when the session is known to have ended
}

// ErrReleased is the Cause of a lock that its holder has let go.
var ErrReleased = errors.New("released")

// Hold is the controller's lock while this broker holds it.
//
//	Acquire ──▶ waiting ──▶ held ──Release──▶ lost (ErrReleased)
//	               ▲          │
//	               │          ├─ the session has ended ──────────▶ lost
//	               └──taken───┤
//	                          └─ the key is another's, or gone ──▶ lost
//
// Being cut off from Consul loses nothing by itself: every transaction checks
// the lock, so a holder that is none any more can write nothing.
type Hold struct {
	s       *Store
	session string
	stop    context.CancelFunc
	once    sync.Once
	lost    chan struct{}
	cause   error // set before lost is closed
}

// Session is the id of the session that holds the lock.
func (h *Hold) Session() string { return h.session }

// Lost is closed when the lock is no longer held.
func (h *Hold) Lost() <-chan struct{} { return h.lost }

// Cause says why the lock was lost, once Lost is closed.
func (h *Hold) Cause() error {
	select {
	case <-h.lost:
		return h.cause
	default:
		return nil
	}
}

func (h *Hold) lose(cause error) {
	h.once.Do(func() {
		h.cause = cause
		h.stop()
		h.s.mu.Lock()
		if h.s.hold == h {
			h.s.hold = nil
		}
		h.s.mu.Unlock()
		h.s.o.Events(Unlocked{Broker: h.s.o.Broker, Session: h.session, Cause: cause})
		close(h.lost)
	})
}

// lostLock is told by a transaction that met another session than its own, or none,
// at the lock. It may have been begun before the lock was taken with the present one.
func (s *Store) lostLock(session string, cause error) {
	s.mu.Lock()
	h := s.hold
	s.mu.Unlock()
	if h != nil && h.session == session {
		h.lose(cause)
	}
}

// Locked gives the session that holds the lock for this broker, as far as it knows.
func (s *Store) Locked() (session string, held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold == nil {
		return "", false
	}
	return s.hold.session, true
}

// lockKey is the key of the lock: the one that names the controller.
func (s *Store) lockKey() string { return s.o.Prefix + metadata.ControllerKey }

// lockValue is what the key says while broker has the lock.
func lockValue(broker messages.BrokerID) []byte {
	value, err := json.Marshal(struct {
		Broker messages.BrokerID `json:"broker"`
	}{broker})
	if err != nil {
		panic("consul: " + err.Error()) // a plain number
	}
	return value
}

// Acquire waits until this broker holds the controller's lock. It ends without
// it only when ctx ends, when Consul refuses the token, or the Store is closed.
func (s *Store) Acquire(ctx context.Context) (*Hold, error) {
	ctx, cancel := s.bind(ctx)
	defer cancel()
	if s.o.Session == nil {
		return nil, messages.E("acquire lock", messages.InvalidConfig, s.lockKey(), errors.New("there are no sessions"))
	}
	b := NewBackoff()
	for {
		session, err := s.o.Session(ctx)
		if err == nil {
			var index uint64
			if index, err = s.tryLock(ctx, session); err == nil && index > 0 {
				return s.held(session, index), nil
			}
		}
		if ended := s.ended(ctx); ended != nil {
			return nil, ended
		}
		if err != nil && FaultOf(err) == Refused {
			return nil, err
		}
		if err == nil {
			err = s.awaitFree(ctx, session)
		}
		if err == nil {
			b.Reset()
		}
		// Also after a success: the lock may be free and yet delayed.
		if b.Pause(ctx) != nil {
			return nil, s.ended(ctx)
		}
	}
}

// tryLock makes one attempt and gives the key's index if the lock is ours. An
// attempt without an answer is simply made again: it is the same session's.
func (s *Store) tryLock(ctx context.Context, session Session) (index uint64, err error) {
	err = s.lockCall(ctx, "acquire lock", func(ctx context.Context) error {
		o, cancel := s.o.Client.Write(ctx)
		defer cancel()
		_, _, err := s.o.Client.api.KV().Acquire(&api.KVPair{Key: s.lockKey(), Value: lockValue(s.o.Broker), Session: session.ID}, o)
		return err
	})
	if err != nil {
		return 0, err
	}
	pair, err := s.readLock(ctx)
	if err != nil || pair == nil || pair.Session != session.ID {
		return 0, err
	}
	return pair.ModifyIndex, nil
}

// lockCall makes one call about the lock.
func (s *Store) lockCall(ctx context.Context, op string, call func(context.Context) error) error {
	if err := s.contact.Note(ctx, op, call(ctx)); err != nil {
		return failure(op, s.lockKey(), err)
	}
	return nil
}

// readLock reads the lock's key, as of now; nil if there is none.
func (s *Store) readLock(ctx context.Context) (pair *api.KVPair, err error) {
	err = s.lockCall(ctx, "read lock", func(ctx context.Context) (err error) {
		o, cancel := s.o.Client.Read(ctx)
		defer cancel()
		pair, _, err = s.o.Client.api.KV().Get(s.lockKey(), o)
		return err
	})
	return pair, err
}

// awaitFree waits until nobody has the lock, or the session has ended.
func (s *Store) awaitFree(ctx context.Context, session Session) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-session.Gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	return s.followLock(ctx, 0, func(pair *api.KVPair) bool {
		return pair != nil && pair.Session != "" && pair.Session != session.ID
	})
}

// followLock reads the lock's key whenever it changes, as long as more says so.
// The error is nil when more did not, else that of the call that failed.
func (s *Store) followLock(ctx context.Context, index uint64, more func(*api.KVPair) bool) error {
	for {
		o, cancel := s.o.Client.Wait(ctx, index)
		pair, meta, err := s.o.Client.api.KV().Get(s.lockKey(), o)
		cancel()
		if err = s.contact.Note(ctx, "watch lock", err); err != nil {
			return failure("watch lock", s.lockKey(), err)
		}
		if !more(pair) {
			return nil
		}
		if index = NextIndex(index, meta.LastIndex); index == 0 {
			return nil
		}
	}
}

// held begins a Hold and watches over it.
func (s *Store) held(session Session, index uint64) *Hold {
	ctx, stop := context.WithCancel(s.ctx)
	h := &Hold{s: s, session: session.ID, stop: stop, lost: make(chan struct{})}
	s.mu.Lock()
	s.hold = h
	s.mu.Unlock()
	s.o.Events(Locked{Broker: s.o.Broker, Session: session.ID})
	if s.ctx.Err() != nil { // closed meanwhile, by one who saw no Hold
		h.lose(ErrClosed)
		return h
	}
	go h.watchKey(ctx, index)
	go func() {
		select {
		case <-session.Gone:
			h.lose(errors.New("its session has ended"))
		case <-h.lost:
		}
	}()
	return h
}

// watchKey loses the lock when the key says that another has it, or nobody.
// What a blocking query says is read again as of now before it is believed.
func (h *Hold) watchKey(ctx context.Context, index uint64) {
	b := NewBackoff()
	for ctx.Err() == nil {
		err := h.s.followLock(ctx, index, func(pair *api.KVPair) bool {
			return pair != nil && pair.Session == h.session
		})
		index = 0
		if err == nil {
			var pair *api.KVPair
			if pair, err = h.s.readLock(ctx); err == nil {
				if cause := h.usurped(pair); cause != nil {
					h.lose(cause)
					return
				}
				b.Reset()
			}
		}
		if b.Pause(ctx) != nil {
			return
		}
	}
}

// usurped says what is wrong with the lock's key, if anything.
func (h *Hold) usurped(pair *api.KVPair) error {
	switch {
	case pair == nil:
		return errors.New("its key is gone")
	case pair.Session == "":
		return errors.New("its session has ended")
	case pair.Session != h.session:
		return fmt.Errorf("session %s has it: %s", pair.Session, pair.Value)
	}
	return nil
}

// Release lets the lock go, so that another broker has it at once.
func (h *Hold) Release(ctx context.Context) error {
	// Whatever is being written ends first, and nothing is begun afterwards.
	ctx, leave, err := h.s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	h.lose(ErrReleased)
	return h.s.contact.Retry(ctx, "release lock", h.s.lockKey(), func(ctx context.Context) error {
		o, cancel := h.s.o.Client.Write(ctx)
		defer cancel()
		_, _, err := h.s.o.Client.api.KV().Release(&api.KVPair{Key: h.s.lockKey(), Value: lockValue(messages.NoBroker), Session: h.session}, o)
		return err
	})
}

// Holder is who has the controller's lock.
type Holder struct {
	Broker  messages.BrokerID // the last one, if Session is empty
	Session string            // "" if nobody has it
}

// Holder asks Consul who has the lock.
func (s *Store) Holder(ctx context.Context) (Holder, error) {
	ctx, cancel := s.bind(ctx)
	defer cancel()
	pair, err := s.readLock(ctx)
	if err != nil || pair == nil {
		return Holder{Broker: messages.NoBroker}, err
	}
	v := struct{ Broker messages.BrokerID }{Broker: messages.NoBroker}
	if json.Unmarshal(pair.Value, &v) != nil {
		v.Broker = messages.NoBroker
	}
	return Holder{Broker: v.Broker, Session: pair.Session}, nil
}

// Depose ends the session of a holder that is known to be gone (its process is,
// or its machine), so that nobody waits for Consul to find out. The holder, if
// it lives after all, can write nothing from then on.
func (s *Store) Depose(ctx context.Context, session string) error {
	ctx, cancel := s.bind(ctx)
	defer cancel()
	return s.contact.Retry(ctx, "depose controller", s.lockKey(), func(ctx context.Context) error {
		return s.o.Client.DestroySession(ctx, session)
	})
}
