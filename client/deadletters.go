package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Headers of a dead letter, beside the record's own.
const (
	HeaderCause     = "dead-letter.cause"     // the last error, as text; cut if it is very long
	HeaderAttempts  = "dead-letter.attempts"  // how often it was delivered
	HeaderTopic     = "dead-letter.topic"     // where the record came from
	HeaderPartition = "dead-letter.partition" //
	HeaderOffset    = "dead-letter.offset"    //
	HeaderGroup     = "dead-letter.group"     // which group could not process it
	HeaderCut       = "dead-letter.cut"       // what the letter is without, since it was too large; most have no such header
)

// What a letter that is too large goes without.
const (
	cutNothing = ""
	cutValue   = "value"
	cutAll     = "value, headers and key" // but for the headers above
)

const deadLetterPrefix = "dead-letter."

// maxCause is how much of the last error goes along, in bytes: a letter must not be too
// long because of it.
const maxCause = 4 << 10

// deadLetterTopic is where a record goes that cannot be processed.
func (o SubscriptionOptions) deadLetterTopic(r *kgo.Record) string {
	if o.DeadLetters != "" {
		return o.DeadLetters
	}
	return r.Topic + ".dead"
}

// bury writes a record to the dead letters, however long that takes, and tells the
// partition's actor when it is there. Until then the records behind it wait.
func (s *subscriber) bury(d *Delivery, cause error) {
	if s.letters.TryRLock() {
		s.post(d, cause)
		return
	}
	go func() { // one that may be too large is being written
		s.letters.RLock()
		s.post(d, cause)
	}()
}

// post writes a record to the dead letters, together with others.
func (s *subscriber) post(d *Delivery, cause error) {
	letter := deadLetter(s.o, d, cause, cutNothing)
	s.cl.Produce(s.ctx, letter, func(_ *kgo.Record, err error) {
		s.letters.RUnlock()
		if tooLarge(err) {
			go s.postAlone(d, cause)
			return
		}
		s.posted(d, cause, letter, cutNothing, err)
	})
}

// postAlone writes a record to the dead letters that was refused as too large. It may have
// been only with those in its batch: now it is sent alone. If that is too large as well,
// the rest of it goes.
func (s *subscriber) postAlone(d *Delivery, cause error) {
	var (
		letter *kgo.Record
		cut    string
		err    error
	)
	s.letters.Lock()
	for _, cut = range []string{cutNothing, cutValue, cutAll} {
		letter = deadLetter(s.o, d, cause, cut)
		if err = s.cl.ProduceSync(s.ctx, letter).FirstErr(); !tooLarge(err) {
			break
		}
	}
	s.letters.Unlock()
	s.posted(d, cause, letter, cut, err)
}

// tooLarge reports whether a record was refused for its size.
func tooLarge(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge)
}

// posted goes on when a dead letter is written, or is not.
func (s *subscriber) posted(d *Delivery, cause error, letter *kgo.Record, cut string, err error) {
	it := d.item
	switch {
	case err == nil:
		s.told(DeadLettered{Record: d.Record, Attempt: d.Attempt, Topic: letter.Topic, Cause: cause, Cut: cut})
		it.flow.tell(buried{it})
	case s.ctx.Err() != nil: // it comes again to whoever has the partition next
		it.flow.tell(unburied{})
	default:
		s.o.Log.Error().Err(err).Str("topic", letter.Topic).Msg("a dead letter cannot be written; it is tried again")
		go s.buryAgain(d, cause)
	}
}

// buryAgain is bury after a pause, unless the subscription or the assignment ends.
func (s *subscriber) buryAgain(d *Delivery, cause error) {
	pause := time.NewTimer(s.o.Retry.Max)
	defer pause.Stop()
	select {
	case <-pause.C:
		s.bury(d, cause)
	case <-s.ctx.Done():
		d.item.flow.tell(unburied{})
	case <-d.item.flow.ctx.Done():
	}
}

