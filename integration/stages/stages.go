//go:build linux

package main

import (
	"slices"
	"strings"
)

// stage is a step of a record's way. Those between two that the leader does are done
// by each follower, beside the leader's own sync.
type stage int

const (
	takes stage = iota
	leaderWrites
	leaderTurns
	leaderSyncs
	sends
	travels
	followerTakes
	followerWrites
	followerTurns
	followerSyncs
	acknowledges
	answers
	whole
	stages
)

func (s stage) String() string {
	return [...]string{
		"leader: request read → write to the log begins",
		"leader: write to the log",
		"leader: → sync begins",
		"leader: sync",
		"leader: write to the log begins → write to a link has ended",
		"link: → the follower has read it",
		"follower: → write to the log begins",
		"follower: write to the log",
		"follower: → sync begins",
		"follower: sync",
		"follower: → acknowledgement written",
		"leader: the last sync, or acknowledgement, → answer written",
		"request read → answer written",
	}[s]
}

// record is what was seen of one record: seconds of each stage, one for each follower
// where these do it.
type record struct {
	took        [stages][]float64
	ownSyncLast bool
}

func (r *record) note(s stage, from, to float64) { r.took[s] = append(r.took[s], to-from) }

// limit is how long after another a call can come that belongs to the same record, in
// seconds.
const limit = 0.2

// small is what a request with a record has at least, in bytes.
const small = 200

// tracing is all that was seen.
type tracing struct {
	files     files
	partition string
	calls     map[int][]call // by process, in the order in which they began
}

// follow follows each record that was written to a partition.
func follow(calls []call, f files, partition string) []record {
	t := tracing{files: f, partition: partition, calls: map[int][]call{}}
	for _, c := range calls {
		t.calls[c.pid] = append(t.calls[c.pid], c)
	}
	var records []record
	for _, c := range calls {
		if c.kind == writes && t.inLog(c) {
			if r, ok := t.follow(c); ok {
				records = append(records, r)
			}
		}
	}
	return records
}

func (t *tracing) inLog(c call) bool {
	name := t.files.names[file{c.pid, c.fd}]
	return strings.HasSuffix(name, ".log") && strings.Contains(name, "/"+t.partition+"/")
}

func (t *tracing) onLink(c call) bool { return t.files.links[file{c.pid, c.fd}] }

func (t *tracing) fromClient(c call) bool {
	return strings.HasPrefix(t.files.names[file{c.pid, c.fd}], "socket:") && !t.onLink(c)
}

// next is the first call of a process that begins after a time and is as wanted.
func (t *tracing) next(pid int, after float64, k kind, wanted func(call) bool) (call, bool) {
	for _, c := range t.calls[pid] {
		if c.begin >= after && c.begin < after+limit && c.kind == k && wanted(c) {
			return c, true
		}
	}
	return call{}, false
}

// follow follows what the leader has written; it fails for what a follower has.
func (t *tracing) follow(write call) (r record, ok bool) {
	request, ok := t.request(write)
	if !ok {
		return r, false
	}
	sync, ok := t.next(write.pid, write.end, syncs, t.inLog)
	if !ok {
		return r, false
	}
	r.note(takes, request.end, write.begin)
	r.note(leaderWrites, write.begin, write.end)
	r.note(leaderTurns, write.end, sync.begin)
	r.note(leaderSyncs, sync.begin, sync.end)
	last := sync.end
	r.ownSyncLast = true
	for pid := range t.calls {
		if pid == write.pid {
			continue
		}
		acknowledged, ok := t.replicate(&r, write, pid)
		if !ok {
			return r, false
		}
		if acknowledged > last {
			last, r.ownSyncLast = acknowledged, false
		}
	}
	answer, ok := t.next(write.pid, write.end, writes, func(c call) bool { return c.fd == request.fd })
	if !ok {
		return r, false
	}
	r.note(answers, last, answer.end)
	r.note(whole, request.end, answer.end)
	return r, true
}

// request is the read of what a leader writes: the last from a client before.
func (t *tracing) request(write call) (last call, ok bool) {
	for _, c := range t.calls[write.pid] {
		if c.kind == reads && c.result >= small && c.end <= write.begin && c.end > write.begin-limit/10 && t.fromClient(c) {
			last, ok = c, true
		}
	}
	return last, ok
}

// replicate follows a record to a follower, and tells when it has acknowledged it.
func (t *tracing) replicate(r *record, write call, pid int) (acknowledged float64, ok bool) {
	// A read begins long before there is something to read.
	i := slices.IndexFunc(t.calls[pid], func(c call) bool {
		return c.kind == reads && c.end > write.begin && c.end < write.begin+limit && c.result >= small && t.onLink(c)
	})
	if i < 0 {
		return 0, false
	}
	got := t.calls[pid][i]
	sent, ok := t.lastSend(write, got.end)
	if !ok {
		return 0, false
	}
	own, ok := t.next(pid, got.end, writes, t.inLog)
	if !ok {
		return 0, false
	}
	sync, ok := t.next(pid, own.end, syncs, t.inLog)
	if !ok {
		return 0, false
	}
	ack, ok := t.next(pid, sync.end, writes, t.onLink)
	if !ok {
		return 0, false
	}
	r.note(sends, write.begin, sent.end)
	r.note(travels, sent.end, got.end)
	r.note(followerTakes, got.end, own.begin)
	r.note(followerWrites, own.begin, own.end)
	r.note(followerTurns, own.end, sync.begin)
	r.note(followerSyncs, sync.begin, sync.end)
	r.note(acknowledges, sync.end, ack.end)
	return ack.end, true
}

// lastSend is the last write to a link that carries a record and can be what was read
// at a time: it may end after that, as the kernel sees to the reader first.
func (t *tracing) lastSend(write call, read float64) (last call, ok bool) {
	for _, c := range t.calls[write.pid] {
		if c.kind == writes && c.result >= small && c.begin >= write.begin && c.begin < read && t.onLink(c) {
			last, ok = c, true
		}
	}
	return last, ok
}

// micros is a quantile of a stage, in µs.
func micros(records []record, s stage, q float64) int {
	var all []float64
	for i := range records {
		all = append(all, records[i].took[s]...)
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return int(1e6 * all[int(q*float64(len(all)-1))])
}
