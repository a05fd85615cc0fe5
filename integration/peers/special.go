//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

// synchronous sends a record when the one before has been acknowledged.
func synchronous(ctx context.Context, t *trial) (figures, error) {
	if t.kind.nats {
		return t.publishOneByOne(ctx)
	}
	topic, remove, err := t.makeTopic(ctx)
	if err != nil {
		return nil, err
	}
	defer remove()
	cl, err := t.connect(ctx, kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	value := randomBytes(t.load.size)
	return t.oneByOne(ctx, func() error {
		return cl.ProduceSync(ctx, &kgo.Record{Value: value}).FirstErr()
	})
}

// oneByOne repeats what is to be timed, first without counting it.
func (t *trial) oneByOne(ctx context.Context, do func() error) (figures, error) {
	for end := time.Now().Add(t.warmup); time.Now().Before(end); {
		if err := do(); err != nil {
			return nil, err
		}
	}
	took := hdrhistogram.New(int64(time.Microsecond), int64(time.Minute), 3)
	for end := time.Now().Add(t.duration); time.Now().Before(end) && ctx.Err() == nil; {
		began := time.Now()
		if err := do(); err != nil {
			return nil, err
		}
		if err := took.RecordValue(int64(time.Since(began))); err != nil {
			return nil, err
		}
	}
	ms := func(q float64) float64 { return float64(took.ValueAtQuantile(q)) / 1e6 }
	return figures{ackP50: ms(50), ackP99: ms(99), perSecond: float64(took.TotalCount()) / t.duration.Seconds()}, nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b) // never fails
	return b
}

// manyConnections opens connections that do nothing, and measures a producer beside them.
func manyConnections(ctx context.Context, t *trial) (figures, error) {
	const idle = 5000
	if err := raiseFileLimit(idle + 500); err != nil {
		return nil, err
	}
	addrs := t.system.Addrs()
	for i := range idle {
		nc, err := net.Dial("tcp", addrs[i%len(addrs)])
		if err != nil {
			return nil, err
		}
		defer nc.Close()
	}
	return produce(ctx, t)
}

func raiseFileLimit(n uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Cur >= n {
		return nil
	}
	limit.Cur = limit.Max
	if limit.Max < n {
		return fmt.Errorf("%d open files are allowed, %d are needed", limit.Max, n)
	}
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}