// deadLetter is the record with where it came from and why it is dead, without what is
// cut. A value that is cut is empty, and not null, which could remove something.
func deadLetter(o SubscriptionOptions, d *Delivery, cause error, cut string) *kgo.Record {
	r := d.Record
	why := "rejected"
	if cause != nil {
		why = cause.Error()
		why = strings.ToValidUTF8(why[:min(len(why), maxCause)], "")
	}
	letter := &kgo.Record{Topic: o.deadLetterTopic(r), Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		if cut != cutAll && !strings.HasPrefix(h.Key, deadLetterPrefix) {
			letter.Headers = append(letter.Headers, h)
		}
	}
	if cut != cutNothing {
		letter.Value = []byte{}
		letter.Headers = append(letter.Headers, kgo.RecordHeader{Key: HeaderCut, Value: []byte(cut)})
	}
	if cut == cutAll {
		letter.Key = nil
	}
	for _, h := range [][2]string{
		{HeaderCause, why},
		{HeaderAttempts, strconv.Itoa(d.Attempt)},
		{HeaderTopic, r.Topic},
		{HeaderPartition, strconv.Itoa(int(r.Partition))},
		{HeaderOffset, strconv.FormatInt(r.Offset, 10)},
		{HeaderGroup, o.Group},
	} {
		letter.Headers = append(letter.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	return letter
}

// ErrCut is the error of a Replay that has sent all letters back but those that are without
// what was too large. They say where their records are.
var ErrCut = errors.New("letters that are not whole have not gone back")

// ReplayOptions say which dead letters go back.
type ReplayOptions struct {
	Brokers []string
	Topic   string // of dead letters
	// Group remembers which have gone back, so that a second call begins where the
	// first ended. "" means "replay-" with the topic behind it.
	Group string
	// Only picks among the letters; nil takes all. Those that are passed over
	// count as gone back.
	Only   func(letter *kgo.Record) bool
	Client []kgo.Opt
}

// Replay sends dead letters back to the topics that they came from, each to the
// partition that its key leads to, until there are no more that were there when it
// began. It gives how many were sent. Each is at its topic before the next call's
// beginning moves past it; one that is cut off may send some twice. Letters that are not
// whole, see HeaderCut, are passed over; the error is ErrCut then.
func Replay(ctx context.Context, o ReplayOptions) (sent int, err error) {
	group := orElse(o.Group, "replay-"+o.Topic)
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(o.Brokers...), kgo.ConsumerGroup(group), kgo.ConsumeTopics(o.Topic),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(),
	}, o.Client...)...)
	if err != nil {
		return 0, fmt.Errorf("client: replay: %w", err)
	}
	defer cl.Close()
	left, err := lettersLeft(ctx, cl, group, o.Topic)
	cut := 0
	for err == nil && len(left) > 0 {
		var n, not int
		n, not, err = replaySome(ctx, cl, o, left)
		sent, cut = sent+n, cut+not
		if errors.Is(err, errNoLetters) {
			err = forgetGone(ctx, cl, group, o.Topic, left)
		}
	}
	if cut > 0 {
		err = errors.Join(err, fmt.Errorf("%w: %d", ErrCut, cut))
	}
	if err != nil {
		return sent, fmt.Errorf("client: replay %s: %w", o.Topic, err)
	}
	return sent, nil
}

// errNoLetters says that for a while no letters have come.
var errNoLetters = errors.New("no letters")

// replaySome sends back what one poll brings of the letters that are left, but for those
// that were cut, and commits that. What came after them is for the next call.
func replaySome(ctx context.Context, cl *kgo.Client, o ReplayOptions, left map[int32]span) (sent, cut int, err error) {
	waitCtx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	fetches := cl.PollFetches(waitCtx)
	switch err := fetches.Err0(); {
	case ctx.Err() != nil:
		return 0, 0, ctx.Err()
	case fetches.NumRecords() == 0 && waitCtx.Err() != nil:
		return 0, 0, errNoLetters
	case err != nil && waitCtx.Err() == nil:
		return 0, 0, err
	}
	var back, passed []*kgo.Record
	fetches.EachRecord(func(r *kgo.Record) {
		of, open := left[r.Partition]
		if open && r.Offset >= of.last {
			delete(left, r.Partition)
		}
		if !open || r.Offset > of.last {
			return
		}
		passed = append(passed, r)
		switch {
		case o.Only != nil && !o.Only(r):
		case slices.ContainsFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == HeaderCut }):
			cut++
		default:
			back = append(back, revive(r))
		}
	})
	if err := cl.ProduceSync(ctx, back...).FirstErr(); err != nil {
		return 0, 0, err
	}
	return len(back), cut, cl.CommitRecords(ctx, passed...)
}

// forgetGone leaves out partitions whose letters are not there any more, or have been
// sent back by somebody else meanwhile.
func forgetGone(ctx context.Context, cl *kgo.Client, group, topic string, left map[int32]span) error {
	now, err := lettersLeft(ctx, cl, group, topic)
	for p, of := range left {
		if still, some := now[p]; err == nil && (!some || still.first > of.last) {
			delete(left, p)
		}
	}
	return err
}

// lettersLeft gives the first and the last offset of letters that have not gone back, in
// each partition in which there are some.
func lettersLeft(ctx context.Context, cl *kgo.Client, group, topic string) (map[int32]span, error) {
	admin := kadm.NewClient(cl)
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, err
	}
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, err
	}
	done, err := admin.FetchOffsets(ctx, group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // nothing has gone back
		return nil, err
	}
	left := map[int32]span{}
	ends.Each(func(end kadm.ListedOffset) {
		from := int64(0)
		if start, ok := starts.Lookup(topic, end.Partition); ok {
			from = start.Offset
		}
		if at, ok := done.Lookup(topic, end.Partition); ok {
			from = max(from, at.At)
		}
		if from < end.Offset {
			left[end.Partition] = span{from, end.Offset - 1}
		}
	})
	return left, nil
}

// revive is the record that a dead letter was made of.
func revive(letter *kgo.Record) *kgo.Record {
	r := &kgo.Record{Topic: strings.TrimSuffix(letter.Topic, ".dead"), Key: letter.Key, Value: letter.Value, Timestamp: time.Now()}
	for _, h := range letter.Headers {
		switch {
		case h.Key == HeaderTopic:
			r.Topic = string(h.Value)
		case !strings.HasPrefix(h.Key, deadLetterPrefix):
			r.Headers = append(r.Headers, h)
		}
	}
	return r
}
