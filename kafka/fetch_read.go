package kafka

import (
	"errors"

	"understudy/cluster/metadata"
	"understudy/messages"
)

var (
	errOldFetch     = messages.E("fetch", messages.UnsupportedVersion, "", errors.New("only message format v2 is stored; use version 2 of Fetch or later"))
	errFollower     = messages.E("fetch", messages.InvalidRequest, "", errors.New("this broker's replicas do not fetch"))
	errNoTopicID    = messages.E("", messages.UnknownTopicID, "", nil)
	errFenced       = messages.E("", messages.FencedLeaderEpoch, "", nil)
	errUnknownEpoch = messages.E("", messages.UnknownLeaderEpoch, "", nil)
	errOutOfRange   = messages.E("", messages.OffsetOutOfRange, "", nil)
)

// evaluate reads as much as the fetch's bounds allow. What an earlier call read
// is let go.
func (f *fetching) evaluate() {
	f.dropSlices()
	f.bytes, f.waiting, f.failed = 0, 0, false
	if f.err != nil {
		return
	}
	image := f.broker.deps.Image()
	left := f.room()
	for i := range f.parts {
		p := &f.parts[i]
		p.highWater, p.logStart, p.diverged = messages.NoOffset, messages.NoOffset, false
		if p.err = f.read(image, p, left); p.err != nil {
			f.failed = true
		}
		if p.slice != nil {
			f.bytes += p.slice.Len()
			left -= p.slice.Len()
		}
	}
}

func (f *fetching) read(image *metadata.Image, p *fetchPart, left int) error {
	switch {
	case f.version < 2:
		return errOldFetch
	case f.replica >= 0:
		return errFollower
	}
	view, err := f.find(image, p)
	if err != nil {
		return err
	}
	if err := view.check(p.leaderEpoch); err != nil {
		return err
	}
	if p.lastEpoch != messages.NoEpoch {
		have, end := view.endOffsetFor(p.lastEpoch)
		if have == messages.NoEpoch {
			return errOutOfRange
		}
		if have < p.lastEpoch || end < p.offset {
			p.diverged, p.epochEnd = true, epochEnd{have, end}
			f.failed = true // answer at once; it is no error of the partition
			return nil
		}
	}
	p.highWater, p.logStart = view.HighWatermark, view.LogStart
	if view.Isolated && p.offset >= view.HighWatermark { // what comes next comes from another leader
		return errElsewhere
	}
	return f.readRecords(p, &view, left)
}

// find looks up the partition's replica and what it last published.
func (f *fetching) find(image *metadata.Image, p *fetchPart) (View, error) {
	var topic *metadata.Topic
	missing := errNoTopic
	if f.version >= 13 {
		topic, missing = image.TopicByID(p.id), errNoTopicID
	} else {
		topic = image.Topic(p.name)
	}
	if topic == nil {
		return View{}, missing
	}
	p.topic = topic.Name
	if p.partKey.name != "" {
		p.partKey.name = topic.Name // which does not share the request's memory
	}
	if p.index < 0 || int(p.index) >= len(topic.Partitions) {
		return View{}, errNoTopic
	}
	p.target = f.broker.deps.Partitions.Lookup(messages.TopicPartition{Topic: topic.Name, Partition: p.index})
	if p.target == nil {
		return View{}, errElsewhere
	}
	view := p.target.View()
	if f.version >= 13 && view.TopicID != p.id {
		return View{}, errNoTopicID
	}
	return view, nil
}

// check says why a replica cannot serve a client that knows of a leader epoch (-1:
// that does not say). Where a replica that does not lead is asked about an earlier
// epoch, Kafka says that the epoch is fenced; here the client is told that the
// leader is another, since clients move to a leader that is named with that error
// at once, and after the other look for it first.
func (v *View) check(known messages.LeaderEpoch) error {
	switch {
	case known > v.Epoch && (v.Err == nil || messages.KindOf(v.Err) == messages.NotLeader):
		return errUnknownEpoch
	case v.Err != nil:
		return v.Err
	case known != messages.NoEpoch && known < v.Epoch:
		return errFenced
	}
	return nil
}

// readRecords reads a partition's records. The first records of an answer are a
// whole batch at least, however large it is (KIP-74); later ones are left out
// when not one batch fits. Where batches were left out, the room that is left over
// counts as filled: it would be in vain to wait for more.
func (f *fetching) readRecords(p *fetchPart, view *View, left int) error {
	if p.offset < view.LogStart || p.offset > view.End {
		return errOutOfRange
	}
	first := f.bytes == 0 && f.version >= 3
	room := min(int(p.maxBytes), left)
	if p.offset >= view.HighWatermark || room <= 0 && !first {
		return nil
	}
	slice, err := view.Log.Read(p.offset, max(room, 0), first)
	if err != nil {
		p.target.ReadFailed(err)
	}
	if err != nil || slice == nil {
		return err
	}
	f.waiting += slice.Len()
	if slice.More() {
		f.waiting += max(room-slice.Len(), 0)
	}
	if !slice.FirstWhole() && f.version >= 3 {
		slice.Release()
		return nil
	}
	p.slice = slice
	return nil
}
