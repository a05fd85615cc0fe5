package fake

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"
)

// States of a check.
const (
	passing  = "passing"
	critical = "critical"
)

// registration is a service with its one check.
type registration struct {
	ID      string
	Service string
	Tags    []string
	Meta    map[string]string
	Port    int
	Address string

	CreateIndex uint64
	ModifyIndex uint64

	check check
	timer *time.Timer
	told  string // what the agent was told, word for word
}

type check struct {
	Node      string
	CheckID   string
	Name      string
	Status    string
	Output    string
	ServiceID string
	ttl       time.Duration
}

func (s *Server) register(a *answer, r *http.Request, _ string) {
	var want struct {
		ID, Name, Address string
		Tags              []string
		Meta              map[string]string
		Port              int
		Check             struct{ CheckID, Name, TTL, Status string }
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &want)
	}
	ttl, ttlErr := time.ParseDuration(want.Check.TTL)
	if err != nil || ttlErr != nil || want.Name == "" {
		fail(a, http.StatusBadRequest, "Request decode failed: %v", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	reg := &registration{ID: want.ID, Service: want.Name, Tags: want.Tags, Meta: want.Meta, Port: want.Port, Address: want.Address, told: string(body)}
	reg.check = check{Node: node, CheckID: want.Check.CheckID, Name: want.Check.Name, Status: want.Check.Status, ServiceID: want.ID, ttl: ttl}
	if reg.check.Status == "" {
		reg.check.Status = critical
	}
	old := s.agent[want.ID]
	if old != nil {
		old.timer.Stop()
		reg.check.Status = old.check.Status // registering again says nothing about health
	}
	reg.timer = time.AfterFunc(ttl, func() { s.expireCheck(reg) })
	s.agent[want.ID] = reg
	if old == nil || old.told != reg.told { // what it has been told before it takes for known to the servers
		s.sync(reg)
	}
	a.WriteHeader(http.StatusOK)
}

// sync tells the servers what the agent knows. The lock is held.
func (s *Server) sync(reg *registration) {
	known := *reg
	known.CreateIndex = s.advance()
	known.ModifyIndex, s.catIndex = known.CreateIndex, known.CreateIndex
	if old := s.catalog[reg.ID]; old != nil {
		known.CreateIndex = old.CreateIndex
	}
	s.catalog[reg.ID] = &known
	if known.check.Status == critical {
		s.endOf(known.check.CheckID)
	}
}

func (s *Server) expireCheck(reg *registration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.agent[reg.ID] == reg && reg.check.Status != critical {
		reg.check.Status, reg.check.Output = critical, "TTL expired"
		s.sync(reg)
	}
}

func (s *Server) updateCheck(a *answer, r *http.Request, id string) {
	var want struct{ Status, Output string }
	if err := json.NewDecoder(r.Body).Decode(&want); err != nil {
		fail(a, http.StatusBadRequest, "Request decode failed: %v", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, reg := range s.agent {
		if reg.check.CheckID != id {
			continue
		}
		reg.timer.Reset(reg.check.ttl)
		if reg.check.Status != want.Status {
			reg.check.Status, reg.check.Output = want.Status, want.Output
			s.sync(reg)
		}
		a.WriteHeader(http.StatusOK)
		return
	}
	fail(a, http.StatusNotFound, "Unknown check ID %q. Ensure that the check ID is passed, not the check name.", id)
}

func (s *Server) deregister(a *answer, _ *http.Request, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.agent[id] == nil {
		fail(a, http.StatusNotFound, "Unknown service ID %q. Ensure that the service ID is passed, not the service name.", id)
		return
	}
	s.forget(id)
	a.WriteHeader(http.StatusOK)
}

// forget deregisters a service. The lock is held.
func (s *Server) forget(id string) {
	reg := s.agent[id]
	reg.timer.Stop()
	delete(s.agent, id)
	delete(s.catalog, id)
	s.catIndex = s.advance()
	s.endOf(reg.check.CheckID)
}

// catalogCheck finds a check that the servers know. The lock is held.
func (s *Server) catalogCheck(id string) *registration {
	for _, reg := range s.catalog {
		if reg.check.CheckID == id {
			return reg
		}
	}
	return nil
}

func (s *Server) health(a *answer, r *http.Request, name string) {
	type entry struct {
		Node    struct{ Node, Address string }
		Service *registration
		Checks  []check
	}
	tags := r.URL.Query()["tag"]
	s.block(a, r, func() (uint64, any) {
		list := []entry{}
		for _, id := range slices.Sorted(maps.Keys(s.catalog)) {
			reg := s.catalog[id]
			if reg.Service != name || slices.ContainsFunc(tags, func(t string) bool { return !slices.Contains(reg.Tags, t) }) {
				continue
			}
			e := entry{Service: reg, Checks: []check{reg.check}}
			e.Node.Node, e.Node.Address = node, "127.0.0.1"
			list = append(list, e)
		}
		return s.catIndex, list
	})
}

// PutKey writes a key as an operator would, without any of our revisions.
func (s *Server) PutKey(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apply([]kvOp{{Verb: "set", Key: key, Value: []byte(value)}})
}
