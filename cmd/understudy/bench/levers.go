package bench

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Lever is something that a user can turn, and what came of each of its positions.
type Lever struct {
	Name   string  `json:"name"`
	About  string  `json:"about"`
	Points []Point `json:"points"`
}

// Point is one position of a lever.
type Point struct {
	Label  string `json:"label"`
	Result Result `json:"result"`
}

// position is a point to be measured: how it differs from the usual.
type position struct {
	label string
	set   func(*Options)
}

// plan is a lever to be measured.
type plan struct {
	name, about string
	base        func(*Options) // nil: the usual
	positions   []position
}

// lingerRate is at which load, in records a second, the linger is turned: at full
// speed batches are full before it is over.
const lingerRate = 20_000

func plans(replicas int16) []plan {
	return []plan{
		{"batch", "the largest batch, in bytes; one partition's records that are sent, written and copied together", nil, batchPositions()},
		{"linger", fmt.Sprintf("how long a batch waits to be filled, at %d records a second", lingerRate),
			func(o *Options) { o.Rate = lingerRate }, lingerPositions()},
		{"compression", "the codec, on log lines in JSON",
			func(o *Options) { o.Text = true }, codecPositions()},
		{"partitions", "how many partitions the records are spread over", nil, partitionPositions()},
		{"replicas", "copies of each record, and which of them are waited for", nil, replicaPositions(replicas)},
	}
}

func batchPositions() (list []position) {
	for _, kib := range []int32{4, 16, 64, 256, 1024} {
		list = append(list, position{fmt.Sprintf("%d KiB", kib), func(o *Options) { o.BatchBytes = kib << 10 }})
	}
	return list
}

func lingerPositions() (list []position) {
	for _, ms := range []time.Duration{0, 1, 5, 20, 100} {
		list = append(list, position{fmt.Sprintf("%d ms", ms), func(o *Options) { o.Linger = ms * time.Millisecond }})
	}
	return list
}

func codecPositions() (list []position) {
	for _, c := range []struct {
		name  string
		codec kgo.CompressionCodec
	}{
		{"none", kgo.NoCompression()}, {"snappy", kgo.SnappyCompression()}, {"lz4", kgo.Lz4Compression()},
		{"zstd", kgo.ZstdCompression()}, {"gzip", kgo.GzipCompression()},
	} {
		list = append(list, position{c.name, func(o *Options) { o.Codec = c.codec }})
	}
	return list
}

func partitionPositions() (list []position) {
	for _, n := range []int32{1, 3, 6, 30, 100, 300} {
		list = append(list, position{fmt.Sprint(n), func(o *Options) { o.Partitions = n }})
	}
	return list
}

func replicaPositions(most int16) (list []position) {
	acks := []struct {
		name string
		opts []kgo.Opt
	}{
		{"0", []kgo.Opt{kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite()}},
		{"1", []kgo.Opt{kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite()}},
		{"all", []kgo.Opt{kgo.RequiredAcks(kgo.AllISRAcks())}},
	}
	for _, n := range []int16{1, 3} {
		if n > most {
			break
		}
		for _, a := range acks {
			list = append(list, position{fmt.Sprintf("%d, acks=%s", n, a.name), func(o *Options) { o.Replicas, o.Acks = n, a.opts }})
		}
	}
	return list
}

// Levers turns each lever in turn, the others left as the options have them.
// Every position is measured on a topic of its own.
func Levers(ctx context.Context, o Options, only func(lever string) bool) ([]Lever, error) {
	brokers, err := o.countBrokers(ctx)
	if err != nil {
		return nil, err
	}
	if o.Replicas < 0 {
		o.Replicas = min(3, brokers)
	}
	var levers []Lever
	for _, p := range plans(min(3, brokers)) {
		if !only(p.name) {
			continue
		}
		l := Lever{Name: p.name, About: p.about}
		for _, at := range p.positions {
			turned := o
			if p.base != nil {
				p.base(&turned)
			}
			at.set(&turned)
			r, err := Produce(ctx, turned)
			if err != nil {
				return levers, fmt.Errorf("%s %s: %w", p.name, at.label, err)
			}
			l.Points = append(l.Points, Point{at.label, r})
		}
		levers = append(levers, l)
	}
	return levers, nil
}

func (o *Options) countBrokers(ctx context.Context) (int16, error) {
	cl, err := o.Connect(ctx)
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	found, err := kadm.NewClient(cl).ListBrokers(ctx)
	return int16(min(len(found), math.MaxInt16)), err
}

// LeverNames are the levers that there are.
func LeverNames() (names []string) {
	for _, p := range plans(1) {
		names = append(names, p.name)
	}
	return names
}
