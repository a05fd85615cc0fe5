package group

import (
	"maps"

	"understudy/actors/group/core"
	"understudy/messages"
)

// request is a question about one group on its way to it. One answer is put on
// reply, which has room for it.
type request struct {
	op       string // for errors
	group    string
	question any // one of those below, or core.Join, core.Sync, core.Commit; nil: the group was asked
	reply    chan answer
}

type answer struct {
	value any
	err   error
}

// The questions that the core has no type for.
type (
	heartbeat     struct{ who core.Member }
	leave         struct{ leaving []core.Leaving }
	fetchOffsets  struct{ tps []messages.TopicPartition } // nil: all
	deleteOffsets struct{ tps []messages.TopicPartition }
	describe      struct{}
	deleteGroup   struct{}
)

// withdrawn: nobody waits for the answer any more.
type withdrawn struct{ r *request }

func newRequest(op, group string, question any) *request {
	return &request{op: op, group: group, question: question, reply: make(chan answer, 1)}
}

func (r *request) answer(value any) { r.reply <- answer{value: value} }

// refuse answers with an error that concerns the whole. Where it is not known
// whether a request was answered already, as after a panic, it may be refused once
// more: the first answer counts.
func (r *request) refuse(err error) {
	select {
	case r.reply <- answer{err: err}:
	default:
	}
}

// refuseAs refuses with a kind.
func (r *request) refuseAs(kind messages.Kind) {
	r.refuse(messages.E(r.op, kind, r.group, nil))
}

// begins reports whether the question makes a group that is not there: someone
// joins, or commits as consumers do that assign partitions themselves.
func (r *request) begins() bool {
	switch q := r.question.(type) {
	case core.Join:
		return q.MemberID == ""
	case core.Commit:
		return q.Generation < 0
	}
	return false
}

// answerAbsent answers what is asked about a group that is not there.
func (r *request) answerAbsent() {
	switch q := r.question.(type) {
	case leave:
		errs := make([]error, len(q.leaving))
		for i := range errs {
			errs[i] = messages.E(r.op, messages.UnknownMemberID, r.group, nil)
		}
		r.answer(errs)
	case fetchOffsets:
		r.answer(map[messages.TopicPartition]core.Committed{})
	case core.Commit, deleteOffsets, deleteGroup:
		r.refuseAs(messages.GroupIDNotFound)
	case describe:
		r.answer(core.Description{Group: r.group, State: core.Dead})
	default:
		r.refuseAs(messages.UnknownMemberID)
	}
}

// cloneProtocols, like the other clones, copies what the caller may use again
// when it has given up waiting.
func cloneProtocols(given []core.Protocol) []core.Protocol {
	list := make([]core.Protocol, len(given))
	for i, p := range given {
		list[i] = core.Protocol{Name: p.Name, Metadata: append([]byte{}, p.Metadata...)}
	}
	return list
}

func cloneAssignments(given map[string][]byte) map[string][]byte {
	all := maps.Clone(given)
	for id, a := range all {
		all[id] = append([]byte{}, a...)
	}
	return all
}
