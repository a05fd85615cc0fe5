package state

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Options describe a store. Brokers and Topic must be set.
type Options struct {
	Brokers []string
	// Topic is created if it is not there, with so many partitions, and replicas of
	// each (0 means the cluster's default), and cleanup.policy=compact. One that is
	// there must have that policy: any other would forget.
	Topic      string
	Partitions int32
	Replicas   int16
	// Patience bounds how long anything may take before it fails. 0 means 30 s.
	Patience time.Duration
	Log      zerolog.Logger // the zero value writes nothing
	Client   []kgo.Opt      // adds to what the Kafka client is made with
}

// Store keeps journals by name in a compacted topic. A journal is a snapshot and
// the changes since. It is safe for concurrent use; of one journal there should
// be one writer at a time. The journals of actors that Handler and Sourced make may
// be read, and deleted when nothing comes for their keys, but not written.
type Store struct {
	o     Options
	cl    *kgo.Client
	route kgo.TopicPartitioner
	parts []*part
	ended chan struct{}
}

// Open opens a store.
func Open(ctx context.Context, o Options) (*Store, error) {
	if len(o.Brokers) == 0 || o.Topic == "" {
		return nil, errors.New("state: open: Brokers and Topic must be set")
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, o.Patience)
	defer cancel()
	others := kgo.StickyKeyPartitioner(nil)
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(o.Brokers...), kgo.AllowAutoTopicCreation(), // of what is emitted
		kgo.RecordPartitioner(partitioner{o.Topic, others}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	}, o.Client...)...)
	if err != nil {
		return nil, fmt.Errorf("state: open %s: %w", o.Topic, err)
	}
	n, err := prepare(ctx, kadm.NewClient(cl), o)
	if err != nil {
		cl.Close()
		return nil, fmt.Errorf("state: open %s: %w", o.Topic, err)
	}
	s := &Store{o: o, cl: cl, route: others.ForTopic(o.Topic), parts: make([]*part, n), ended: make(chan struct{})}
	for i := range s.parts {
		s.parts[i] = newPart(int32(i))
	}
	go s.follow()
	return s, nil
}

// Close ends the store. Writes that are under way fail.
func (s *Store) Close() {
	s.cl.Close()
	<-s.ended
}

// partitioner has the store choose partitions of its own topic, and leaves others
// to the Kafka client.
type partitioner struct {
	topic  string
	others kgo.Partitioner
}

// ForTopic is of kgo.Partitioner.
func (p partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	if topic == p.topic {
		return kgo.ManualPartitioner().ForTopic(topic)
	}
	return p.others.ForTopic(topic)
}

// prepare sees to it that the topic is there and keeps what it is given, and gives
// its number of partitions.
func prepare(ctx context.Context, admin *kadm.Client, o Options) (partitions int, err error) {
	const policy = "cleanup.policy"
	compact := "compact"
	wanted, replicas := o.Partitions, o.Replicas
	if wanted == 0 {
		wanted = -1 // the cluster's default
	}
	if replicas == 0 {
		replicas = -1
	}
	_, err = admin.CreateTopic(ctx, wanted, replicas, map[string]*string{policy: &compact}, o.Topic)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return 0, err
	}
	configs, err := again(ctx, func() (kadm.ResourceConfigs, error) {
		configs, err := admin.DescribeTopicConfigs(ctx, o.Topic)
		if err == nil {
			_, err = configs.On(o.Topic, func(r *kadm.ResourceConfig) error { return r.Err })
		}
		return configs, err
	})
	if err != nil {
		return 0, err
	}
	for _, r := range configs {
		for _, c := range r.Configs {
			if c.Key == policy && c.MaybeValue() != compact {
				return 0, fmt.Errorf("its %s is %q: what is in it would be deleted one day. Set it to %q", policy, c.MaybeValue(), compact)
			}
		}
	}
	topics, err := again(ctx, func() (kadm.TopicDetails, error) {
		topics, err := admin.ListTopics(ctx, o.Topic)
		if err == nil {
			err = topics.Error()
		}
		return topics, err
	})
	if err != nil {
		return 0, err
	}
	n := len(topics[o.Topic].Partitions)
	if o.Partitions > 0 && n != int(o.Partitions) {
		return 0, fmt.Errorf("it has %d partitions, not %d, and they cannot be changed: journals would be looked for elsewhere", n, o.Partitions)
	}
	return n, nil
}

