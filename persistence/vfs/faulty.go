package vfs

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
)

// Op is a set of kinds of call.
type Op uint32

// The kinds of call that a Rule can choose.
const (
	OpCreate Op = 1 << iota
	OpOpen
	OpRemove // Remove and RemoveAll
	OpRename // matched by the name it had
	OpMkdir
	OpReadDir
	OpSyncDir
	OpLock
	OpSpace
	OpRead
	OpWrite // WriteAt and WriteVAt
	OpAllocate
	OpWriteback // StartWriteback: it can be delayed but has no error
	OpSync
	OpTruncate
	OpSize
	OpClose // the file is closed even so

	OpAny Op = 1<<iota - 1
)

// Rule says which calls go wrong, and how. Every condition must hold.
type Rule struct {
	Ops Op // which kinds of call

	// Path is a pattern as of path.Match; one without a slash is matched against
	// the last element of the name. "" is every name.
	Path string
	// After lets that many of the chosen calls pass before the rule begins.
	After int
	// Times is how often the rule strikes; 0 is for ever.
	Times int
	// Probability is the chance with which a call is struck; 0 is certainty.
	Probability float64

	// Gate holds the call up until the channel gives something or is closed.
	Gate <-chan struct{}
	// Reached, unless nil, gets a value for each call that is struck, before the
	// Gate. The test must receive it, or give the channel room.
	Reached chan<- struct{}
	// Err is what the call returns. With nil the call is carried out as usual.
	Err error
	// Short is how many bytes a write that fails with Err writes all the same.
	Short int64
	// FlipBit turns one bit of what a read returns, chosen by the coins.
	FlipBit bool
}

// Fault is a Rule at work.
type Fault struct {
	faulty *Faulty
	rule   Rule
	seen   int // chosen calls
	struck int
}

// Struck is how many calls the rule has hit.
func (f *Fault) Struck() int {
	f.faulty.mu.Lock()
	defer f.faulty.mu.Unlock()
	return f.struck
}

// Remove ends the rule. Calls that wait at its gate go on waiting.
func (f *Fault) Remove() {
	f.faulty.mu.Lock()
	defer f.faulty.mu.Unlock()
	f.faulty.faults = slices.DeleteFunc(f.faulty.faults, func(other *Fault) bool { return other == f })
}

// Faulty is a file system whose calls go wrong by rules. Without rules it does
// what the one beneath does; its files have no Descriptor, so that every byte
// passes through it. It is safe for concurrent use.
type Faulty struct {
	fs FS

	mu     sync.Mutex
	rnd    *rand.Rand
	faults []*Fault
}

// NewFaulty wraps a file system. rnd decides where a rule leaves it to chance;
// nil is a fixed seed.
func NewFaulty(fsys FS, rnd *rand.Rand) *Faulty {
	if rnd == nil {
		rnd = rand.New(rand.NewPCG(0, 0))
	}
	return &Faulty{fs: fsys, rnd: rnd}
}

// Add puts a rule to work. Of several that strike one call, the first added that
// has an error decides the error; all delay.
func (f *Faulty) Add(r Rule) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	fault := &Fault{faulty: f, rule: r}
	f.faults = append(f.faults, fault)
	return fault
}

// Clear ends all rules.
func (f *Faulty) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// matches tells whether the rule chooses a call.
func (r *Rule) matches(op Op, name string) bool {
	if r.Ops&op == 0 {
		return false
	}
	if r.Path == "" {
		return true
	}
	if !strings.Contains(r.Path, "/") {
		name = path.Base(name)
	}
	ok, err := path.Match(r.Path, name)
	return ok && err == nil
}

// verdict is what happens to one call.
type verdict struct {
	err   error
	short int64
	flip  bool
}

// strike finds what happens to a call, having waited at the gates.
func (f *Faulty) strike(op Op, name string) verdict {
	var v verdict
	for _, r := range f.struckBy(op, name) {
		if r.Reached != nil {
			r.Reached <- struct{}{}
		}
		if r.Gate != nil {
			<-r.Gate
		}
		if v.err == nil && r.Err != nil {
			v.err, v.short = &fs.PathError{Op: op.String(), Path: name, Err: r.Err}, r.Short
		}
		v.flip = v.flip || r.FlipBit
	}
	return v
}

// struckBy lists the rules that strike a call, and counts.
func (f *Faulty) struckBy(op Op, name string) []Rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	var rules []Rule
	for _, fault := range f.faults {
		r := &fault.rule
		if !r.matches(op, name) {
			continue
		}
		fault.seen++
		if fault.seen <= r.After || r.Times > 0 && fault.struck >= r.Times {
			continue
		}
		if r.Probability > 0 && f.rnd.Float64() >= r.Probability {
			continue
		}
		fault.struck++
		rules = append(rules, *r)
	}
	return rules
}

// flipBit turns one bit of p.
func (f *Faulty) flipBit(p []byte) {
	if len(p) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	bit := f.rnd.IntN(len(p) * 8)
	p[bit/8] ^= 1 << (bit % 8)
}

