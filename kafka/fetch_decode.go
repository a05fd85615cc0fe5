package kafka

import (
	"understudy/kafka/wire"
	"understudy/messages"
)

// decode reads a request. Fields with the versions that have them in front (tags
// from 12):
//
//	0-14 replica int32 | max wait int32 | min bytes int32 | 3+ max bytes int32
//	4+ isolation int8 | 7+ session id int32 | 7+ session epoch int32
//	[ 0-12 topic string | 13+ topic id
//	  [ partition int32 | 9+ leader epoch int32 | offset int64 | 12+ last epoch int32
//	    | 5+ log start int64 | max bytes int32 ] ]
//	7+ forgotten [ 0-12 topic string | 13+ topic id | [ partition int32 ] ]
//	11+ rack string | 15+ #1 replica {id int32, epoch int64}
func (f *fetching) decode(body []byte) bool {
	r := wire.NewReader(body, f.flex)
	f.replica = -1
	if f.version <= 14 {
		f.replica = r.Int32()
	}
	f.maxWait = r.Int32()
	f.minBytes = max(int(r.Int32()), 0)
	f.maxBytes = 1<<31 - 1
	if f.version >= 3 {
		f.maxBytes = max(int(r.Int32()), 0)
	}
	if f.version >= 4 {
		r.Int8()
	}
	f.sessionEpoch = -1
	if f.version >= 7 {
		f.sessionID, f.sessionEpoch = r.Int32(), r.Int32()
	}
	for range r.Array(3) {
		f.decodeTopic(&r)
	}
	if f.version >= 7 {
		for range r.Array(3) {
			f.decodeForgotten(&r)
		}
	}
	if f.version >= 11 {
		_ = r.String() // the rack
	}
	r.Tags(func(tag uint32, value []byte) {
		if tag == 1 && f.version >= 15 {
			state := wire.NewReader(value, true)
			f.replica = state.Int32()
		}
	})
	return r.Err() == nil && r.Len() == 0
}

func (f *fetching) decodeKey(r *wire.Reader) (k partKey) {
	if f.version >= 13 {
		k.id = r.TopicID()
	} else {
		k.name = r.String()
	}
	return k
}

func (f *fetching) decodeTopic(r *wire.Reader) {
	key := f.decodeKey(r)
	for range r.Array(16) {
		p := fetchPart{partKey: key}
		p.index = r.Int32()
		p.leaderEpoch, p.lastEpoch = messages.NoEpoch, messages.NoEpoch
		if f.version >= 9 {
			p.leaderEpoch = r.Int32()
		}
		p.offset = r.Int64()
		if f.version >= 12 {
			p.lastEpoch = r.Int32()
		}
		if f.version >= 5 {
			r.Int64() // a follower's log start
		}
		p.maxBytes = r.Int32()
		r.Tags(nil)
		f.parts = append(f.parts, p)
	}
	r.Tags(nil)
}

func (f *fetching) decodeForgotten(r *wire.Reader) {
	key := f.decodeKey(r)
	for range r.Array(4) {
		key.index = r.Int32()
		f.forgotten = append(f.forgotten, key)
	}
	r.Tags(nil)
}
