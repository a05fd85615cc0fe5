package logfile

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"understudy/messages"
)

// epochFileName is Kafka's name for the file that says where each leader epoch
// of a partition began:
//
//	0            version
//	2            number of lines that follow
//	0 0          epoch, its first offset
//	3 1207
const epochFileName = "leader-epoch-checkpoint"

// maxEpochFile is how large that file may be, in bytes: more than half a million epochs.
const maxEpochFile = 16 << 20

type epochStart struct {
	epoch messages.LeaderEpoch
	start messages.Offset
}

// epochFile checks the file against the epochs of the batches.
func (v *verifier) epochFile(path string) {
	content, err := readFile(path, maxEpochFile)
	if errors.Is(err, fs.ErrNotExist) {
		v.report.Notes = append(v.report.Notes, path+" is missing")
		return
	}
	if err != nil {
		v.problem(path, -1, "cannot be read: %v", err)
		return
	}
	file, err := parseEpochs(string(content))
	if err != nil {
		v.problem(path, -1, "%v", err)
		return
	}
	starts := make(map[messages.LeaderEpoch]messages.Offset, len(file))
	for _, e := range file {
		starts[e.epoch] = e.start
	}
	for i, e := range v.epochs {
		start, ok := starts[e.epoch]
		switch {
		case !ok:
			v.problem(path, -1, "epoch %d is missing; the log has it from offset %d on", e.epoch, e.start)
		case start > e.start || start < e.start && i > 0:
			v.problem(path, -1, "epoch %d begins at offset %d, in the log at %d", e.epoch, start, e.start)
		}
	}
}

func parseEpochs(text string) ([]epochStart, error) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if lines[0] != "0" {
		return nil, fmt.Errorf("version %.20q is not known", lines[0])
	}
	var all []epochStart
	for i, line := range lines[min(2, len(lines)):] {
		var e epochStart
		if _, err := fmt.Sscanf(line, "%d %d", &e.epoch, &e.start); err != nil {
			return nil, fmt.Errorf("line %d: %.40q is not an epoch and an offset", i+3, line)
		}
		if len(all) > 0 && (e.epoch <= all[len(all)-1].epoch || e.start < all[len(all)-1].start) {
			return nil, fmt.Errorf("line %d: epoch %d at offset %d does not come after epoch %d at %d", i+3, e.epoch, e.start, all[len(all)-1].epoch, all[len(all)-1].start)
		}
		all = append(all, e)
	}
	if len(lines) < 2 || lines[1] != fmt.Sprint(len(all)) {
		return nil, fmt.Errorf("holds %d epochs and does not say so in line 2", len(all))
	}
	return all, nil
}
