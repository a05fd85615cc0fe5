package history

import (
	"cmp"
	"fmt"
	"slices"
)

// Kind is what is wrong, in the words that the literature has for it.
type Kind string

// The contradictions.
const (
	LostWrite           Kind = "lost-write"           // acknowledged, not there, though later offsets were read
	Unseen              Kind = "unseen"               // acknowledged, and nobody read so far
	Duplicate           Kind = "duplicate"            // one value at two offsets
	InconsistentOffsets Kind = "inconsistent-offsets" // two values at one offset
	Phantom             Kind = "phantom"              // read, and never sent
	PollSkip            Kind = "poll-skip"            // a consumer went over a record, from one poll to the next
	IntPollSkip         Kind = "int-poll-skip"        // the same within one poll
	NonmonotonicPoll    Kind = "nonmonotonic-poll"    // a consumer went back, from one poll to the next
	IntNonmonotonicPoll Kind = "int-nonmonotonic-poll"
	NonmonotonicSend    Kind = "nonmonotonic-send"     // a producer's later send has the lower offset
	IntNonmonotonicSend Kind = "int-nonmonotonic-send" // the same within one call
	PrecommittedRead    Kind = "precommitted-read"     // read before its transaction was to commit
	G1a                 Kind = "G1a"                   // read, though its send failed or its transaction was aborted
	G1c                 Kind = "G1c"                   // transactions that read from each other, in a circle
	CommitRegression    Kind = "commit-regression"     // a group's offset is lower than what was acknowledged
	CommitPastEnd       Kind = "commit-past-high-watermark"
)

// Finding is one contradiction.
type Finding struct {
	Kind      Kind
	Process   string
	Partition string
	Offset    int64
	Detail    string
}

// String is the finding in one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s offset %d (%s): %s", f.Kind, f.Partition, f.Offset, f.Process, f.Detail)
}

// maxFindings is how many of a kind are told in detail; all are counted.
const maxFindings = 100

// Verdict is what was found in a history.
type Verdict struct {
	Counts   map[Kind]int
	Findings []Finding // by kind, partition and offset; the first of each kind

	Sends, Acknowledged, Failed, Reads, Polls, Txns, Commits int64
}

// Good reports that nothing was found.
func (v *Verdict) Good() bool { return len(v.Findings) == 0 }

func (v *Verdict) find(f Finding) {
	v.Counts[f.Kind]++
	if v.Counts[f.Kind] <= maxFindings {
		v.Findings = append(v.Findings, f)
	}
}

func (v *Verdict) sort() {
	slices.SortStableFunc(v.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
}

// String is the verdict in a few lines.
func (v *Verdict) String() string {
	text := fmt.Sprintf("%d records sent, %d acknowledged, %d refused; %d reads in %d polls; %d transactions; %d commits of offsets\n",
		v.Sends, v.Acknowledged, v.Failed, v.Reads, v.Polls, v.Txns, v.Commits)
	if v.Good() {
		return text + "no contradiction\n"
	}
	kinds := make([]Kind, 0, len(v.Counts))
	for k := range v.Counts {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	for _, k := range kinds {
		text += fmt.Sprintf("%8d × %s\n", v.Counts[k], k)
	}
	return text
}