// again asks until there is an answer: a topic that has just been created is not
// known to each broker at once.
func again[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	for {
		answer, err := ask()
		if err == nil || !errors.Is(err, kerr.UnknownTopicOrPartition) && !errors.Is(err, kerr.LeaderNotAvailable) {
			return answer, err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return answer, err
		}
	}
}

// part is where a journal is.
func (s *Store) part(name string) *part {
	return s.parts[s.route.Partition(&kgo.Record{Key: []byte(name)}, len(s.parts))]
}

// Load gives a journal as it was when Load was called, or later: whatever any
// process had written by then is in it. One that is not there is empty.
func (s *Store) Load(ctx context.Context, name string) (Journal, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Patience)
	defer cancel()
	p := s.part(name)
	if err := s.catchUp(ctx, p); err != nil {
		return Journal{}, fmt.Errorf("state: load %s/%s: %w", s.o.Topic, name, err)
	}
	return p.journal(name), nil
}

// Append writes a change. It returns when that is on every in-sync replica.
func (s *Store) Append(ctx context.Context, name string, e Entry) error {
	return s.put(ctx, key{name: name, index: e.Index}, e)
}

// Snapshot writes a snapshot: what the changes with lower indexes have led to.
func (s *Store) Snapshot(ctx context.Context, name string, e Entry) error {
	return s.put(ctx, key{name: name, snapshot: true}, e)
}

// put writes an entry.
func (s *Store) put(ctx context.Context, k key, e Entry) error {
	return s.write(ctx, k.name, e.record(k))
}

// Drop removes the changes with the given indexes.
func (s *Store) Drop(ctx context.Context, name string, indexes ...int64) error {
	return s.drop(ctx, line{}, name, indexes)
}

func (s *Store) drop(ctx context.Context, of line, name string, indexes []int64) error {
	records := make([]*kgo.Record, len(indexes))
	for i, index := range indexes {
		records[i] = &kgo.Record{Key: key{line: of, name: name, index: index}.bytes()}
	}
	return s.write(ctx, name, records...)
}

// DropSnapshot removes the snapshot.
func (s *Store) DropSnapshot(ctx context.Context, name string) error {
	return s.write(ctx, name, &kgo.Record{Key: key{name: name, snapshot: true}.bytes()})
}

// Delete removes a journal.
func (s *Store) Delete(ctx context.Context, name string) error {
	if _, err := s.Load(ctx, name); err != nil {
		return err
	}
	return s.remove(ctx, name, func(line) bool { return true })
}

// remove removes lines of a journal.
func (s *Store) remove(ctx context.Context, name string, which func(line) bool) error {
	p := s.part(name)
	tombs, lines := p.remove(name, which)
	if len(tombs) == 0 {
		return nil
	}
	err := s.write(ctx, name, tombs...)
	if err != nil {
		p.keep(lines)
	}
	return err
}

// write writes records of one journal, in their order.
func (s *Store) write(ctx context.Context, name string, records ...*kgo.Record) error {
	if strings.IndexByte(name, 0) >= 0 {
		return fmt.Errorf("state: write %s/%q: a name must not contain the character 0", s.o.Topic, name)
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Patience)
	defer cancel()
	p := s.part(name)
	for _, r := range records {
		r.Topic, r.Partition = s.o.Topic, p.n
	}
	if err := s.cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("state: write %s/%s: %w", s.o.Topic, name, err)
	}
	return nil
}

// follow takes in what is written to the partitions that are asked for.
func (s *Store) follow() {
	defer close(s.ended)
	for {
		fetches := s.cl.PollFetches(context.Background())
		if fetches.IsClientClosed() {
			return
		}
		fetches.EachError(func(topic string, partition int32, err error) {
			s.o.Log.Warn().Err(err).Str("topic", topic).Int32("partition", partition).Msg("reading state; it is tried again")
		})
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if len(p.Records) > 0 {
				s.parts[p.Partition].takeIn(p.Records)
			}
		})
	}
}
