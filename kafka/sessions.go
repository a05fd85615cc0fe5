package kafka

import (
	"slices"
	"strings"
	"sync"

	"understudy/messages"
)

// sessions are the incremental fetch sessions (KIP-227): what a client follows
// is remembered here, so that it names only what has changed, and is told only
// about partitions with news.
type sessions struct {
	maxSessions int
	maxParts    int

	mu    sync.Mutex
	byID  map[int32]*session
	last  int32 // the id given out last
	parts int   // of all sessions
}

// session is one client's. Its epoch counts the fetches, so that one that was
// lost or came twice is noticed.
type session struct {
	id int32

	// Guarded by sessions.mu, like the sums that they are part of.
	used  int64 // when it was last used, ms
	parts int   // how many partitions it follows

	mu    sync.Mutex
	epoch int32 // that the next fetch must name
	order []*sessionPart
	index map[partKey]*sessionPart
	spare []*sessionPart // scratch of rotate
}

// sessionPart is a partition that a client follows, and what it was last told.
type sessionPart struct {
	partKey
	position
	highWater messages.Offset
	logStart  messages.Offset
	news      bool // it must be told of in any case: it is new, or its last answer was an error
}

// sessionIdle is how long a session must be unused (ms) before it may be evicted
// for a new one.
const sessionIdle = 120_000

func newSessions(maxSessions, maxParts int) *sessions {
	return &sessions{maxSessions: maxSessions, maxParts: maxParts, byID: make(map[int32]*session)}
}

// begin finds or makes the session that the fetch is part of and completes the
// fetch's partitions from it.
func (f *fetching) begin() {
	b := f.broker
	const none, fresh = -1, 0
	switch {
	case f.replica >= 0 || f.version < 7 || f.sessionID == 0 && f.sessionEpoch == none:
	case f.sessionEpoch == none:
		b.sessions.close(f.sessionID)
	case f.sessionEpoch == fresh:
		b.sessions.close(f.sessionID)
		if f.namesTopics() {
			f.session = b.sessions.open(f, b.deps.Now())
		}
		f.create = f.session != nil
	default:
		f.session, f.err = b.sessions.next(f, b.deps.Now())
	}
}

// namesTopics reports whether all names could be a topic's by their length: what a
// session remembers is bounded by its number of partitions.
func (f *fetching) namesTopics() bool {
	return !slices.ContainsFunc(f.parts, func(p fetchPart) bool { return len(p.name) > messages.MaxTopicName })
}

// open makes a session of the fetch's partitions, or gives nil when there is no
// room: then the client goes on without one.
func (s *sessions) open(f *fetching, now int64) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.byID) >= s.maxSessions || s.parts+len(f.parts) > s.maxParts {
		if !s.evictOldest(now) {
			return nil
		}
	}
	for s.last++; s.last <= 0 || s.byID[s.last] != nil; s.last++ {
		s.last = max(s.last, 0)
	}
	n := &session{id: s.last, epoch: 1, used: now, index: make(map[partKey]*sessionPart, len(f.parts))}
	for i := range f.parts {
		n.follow(&f.parts[i])
	}
	s.byID[n.id] = n
	s.resize(n, len(n.order))
	return n
}

// evictOldest removes the session that was not used for the longest time, if
// that is long enough. The lock is held.
func (s *sessions) evictOldest(now int64) bool {
	var oldest *session
	for _, c := range s.byID {
		if oldest == nil || c.used < oldest.used {
			oldest = c
		}
	}
	if oldest == nil || now-oldest.used < sessionIdle {
		return false
	}
	s.remove(oldest)
	return true
}

func (s *sessions) remove(c *session) {
	delete(s.byID, c.id)
	s.resize(c, 0)
}

// resize notes how many partitions a session follows. The lock is held.
func (s *sessions) resize(c *session, parts int) {
	s.parts += parts - c.parts
	c.parts = parts
}

func (s *sessions) close(id int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.byID[id]; c != nil {
		s.remove(c)
	}
}

// next takes the next fetch of a session: it applies what the fetch changes,
// and gives the fetch all of the session's partitions.
func (s *sessions) next(f *fetching, now int64) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.byID[f.sessionID]
	if c == nil {
		return nil, errNoSession
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.sessionEpoch != c.epoch {
		return nil, errSessionEpoch
	}
	if s.parts+len(f.parts) > s.maxParts || !f.namesTopics() {
		s.remove(c)
		return nil, errNoSession
	}
	c.change(f)
	s.resize(c, len(c.order))
	if c.epoch++; c.epoch <= 0 {
		c.epoch = 1
	}
	c.used = now
	f.parts = f.parts[:0]
	for _, p := range c.order {
		f.parts = append(f.parts, fetchPart{partKey: p.partKey, position: p.position})
	}
	return c, nil
}

var (
	errNoSession    = messages.E("", messages.FetchSessionNotFound, "", nil)
	errSessionEpoch = messages.E("", messages.InvalidFetchSessionEpoch, "", nil)
)

// change applies what an incremental fetch changes.
func (c *session) change(f *fetching) {
	for i := range f.parts {
		c.follow(&f.parts[i])
	}
	removed := false
	for _, key := range f.forgotten {
		if c.index[key] != nil {
			delete(c.index, key)
			removed = true
		}
	}
	if !removed {
		return
	}
	kept := c.order[:0]
	for _, p := range c.order {
		if c.index[p.partKey] == p {
			kept = append(kept, p)
		}
	}
	clear(c.order[len(kept):])
	c.order = kept
}

// follow adds a partition, or moves the position in one that is followed.
func (c *session) follow(p *fetchPart) {
	if known := c.index[p.partKey]; known != nil {
		known.position = p.position
		return
	}
	key := p.partKey
	key.name = strings.Clone(key.name) // the request's memory will be used again
	added := &sessionPart{partKey: key, position: p.position, news: true}
	c.index[key] = added
	c.order = append(c.order, added)
}

// commit notes what the client is about to be told, and leaves out of the answer
// what it knows. Partitions with records go to the end of the session, so that
// when an answer is full the others come first in the next.
func (c *session) commit(f *fetching) {
	c.mu.Lock()
	defer c.mu.Unlock()
	served := false
	for i := range f.parts {
		p := &f.parts[i]
		known := c.index[p.partKey]
		if known == nil { // forgotten meanwhile, by a fetch that overtook this one
			continue
		}
		same := !known.news && p.err == nil && p.slice == nil && !p.diverged &&
			known.highWater == p.highWater && known.logStart == p.logStart
		p.omit = same && !f.create
		known.highWater, known.logStart, known.news = p.highWater, p.logStart, p.err != nil
		served = served || p.slice != nil
	}
	if served {
		c.rotate(f)
	}
}

// rotate moves the partitions with records to the end. If the session has
// changed since the fetch took its partitions, it is left as it is.
func (c *session) rotate(f *fetching) {
	if len(f.parts) != len(c.order) {
		return
	}
	front, back := c.order[:0], c.spare[:0]
	for i, p := range c.order {
		if f.parts[i].partKey == p.partKey && f.parts[i].slice != nil {
			back = append(back, p)
		} else {
			front = append(front, p)
		}
	}
	c.order = append(front, back...)
	clear(back)
	c.spare = back[:0]
}
