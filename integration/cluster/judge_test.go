//go:build cluster

package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/integration/history"
)

// judge ends the loads and checks all that must hold afterwards: what the
// clients were told, and what is on the disks.
func (c *cluster) judge(ls *loads, judge *history.Checker) {
	c.t.Helper()
	ctx := c.t.Context()
	if err := ls.end(ctx); err != nil {
		c.t.Errorf("the end: %v", err)
	}
	if err := c.awaitInSync(ctx, ls.topic); err != nil {
		c.t.Errorf("the end: %v", err)
	}
	ends, err := c.ends(ctx, ls.topic)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.readAgain(ctx, ls, ends); err != nil {
		c.t.Error(err)
	}
	if err := ls.problems(); err != nil {
		c.t.Error(err)
	}
	v := judge.Verdict()
	for _, f := range v.Findings[:min(len(v.Findings), 20)] {
		c.t.Error(f)
	}
	c.t.Log(v)
	if err := every(c.consuls, func(a *agent) error { return a.awaitReady(ctx) }); err != nil {
		c.t.Error(err)
	}
	if err := every(c.nodes, (*node).end); err != nil {
		c.t.Error(err)
	}
	c.compare(ls.topic, ends)
}

// ends are the high watermarks of a topic.
func (c *cluster) ends(ctx context.Context, topic string) (map[int32]int64, error) {
	ends := map[int32]int64{}
	err := await(ctx, "the ends of all partitions", func(ctx context.Context) error {
		listed, err := kadm.NewClient(c.admin).ListEndOffsets(ctx, topic)
		if err == nil {
			err = listed.Error()
		}
		if err != nil {
			return err
		}
		listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
		return nil
	})
	return ends, err
}

// readAgain has a new client read everything from the start.
func (c *cluster) readAgain(ctx context.Context, ls *loads, ends map[int32]int64) error {
	at := map[int32]kgo.Offset{}
	left := int64(0)
	for p, end := range ends {
		at[p] = kgo.NewOffset().AtStart()
		left += end
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.seeds()...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{ls.topic: at}))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for left > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("%d records are left to read again: %w", left, err)
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			poll := history.Event{Type: history.Poll, Process: ls.history.Process(ls.topic+" reader", 0), Partition: ls.part(p.Partition)}
			for _, r := range p.Records {
				poll.Records = append(poll.Records, history.Record{Offset: r.Offset, Value: valueOf(ls.topic, string(r.Key))})
			}
			ls.history.Add(poll)
		})
		left -= int64(fetches.NumRecords())
	}
	return nil
}

// compare holds the replicas on disk against each other, byte for byte up to the
// high watermark, and has the binary verify each directory. No broker runs.
func (c *cluster) compare(topic string, ends map[int32]int64) {
	c.t.Helper()
	for _, n := range c.nodes {
		if logs, _ := filepath.Glob(filepath.Join(n.DataDir(), "*", "*.log")); len(logs) == 0 {
			continue // nothing was given to this node, or all was moved off it
		}
		text, err := exec.Command(n.Binary(), "log", "verify", n.DataDir()).CombinedOutput()
		if err != nil {
			c.t.Errorf("node %d: log verify: %v:\n%s", n.id, err, tail(string(text), 4000))
		}
	}
	for p, end := range ends {
		dir := topic + "-" + strconv.Itoa(int(p))
		var first []byte
		var from *node
		for _, n := range c.nodes {
			log, err := readLog(filepath.Join(n.DataDir(), dir), end)
			switch {
			case os.IsNotExist(err): // no replica of this partition
			case err != nil:
				c.t.Errorf("node %d: %v", n.id, err)
			case from == nil:
				first, from = log, n
			case !bytes.Equal(first, log):
				c.t.Errorf("%s: nodes %d and %d have %d and %d bytes below offset %d, which differ from byte %d on",
					dir, from.id, n.id, len(first), len(log), end, differFrom(first, log))
			}
		}
		if from == nil {
			c.t.Errorf("%s: no node has it", dir)
		}
	}
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func differFrom(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// readLog reads all batches of a partition's directory below an offset, one
// after the other: where one segment ends and the next begins is each replica's
// own. What a segment was given in advance beyond its last batch is zero.
//
//	batch:  base offset 8 │ length 4 │ … │ last offset delta 4 at 23 │ …
func readLog(dir string, end int64) ([]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var segments []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".log") {
			segments = append(segments, e.Name())
		}
	}
	slices.Sort(segments) // the names are offsets of one width
	var log []byte
	next := int64(0)
	for _, name := range segments {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		for len(data) >= 61 && binary.BigEndian.Uint32(data[8:]) != 0 {
			base, length := int64(binary.BigEndian.Uint64(data)), 12+int(binary.BigEndian.Uint32(data[8:]))
			if base != next || length > len(data) {
				return nil, fmt.Errorf("%s/%s: a batch of %d bytes at offset %d, where offset %d is next", dir, name, length, base, next)
			}
			if base >= end {
				return log, nil
			}
			next = base + int64(binary.BigEndian.Uint32(data[23:])) + 1
			log = append(log, data[:length]...)
			data = data[length:]
		}
	}
	if next < end {
		return nil, fmt.Errorf("%s ends at offset %d, below %d", dir, next, end)
	}
	return log, nil
}
