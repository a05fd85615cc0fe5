package sim

import "slices"

// aloneWithin is how long a node that comes back alone may take to lead all that
// it has. It first has to find that the others are down.
const aloneWithin = 10 * second

// returnAlone has all processes die at once when all is at rest, and one of them
// come back: it has lost nothing, so that it must lead without the others. Then
// those come back, and all comes to rest again.
func (s *Sim) returnAlone() {
	m := s.pick(s.seed)
	s.say("all processes die, and node %d comes back", m.id)
	s.count("returned alone")
	for _, other := range s.machines {
		if other.proc != nil {
			other.proc.kill()
		}
	}
	m.start()
	s.after(aloneWithin, func() {
		for _, tp := range s.everything() {
			if at := s.store.image.Partition(tp); slices.Contains(at.Replicas, m.id) && at.Leader != m.id {
				s.wrong("not-led", "%v is not led by node %d, %d s after it has come back alone: %s", tp, m.id, aloneWithin/second, s.standing(tp))
				return
			}
		}
		for _, other := range s.machines {
			other.start()
		}
		s.after(second, func() { s.await(s.now + restWithin) })
	})
}
