package understudy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"understudy/kafka"
	"understudy/kafka/server"
	"understudy/kafka/wire"
)

// serve lets clients in.
func (b *Broker) serve(context.Context) error {
	b.pool = wire.NewPool(wire.NewBudget(b.cfg.Limits.InFlightBytes))
	deps := kafka.Deps{
		Self:       b.self.ID,
		Image:      b.cell.Image,
		Defaults:   b.defaults,
		Partitions: kafka.Local(b.replicas),
		Admin:      b.changes(),
		Groups:     b.groups,
		Pool:       b.pool,
		Now:        func() int64 { return time.Now().UnixMilli() },
		LogDir:     b.cfg.DataDir,
		Space:      b.space,
		Log:        b.log,
		Limits:     b.requestLimits(),
	}
	if b.node != nil {
		deps.Elections = newSight(b.node)
	}
	b.kafka = kafka.New(deps)
	serverMetrics := server.NewMetrics(kafka.APINames())
	b.metrics.MustRegister(serverMetrics.Collectors()...)
	b.metrics.MustRegister(newBrokerMetrics(b))
	limits := server.DefaultLimits()
	limits.Connections = int(b.cfg.Limits.Connections)
	limits.ConnectionsPerAddress = int(b.cfg.Limits.ConnectionsPerIP)
	limits.InFlightBytes = int(b.cfg.Limits.ConnectionInFlightBytes)
	limits.IdleTime = b.cfg.Limits.IdleTimeout
	b.server = server.New(b.kafka, server.Options{Limits: limits, Pool: b.pool, Metrics: serverMetrics, Log: b.log})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := b.server.Serve(b.listener); err != nil {
			b.log.Error().Err(err).Msg("no more clients are let in")
		}
	}()
	b.onStop("let clients go", func(ctx context.Context) error {
		b.letGo(ctx)
		<-ended
		return nil
	})
	if b.node != nil {
		b.onStop("hand over", b.node.handOver)
	}
	return nil
}

const (
	// quietTime is for how long a client must have asked nothing, once it was told to
	// go elsewhere, before its connection is closed: time enough to be told of each
	// partition, and to ask who leads it now.
	quietTime = 50 * time.Millisecond
	// letGoWithin bounds how long clients may go on asking.
	letGoWithin = 500 * time.Millisecond

	// A broker that is alone has nothing to tell.
	aloneQuietTime   = 5 * time.Millisecond
	aloneLetGoWithin = 50 * time.Millisecond
)

// letGo ends the clients' connections in order. Those of a node have somewhere
// else to go to; a broker that is alone answers what it has been asked.
func (b *Broker) letGo(ctx context.Context) {
	quiet, within := aloneQuietTime, aloneLetGoWithin
	if b.node != nil && !b.node.dead.Load() {
		quiet, within = quietTime, letGoWithin
	}
	ctx, cancel := leavingTime(ctx, within, server.ShutdownTime)
	defer cancel()
	stop := context.AfterFunc(ctx, b.kafka.Close) // what still waits for a change gives up
	defer stop()
	b.server.Shutdown(ctx, quiet)
	b.kafka.Close()
}

// changes is who makes changes for clients.
func (b *Broker) changes() kafka.Admin {
	if b.node != nil {
		return b.node
	}
	return sole{b.controller, b}
}

func (b *Broker) requestLimits() kafka.Limits {
	limits := kafka.DefaultLimits()
	limits.ProduceBytes = int(b.cfg.Limits.RequestBytes)
	limits.FetchBytes = int(b.cfg.Limits.FetchBytes)
	limits.Sessions = int(b.cfg.Limits.FetchSessions)
	return limits
}

// space is the size of the disk with the data and what is free of it, in bytes.
func (b *Broker) space() (total, usable int64) {
	free, all, err := b.files.Space(".")
	if err != nil {
		return -1, -1
	}
	return int64(all), int64(free)
}

// problems says what is wrong with partitions here, a line each.
func (b *Broker) problems() []string {
	var problems []string
	for _, h := range b.replicas.All() {
		if v := h.View(); v == nil {
			problems = append(problems, fmt.Sprintf("%v is being opened", h.TopicPartition()))
		} else if v.Err != nil {
			problems = append(problems, v.Err.Error())
		}
		for _, err := range h.Damage() {
			problems = append(problems, err.Error())
		}
	}
	slices.Sort(problems)
	return problems
}
