package commands

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	idleAfter    = 2 * time.Second  // without a record, when reading up to the end
	idleRounds   = 3                // so many in a row, with answers from the brokers, and there is nothing more
	refreshAfter = 10 * time.Second // how often to look for new partitions
)

type consumeFlags struct {
	conn       clientFlags
	from       string
	count      int64
	exitAtEnd  bool
	format     string
	partitions []int32
	committed  bool
	group      string
}

func newConsume(streams Streams) *cobra.Command {
	var f consumeFlags
	cmd := &cobra.Command{
		Use:   "consume TOPIC",
		Short: "Write the records of a topic to standard output",
		Long: `Write the records of a topic to standard output, each as the format says, and wait
for more until interrupted.

With --group, the partitions are shared among all who consume with the same group,
and what has been written is committed: who comes later goes on there.

The format is json, or a template (as in kcat) of:

` + formatHelp,
		Example: `  understudy consume orders
  understudy consume orders --from 1h-ago --format '%p/%o %d %k: %v\n'
  understudy consume orders --from start --exit-at-end --format json | jq .value
  understudy consume orders --group billing`,
		Args: args(1, 1, "topic"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, streams, args[0])
		},
	}
	f.conn.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.from, "from", "start", "where to begin (in a group: where it has committed nothing): "+positionHelp)
	fl.Int64Var(&f.count, "count", 0, "end after so many records; 0: no bound")
	fl.BoolVar(&f.exitAtEnd, "exit-at-end", false, "end at what was the end of each partition at the start")
	fl.StringVar(&f.format, "format", `%v\n`, "json, or a template")
	fl.Int32SliceVar(&f.partitions, "partition", nil, "read only these partitions")
	fl.StringVar(&f.group, "group", "", "take part in this consumer group")
	fl.BoolVar(&f.committed, "read-committed", false, "leave out records of transactions that were aborted or are open")
	return cmd
}

