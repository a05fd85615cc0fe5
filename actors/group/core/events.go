package core

import "fmt"

// Event is something that a group decided, with its cause.
type Event interface {
	String() string
	event()
}

// The events.
type (
	// RebalanceBegan: the members are to join again.
	RebalanceBegan struct {
		Group      string
		Generation int32 // that ends
		Cause      string
	}
	// GenerationBegan: those who have joined are the members. Without any the group
	// is empty.
	GenerationBegan struct {
		Group      string
		Generation int32
		Protocol   string
		Leader     string // member id
		Members    int
	}
	// Settled: each member can have its assignment.
	Settled struct {
		Group      string
		Generation int32
		Members    int
	}
	// MemberReplaced: a static member was started again and keeps its place.
	MemberReplaced struct{ Group, Instance, Old, New string }
	// MemberRemoved: a member is none any more.
	MemberRemoved struct{ Group, Member, Cause string }
	// OffsetsDropped: committed offsets are not kept any longer.
	OffsetsDropped struct {
		Group string
		Count int
		Cause string
	}
	// Forgotten: nothing is kept of the group any more.
	Forgotten struct{ Group, Cause string }
)

func (RebalanceBegan) event()  {}
func (GenerationBegan) event() {}
func (Settled) event()         {}
func (MemberReplaced) event()  {}
func (MemberRemoved) event()   {}
func (OffsetsDropped) event()  {}
func (Forgotten) event()       {}

func (e RebalanceBegan) String() string {
	return fmt.Sprintf("group %q: rebalance after generation %d; cause: %s", e.Group, e.Generation, e.Cause)
}

func (e GenerationBegan) String() string {
	if e.Members == 0 {
		return fmt.Sprintf("group %q: generation %d, without members", e.Group, e.Generation)
	}
	return fmt.Sprintf("group %q: generation %d of %d members, %s, led by %s", e.Group, e.Generation, e.Members, e.Protocol, e.Leader)
}

func (e Settled) String() string {
	return fmt.Sprintf("group %q: generation %d is assigned to %d members", e.Group, e.Generation, e.Members)
}

func (e MemberReplaced) String() string {
	return fmt.Sprintf("group %q: static member %q is %s now, was %s", e.Group, e.Instance, e.New, e.Old)
}

func (e MemberRemoved) String() string {
	return fmt.Sprintf("group %q: member %s is out; cause: %s", e.Group, e.Member, e.Cause)
}

func (e OffsetsDropped) String() string {
	return fmt.Sprintf("group %q: %d offsets are dropped; cause: %s", e.Group, e.Count, e.Cause)
}

func (e Forgotten) String() string {
	return fmt.Sprintf("group %q: is gone; cause: %s", e.Group, e.Cause)
}
