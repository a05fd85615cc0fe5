//go:build crash

package crash

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"understudy/integration/process"
	"understudy/messages/batch"
)

// Damage by chance: so many times, from a seed that can be given again.
const (
	randomDamages = 60
	seedEnv       = "CRASH_SEED"
)

// TestRandomDamage damages one file at a place and in a way that chance picks.
// Whatever the broker makes of it, it gives out nothing that was not written,
// and says so when it cannot give out all. What it names is checked elsewhere.
func TestRandomDamage(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv(seedEnv); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	p := prepare(t)
	for i := range randomDamages {
		if done := t.Run(strconv.Itoa(i), func(t *testing.T) { sufferRandomly(t, p, seed+uint64(i)) }); !done {
			t.Fatalf("again with: %s=%d go test -tags crash -run TestRandomDamage ./integration/crash", seedEnv, seed+uint64(i))
		}
	}
}

func sufferRandomly(t *testing.T, p prepared, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, 0))
	from := p.clean
	if chance.IntN(2) == 0 {
		from = p.killed
	}
	data := filepath.Join(t.TempDir(), "data")
	copyDir(t, from, data)
	did := damageRandomly(t, chance, data)
	b, err := process.Start(t.Context(), process.Options{DataDir: data})
	if err != nil {
		t.Fatalf("%s: %v", did, err)
	}
	defer b.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), drainTimeout)
	defer cancel()
	r := newReader(t, b.Addr())
	for partition := range int32(damagedPartitions) {
		next, err := r.readAll(ctx, partition, 0)
		if errors.Is(err, errServed) || err == nil && next != recordsEach || err != nil && partition != 1 {
			t.Errorf("%s: partition %d was read up to %d of %d: %v\n%s", did, partition, next, recordsEach, err, b.Log())
		}
	}
	everythingElse(t, ctx, r)
}

// damageRandomly damages one file of partition 1, or the broker's checkpoint,
// and tells what it did.
func damageRandomly(t *testing.T, chance *rand.Rand, data string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(filepath.Join(data, damagedTopic+"-1"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// Most of the harm can be done to the segments, so they are hit most.
	logs := slices.DeleteFunc(slices.Clone(all), func(f string) bool { return !strings.HasSuffix(f, ".log") })
	all = append(slices.Concat(all, logs, logs), filepath.Join(data, checkpointFile))
	file := all[chance.IntN(len(all))]
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	size := len(content)
	if strings.HasSuffix(file, ".log") {
		size = used(content)
	}
	did := change(chance, file, content, size)
	if did == "removed" {
		remove(t, file)
	}
	rel, err := filepath.Rel(data, file)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s (of %d bytes) %s", rel, size, did)
}

// inSomeHeader is a byte of some batch's header.
func inSomeHeader(chance *rand.Rand, content []byte) int {
	var starts []int
	for rest := content; len(rest) > 0; {
		_, more, err := batch.Next(rest)
		if err != nil {
			break
		}
		starts, rest = append(starts, len(content)-len(rest)), more
	}
	return starts[chance.IntN(len(starts))] + chance.IntN(batch.HeaderSize)
}

// change does one thing to a file of which so many bytes mean something.
func change(chance *rand.Rand, file string, content []byte, size int) string {
	if size == 0 {
		return "left alone"
	}
	at := chance.IntN(size)
	if strings.HasSuffix(file, ".log") && chance.IntN(2) == 0 {
		at = inSomeHeader(chance, content[:size]) // most bytes are in records, where the checksum guards them
	}
	did := ""
	switch chance.IntN(6) {
	case 0, 1:
		bit := chance.IntN(8)
		content[at] ^= 1 << bit
		did = fmt.Sprintf("bit %d of byte %d flipped", bit, at)
	case 2:
		content = content[:at]
		did = fmt.Sprintf("cut off at byte %d", at)
	case 3:
		n := min(1+chance.IntN(5000), size-at)
		clear(content[at : at+n])
		did = fmt.Sprintf("%d bytes from %d on made zero", n, at)
	case 4:
		n := min(1+chance.IntN(5000), size-at)
		content = slices.Delete(content, at, at+n)
		did = fmt.Sprintf("%d bytes from %d on taken out", n, at)
	case 5:
		return "removed"
	}
	if err := os.WriteFile(file, content, 0o644); err != nil {
		return err.Error()
	}
	return did
}
