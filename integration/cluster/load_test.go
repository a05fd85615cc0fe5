//go:build cluster

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"understudy/integration/history"
)

// client is a producer and a consumer of one kind.
type client interface {
	// produce sends a record with acks=all; done is called when that has ended.
	produce(r record, done func(offset int64, err error))
	// consume calls seen with what each poll gave of a partition, until close.
	consume(seen func(partition int32, records []read)) error
	close()
}

// record is what is sent: key names it, value follows from key.
type record struct {
	partition  int32
	key, value []byte
}

// read is a record as a consumer got it.
type read struct {
	offset     int64
	key, value []byte
}

// loads is all clients at work on one topic, and what they were told.
type loads struct {
	topic      string
	partitions int
	size       int // of values, bytes
	all        []*load
	repeats    bool // producers are not idempotent: a record may come again, in any order
	history    *history.Recorder

	mu    sync.Mutex
	wrong []error // what consumers noticed while they read, and records that failed
}

// load has numbered records written at a steady rate, and all records read, by one client.
type load struct {
	*loads
	name    string
	process uint32 // in the history
	client  client
	stop    context.CancelFunc
	done    sync.WaitGroup

	// Guarded by loads.mu.
	parts []part
	next  map[stream]int // what is to be read next of whom
}

// part is what has happened with one partition.
type part struct {
	sent, acked int
	seen        int64 // records of anybody's
	produced    clock
	consumed    clock
}

// stream is what one producer sends to one partition.
type stream struct {
	producer  string
	partition int32
}

// clock finds the longest times between two events, apart for those that began
// before a fault was healed and those that began after.
type clock struct {
	last          time.Time
	during, after time.Duration
}

func (c *clock) tick(now, healed time.Time) {
	if c.last.IsZero() {
		c.last = now
		return
	}
	gap := now.Sub(c.last)
	if healed.IsZero() || c.last.Before(healed) {
		c.during = max(c.during, gap)
	} else {
		c.after = max(c.after, gap)
	}
	c.last = now
}

// add starts a load.
func (ls *loads) add(ctx context.Context, name string, cl client, rate int, healed func() time.Time) (*load, error) {
	l := &load{loads: ls, name: name, process: ls.history.Process(ls.topic+" "+name, ls.flags()), client: cl, parts: make([]part, ls.partitions), next: map[stream]int{}}
	if err := cl.consume(func(p int32, records []read) { l.saw(p, records, healed()) }); err != nil {
		return nil, err
	}
	ctx, l.stop = context.WithCancel(ctx)
	for p := range int32(ls.partitions) {
		l.done.Go(func() { l.write(ctx, p, rate, healed) })
	}
	ls.all = append(ls.all, l)
	return l, nil
}

// write sends records at a rate; those that are due while earlier ones wait are
// not sent later.
func (l *load) write(ctx context.Context, p int32, rate int, healed func() time.Time) {
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.mu.Lock()
		n := l.parts[p].sent
		l.parts[p].sent++
		key := fmt.Sprintf("%s %d %d", l.name, p, n)
		l.mu.Unlock()
		l.history.Add(history.Event{Type: history.Send, Process: l.process, Partition: l.part(p), Value: valueOf(l.topic, key)})
		l.client.produce(record{p, []byte(key), padding(key, l.size)}, func(offset int64, err error) {
			l.answered(key, p, offset, err, healed())
		})
	}
}

// valueOf is a record's value in the history: keys are told apart within a topic.
func valueOf(topic, key string) uint64 { return history.Value(topic + " " + key) }

func (ls *loads) part(p int32) uint32 { return ls.history.Partition(ls.topic, p) }

// padding is the value that goes with a key: of varying length, and another for every key.
func padding(key string, size int) []byte {
	size = size/2 + (size*len(key)*31+int(key[len(key)-1])*17)%(size+1)/2
	return bytes.Repeat([]byte(key+"."), size/(len(key)+1)+1)[:size]
}

func (l *load) answered(key string, p int32, offset int64, err error, healed time.Time) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.fault("%s: partition %d: %s was not acknowledged: %w", l.name, p, key, err)
		return
	}
	if offset >= 0 { // librdkafka does not know it when a repetition was refused as one
		l.history.Add(history.Event{Type: history.OK, Value: valueOf(l.topic, key), Offset: offset})
	}
	l.parts[p].acked++
	l.parts[p].produced.tick(now, healed)
}

// fault notes what went wrong. mu is held.
func (ls *loads) fault(format string, args ...any) {
	if len(ls.wrong) < 100 {
		ls.wrong = append(ls.wrong, fmt.Errorf(time.Now().Format("15:04:05.000 ")+format, args...))
	}
}

