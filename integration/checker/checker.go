// Package checker judges what the members of a consumer group were told and did.
// What producers and consumers are told of a log itself is judged by package
// history.
package checker

import "fmt"

// Kind is what is wrong.
type Kind string

// Partition names one partition.
type Partition struct {
	Topic  string
	Number int32
}

func (p Partition) String() string { return fmt.Sprintf("%s-%d", p.Topic, p.Number) }

// Finding is one contradiction.
type Finding struct {
	Kind      Kind
	Process   string
	Partition Partition
	Offset    int64
	Detail    string
}

func (f Finding) String() string {
	return fmt.Sprintf("%s: %s offset %d (%s): %s", f.Kind, f.Partition, f.Offset, f.Process, f.Detail)
}
