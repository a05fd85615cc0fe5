package log

import (
	"errors"
	"fmt"
	"sync"

	"github.com/rs/zerolog"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/producer"
	"understudy/persistence/flush"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// Settings are what a topic sets for its logs. They can be changed at any time.
type Settings struct {
	SegmentBytes       int64 // a segment is no larger, if its first batch is not (segment.bytes)
	SegmentMs          int64 // nor spans more of time; 0: no limit (segment.ms)
	IndexIntervalBytes int   // bytes between index entries (index.interval.bytes)
	RetentionMs        int64 // records older than this may go; -1: never (retention.ms)
	RetentionBytes     int64 // what is more than this may go; -1: no limit (retention.bytes)

	Compact            bool  // of each key only the last record need stay (cleanup.policy)
	MinCompactionLagMs int64 // records younger than this are not compacted (min.compaction.lag.ms)
	MaxCompactionLagMs int64 // those that are older should be (max.compaction.lag.ms)
	DeleteRetentionMs  int64 // how long tombstones stay (delete.retention.ms)

	// Preallocate is how many bytes of disk blocks are reserved ahead of the
	// writes at most; a small log reserves as much as it has. 0: DefaultPreallocate;
	// negative: nothing is reserved.
	Preallocate int64
}

// Defaults for what Settings leaves at 0.
const (
	DefaultSegmentBytes  = 1 << 30
	DefaultIndexInterval = 4096
	DefaultPreallocate   = 16 << 20
	// DefaultMaxUnpacked bounds what a compressed batch may become when a search
	// by time has to look at its records.
	DefaultMaxUnpacked = 64 << 20
)

// Flusher syncs files when they are asked for, and calls back. A flush.Scheduler
// is one; a test may take its place to say when a sync ends.
type Flusher interface {
	Flush(f flush.File, done func(error))
}

// Options say where a log is and what it works with.
type Options struct {
	FS       vfs.FS
	Dir      string // the partition's directory; it is made with the first append
	TP       messages.TopicPartition
	Settings Settings

	Flush Flusher        // nil: Flush syncs at once, before it returns
	Files *segment.Files // the broker's open files; nil: a cache of its own
	Log   zerolog.Logger

	// AcceptLoss opens a log of which durable records are missing or damaged: it
	// ends before the first such record, and whatever was behind it is removed.
	AcceptLoss bool
	// MaxUnpacked bounds a compressed batch in bytes; 0: DefaultMaxUnpacked.
	MaxUnpacked int
	// Yield lets whoever carries out a cleaning go on, where all runs in one goroutine;
	// nil everywhere else.
	Yield func()
}

// Log is the log of one partition. See the package comment for who may call what.
//
//	         Open                     a write or a sync failed
//	(none) ───────▶ open ──────────────────────────────────────▶ failed
//	                 │                                             │ every call that changes it returns
//	                 │ Close, Delete                               │ the first error; views go on
//	                 ▼                                             ▼
//	               closed ◀──────────────────────────────────── Close
type Log struct {
	o   Options
	dir *segment.Dir

	// The owner's.
	producers *producer.State // nil: not loaded
	snapshot  messages.Offset // newest producer snapshot, NoOffset if none is known
	recent    *recentEnds     // nil when nothing was appended for a while
	restedAt  messages.Offset // the end when that was last looked at
	markFile  *segment.Handle
	markSeq   uint64         // guarded by syncing
	markBuf   [markSize]byte // guarded by syncing
	view      *View          // the last one published
	cleaning  *Cleaning      // nil: none is under way
	untouched bool           // opened by a clean checkpoint, and nothing was changed since

	syncing sync.Mutex // held while a sync runs, and while files are taken away; before mu

	mu       sync.Mutex
	settings Settings
	segs     []*segment.Segment // by offset; copied on every change but an append to it
	start    messages.Offset
	end      messages.Offset
	endPos   int64 // position of end in the last segment
	size     int64 // bytes of all segments
	durable  mark
	cleaned  messages.Offset      // what lies before was compacted
	epochs   []replica.EpochStart // copied on every change
	state    state
	failed   error
	closed   bool
	clean    bool
	pending  pending
	report   Report
}

// pending is what the next sync has to make durable besides the last segment.
type pending struct {
	sealed []*segment.Segment // complete, not known to be synced
	files  []string           // producer snapshots
	names  bool               // the directory has new names
	parent bool               // the directory itself is new
	epochs bool               // the epochs have changed
}

func (p *pending) empty() bool {
	return len(p.sealed) == 0 && len(p.files) == 0 && !p.names && !p.parent && !p.epochs
}

// Start is the first offset that can be read.
func (l *Log) Start() messages.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.start
}

// End is the offset that the next record gets.
func (l *Log) End() messages.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}

// Durable is the offset below which everything is on disk.
func (l *Log) Durable() messages.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.durable.offset
}

// Size is how many bytes of batches there are.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// Err is why the log has failed; nil while it has not.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// Report tells what Open had to do.
func (l *Log) Report() Report { return l.report }

// Configure changes the settings from the next append on.
func (l *Log) Configure(s Settings) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settings = s.withDefaults()
}

func (s Settings) withDefaults() Settings {
	if s.SegmentBytes <= 0 {
		s.SegmentBytes = DefaultSegmentBytes
	}
	if s.IndexIntervalBytes <= 0 {
		s.IndexIntervalBytes = DefaultIndexInterval
	}
	if s.Preallocate == 0 {
		s.Preallocate = DefaultPreallocate
	}
	return s
}

func newLog(o Options) *Log {
	if o.Files == nil {
		o.Files = segment.NewFiles(0)
	}
	if o.MaxUnpacked <= 0 {
		o.MaxUnpacked = DefaultMaxUnpacked
	}
	l := &Log{o: o, dir: &segment.Dir{FS: o.FS, Files: o.Files, Path: o.Dir}}
	l.settings = o.Settings.withDefaults()
	l.snapshot = messages.NoOffset
	l.markFile = segment.NewHandle(l.dir, markName)
	return l
}

// errClosed is what every call returns after Close.
var errClosed = errors.New("log is closed")

// ready says why nothing can be done to the log any more, or nil.
func (l *Log) ready(op string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.readyLocked(op)
}

func (l *Log) readyLocked(op string) error {
	switch {
	case l.failed != nil:
		return messages.E(op, messages.StorageError, l.o.TP.String(), l.failed)
	case l.closed:
		return messages.E(op, messages.StorageError, l.o.TP.String(), errClosed)
	}
	return nil
}

// fail ends the log with the first error; every later call returns it.
func (l *Log) fail(op, path string, err error) error {
	wrapped := segment.Explain(op, path, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = wrapped
		l.o.Log.Error().Err(err).Stringer("partition", l.o.TP).Str("file", path).Str("op", op).Msg("the log has failed")
	}
	return wrapped
}

// active is the segment that is written to, nil if there is none yet.
func (l *Log) active() *segment.Segment {
	if len(l.segs) == 0 {
		return nil
	}
	return l.segs[len(l.segs)-1]
}

// at names an offset of this log in an error.
func (l *Log) at(offset messages.Offset) string { return fmt.Sprintf("%v offset %d", l.o.TP, offset) }
