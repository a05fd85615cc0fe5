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
	b.kafka = kafka.New(kafka.Deps{
		Self:       b.self.ID,
		Image:      b.cell.Image,
		Defaults:   b.defaults,
		Partitions: kafka.Local(b.replicas),
		Admin:      b.changes(),
		Groups:     kafka.NoGroups{},
		Pool:       b.pool,
		Now:        func() int64 { return time.Now().UnixMilli() },
		LogDir:     b.cfg.DataDir,
		Space:      b.space,
		Log:        b.log,
		Limits:     b.requestLimits(),
	})
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
		b.kafka.Close()
		b.server.Close()
		<-ended
		return nil
	})
	if b.node != nil {
		b.onStop("hand over", b.node.handOver)
	}
	return nil
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
