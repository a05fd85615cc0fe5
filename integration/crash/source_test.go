//go:build crash

package crash

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"understudy/integration/process"
)

// partitions is how many partitions the source lines are spread over.
const partitions = 6

// longestMessage is the limit for messages, in bytes.
const longestMessage = "8000000"

// sourceLines are the lines of every file of the Go distribution's source.
func sourceLines(t *testing.T) [][]byte {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]byte
	err = filepath.WalkDir(filepath.Join(strings.TrimSpace(string(root)), "src"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		for line := range bytes.Lines(text) {
			lines = append(lines, bytes.TrimSuffix(line, []byte("\n")))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) < 1_000_000 {
		t.Fatalf("the Go distribution has only %d lines of source", len(lines))
	}
	return lines
}

// TestSourceLinesSurviveKills sends every line of the Go distribution through
// kcat, once with each codec, kills the broker twice in the middle and lets kcat
// go on by itself. Three readers must then see every line once, in order.
func TestSourceLinesSurviveKills(t *testing.T) {
	if _, err := exec.LookPath("kcat"); err != nil {
		t.Fatal("kcat is not installed: ", err)
	}
	lines := sourceLines(t)
	broker := process.Test(t, process.Options{})
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		t.Run(codec, func(t *testing.T) {
			topic := "source-" + codec
			// The longest line has more than a megabyte.
			createTopic(t, broker.Addr(), topic, partitions, map[string]string{"max.message.bytes": longestMessage})
			began := time.Now()
			produceThroughKills(t, broker, topic, codec, lines)
			t.Logf("produced %d lines in %v with 2 kills", len(lines), time.Since(began).Round(time.Millisecond))
			readers := []struct {
				name string
				read func(*testing.T, *process.Broker, string, *tally)
			}{{"kcat", readWithKcat}, {"franz-go", readWithFranz}, {"understudy consume", readWithUnderstudy}}
			for _, r := range readers {
				began := time.Now()
				seen := newTally(lines)
				r.read(t, broker, topic, seen)
				seen.complete(t)
				t.Logf("%s read them in %v", r.name, time.Since(began).Round(time.Millisecond))
			}
		})
	}
}

// produceThroughKills feeds kcat with the lines, each under its number as key,
// and kills and restarts the broker after a third and two thirds of them: what
// kcat has not yet had acknowledged then is at most its queue of 100,000.
func produceThroughKills(t *testing.T, broker *process.Broker, topic, codec string, lines [][]byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	// -E: go on when all brokers are down.
	kcat := exec.CommandContext(ctx, "kcat", "-P", "-E", "-b", broker.Addr(), "-t", topic, "-K", `\t`, "-z", codec,
		"-X", "enable.idempotence=true", "-X", "message.max.bytes="+longestMessage, "-X", "reconnect.backoff.max.ms=500")
	var stderr bytes.Buffer
	kcat.Stderr = &stderr
	stdin, err := kcat.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := kcat.Start(); err != nil {
		t.Fatal(err)
	}
	feed := bufio.NewWriterSize(stdin, 64<<10)
	for i, line := range lines {
		if i == len(lines)/3 || i == len(lines)*2/3 {
			broker.Kill()
			broker.MustRestart(t)
		}
		feed.WriteString(strconv.Itoa(i))
		feed.WriteByte('\t')
		feed.Write(line)
		if err := feed.WriteByte('\n'); err != nil {
			t.Fatalf("kcat takes no more: %v\n%s", err, &stderr)
		}
	}
	if err := errors.Join(feed.Flush(), stdin.Close(), kcat.Wait()); err != nil {
		t.Fatalf("kcat: %v\n%s", err, &stderr)
	}
	if failed := bytes.Contains(stderr.Bytes(), []byte("Delivery failed")); failed {
		t.Fatalf("kcat gave up on lines:\n%s", &stderr)
	}
}

// tally holds what a reader reads against the lines that were sent.
type tally struct {
	lines [][]byte
	seen  []bool
	count int
	next  [partitions]int64 // the offset to come
	last  [partitions]int   // the line before
}

func newTally(lines [][]byte) *tally {
	s := &tally{lines: lines, seen: make([]bool, len(lines))}
	for p := range s.last {
		s.last[p] = -1
	}
	return s
}

