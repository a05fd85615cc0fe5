package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// groupSession is after how long a member that says nothing is out. Tests lengthen it.
var groupSession = 10 * time.Second

const (
	groupHeartbeat = 2 * time.Second  // how often a member says that it is there
	newPartitions  = 10 * time.Second // after which it is looked for partitions that were added
	commitTimeout  = 5 * time.Second  // for the last commit, when interrupted
)

// groupReader reads what a group assigns to it, and commits what it has printed.
// The client calls assigned, revoked and lost in goroutines of its own.
type groupReader struct {
	*reader
	group string
	spans map[int32]span // of the topic, when the reading began

	mu     sync.Mutex // guards what follows, and reader.left
	joined bool       // it has got an assignment
	some   bool       // and there were partitions in it
	failed error      // of a callback
}

// checkGroupFlags refuses what has no meaning in a group.
func (f *consumeFlags) checkGroupFlags(cmd *cobra.Command, at position) error {
	switch {
	case len(f.partitions) > 0:
		return wrongUsage(cmd, "--partition: the group says which partitions are read")
	case at.kind == atOffset:
		return wrongUsage(cmd, "--from %s: to have a group begin at an offset use: understudy group reset-offsets", f.from)
	}
	return nil
}

// resetOffset is where the client begins when the group has committed nothing.
func (p position) resetOffset() kgo.Offset {
	switch p.kind {
	case atLogEnd:
		return kgo.NewOffset().AtEnd()
	case lastN:
		return kgo.NewOffset().AtEnd().Relative(-p.offset)
	case atTime:
		return kgo.NewOffset().AfterMilli(p.time.UnixMilli())
	}
	return kgo.NewOffset().AtStart()
}

// runGroup is run as a member of a group.
func (f *consumeFlags) runGroup(ctx context.Context, r *reader, at position, opts []kgo.Opt) error {
	first, err := f.conn.connect(ctx, r.streams)
	if err != nil {
		return err
	}
	defer first.Close()
	g := &groupReader{reader: r, group: f.group}
	if g.spans, err = first.resolve(ctx, r.topic, at); err != nil {
		return err
	}
	r.left, r.done = make(map[int32]int64), make(map[int32]kgo.EpochOffset)
	opts = append(opts,
		kgo.ConsumerGroup(f.group), kgo.ConsumeTopics(r.topic), kgo.ConsumeResetOffset(at.resetOffset()),
		kgo.SessionTimeout(groupSession), kgo.HeartbeatInterval(groupHeartbeat),
		kgo.MetadataMaxAge(newPartitions),
		kgo.AutoCommitMarks(), kgo.AutoCommitInterval(time.Second), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(g.assigned), kgo.OnPartitionsRevoked(g.revoked), kgo.OnPartitionsLost(g.lost),
	)
	if r.client, err = f.conn.connect(ctx, r.streams, opts...); err != nil {
		return err
	}
	defer r.client.CloseAllowingRebalance()
	return errors.Join(g.read(ctx), g.commit(ctx, r.client.Client))
}

// read prints records and marks them for the next commit until there is a reason
// to end.
func (g *groupReader) read(ctx context.Context) error {
	for {
		if done, err := g.ended(); done || err != nil {
			return err
		}
		g.client.AllowRebalance()
		waitCtx, cancel := context.WithTimeout(ctx, idleAfter)
		fetches := g.client.PollRecords(waitCtx, 10_000)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := g.fetchErrors(fetches); err != nil {
			return err
		}
		g.mu.Lock()
		err := g.printAll(fetches)
		g.mu.Unlock()
		if err := errors.Join(err, g.out.Flush()); err != nil {
			return err
		}
		g.client.MarkCommitOffsets(map[string]map[int32]kgo.EpochOffset{g.topic: g.done})
		clear(g.done)
		if err := g.look(ctx, fetches.NumRecords() > 0); err != nil {
			return err
		}
	}
}

// ended reports whether there is nothing more to do: enough was printed, or all
// that was assigned has been read to its end. A member that is assigned nothing
// waits a while: others may yet have to give up what it is to get.
func (g *groupReader) ended() (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed != nil {
		return true, g.failed
	}
	if g.flags.exitAtEnd && (!g.joined || !g.some && g.idle < idleRounds) {
		return false, nil
	}
	return g.finished(), nil
}

// look sees whether an end that never comes has come.
func (g *groupReader) look(ctx context.Context, some bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.afterPoll(ctx, some)
}

func (g *groupReader) assigned(ctx context.Context, cl *kgo.Client, added map[string][]int32) {
	partitions := slices.Sorted(slices.Values(added[g.topic]))
	var positions map[int32]int64
	var err error
	if len(partitions) > 0 {
		g.streams.note("group %s: reading %s:%s", g.group, g.topic, ranges(partitions))
		positions, err = g.positions(ctx, cl)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.joined {
		g.joined, g.idle = true, 0
	}
	if g.some = g.some || len(partitions) > 0; err != nil && ctx.Err() == nil {
		g.failed = err
	}
	for _, p := range partitions {
		if end := g.spans[p].end; positions[p] < end {
			g.left[p] = end
		}
	}
}

// positions are where the group will go on in each partition.
func (g *groupReader) positions(ctx context.Context, cl *kgo.Client) (map[int32]int64, error) {
	if !g.flags.exitAtEnd {
		return nil, nil
	}
	committed, err := kadm.NewClient(cl).FetchOffsetsForTopics(ctx, g.group, g.topic)
	if err != nil {
		return nil, aboutGroup(g.group, err)
	}
	positions := make(map[int32]int64)
	for p, s := range g.spans {
		positions[p] = s.from
		if o, ok := committed.Lookup(g.topic, p); ok && o.Err == nil && o.At >= 0 {
			positions[p] = o.At
		}
	}
	return positions, nil
}

func (g *groupReader) revoked(ctx context.Context, cl *kgo.Client, gone map[string][]int32) {
	if err := g.commit(ctx, cl); err != nil {
		g.streams.note("%v", err)
	}
	g.forget(gone, "no longer reading")
}

func (g *groupReader) lost(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	g.forget(gone, "lost")
}

func (g *groupReader) forget(gone map[string][]int32, what string) {
	partitions := slices.Sorted(slices.Values(gone[g.topic]))
	if len(partitions) == 0 {
		return
	}
	g.streams.note("group %s: %s %s:%s", g.group, what, g.topic, ranges(partitions))
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range partitions {
		delete(g.left, p)
	}
}

// commit commits what has been printed, even when the command is being ended.
func (g *groupReader) commit(ctx context.Context, cl *kgo.Client) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	if err := cl.CommitMarkedOffsets(ctx); err != nil {
		return aboutGroup(g.group, fmt.Errorf("the last offsets could not be committed: %w", err))
	}
	return nil
}

// groupTrouble tells an error that ends a membership for good from one after
// which the client joins again by itself.
func groupTrouble(name string, err error) (fatal error) {
	for _, f := range []*kerr.Error{
		kerr.InvalidGroupID, kerr.InconsistentGroupProtocol, kerr.GroupMaxSizeReached, kerr.GroupAuthorizationFailed,
		kerr.InvalidSessionTimeout, kerr.UnsupportedVersion,
	} {
		if errors.Is(err, f) {
			return aboutGroup(name, err)
		}
	}
	return nil
}