// String names the kinds of call, as errors do.
func (o Op) String() string {
	names := [...]string{"create", "open", "remove", "rename", "mkdir", "readdir", "syncdir", "lock", "space",
		"read", "write", "allocate", "writeback", "sync", "truncate", "size", "close"}
	var set []string
	for i, name := range names {
		if o&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	return strings.Join(set, "|")
}

// Create implements FS.
func (f *Faulty) Create(name string) (File, error) {
	if v := f.strike(OpCreate, name); v.err != nil {
		return nil, v.err
	}
	file, err := f.fs.Create(name)
	return f.wrap(name, file, err)
}

// Open implements FS.
func (f *Faulty) Open(name string) (File, error) {
	if v := f.strike(OpOpen, name); v.err != nil {
		return nil, v.err
	}
	file, err := f.fs.Open(name)
	return f.wrap(name, file, err)
}

// wrap makes a faulty file of what opening gave.
func (f *Faulty) wrap(name string, file File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return &faultyFile{faulty: f, name: name, file: file}, nil
}

// Remove implements FS.
func (f *Faulty) Remove(name string) error {
	if v := f.strike(OpRemove, name); v.err != nil {
		return v.err
	}
	return f.fs.Remove(name)
}

// RemoveAll implements FS.
func (f *Faulty) RemoveAll(name string) error {
	if v := f.strike(OpRemove, name); v.err != nil {
		return v.err
	}
	return f.fs.RemoveAll(name)
}

// Rename implements FS.
func (f *Faulty) Rename(from, to string) error {
	if v := f.strike(OpRename, from); v.err != nil {
		return v.err
	}
	return f.fs.Rename(from, to)
}

// MkdirAll implements FS.
func (f *Faulty) MkdirAll(name string) error {
	if v := f.strike(OpMkdir, name); v.err != nil {
		return v.err
	}
	return f.fs.MkdirAll(name)
}

// ReadDir implements FS.
func (f *Faulty) ReadDir(name string) ([]Entry, error) {
	if v := f.strike(OpReadDir, name); v.err != nil {
		return nil, v.err
	}
	return f.fs.ReadDir(name)
}

// SyncDir implements FS.
func (f *Faulty) SyncDir(name string) error {
	if v := f.strike(OpSyncDir, name); v.err != nil {
		return v.err
	}
	return f.fs.SyncDir(name)
}

// Lock implements FS.
func (f *Faulty) Lock(name string) (io.Closer, error) {
	if v := f.strike(OpLock, name); v.err != nil {
		return nil, v.err
	}
	return f.fs.Lock(name)
}

// Space implements FS.
func (f *Faulty) Space(name string) (free, total uint64, err error) {
	if v := f.strike(OpSpace, name); v.err != nil {
		return 0, 0, v.err
	}
	return f.fs.Space(name)
}

// faultyFile is an open file whose calls go wrong by the rules of its Faulty.
type faultyFile struct {
	faulty *Faulty
	name   string
	file   File
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	v := f.faulty.strike(OpRead, f.name)
	if v.err != nil {
		return 0, v.err
	}
	n, err := f.file.ReadAt(p, off)
	if v.flip {
		f.faulty.flipBit(p[:n])
	}
	return n, err
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.WriteVAt([][]byte{p}, off)
	return int(n), err
}

func (f *faultyFile) WriteVAt(buffers [][]byte, off int64) (int64, error) {
	v := f.faulty.strike(OpWrite, f.name)
	if v.err == nil {
		return f.file.WriteVAt(buffers, off)
	}
	n, err := f.file.WriteVAt(firstBytes(buffers, v.short), off)
	if err == nil {
		err = v.err
	}
	return n, err
}

// firstBytes describes the first n bytes of buffers, but never all of them.
func firstBytes(buffers [][]byte, n int64) [][]byte {
	n = max(0, min(n, totalLength(buffers)-1))
	var short [][]byte
	for _, b := range buffers {
		b = b[:min(int64(len(b)), n)]
		short = append(short, b)
		n -= int64(len(b))
	}
	return short
}

func (f *faultyFile) Allocate(off, length int64) error {
	if v := f.faulty.strike(OpAllocate, f.name); v.err != nil {
		return v.err
	}
	return f.file.Allocate(off, length)
}

func (f *faultyFile) StartWriteback(off, length int64) {
	if v := f.faulty.strike(OpWriteback, f.name); v.err == nil {
		f.file.StartWriteback(off, length)
	}
}

func (f *faultyFile) Sync() error {
	if v := f.faulty.strike(OpSync, f.name); v.err != nil {
		return v.err
	}
	return f.file.Sync()
}

func (f *faultyFile) Truncate(size int64) error {
	if v := f.faulty.strike(OpTruncate, f.name); v.err != nil {
		return v.err
	}
	return f.file.Truncate(size)
}

func (f *faultyFile) Size() (int64, error) {
	if v := f.faulty.strike(OpSize, f.name); v.err != nil {
		return 0, v.err
	}
	return f.file.Size()
}

func (f *faultyFile) Close() error {
	v := f.faulty.strike(OpClose, f.name)
	if err := f.file.Close(); err != nil {
		return err
	}
	return v.err
}