// add takes one record: its offset must be the next, its line a later one of
// the input, not seen before, and with the same bytes.
func (s *tally) add(partition int32, offset int64, key, value []byte) error {
	where := fmt.Sprintf("partition %d offset %d", partition, offset)
	if partition < 0 || partition >= partitions {
		return fmt.Errorf("%s: no such partition", where)
	}
	if offset != s.next[partition] {
		return fmt.Errorf("%s: want offset %d", where, s.next[partition])
	}
	s.next[partition]++
	line, err := strconv.Atoi(string(key))
	switch {
	case err != nil || line < 0 || line >= len(s.lines):
		return fmt.Errorf("%s: %q was never sent", where, key)
	case s.seen[line]:
		return fmt.Errorf("%s: line %d came before", where, line)
	case line <= s.last[partition]:
		return fmt.Errorf("%s: line %d came after line %d", where, line, s.last[partition])
	case !bytes.Equal(value, s.lines[line]):
		return fmt.Errorf("%s: line %d is %q, was sent as %q", where, line, value, s.lines[line])
	}
	s.seen[line], s.last[partition] = true, line
	s.count++
	return nil
}

func (s *tally) complete(t *testing.T) {
	t.Helper()
	if s.count != len(s.lines) {
		first := slices.Index(s.seen, false)
		t.Fatalf("%d of %d acknowledged lines are missing, the first is line %d: %q", len(s.lines)-s.count, len(s.lines), first, s.lines[first])
	}
}

func readWithKcat(t *testing.T, broker *process.Broker, topic string, seen *tally) {
	readCommand(t, seen, exec.CommandContext(t.Context(), "kcat", "-C", "-q", "-e", "-b", broker.Addr(), "-t", topic, "-o", "beginning",
		"-f", `%p\t%o\t%k\t%s\n`))
}

func readWithUnderstudy(t *testing.T, broker *process.Broker, topic string, seen *tally) {
	readCommand(t, seen, exec.CommandContext(t.Context(), broker.Binary(), "consume", topic, "--brokers", broker.Addr(),
		"--from", "start", "--exit-at-end", "--format", `%p\t%o\t%k\t%v\n`))
}

// readCommand tallies what a command prints: partition, offset, key and value in columns.
func readCommand(t *testing.T, seen *tally, cmd *exec.Cmd) {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := tallyColumns(stdout, seen)
	if read != nil {
		_ = cmd.Process.Kill() // Wait says what became of it
	}
	if err := errors.Join(read, cmd.Wait()); err != nil {
		t.Fatalf("%s: %v\n%s", cmd.Path, err, &stderr)
	}
}

func tallyColumns(from io.Reader, seen *tally) error {
	rows := bufio.NewScanner(from)
	rows.Buffer(make([]byte, 1<<20), 16<<20)
	rows.Split(splitAtNewline)
	for rows.Scan() {
		columns := bytes.SplitN(rows.Bytes(), []byte("\t"), 4)
		if len(columns) != 4 {
			return fmt.Errorf("not four columns: %q", rows.Bytes())
		}
		partition, errP := strconv.ParseInt(string(columns[0]), 10, 32)
		offset, errO := strconv.ParseInt(string(columns[1]), 10, 64)
		if err := errors.Join(errP, errO); err != nil {
			return err
		}
		if err := seen.add(int32(partition), offset, columns[2], columns[3]); err != nil {
			return err
		}
	}
	return rows.Err()
}

// splitAtNewline is bufio.ScanLines without its care for carriage returns, which are part of the lines.
func splitAtNewline(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

func readWithFranz(t *testing.T, broker *process.Broker, topic string, seen *tally) {
	ends := endOffsets(t, broker.Addr(), topic)
	left := int64(0)
	for _, end := range ends {
		left += end
	}
	ctx, cancel := context.WithTimeout(t.Context(), drainTimeout)
	defer cancel()
	cl := newClient(t, broker.Addr(), fromStart(topic, partitions))
	for left > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d records are left to read: %v", left, err)
		}
		for r := range fetches.RecordsAll() {
			left--
			if err := seen.add(r.Partition, r.Offset, r.Key, r.Value); err != nil {
				t.Fatal(err)
			}
		}
	}
	cl.Close()
}
