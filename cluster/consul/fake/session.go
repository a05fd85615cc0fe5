package fake

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"
)

// session is one as Consul lists it.
type session struct {
	ID            string
	Name          string
	Node          string
	TTL           string
	LockDelay     time.Duration
	Behavior      string
	NodeChecks    []string
	ServiceChecks []serviceCheck
	CreateIndex   uint64
	ModifyIndex   uint64

	timer *time.Timer
	life  time.Duration
}

type serviceCheck struct{ ID, Namespace string }

// node is the name of the only node.
const node = "fake"

func (s *Server) createSession(a *answer, r *http.Request, _ string) {
	var want struct {
		Name, TTL, LockDelay, Behavior string
		NodeChecks                     []string
		ServiceChecks                  []serviceCheck
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &want)
	}
	ttl, ttlErr := time.ParseDuration(want.TTL)
	if err != nil || ttlErr != nil || ttl < 10*time.Second {
		fail(a, http.StatusBadRequest, "Request decode failed: %v, TTL %s", err, want.TTL)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range want.ServiceChecks {
		switch reg := s.catalogCheck(c.ID); {
		case reg == nil:
			fail(a, http.StatusInternalServerError, "Missing check '%s' registration", c.ID)
			return
		case reg.check.Status == critical:
			fail(a, http.StatusInternalServerError, "Check '%s' is in critical state", c.ID)
			return
		}
	}
	s.next++
	x := &session{ID: fmt.Sprintf("session-%d", s.next), Name: want.Name, Node: node, TTL: want.TTL, Behavior: want.Behavior, ServiceChecks: want.ServiceChecks, life: 2 * ttl}
	x.CreateIndex = s.advance()
	x.ModifyIndex, s.sesIndex = x.CreateIndex, x.CreateIndex
	x.timer = time.AfterFunc(x.life, func() { s.Expire(x.ID) })
	s.sessions[x.ID] = x
	reply(a, 0, struct{ ID string }{x.ID})
}

// Expire ends a session, as its TTL or an operator would.
func (s *Server) Expire(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(id)
}

// end ends a session and frees its locks. The lock is held.
func (s *Server) end(id string) {
	x := s.sessions[id]
	if x == nil {
		return
	}
	x.timer.Stop()
	delete(s.sessions, id)
	index := s.advance()
	s.sesIndex = index
	for key, p := range s.kv {
		if p.Session == id {
			free := *p
			free.Session, free.ModifyIndex = "", index
			s.kv[key], s.kvIndex = &free, index
		}
	}
}

// endOf ends the sessions that hang on a check. The lock is held.
func (s *Server) endOf(check string) {
	for _, x := range slices.Collect(maps.Values(s.sessions)) {
		if slices.ContainsFunc(x.ServiceChecks, func(c serviceCheck) bool { return c.ID == check }) {
			s.end(x.ID)
		}
	}
}

func (s *Server) destroySession(a *answer, _ *http.Request, id string) {
	s.Expire(id)
	reply(a, 0, true)
}

func (s *Server) renewSession(a *answer, _ *http.Request, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.sessions[id]
	if x == nil {
		fail(a, http.StatusNotFound, "Session id '%s' not found", id)
		return
	}
	x.timer.Reset(x.life)
	reply(a, 0, []*session{x})
}

func (s *Server) sessionInfo(a *answer, r *http.Request, id string) {
	s.block(a, r, func() (uint64, any) {
		list := []session{}
		if x := s.sessions[id]; x != nil {
			list = append(list, *x)
		}
		return s.sesIndex, list
	})
}

func (s *Server) listSessions(a *answer, r *http.Request, _ string) {
	s.block(a, r, func() (uint64, any) {
		list := []session{}
		for _, id := range slices.Sorted(maps.Keys(s.sessions)) {
			list = append(list, *s.sessions[id])
		}
		return s.sesIndex, list
	})
}
