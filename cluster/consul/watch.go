package consul

import (
	"context"
)

// Watch implements metadata.Store by a blocking query on the version key. While
// Consul is away it goes on trying. If Consul is found to know less than before,
// the error is ErrDataLost, once; the next call waits for it to change.
func (s *Store) Watch(ctx context.Context, after int64) (int64, error) {
	ctx, cancel := s.bind(ctx)
	defer cancel()
	index, b := uint64(0), NewBackoff()
	for {
		v, got, err := s.awaitVersion(ctx, index)
		if ended := s.ended(ctx); ended != nil {
			return 0, ended
		}
		err = s.contact.Note(ctx, "watch metadata", err)
		if err != nil && !FaultOf(err).Passes() {
			return 0, failure("watch metadata", s.o.Prefix, err)
		}
		if err == nil {
			if err := s.regressed(ctx, v); err != nil {
				return 0, err
			}
			s.saw(v.Revision)
			if v.Revision > after {
				return v.Revision, nil
			}
		}
		if index = NextIndex(index, got); index > 0 {
			b.Reset()
		} else if b.Pause(ctx) != nil {
			return 0, s.ended(ctx)
		}
	}
}

// awaitVersion reads the version key once its index has passed index.
func (s *Store) awaitVersion(ctx context.Context, index uint64) (v version, got uint64, err error) {
	o, cancel := s.o.Client.Wait(ctx, index)
	defer cancel()
	pair, meta, err := s.o.Client.api.KV().Get(s.o.Prefix+versionKey, o)
	if err != nil {
		return version{}, 0, err
	}
	return readVersion(pair), meta.LastIndex, nil
}

// regressed tells once if the version is older than one that was seen. A server
// that has just lost its leadership may answer with old data, so it is read
// again as of now.
func (s *Store) regressed(ctx context.Context, v version) error {
	if !s.older(v) {
		return nil
	}
	before := s.sawSoFar() // what is seen from now on may be newer than what is read
	v, err := s.readVersion(ctx)
	if err != nil || v.Revision >= before || !s.older(v) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tellLost(v)
}

// older reports whether a version is news, and bad news.
func (s *Store) older(v version) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return v.Revision < s.seen && (s.lost == nil || *s.lost != v)
}
