package state

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Journal is what there is under a name.
type Journal struct {
	Snapshot *Entry  // nil: none
	Changes  []Entry // by index; those that the snapshot covers may still be among them

	line line
}

// Since are the changes that the snapshot does not cover.
func (j Journal) Since() []Entry {
	if j.Snapshot == nil {
		return j.Changes
	}
	first, _ := slices.BinarySearchFunc(j.Changes, j.Snapshot.Index, func(e Entry, index int64) int { return cmp.Compare(e.Index, index) })
	return j.Changes[first:]
}

// part is one partition of a store's topic. It is read from its start when it is
// asked for anything for the first time, and followed from then on.
//
//	unread ──first catchUp──▶ followed
type part struct {
	n int32

	mu       sync.Mutex
	followed bool
	journals map[string][]*entries // by name: their lines
	next     int64                 // after the last offset that was taken in
	moved    chan struct{}         // closed when next changes
	queue    *pass                 // who asks from now on waits for this one; nil: nobody asks
	passing  bool                  // somebody carries passes out
}

// pass is one reading of a partition to what its end was when the pass began. All
// who ask before it begins share it.
type pass struct {
	done chan struct{}
	err  error
}

func newPart(n int32) *part {
	return &part{n: n, journals: map[string][]*entries{}, moved: make(chan struct{})}
}

// takeIn notes what was written.
func (p *part) takeIn(records []*kgo.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range records {
		p.next = r.Offset + 1
		if k, ok := parseKey(string(r.Key)); ok {
			p.put(k, r)
		}
	}
	close(p.moved)
	p.moved = make(chan struct{})
}

// put takes in one record. The lock is held.
func (p *part) put(k key, r *kgo.Record) {
	lines := p.journals[k.name]
	at := slices.IndexFunc(lines, func(e *entries) bool { return e.line == k.line })
	if at < 0 {
		at, lines = len(lines), append(lines, &entries{line: k.line})
	}
	if lines[at].put(k, r); lines[at].empty() {
		lines = slices.Delete(lines, at, at+1)
	}
	if len(lines) == 0 {
		delete(p.journals, k.name)
		return
	}
	p.journals[k.name] = lines
}

// journal gives a copy of the line that counts.
func (p *part) journal(name string) Journal {
	p.mu.Lock()
	defer p.mu.Unlock()
	var best *entries
	for _, e := range p.journals[name] {
		if e.whole() && (best == nil || e.ahead(best)) {
			best = e
		}
	}
	if best == nil {
		return Journal{}
	}
	return best.journal()
}

// remove gives the records that remove lines of a journal, but for those that have
// been removed.
func (p *part) remove(name string, which func(line) bool) (tombs []*kgo.Record, lines []*entries) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.journals[name] {
		if !e.removed && which(e.line) {
			e.removed = true
			lines = append(lines, e)
			tombs = append(tombs, e.tombs(name)...)
		}
	}
	return tombs, lines
}

// keep takes note that lines could not be removed.
func (p *part) keep(lines []*entries) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range lines {
		e.removed = false
	}
}

// catchUp returns when everything is taken in that was written before the call.
func (s *Store) catchUp(ctx context.Context, p *part) error {
	p.mu.Lock()
	mine := p.queue
	if mine == nil {
		mine = &pass{done: make(chan struct{})}
		p.queue = mine
		if !p.passing {
			p.passing = true
			go s.passes(p)
		}
	}
	p.mu.Unlock()
	select {
	case <-mine.done:
		return mine.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// passes carries out passes until nobody asks for one.
func (s *Store) passes(p *part) {
	for {
		p.mu.Lock()
		next := p.queue
		p.queue = nil
		p.passing = next != nil
		first := !p.followed
		p.followed = true
		p.mu.Unlock()
		if next == nil {
			return
		}
		if first {
			s.cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{s.o.Topic: {p.n: kgo.NewOffset().AtStart()}})
		}
		next.err = s.pass(p)
		close(next.done)
	}
}

// pass writes a mark, and waits until it comes back: what was written before has
// come back before it. The end of the partition would not do, because what stood
// there may have been compacted away.
func (s *Store) pass(p *part) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.o.Patience)
	defer cancel()
	mark := &kgo.Record{Topic: s.o.Topic, Partition: p.n, Key: []byte(markKey), Value: []byte{}}
	if err := s.cl.ProduceSync(ctx, mark).FirstErr(); err != nil {
		return err
	}
	for {
		p.mu.Lock()
		next, moved := p.next, p.moved
		p.mu.Unlock()
		if next > mark.Offset {
			return nil
		}
		select {
		case <-moved:
		case <-s.ended:
			return kgo.ErrClientClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
