//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// startCount is how many starts the median is taken of.
const startCount = 5

// starts starts further systems of the trial's kind, one after the other, and takes
// the time until each has acknowledged a record.
func starts(ctx context.Context, t *trial) (figures, error) {
	var took []float64
	for i := range startCount {
		d, err := t.startOne(ctx, fmt.Sprint("start-", i))
		if err != nil {
			return nil, err
		}
		took = append(took, d.Seconds())
	}
	slices.Sort(took)
	return figures{seconds: took[len(took)/2]}, nil
}

func (t *trial) startOne(ctx context.Context, name string) (took time.Duration, err error) {
	other := *t
	other.lab = &lab{dir: t.lab.path(name), consul: t.lab.consul, jars: t.lab.jars, nats: t.lab.nats}
	if err := other.lab.fresh(); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(other.lab.dir)) }()
	began := time.Now()
	if other.system, err = t.kind.start(ctx, other.lab); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, other.system.Stop()) }()
	topic, remove, err := other.makeTopic(ctx)
	if err != nil {
		return 0, err
	}
	defer remove()
	cl, err := other.connect(ctx, kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	err = cl.ProduceSync(ctx, &kgo.Record{Value: randomBytes(t.load.size)}).FirstErr()
	return time.Since(began), err
}
