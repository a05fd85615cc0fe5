package link

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"understudy/cluster/replica"
	"understudy/messages"
)

// cpu is the processor time that the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkReplicate sends from one leader to two followers, which check what
// they get and acknowledge, with up to 4 MiB on the way to each.
func BenchmarkReplicate(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			acks := make(chan messages.BrokerID, 1<<16)
			leader := newNode(b, 1, 1, func(o *Options) {
				o.OnMessage = func(in *Incoming) {
					acks <- in.From.ID
					in.Release()
				}
			})
			followers := []*node{nil, nil}
			for i := range followers {
				followers[i] = newNode(b, int32(2+i), 1, func(o *Options) {
					o.OnMessage = func(in *Incoming) {
						end := in.Message.Base + 1
						in.Release()
						_ = followers[i].Send(1, topic, 0, replica.Message{Type: replica.TypeAck, End: end, Durable: end}, nil)
					}
				})
			}
			meet(leader, followers[0], followers[1])
			var fresh []replica.Message // enough of them not to be in any cache
			for range max((128<<20)/size, 1) {
				fresh = append(fresh, appendOf(0, records(size, 0)))
			}
			n, next := int64(len(fresh[0].Batches[0])), 0
			window := min(max((4<<20)/size, 1), 1024)
			flight := [4]int{}
			b.SetBytes(n)
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu()
			wait := func(most int) {
				for flight[2] > most || flight[3] > most {
					flight[<-acks]--
				}
			}
			for b.Loop() {
				m := fresh[next%len(fresh)]
				next++
				for to := range []int{2, 3} {
					if err := leader.Send(int32(to+2), topic, 0, m, nil); err != nil {
						b.Fatal(err)
					}
					flight[to+2]++
				}
				wait(window)
			}
			wait(0)
			b.ReportMetric((cpu()-before).Seconds()/(float64(n)*float64(b.N)/1e9), "cpu-s/GB")
			b.ReportMetric(float64(leader.Peers()[0].MessagesOut)/float64(leader.Peers()[0].Writes), "msg/write")
		})
	}
}

// BenchmarkRoundTrip sends 64 KiB to two followers and waits for both.
func BenchmarkRoundTrip(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			acks := make(chan struct{}, 16)
			leader := newNode(b, 1, 1, func(o *Options) {
				o.OnMessage = func(in *Incoming) { in.Release(); acks <- struct{}{} }
			})
			followers := []*node{nil, nil}
			for i := range followers {
				followers[i] = newNode(b, int32(2+i), 1, func(o *Options) {
					o.OnMessage = func(in *Incoming) {
						in.Release()
						_ = followers[i].Send(1, topic, 0, replica.Message{Type: replica.TypeAck}, nil)
					}
				})
			}
			meet(leader, followers[0], followers[1])
			m := appendOf(0, records(size, 0))
			b.ReportAllocs()
			var times []time.Duration
			for b.Loop() {
				start := time.Now()
				_ = leader.Send(2, topic, 0, m, nil)
				_ = leader.Send(3, topic, 0, m, nil)
				<-acks
				<-acks
				times = append(times, time.Since(start))
			}
			b.ReportMetric(float64(percentile(times, 50).Microseconds()), "p50-µs")
			b.ReportMetric(float64(percentile(times, 99).Microseconds()), "p99-µs")
		})
	}
}

func percentile(times []time.Duration, p int) time.Duration {
	slices.Sort(times)
	return times[len(times)*p/100]
}

// BenchmarkAcknowledgements sends messages without records, of many partitions,
// one way.
func BenchmarkAcknowledgements(b *testing.B) {
	got := make(chan struct{}, 1<<16)
	sender := newNode(b, 1, 1, nil)
	receiver := newNode(b, 2, 1, func(o *Options) {
		o.OnMessage = func(in *Incoming) { in.Release(); got <- struct{}{} }
	})
	meet(sender, receiver)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu()
	flight := 0
	for i := 0; b.Loop(); i++ {
		m := replica.Message{Type: replica.TypeAck, Epoch: 7, End: int64(i), Durable: int64(i)}
		if err := sender.Send(2, topic, int32(i%1000), m, nil); err != nil {
			b.Fatal(err)
		}
		for flight++; flight > 10_000; flight-- {
			<-got
		}
	}
	for ; flight > 0; flight-- {
		<-got
	}
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/msg")
	b.ReportMetric(float64(sender.Peers()[0].MessagesOut)/float64(sender.Peers()[0].Writes), "msg/write")
}

// BenchmarkHeader is what a message's header costs to write and to read.
func BenchmarkHeader(b *testing.B) {
	m := appendOf(1 << 40)
	var head [messagePrefix]byte
	var back replica.Message
	b.ReportAllocs()
	for b.Loop() {
		putMessage(&head, topic, 3, &m, 1000)
		f, header, err := parsePrefix(head[:])
		if err != nil || header != messageSize || f.payload != 1000 {
			b.Fatal(err)
		}
		if _, _, err := parseMessage(maxVersion, head[prefixSize:], &back); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRequest asks for an echo of 1 KiB.
func BenchmarkRequest(b *testing.B) {
	asker, answerer := newNode(b, 1, 1, nil), newNode(b, 2, 1, serving)
	meet(asker, answerer)
	body := make([]byte, 1<<10)
	for b.Loop() {
		if _, err := asker.Request(b.Context(), 2, kindEcho, body); err != nil {
			b.Fatal(err)
		}
	}
}
