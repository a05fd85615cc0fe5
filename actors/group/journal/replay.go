package journal

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/actors/group/core"
	"understudy/messages"
	"understudy/messages/batch"
	"understudy/messages/codec"
)

// maxUnpacked bounds what a compressed batch may unpack to, in bytes. None is
// compressed that was written here.
const maxUnpacked = 64 << 20

// Replay takes the records of a partition, oldest first, and makes groups of what
// they leave.
type Replay struct {
	settings *core.Settings
	only     func(group string) bool // nil: all
	groups   map[string]*restored
	topics   map[string]string // so that a topic's name is in memory once
	skipped  int
}

// restored is a group that is being read.
type restored struct {
	group    *core.Group
	metadata []byte // the value of the latest record; nil: none
}

// NewReplay begins. Groups for which only is false are passed over.
func NewReplay(s *core.Settings, only func(group string) bool) *Replay {
	return &Replay{settings: s, only: only, groups: map[string]*restored{}, topics: map[string]string{}}
}

// Skipped is how many records were passed over because nothing is known of what
// they are. There are none, unless another version has written them.
func (r *Replay) Skipped() int { return r.skipped }

// Batch takes the records of a batch, whose CRC was checked.
func (r *Replay) Batch(b batch.Batch) error {
	if b.IsControl() {
		return nil
	}
	for record, err := range codec.Records(b, maxUnpacked) {
		if err != nil {
			return err
		}
		r.record(record.Key, record.Value)
	}
	return nil
}

func (r *Replay) record(key, value []byte) {
	if len(key) < 2 {
		r.skipped++
		return
	}
	switch version := binary.BigEndian.Uint16(key); {
	case version <= offsetKey:
		r.offset(key, value)
	case version == groupKey:
		r.metadata(key, value)
	default:
		r.skipped++
	}
}

func (r *Replay) offset(key, value []byte) {
	var k kmsg.OffsetCommitKey // whose strings are in the batch: they are copied where they are kept
	if k.UnsafeReadFrom(key) != nil {
		r.skipped++
		return
	}
	if r.only != nil && !r.only(k.Group) {
		return
	}
	tp := messages.TopicPartition{Topic: r.topic(k.Topic), Partition: k.Partition}
	if value == nil {
		if g := r.groups[k.Group]; g != nil {
			g.group.DropOffset(tp)
		}
		return
	}
	v := kmsg.NewOffsetCommitValue()
	v.LeaderEpoch = messages.NoEpoch // versions before 3 do not tell it
	if v.ReadFrom(value) != nil {
		r.skipped++
		return
	}
	if v.Version < 3 {
		v.LeaderEpoch = messages.NoEpoch
	}
	r.group(k.Group).group.RestoreOffset(&core.Offset{
		TopicPartition: tp, Time: v.CommitTimestamp, Expires: max(v.ExpireTimestamp, 0),
		Committed: core.Committed{Offset: v.Offset, LeaderEpoch: v.LeaderEpoch, Metadata: v.Metadata},
	})
}

func (r *Replay) metadata(key, value []byte) {
	var k kmsg.GroupMetadataKey
	if k.UnsafeReadFrom(key) != nil {
		r.skipped++
		return
	}
	if r.only != nil && !r.only(k.Group) {
		return
	}
	if g := r.groups[k.Group]; value == nil && g != nil {
		g.metadata = nil
	} else if value != nil {
		r.group(k.Group).metadata = bytes.Clone(value)
	}
}

// topic is a topic's name as it is kept.
func (r *Replay) topic(name string) string {
	if kept, ok := r.topics[name]; ok {
		return kept
	}
	name = strings.Clone(name)
	r.topics[name] = name
	return name
}

func (r *Replay) group(name string) *restored {
	if g := r.groups[name]; g != nil {
		return g
	}
	name = strings.Clone(name)
	g := &restored{group: core.New(name, r.settings)}
	r.groups[name] = g
	return g
}

// Groups are the groups of which anything is left. Nothing may be added
// afterwards.
func (r *Replay) Groups(t core.Time) []*core.Group {
	groups := make([]*core.Group, 0, len(r.groups))
	for _, g := range r.groups {
		g.group.CountOffsets()
		if m, ok := decodeMetadata(g.metadata); ok {
			g.group.Restore(t, m)
		} else if g.metadata != nil {
			r.skipped++
		}
		if !g.group.Gone() {
			groups = append(groups, g.group)
		}
	}
	r.groups = nil
	return groups
}

func decodeMetadata(value []byte) (*core.Metadata, bool) {
	v := kmsg.NewGroupMetadataValue()
	if value == nil || v.ReadFrom(value) != nil {
		return nil, false
	}
	m := &core.Metadata{
		ProtocolType: v.ProtocolType, Generation: v.Generation, Protocol: orEmpty(v.Protocol), Leader: orEmpty(v.Leader),
		Since: v.CurrentStateTimestamp, Members: make([]core.MemberRecord, 0, len(v.Members)),
	}
	for _, r := range v.Members {
		record := core.MemberRecord{
			MemberID: r.MemberID, InstanceID: orEmpty(r.InstanceID), Client: core.Client{ID: r.ClientID, Host: r.ClientHost},
			RebalanceTimeout: int64(r.RebalanceTimeoutMillis), SessionTimeout: int64(r.SessionTimeoutMillis),
			Subscription: r.Subscription, Assignment: r.Assignment,
		}
		if record.RebalanceTimeout < 0 { // version 0 does not tell it
			record.RebalanceTimeout = record.SessionTimeout
		}
		m.Members = append(m.Members, record)
	}
	return m, true
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
