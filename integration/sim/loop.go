package sim

// Times are in µs since the history began.
const (
	millisecond int64 = 1000
	second            = 1000 * millisecond
)

// loop is the simulation's time: what is to happen, and when.
type loop struct {
	now  int64
	seq  uint64
	heap []event
}

// event is something that will happen. Of two at the same time the one with the
// lower key comes first, then the one that was planned first. Turns of actors
// have keys of their own, since in which order they are planned may depend on the
// order of a map.
type event struct {
	at  int64
	key uint64
	seq uint64
	fn  func()
}

func (e *event) before(o *event) bool {
	if e.at != o.at {
		return e.at < o.at
	}
	if e.key != o.key {
		return e.key < o.key
	}
	return e.seq < o.seq
}

// after plans something.
func (l *loop) after(delay int64, fn func()) { l.plan(l.now+max(delay, 0), 0, fn) }

func (l *loop) plan(at int64, key uint64, fn func()) {
	l.seq++
	l.heap = append(l.heap, event{at, key, l.seq, fn})
	h := l.heap
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if !h[i].before(&h[parent]) {
			break
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

// next takes the earliest event and moves the time to it; ok is false if there is none.
func (l *loop) next() (fn func(), ok bool) {
	if len(l.heap) == 0 {
		return nil, false
	}
	e := l.heap[0]
	last := len(l.heap) - 1
	l.heap[0] = l.heap[last]
	l.heap[last] = event{}
	l.heap = l.heap[:last]
	l.sink()
	l.now = e.at
	return e.fn, true
}

func (l *loop) sink() {
	h := l.heap
	for i := 0; ; {
		least := i
		for _, child := range [...]int{2*i + 1, 2*i + 2} {
			if child < len(h) && h[child].before(&h[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

// mix is a hash of numbers (the finaliser of splitmix64, chained). What must not
// depend on the order of other things draws its chance from it.
func mix(values ...uint64) uint64 {
	x := uint64(0x9e3779b97f4a7c15)
	for _, v := range values {
		x ^= v
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		x ^= x >> 31
	}
	return x
}

// mixName is mix of a name.
func mixName(name string) uint64 {
	x := uint64(len(name))
	for i := range len(name) {
		x = mix(x, uint64(name[i]))
	}
	return x
}
