package kafka

import (
	"context"
	"iter"
	"slices"
	"time"

	"understudy/cluster/metadata"
	"understudy/messages"
)

// Elections tells of leaders that are about to be replaced. A client whose leader
// has died asks where to go on within a millisecond, which is before the others
// have agreed on it, and with some clients an answer that names the dead one again
// costs seconds: franz-go takes metadata of less than five seconds ago for fresh.
// So whoever asks about such a partition is kept waiting until that is decided.
// And since the client may know before this broker does, the broker makes sure of
// the leaders that it is about to name.
type Elections interface {
	// Confirm returns when each of the brokers has shown that it is there, or that
	// it is not, or has had its time to.
	Confirm(context.Context, []messages.BrokerID)
	// Pending reports whether this node has lost sight of a broker, or heard that it
	// stops, so recently that the controller may still decide who leads in its place.
	Pending(messages.BrokerID) bool
	// Leaving reports whether a broker that is down ended so recently, with a system
	// behind it that refuses connections, that clients are still told of it. With
	// librdkafka (2.11), partitions stand still for up to a second if a broker goes
	// from the list in the answer in which others lead in its place.
	Leaving(messages.BrokerID) bool
	// Next is the latest metadata, and a channel that is closed when there is newer.
	Next() (*metadata.Image, <-chan struct{})
}

const (
	// electionPatience bounds how long a request waits for an election: that of a
	// leader, after that of the controller if the two died together.
	electionPatience = 2 * time.Second
	// newsPatience bounds how long records wait at a replica that does not lead, as far
	// as this broker knows, for the news that it does. franz-go waits for 250 ms before
	// it tries again; who has come for nothing loses this much, once.
	newsPatience = 100 * time.Millisecond
	// electionLook is how often a request that waits looks whether the leader is
	// back: that is no change of the metadata.
	electionLook = 20 * time.Millisecond
)

// settled is for a broker that is alone: whoever leads, leads.
type settled struct{ image func() *metadata.Image }

func (settled) Confirm(context.Context, []messages.BrokerID) {}
func (settled) Pending(messages.BrokerID) bool               { return false }
func (settled) Leaving(messages.BrokerID) bool               { return false }
func (s settled) Next() (*metadata.Image, <-chan struct{})   { return s.image(), nil }

// settledImage is the latest metadata, once all who lead one of some topics'
// partitions have shown that they do, or will not be replaced soon, or once this broker
// finds that it may have been replaced itself. topics gives the topics in an image.
func (b *Broker) settledImage(ctx context.Context, topics func(*metadata.Image) iter.Seq[*metadata.Topic]) *metadata.Image {
	b.deps.Elections.Confirm(ctx, b.otherLeaders(topics(b.deps.Image())))
	return b.awaitImage(ctx, func(image *metadata.Image) bool {
		return slices.ContainsFunc(b.otherLeaders(topics(image)), b.deps.Elections.Pending) && !b.mayBeReplaced(topics(image))
	})
}

// otherLeaders are the brokers but this that lead one of some topics' partitions.
func (b *Broker) otherLeaders(topics iter.Seq[*metadata.Topic]) (leaders []messages.BrokerID) {
	for t := range topics {
		for i := range t.Partitions {
			if id := t.Partitions[i].Leader; id != messages.NoBroker && id != b.deps.Self && !slices.Contains(leaders, id) {
				leaders = append(leaders, id)
			}
		}
	}
	return leaders
}

// awaitImage waits until unsettled says false of the latest metadata, for as long
// as an election may take, and gives the metadata in any case.
func (b *Broker) awaitImage(ctx context.Context, unsettled func(*metadata.Image) bool) *metadata.Image {
	return b.awaitImageFor(ctx, electionPatience, unsettled)
}

func (b *Broker) awaitImageFor(ctx context.Context, patience time.Duration, unsettled func(*metadata.Image) bool) *metadata.Image {
	image, next := b.deps.Elections.Next()
	if !unsettled(image) {
		return image
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	look := time.NewTicker(electionLook)
	defer look.Stop()
	for unsettled(image) && ctx.Err() == nil {
		select {
		case <-next:
			image, next = b.deps.Elections.Next()
		case <-look.C:
		case <-ctx.Done():
		}
	}
	return image
}

// passing reports whether err, which says that a partition is led elsewhere, or not in
// the epoch that the client knows, may be no answer any more in a moment. The replica
// here and the metadata here hear of an election one after the other, and a client may
// have heard of it from another broker before either. A client that is sent away
// without a name asks for metadata, and franz-go does that no sooner than five seconds
// after it last did; one that is told nothing about a leader epoch tries again after a
// second. So such an answer is kept for as long as an election may take:
//
//   - when the leader that it would name is about to be replaced;
//   - when the metadata says that this broker leads, and its replica does not yet;
//   - when the client knows a newer epoch (known) than the metadata here.
func (b *Broker) passing(image *metadata.Image, err error, topic string, index int32, known messages.LeaderEpoch) bool {
	if err == nil {
		return false
	}
	tp := messages.TopicPartition{Topic: topic, Partition: index}
	p := image.Partition(tp)
	if p == nil {
		return false
	}
	switch messages.Code(err) {
	case messages.NotLeader.Code():
		known = messages.NoEpoch
	case messages.UnknownLeaderEpoch.Code():
		if known > p.LeaderEpoch {
			_, alone := b.deps.Elections.(settled) // then nobody can know more
			return !alone
		}
	default:
		return false
	}
	if p.Leader != b.deps.Self {
		return p.Leader != messages.NoBroker && b.deps.Elections.Pending(p.Leader)
	}
	replica := b.deps.Partitions.Lookup(tp)
	if replica == nil {
		return true
	}
	view := replica.View()
	return messages.KindOf(view.Err).Code() == messages.NotLeader.Code() || view.Err == nil && view.Epoch < known
}