// saw takes what one poll gave. Every producer's records must come one after the
// other, with the bytes that were sent; it is checked at once, so that the fault
// can be found at which it happened.
func (l *load) saw(p int32, records []read, healed time.Time) {
	now := time.Now()
	poll := history.Event{Type: history.Poll, Process: l.process, Partition: l.part(p)}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		key := string(r.key)
		poll.Records = append(poll.Records, history.Record{Offset: r.offset, Value: valueOf(l.topic, key)})
		if !bytes.Equal(r.value, padding(key, l.size)) {
			l.fault("%s: partition %d, offset %d: the value of %q is not what was sent", l.name, p, r.offset, key)
		}
		if words := strings.Fields(key); len(words) == 3 && !(l.repeats && l.again(words[0], p, words[2])) {
			from := stream{words[0], p}
			n, _ := strconv.Atoi(words[2])
			if want := l.next[from]; n != want || words[1] != strconv.Itoa(int(p)) {
				l.fault("%s: partition %d, offset %d: read %q, and number %d was next", l.name, p, r.offset, key, want)
			}
			l.next[from] = n + 1
		}
	}
	l.history.Add(poll)
	l.parts[p].seen += int64(len(records))
	l.parts[p].consumed.tick(now, healed)
}

// again reports whether a record was read before, or comes late.
func (l *load) again(producer string, p int32, number string) bool {
	n, _ := strconv.Atoi(number)
	return n < l.next[stream{producer, p}]
}

func (ls *loads) flags() uint64 {
	if ls.repeats {
		return history.Repeats
	}
	return 0
}

// problems are what has gone wrong so far.
func (ls *loads) problems() error {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return errors.Join(ls.wrong[:min(len(ls.wrong), 20)]...)
}

// beginWindow forgets the gaps there were.
func (ls *loads) beginWindow() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, l := range ls.all {
		for p := range l.parts {
			l.parts[p].produced.during, l.parts[p].produced.after = 0, 0
			l.parts[p].consumed.during, l.parts[p].consumed.after = 0, 0
		}
	}
}

// gaps are the longest times that a client waited, of any partition.
type gaps struct {
	led      time.Duration // for an acknowledgement, of the partitions that the victim led
	followed time.Duration // of the others
	consume  time.Duration // for a record to read, of all
	after    time.Duration // for either, when all had been healed
}

// endWindow returns the gaps since beginWindow, by load.
func (ls *loads) endWindow(led func(p int) bool) map[string]gaps {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	all := map[string]gaps{}
	for _, l := range ls.all {
		var g gaps
		for i, p := range l.parts {
			if led(i) {
				g.led = max(g.led, p.produced.during)
			} else {
				g.followed = max(g.followed, p.produced.during)
			}
			g.consume = max(g.consume, p.consumed.during)
			g.after = max(g.after, p.produced.after, p.consumed.after)
		}
		all[l.name] = g
	}
	return all
}

// progress waits until every load has had records acknowledged, and read, on
// every partition that were sent after now.
func (ls *loads) progress(ctx context.Context) error { return ls.progressOf(ctx, "") }

// progressOf waits for the loads of one name; "": for all.
func (ls *loads) progressOf(ctx context.Context, name string) error {
	type goal struct {
		acked int
		seen  int64
	}
	goals := map[*load][]goal{}
	ls.mu.Lock()
	for _, l := range ls.all {
		if name != "" && l.name != name {
			continue
		}
		for _, p := range l.parts {
			goals[l] = append(goals[l], goal{p.sent + 3, p.seen + 3})
		}
	}
	ls.mu.Unlock()
	return await(ctx, "every partition to go on", func(context.Context) error {
		ls.mu.Lock()
		defer ls.mu.Unlock()
		for l, list := range goals {
			for p, g := range list {
				if have := l.parts[p]; have.acked < g.acked || have.seen < g.seen {
					return fmt.Errorf("%s, partition %d: %d of %d acknowledged, %d of %d read", l.name, p, have.acked, g.acked, have.seen, g.seen)
				}
			}
		}
		return nil
	})
}

// end stops writing, and waits until all that was sent was acknowledged and read.
func (ls *loads) end(ctx context.Context) error {
	for _, l := range ls.all {
		l.stop()
	}
	for _, l := range ls.all {
		l.done.Wait()
	}
	err := await(ctx, "all that was sent to be acknowledged and read", func(context.Context) error {
		ls.mu.Lock()
		defer ls.mu.Unlock()
		if len(ls.wrong) > 0 {
			return nil // no more will come
		}
		for _, l := range ls.all {
			for p := range l.parts {
				have := l.parts[p]
				if have.acked < have.sent {
					return fmt.Errorf("%s, partition %d: %d sent, %d acknowledged", l.name, p, have.sent, have.acked)
				}
				for _, o := range ls.all {
					if n := l.next[stream{o.name, int32(p)}]; n < o.parts[p].sent {
						return fmt.Errorf("%s, partition %d: %d of %d records of %s read", l.name, p, n, o.parts[p].sent, o.name)
					}
				}
			}
		}
		return nil
	})
	for _, l := range ls.all {
		l.client.close()
	}
	return err
}
