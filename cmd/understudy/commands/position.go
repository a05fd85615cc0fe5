package commands

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"understudy/config"
)

// positionHelp documents --from.
const positionHelp = "start, end, an OFFSET, -N (the last N of each partition), or a time: 2026-01-31T12:00:00Z, 2026-01-31, @UNIX-MILLISECONDS, 1h-ago"

// position is where in each partition reading begins.
type position struct {
	kind   positionKind
	offset int64     // for atOffset; how many for lastN
	time   time.Time // for atTime
}

type positionKind int

const (
	atStart positionKind = iota
	atLogEnd
	atOffset
	lastN
	atTime
)

// parsePosition reads --from. A bare number is an offset, never a time.
func parsePosition(s string, now time.Time) (position, error) {
	switch s {
	case "start", "beginning", "earliest":
		return position{kind: atStart}, nil
	case "end", "latest":
		return position{kind: atLogEnd}, nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n < 0 {
			return position{kind: lastN, offset: -n}, nil
		}
		return position{kind: atOffset, offset: n}, nil
	}
	if ago, ok := strings.CutSuffix(s, "-ago"); ok {
		if d, err := config.ParseDuration(ago); err == nil && d >= 0 {
			return position{kind: atTime, time: now.Add(-d)}, nil
		}
	}
	if t, ok := parseTime(s); ok {
		return position{kind: atTime, time: t}, nil
	}
	return position{}, fmt.Errorf("%q is not a place to begin; write %s", s, positionHelp)
}

// span is the part of one partition that is there to read: from the offset to
// begin with, which is not before the partition's start, to the first that is not
// there yet.
type span struct{ start, from, end int64 }

// resolve asks the brokers what the position means in each partition.
func (c *client) resolve(ctx context.Context, topic string, at position) (map[int32]span, error) {
	starts, err := c.offsets(ctx, topic, c.admin.ListStartOffsets)
	if err != nil {
		return nil, err
	}
	ends, err := c.offsets(ctx, topic, c.admin.ListEndOffsets)
	if err != nil {
		return nil, err
	}
	times := map[int32]int64{}
	if at.kind == atTime {
		times, err = c.offsets(ctx, topic, func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
			return c.admin.ListOffsetsAfterMilli(ctx, at.time.UnixMilli(), topics...)
		})
		if err != nil {
			return nil, err
		}
	}
	spans := make(map[int32]span, len(ends))
	for p, end := range ends {
		start, from := starts[p], int64(0)
		switch at.kind {
		case atStart:
			from = start
		case atLogEnd:
			from = end
		case atOffset:
			from = at.offset
		case lastN:
			from = end - at.offset
		case atTime:
			from = times[p]
		}
		spans[p] = span{start, min(max(from, start), end), end}
	}
	return spans, nil
}

func (c *client) offsets(ctx context.Context, topic string, list func(context.Context, ...string) (kadm.ListedOffsets, error)) (map[int32]int64, error) {
	listed, err := list(ctx, topic)
	if err != nil {
		return nil, c.explain(err)
	}
	offsets := make(map[int32]int64)
	for p, o := range listed[topic] {
		if o.Err != nil {
			return nil, aboutTopic(topic, o.Err, "")
		}
		offsets[p] = o.Offset
	}
	return offsets, nil
}
