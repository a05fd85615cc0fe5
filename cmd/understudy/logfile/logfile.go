// Package logfile reads the files of partitions where they lie, without a broker:
// it lists their batches and checks everything that can be checked about them.
// The files are Kafka's, so it reads those of a Kafka broker as well.
package logfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/segment"
)

// Partition is the segments of one partition that are to be read, in order.
type Partition struct {
	Dir      string // empty if single files were named
	Segments []File
}

// File is one segment's log.
type File struct {
	Path string
	Base messages.Offset // as its name says
	Size int64
}

// Bytes is the size of all segments.
func (p Partition) Bytes() (n int64) {
	for _, f := range p.Segments {
		n += f.Size
	}
	return n
}

// Find turns paths into partitions: a .log file is a segment, a directory with
// .log files a partition, and any other directory a place where partitions lie.
func Find(paths []string) ([]Partition, error) {
	var all []Partition
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			f, err := file(path, info.Size())
			if err != nil {
				return nil, err
			}
			all = append(all, Partition{Segments: []File{f}})
			continue
		}
		found, err := findBelow(path)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s holds no partition: no directory with .log files", path)
		}
		all = append(all, found...)
	}
	return all, nil
}

func file(path string, size int64) (File, error) {
	base, suffix, ok := segment.ParseName(filepath.Base(path))
	if !ok || suffix != segment.LogSuffix {
		return File{}, fmt.Errorf("%s is not a segment's log: the name of one is its first offset in 20 digits and .log", path)
	}
	return File{Path: path, Base: base, Size: size}, nil
}

// findBelow collects the directories with .log files from dir down.
func findBelow(dir string) ([]Partition, error) {
	byDir := map[string][]File{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() || filepath.Ext(path) != segment.LogSuffix {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if f, err := file(path, info.Size()); err == nil {
			byDir[filepath.Dir(path)] = append(byDir[filepath.Dir(path)], f)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var all []Partition
	for dir, files := range byDir {
		slices.SortFunc(files, func(a, b File) int { return int(min(1, max(-1, a.Base-b.Base))) })
		all = append(all, Partition{Dir: dir, Segments: files})
	}
	slices.SortFunc(all, func(a, b Partition) int { return byNumber(a.Dir, b.Dir) })
	return all, nil
}

// byNumber puts orders-2 before orders-10.
func byNumber(a, b string) int {
	if len(a) != len(b) && trimDigits(a) == trimDigits(b) {
		return len(a) - len(b)
	}
	if a < b {
		return -1
	}
	return 1
}

func trimDigits(s string) string {
	for len(s) > 0 && s[len(s)-1] >= '0' && s[len(s)-1] <= '9' {
		s = s[:len(s)-1]
	}
	return s
}

// Problem is one thing that is wrong, and where.
type Problem struct {
	File     string `json:"file"`
	Position int64  `json:"position"` // in bytes; -1: of the file as a whole
	What     string `json:"problem"`
}

// String reads "orders-0/…000.log: position 4096: CRC is …".
func (p Problem) String() string {
	if p.Position < 0 {
		return p.File + ": " + p.What
	}
	return fmt.Sprintf("%s: position %d: %s", p.File, p.Position, p.What)
}

// Batch is a batch and where it lies.
type Batch struct {
	batch.Batch
	File     string
	Position int64
}

// Walk calls see for every batch of a segment whose checksum is right, and
// report for what stands in the way. After a batch with a wrong checksum it goes
// on behind it; after one whose length cannot be right there is no way on. The
// batch is valid until see returns. An error of see ends the walk.
func Walk(f File, see func(Batch) error, report func(Problem)) error {
	in, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer in.Close()
	s := segment.Scan(in, 0, f.Size)
	defer s.Close()
	var buf []byte
	for s.Next() {
		if s.Size() > largeBatch {
			if why := harm(in, s.Position(), f.Size); why != "" {
				report(Problem{f.Path, s.Position(), fmt.Sprintf("offset %d: %s", s.Header().BaseOffset(), why)})
				continue
			}
		}
		b, err := s.Batch(buf[:0])
		if err != nil {
			return fmt.Errorf("%s: position %d: %w", f.Path, s.Position(), err)
		}
		buf = b
		if err := b.CheckCRC(); err != nil {
			report(Problem{f.Path, s.Position(), fmt.Sprintf("offset %d: %v", b.BaseOffset(), cause(err))})
			continue
		}
		if err := see(Batch{b, f.Path, s.Position()}); err != nil {
			return err
		}
	}
	var damage *segment.Damage
	switch {
	case s.Err() == nil:
	case errors.As(s.Err(), &damage):
		report(Problem{f.Path, damage.Position, fmt.Sprintf("%s; the %d bytes from here on cannot be read", damage.Reason, f.Size-damage.Position)})
	default:
		return fmt.Errorf("%s: %w", f.Path, s.Err())
	}
	return nil
}

// largeBatch is from which size on a batch is checked before it is read into memory, in
// bytes: damage may have made it so large.
const largeBatch = 64 << 20

// harm says what is wrong with the batch at a position; "" if nothing is.
func harm(in io.ReaderAt, at, end int64) string {
	s := segment.Scan(in, at, end)
	defer s.Close()
	if s.Next() && s.CheckCRC() {
		return ""
	}
	var damage *segment.Damage
	if errors.As(s.Err(), &damage) {
		return damage.Reason
	}
	return s.Err().Error()
}

// cause is the innermost reason of an error of this project's.
func cause(err error) error {
	var e *messages.Error
	for errors.As(err, &e) && e.Err != nil {
		err = e.Err
	}
	return err
}
