package log

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"strings"

	"understudy/messages"
	"understudy/persistence/vfs"
)

// state is what must be on disk before it is done: where the log begins, and
// that records are taken off its end.
//
// The checkpoint and the mark claim that records up to some offset are there. A
// truncation makes such claims void that are older than it. So each truncation
// has a generation, each claim names the generation it was made in, and floor
// tells what of it still holds. The file is text:
//
//	log-state 1
//	start 4711            log start offset
//	generation 3          number of truncations
//	cut 2 100             truncation 2 left nothing at 100 and above
//	cut 3 400             -1: nothing at all
//	crc 1a2b3c4d          CRC32C of the lines before
type state struct {
	start messages.Offset
	gen   uint64
	cuts  []cut // rising in generation and offset; one that a later one goes below is left out
}

type cut struct {
	generation uint64
	to         messages.Offset
}

const (
	stateName = "log-state"
	maxCuts   = 32
	maxState  = 1 << 16 // bytes that the file may have
)

func (s state) generation() uint64 { return s.gen }

// floor is below which offset a claim of a generation still holds; ok is false if
// nothing was truncated since.
func (s state) floor(generation uint64) (floor messages.Offset, ok bool) {
	for _, c := range s.cuts {
		if c.generation > generation {
			return c.to, true // the lowest of those that follow
		}
	}
	return 0, false
}

// truncated is the state after one more truncation.
func (s state) truncated(to messages.Offset) state {
	s.gen++
	cuts := make([]cut, 0, len(s.cuts)+1)
	for _, c := range s.cuts {
		if c.to < to {
			cuts = append(cuts, c)
		}
	}
	if len(cuts) == maxCuts {
		cuts[1].to = cuts[0].to // what is not known exactly is held to be lower
		cuts = cuts[1:]
	}
	s.cuts = append(cuts, cut{s.gen, to})
	return s
}

func (s state) encode() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "log-state 1\nstart %d\ngeneration %d\n", s.start, s.gen)
	for _, c := range s.cuts {
		fmt.Fprintf(&b, "cut %d %d\n", c.generation, c.to)
	}
	text := b.String()
	return fmt.Appendf(nil, "%scrc %08x\n", text, crc32.Checksum([]byte(text), castagnoli))
}

func decodeState(content []byte) (s state, err error) {
	text := string(content)
	at := strings.LastIndex(text, "crc ")
	var crc uint32
	if at < 0 || len(text) != at+13 {
		return state{}, errors.New("has no checksum")
	}
	if _, err := fmt.Sscanf(text[at:], "crc %08x\n", &crc); err != nil || crc != crc32.Checksum(content[:at], castagnoli) {
		return state{}, errors.New("does not match its checksum")
	}
	for i, line := range lines(content[:at]) {
		var c cut
		switch i {
		case 0:
			if line != "log-state 1" {
				return state{}, fmt.Errorf("begins with %q", line)
			}
			continue
		case 1:
			_, err = fmt.Sscanf(line, "start %d", &s.start)
		case 2:
			_, err = fmt.Sscanf(line, "generation %d", &s.gen)
		default:
			_, err = fmt.Sscanf(line, "cut %d %d", &c.generation, &c.to)
			s.cuts = append(s.cuts, c)
		}
		if err != nil {
			return state{}, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	if s.start < 0 {
		return state{}, fmt.Errorf("log start is %d", s.start)
	}
	return s, nil
}

// writeState makes a state durable and then the log's own.
func (l *Log) writeState(s state) error {
	if err := l.makeDir(); err != nil {
		return err
	}
	if err := vfs.ReplaceFile(l.dir.FS, l.dir.Join(stateName), s.encode()); err != nil {
		return l.fail("write log state", l.dir.Join(stateName), err)
	}
	if err := l.syncNames(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = s
	return nil
}

// readState reads the state; a log that never needed one has none.
func (l *Log) readState() (state, error) {
	content, err := vfs.ReadFile(l.dir.FS, l.dir.Join(stateName), maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, nil
	}
	if err != nil {
		return state{}, messages.E("open log", messages.StorageError, l.dir.Join(stateName), err)
	}
	s, err := decodeState(content)
	if err != nil {
		return state{}, messages.E("open log", messages.CorruptMessage, l.dir.Join(stateName), err)
	}
	return s, nil
}
