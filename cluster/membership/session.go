package membership

import (
	"context"
	"time"

	"understudy/cluster/consul"
)

// Session waits until this node has a session. It is what consul.Options wants.
func (m *Member) Session(ctx context.Context) (consul.Session, error) {
	for {
		m.mu.Lock()
		session, changed := m.session, m.changed
		m.mu.Unlock()
		if m.ctx.Err() != nil {
			return consul.Session{}, ErrLeft
		}
		if session.ID != "" {
			return session, nil
		}
		select {
		case <-changed:
		case <-m.ctx.Done():
		case <-ctx.Done():
			return consul.Session{}, ctx.Err()
		}
	}
}

// keepSession makes a session whenever there is none, for ever.
func (m *Member) keepSession() {
	m.awaitRegistered()
	b := consul.NewBackoff()
	for m.ctx.Err() == nil {
		if err := m.beginSession(); err != nil {
			m.servers.Note(m.ctx, "create session", err)
			if consul.FaultOf(err) == consul.Rejected {
				// The servers do not know the service, or not as passing: have
				// the agent tell them again.
				m.again()
			}
			if b.Pause(m.ctx) != nil {
				return
			}
			continue
		}
		m.servers.Note(m.ctx, "create session", nil)
		b.Reset()
		if cause := m.watchSession(); cause != "" {
			m.endSession(cause)
		}
	}
}

func (m *Member) awaitRegistered() {
	for {
		m.mu.Lock()
		registered, changed := m.registered, m.changed
		m.mu.Unlock()
		if registered {
			return
		}
		select {
		case <-changed:
		case <-m.ctx.Done():
			return
		}
	}
}

// beginSession makes a session, after ending those that this node's earlier
// lives, or earlier attempts without an answer, have left: they would live on
// with the new life's check.
func (m *Member) beginSession() error {
	o, cancel := m.o.Client.Read(m.ctx)
	defer cancel()
	sessions, meta, err := m.o.Client.API().Session().List(o)
	if err = complete(meta, err); err != nil {
		return err
	}
	for _, s := range sessions {
		if s.Name == m.id {
			if err := m.o.Client.DestroySession(m.ctx, s.ID); err != nil {
				return err
			}
		}
	}
	id, err := m.o.Client.CreateSession(m.ctx, m.id, m.id, m.o.SessionTTL)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone, m.renewed = make(chan struct{}), time.Now()
	m.session = consul.Session{ID: id, Gone: m.gone}
	m.announce()
	m.o.Events(SessionBegun{Node: m.o.Node.ID, Session: id})
	return nil
}

// endSession tells that the session has ended.
func (m *Member) endSession(cause string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session.ID == "" {
		return
	}
	m.o.Events(SessionEnded{Node: m.o.Node.ID, Session: m.session.ID, Cause: cause})
	close(m.gone)
	m.session = consul.Session{}
	m.announce()
}

// watchSession renews the session until it has ended, and says why, or until the
// node leaves, which gives "".
func (m *Member) watchSession() (cause string) {
	m.mu.Lock()
	id := m.session.ID
	m.mu.Unlock()
	interval := m.o.SessionTTL / 3
	index, b := uint64(0), consul.NewBackoff()
	for m.ctx.Err() == nil {
		o, cancel := m.o.Client.WaitFor(m.ctx, index, interval)
		info, meta, err := m.o.Client.API().Session().Info(id, o)
		cancel()
		if err == nil {
			index = consul.NextIndex(index, meta.LastIndex)
		}
		var gone bool
		if err == nil && (info == nil || m.renewalDue(interval)) {
			gone, err = m.renew(id)
		}
		if gone {
			return "consul has ended it: its check failed, or somebody destroyed it"
		}
		m.servers.Note(m.ctx, "watch session", err)
		if err == nil && index > 0 {
			b.Reset()
			continue
		}
		index = 0
		if b.Pause(m.ctx) != nil {
			return ""
		}
	}
	return ""
}

// renewalDue tells whether the session was last renewed about interval ago.
func (m *Member) renewalDue(interval time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Since(m.renewed) >= interval-interval/8
}

// renew renews the session, or finds that there is none: the leader answers, so
// that can be believed.
func (m *Member) renew(id string) (gone bool, err error) {
	o, cancel := m.o.Client.Write(m.ctx)
	defer cancel()
	entry, _, err := m.o.Client.API().Session().Renew(id, o)
	if err == nil {
		m.mu.Lock()
		m.renewed = time.Now()
		m.mu.Unlock()
	}
	return err == nil && entry == nil, err
}
