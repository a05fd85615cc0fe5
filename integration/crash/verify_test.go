//go:build crash

package crash

import (
	"errors"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"understudy/integration/process"
)

// foundOffline are the damages that the files show by themselves, without a
// broker that knows what ought to be there.
var foundOffline = []string{
	"bit flipped in an old segment",
	"bit flipped somewhere in the first segment",
	"bit flipped in the last batch",
	"bit flipped in the length of the last batch",
	"bit flipped in the base offset of the last batch",
	"bit flipped in the leader epoch of the last batch",
	"tail cut off within a batch",
	"tail of an old segment cut off",
	"old segment lost",
	"garbage after the last batch",
	"offset indexes scrambled",
	"time indexes scrambled",
	"leader epochs scrambled",
}

// problem is a line that names a file of the damaged partition.
var problem = regexp.MustCompile(`(?m)^/\S+/` + damagedTopic + `-1/\S+: .+`)

// TestLogVerify has `understudy log verify` look at damaged directories: it
// names what is wrong, and finds nothing where nothing is.
func TestLogVerify(t *testing.T) {
	p := prepare(t)
	for name, dir := range map[string]string{"clean": p.clean, "killed": p.killed} {
		if out, code := verify(t, dir); code != 0 {
			t.Errorf("exit code %d for what is whole (%s):\n%s", code, name, out)
		}
	}
	for _, d := range damages {
		if !slices.Contains(foundOffline, d.name) {
			continue
		}
		t.Run(strings.ReplaceAll(d.name, " ", "-"), func(t *testing.T) {
			s := &site{data: filepath.Join(t.TempDir(), "data")}
			copyDir(t, p.killed, s.data)
			s.dir = filepath.Join(s.data, damagedTopic+"-1")
			d.do(t, s)
			out, code := verify(t, s.data)
			if code != 1 || !problem.MatchString(out) {
				t.Errorf("exit code %d, want 1 and a file of %s-1 named:\n%s", code, damagedTopic, out)
			}
		})
	}
}

func verify(t *testing.T, dir string) (out string, code int) {
	t.Helper()
	binary, err := process.Build()
	if err != nil {
		t.Fatal(err)
	}
	text, err := exec.CommandContext(t.Context(), binary, "log", "verify", dir).CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return string(text), exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return string(text), 0
}