func (f *consumeFlags) run(cmd *cobra.Command, streams Streams, topic string) error {
	print, err := parseFormat(f.format)
	if err != nil {
		return wrongUsage(cmd, "--format: %v", err)
	}
	at, err := parsePosition(f.from, time.Now())
	if err != nil {
		return wrongUsage(cmd, "--from: %v", err)
	}
	if f.count < 0 {
		return wrongUsage(cmd, "--count %d: it is a number of records", f.count)
	}
	opts := []kgo.Opt{
		kgo.KeepControlRecords(), // they take offsets too, and the end may be one
		kgo.FetchMaxWait(500 * time.Millisecond),
	}
	if f.committed {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	r := &reader{streams: streams, topic: topic, flags: f, print: print, out: bufio.NewWriterSize(streams.Out, 256<<10)}
	if f.group == "" {
		err = f.runAlone(cmd.Context(), r, at, opts)
	} else if err = f.checkGroupFlags(cmd, at); err == nil {
		err = f.runGroup(cmd.Context(), r, at, opts)
	}
	if cmd.Context().Err() != nil && errors.Is(err, context.Canceled) {
		if f.count > 0 || f.exitAtEnd {
			return errInterrupted
		}
		return nil // an endless reading ends by interruption
	}
	return err
}

// runAlone reads without a group.
func (f *consumeFlags) runAlone(ctx context.Context, r *reader, at position, opts []kgo.Opt) (err error) {
	opts = append(opts, kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if r.client, err = f.conn.connect(ctx, r.streams, opts...); err != nil {
		return err
	}
	defer r.client.Close()
	if err := r.begin(ctx, at); err != nil {
		return err
	}
	return errors.Join(r.read(ctx), r.out.Flush())
}

// reader reads one topic to standard output.
type reader struct {
	client  *client
	streams Streams
	topic   string
	flags   *consumeFlags
	print   printer
	out     *bufio.Writer
	line    []byte

	printed int64
	done    map[int32]kgo.EpochOffset // in a group: what to commit next, by partition
	known   map[int32]bool            // partitions that are read
	left    map[int32]int64           // with exit-at-end: partition to its end, while that is not reached
	idle    int                       // rounds without a record
	looked  time.Time                 // for new partitions
}

// begin finds out where to read and starts reading.
func (r *reader) begin(ctx context.Context, at position) error {
	spans, err := r.client.resolve(ctx, r.topic, at)
	if err != nil {
		return err
	}
	for _, p := range r.flags.partitions {
		if _, ok := spans[p]; !ok {
			return hint(fmt.Errorf("topic %s has no partition %d", r.topic, p), "it has 0 to %d", len(spans)-1)
		}
	}
	if at.kind == atOffset {
		r.noteMoved(spans, at.offset)
	}
	r.known, r.left, r.looked = make(map[int32]bool), make(map[int32]int64), time.Now()
	offsets := make(map[int32]kgo.Offset)
	for p, s := range spans {
		r.known[p] = true
		if len(r.flags.partitions) > 0 && !slices.Contains(r.flags.partitions, p) {
			continue
		}
		if s.from < s.end {
			r.left[p] = s.end
		} else if r.flags.exitAtEnd {
			continue
		}
		offsets[p] = kgo.NewOffset().At(s.from)
	}
	if len(offsets) > 0 {
		r.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{r.topic: offsets})
	}
	return nil
}

// noteMoved says where an offset that was asked for is not there.
func (r *reader) noteMoved(spans map[int32]span, asked int64) {
	for _, p := range slices.Sorted(maps.Keys(spans)) {
		chosen := len(r.flags.partitions) == 0 || slices.Contains(r.flags.partitions, p)
		if s := spans[p]; chosen && s.from != asked {
			r.streams.note("partition %d: offset %d is not there; beginning at %d", p, asked, s.from)
		}
	}
}

// read prints records until there is a reason to end.
func (r *reader) read(ctx context.Context) error {
	for !r.finished() {
		if r.client.BufferedFetchRecords() == 0 {
			if err := r.out.Flush(); err != nil { // about to wait: let people see what there is
				return err
			}
		}
		waitCtx, cancel := context.WithTimeout(ctx, idleAfter)
		fetches := r.client.PollRecords(waitCtx, 10_000)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := r.fetchErrors(fetches); err != nil {
			return err
		}
		if err := r.printAll(fetches); err != nil {
			return err
		}
		if err := r.afterPoll(ctx, fetches.NumRecords() > 0); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) finished() bool {
	return r.flags.count > 0 && r.printed >= r.flags.count || r.flags.exitAtEnd && len(r.left) == 0
}

func (r *reader) fetchErrors(fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		var loss *kgo.ErrDataLoss
		var session *kgo.ErrGroupSession
		switch {
		case errors.As(e.Err, &session):
			if fatal := groupTrouble(r.flags.group, session.Err); fatal != nil {
				return fatal
			}
			r.streams.note("group %s: %s; joining again", r.flags.group, plain(session.Err))
		case atEnd(e.Err):
		case errors.As(e.Err, &loss):
			r.streams.note("partition %d: offsets %d to %d are gone", loss.Partition, loss.ConsumedTo, loss.ResetTo)
		case kerr.IsRetriable(e.Err):
		default:
			return aboutTopic(r.topic, e.Err, "")
		}
	}
	return nil
}

func (r *reader) printAll(fetches kgo.Fetches) error {
	for it := fetches.RecordIter(); !it.Done() && !r.finished(); {
		rec := it.Next()
		end, bounded := r.left[rec.Partition]
		if r.flags.exitAtEnd && (!bounded || rec.Offset >= end) {
			r.reached(rec.Partition)
			continue
		}
		if !rec.Attrs.IsControl() {
			r.line = r.print(r.line[:0], rec)
			if _, err := r.out.Write(r.line); err != nil {
				return err
			}
			r.printed++
		}
		if r.done != nil {
			r.done[rec.Partition] = kgo.EpochOffset{Epoch: rec.LeaderEpoch, Offset: rec.Offset + 1}
		}
		if r.flags.exitAtEnd && rec.Offset == end-1 {
			r.reached(rec.Partition)
		}
	}
	return nil
}

func (r *reader) reached(partition int32) {
	delete(r.left, partition)
	r.client.PauseFetchPartitions(map[string][]int32{r.topic: {partition}})
}

// afterPoll looks around between two polls: for new partitions, and whether an
// end that never comes has come. The last offsets of a partition may hold no
// record (it was compacted, or its start has passed the end meanwhile), so when
// nothing comes although the brokers answer, there is nothing.
func (r *reader) afterPoll(ctx context.Context, some bool) error {
	if some {
		r.idle = 0
	} else {
		r.idle++
	}
	if r.flags.exitAtEnd {
		if some {
			return nil
		}
		starts, err := r.client.offsets(ctx, r.topic, r.client.admin.ListStartOffsets)
		if err != nil {
			r.idle = 0
			return err
		}
		for p, end := range r.left {
			if starts[p] >= end {
				r.reached(p)
			} else if r.idle >= idleRounds {
				r.streams.note("partition %d: no more records before its end, offset %d", p, end)
				r.reached(p)
			}
		}
		return nil
	}
	if len(r.flags.partitions) == 0 && r.flags.group == "" && time.Since(r.looked) > refreshAfter {
		return r.addNew(ctx)
	}
	return nil
}

// addNew begins to read partitions that were added to the topic, from their start.
func (r *reader) addNew(ctx context.Context) error {
	r.looked = time.Now()
	starts, err := r.client.offsets(ctx, r.topic, r.client.admin.ListStartOffsets)
	if err != nil {
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			return err
		}
		return nil // it will be asked again
	}
	added := make(map[int32]kgo.Offset)
	for p, start := range starts {
		if !r.known[p] {
			r.known[p] = true
			added[p] = kgo.NewOffset().At(start)
		}
	}
	if len(added) > 0 {
		r.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{r.topic: added})
	}
	return nil
}
