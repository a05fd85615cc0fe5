// Package mailbox holds the mailbox that partition actors use: it hands the
// actor everything that has gathered since its last turn as one message, so that
// one write and one fsync serve all of it (group commit).
package mailbox

import (
	"slices"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
)

// Mail is what an actor with a Batching mailbox receives: the user messages that
// have gathered, in order. The slice is reused; it is the actor's until its turn ends.
type Mail []any

// maxSpare bounds the slice kept for reuse, in messages: a burst must not pin
// its memory for good.
const maxSpare = 1024

// Batching is an unbounded mailbox; what bounds it is the credit its senders
// have (bytes in flight of a connection, window of a replica).
//
// Unlike the mailboxes of the actor library it lets messages be diverted while
// the actor cannot receive them, so that whoever waits for an answer gets one.
type Batching struct {
	mu        sync.Mutex
	user      []any
	system    []any
	running   bool
	suspended bool
	divert    func(message any) bool // nil: none

	ending     bool  // used by the running turn only: the actor has been told to stop
	spare      []any // used by the running turn only
	invoker    actor.MessageInvoker
	dispatcher actor.Dispatcher
}

var _ actor.Mailbox = (*Batching)(nil)

// NewBatching makes an empty mailbox.
func NewBatching() *Batching { return &Batching{} }

// PostUserMessage queues a message, unless it is diverted.
func (m *Batching) PostUserMessage(message any) {
	m.mu.Lock()
	if divert := m.divert; divert != nil {
		m.mu.Unlock()
		if divert(message) {
			return
		}
		m.mu.Lock()
	}
	m.user = append(m.user, message)
	m.schedule(!m.suspended)
}

// PostSystemMessage queues a message of the actor library, which goes before all others.
func (m *Batching) PostSystemMessage(message any) {
	m.mu.Lock()
	m.system = append(m.system, message)
	m.schedule(true)
}

// schedule starts a run unless one is going on, and unlocks. Before there is an
// actor nothing runs: the first message that the library posts to it starts a run.
func (m *Batching) schedule(wanted bool) {
	start, dispatcher := wanted && !m.running && m.dispatcher != nil, m.dispatcher
	m.running = m.running || start
	m.mu.Unlock()
	if start {
		dispatcher.Schedule(m.run)
	}
}

// Divert has every waiting and every later user message shown to take first,
// until it is called with nil. What take returns true for never reaches the
// actor. An actor diverts when it has failed, or has stopped for good.
func (m *Batching) Divert(take func(message any) bool) {
	m.mu.Lock()
	m.divert = take
	waiting := m.user
	if take != nil {
		m.user = nil
	}
	m.mu.Unlock()
	if take == nil {
		return
	}
	kept := slices.DeleteFunc(waiting, take)
	m.mu.Lock()
	m.user = append(kept, m.user...)
	m.mu.Unlock()
}

// RegisterHandlers is called by the actor library before the first message.
func (m *Batching) RegisterHandlers(invoker actor.MessageInvoker, dispatcher actor.Dispatcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.invoker, m.dispatcher = invoker, dispatcher
}

// Start is part of the library's interface.
func (m *Batching) Start() {}

// UserMessageCount is how many messages wait.
func (m *Batching) UserMessageCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.user)
}

func (m *Batching) run() {
	for m.turn() {
	}
}

// turn delivers one system message or all waiting user messages, and reports
// whether there may be more. A panic of the actor goes to its supervisor.
func (m *Batching) turn() (more bool) {
	message, isSystem := m.next()
	if message == nil {
		return false
	}
	defer func() {
		if reason := recover(); reason != nil {
			m.invoker.EscalateFailure(reason, message)
			more = true
		}
	}()
	if isSystem {
		m.deliverSystem(message)
	} else {
		m.invoker.InvokeUserMessage(message)
		m.recycle(message.(Mail))
	}
	return true
}

func (m *Batching) next() (message any, isSystem bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.system) > 0 {
		message = m.system[0]
		m.system[0] = nil
		if m.system = m.system[1:]; len(m.system) == 0 {
			m.system = nil
		}
		return message, true
	}
	if m.suspended || len(m.user) == 0 {
		m.running = false
		return nil, false
	}
	mail := Mail(m.user)
	m.user, m.spare = m.spare, nil
	return mail, false
}

func (m *Batching) deliverSystem(message any) {
	switch message.(type) {
	case *actor.SuspendMailbox:
		m.setSuspended(true)
		return
	case *actor.ResumeMailbox:
		m.setSuspended(false)
		return
	case *actor.Stop:
		m.ending = true
	case *actor.Restart:
		if m.ending {
			return // the library would make a new actor, of which nobody knows
		}
	}
	m.invoker.InvokeSystemMessage(message)
}

func (m *Batching) setSuspended(suspended bool) {
	m.mu.Lock()
	m.suspended = suspended
	m.mu.Unlock()
}

// recycle keeps a delivered slice for the next gathering.
func (m *Batching) recycle(mail Mail) {
	if cap(mail) > maxSpare {
		return
	}
	clear(mail)
	m.spare = mail[:0]
}
