package link

import (
	"testing"

	"understudy/cluster/replica"
)

// TestMessagesDoNotAllocate: a batch that goes to two followers, is checked there and
// acknowledged.
func TestMessagesDoNotAllocate(t *testing.T) {
	if poison { // with the race detector, which has pools drop some of what they get
		t.Skip("pools forget with the race detector")
	}
	acks := make(chan struct{}, 16)
	leader := newNode(t, 1, 1, func(o *Options) {
		o.OnMessage = func(in *Incoming) { in.Release(); acks <- struct{}{} }
	})
	followers := []*node{nil, nil}
	for i := range followers {
		followers[i] = newNode(t, int32(2+i), 1, func(o *Options) {
			o.OnMessage = func(in *Incoming) {
				end := in.Message.Base + 1
				in.Release()
				_ = followers[i].Send(1, topic, 0, replica.Message{Type: replica.TypeAck, End: end, Durable: end}, nil)
			}
		})
	}
	meet(leader, followers[0], followers[1])
	for _, size := range []int{1 << 10, 16 << 10, 256 << 10} {
		m := appendOf(0, records(size, 0))
		n := testing.AllocsPerRun(1000, func() {
			for _, to := range []int32{2, 3} {
				if err := leader.Send(to, topic, 0, m, nil); err != nil {
					t.Fatal(err)
				}
			}
			<-acks
			<-acks
		})
		if n > 0 {
			t.Errorf("%v allocations for each message of %d bytes to two followers", n, size)
		}
	}
}
