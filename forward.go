package understudy

import (
	"context"
	"errors"
	"slices"
	"sync"

	"understudy/actors/controller"
	"understudy/cluster/topicconfig"
	"understudy/kafka"
	"understudy/messages"
)

// A node forwards what clients want changed to the controller.
var _ kafka.Admin = (*node)(nil)

type (
	topicsQuestion struct {
		Topics       []controller.NewTopic
		ValidateOnly bool
	}
	partitionsQuestion struct {
		Topics       []controller.NewPartitions
		ValidateOnly bool
	}
	movesQuestion struct {
		Moves       []controller.Reassignment
		FixedFactor bool
	}
	electionQuestion struct {
		Kind       controller.ElectionKind
		Partitions []messages.TopicPartition // null: all
	}
	configsQuestion struct {
		Changes      []controller.ConfigChange
		ValidateOnly bool
	}
)

// Results on the wire: the error has a form in which its kind survives. It hides
// the embedded one of the same name.
type (
	wireTopicResult struct {
		controller.TopicResult
		Err *wireError
	}
	wireDeleteResult struct {
		controller.DeleteResult
		Err *wireError
	}
	wirePartitionsResult struct {
		controller.PartitionsResult
		Err *wireError
	}
	wireMoveResult struct {
		controller.ReassignmentResult
		Err *wireError
	}
	wireElectionResult struct {
		controller.ElectionResult
		Err *wireError
	}
	wireConfigResult struct {
		controller.ConfigResult
		Err *wireError
	}
)

// packTopic leaves out what whoever asked knows or can work out: with all settings
// a result has kilobytes, and a thousand of them would not fit into an answer.
func packTopic(r controller.TopicResult) (wireTopicResult, error) {
	r.Name, r.Config = "", nil
	return wireTopicResult{r, packError(r.Err)}, r.Err
}

func packDelete(r controller.DeleteResult) (wireDeleteResult, error) {
	return wireDeleteResult{r, packError(r.Err)}, r.Err
}
func packPartitions(r controller.PartitionsResult) (wirePartitionsResult, error) {
	return wirePartitionsResult{r, packError(r.Err)}, r.Err
}
func packMove(r controller.ReassignmentResult) (wireMoveResult, error) {
	return wireMoveResult{r, packError(r.Err)}, r.Err
}
func packElection(r controller.ElectionResult) (wireElectionResult, error) {
	return wireElectionResult{r, packError(r.Err)}, r.Err
}
func packConfig(r controller.ConfigResult) (wireConfigResult, error) {
	return wireConfigResult{r, packError(r.Err)}, r.Err
}

// wired makes results ready for the wire. A controller that has been replaced says of
// each that it does nothing: that is one error, and another is to be asked.
func wired[R, W any](results []R, pack func(R) (W, error)) ([]W, error) {
	list := make([]W, len(results))
	for i, r := range results {
		var err error
		if list[i], err = pack(r); messages.KindOf(err) == messages.NotController {
			return nil, err
		}
	}
	return list, nil
}

// CreateTopics creates topics; see kafka.Admin.
func (n *node) CreateTopics(ctx context.Context, topics []controller.NewTopic, validateOnly bool) []controller.TopicResult {
	results, err := ask(ctx, n, creatingTopics, topicsQuestion{topics, validateOnly})
	list := make([]controller.TopicResult, len(topics))
	for i, t := range topics {
		r := &list[i]
		if r.Err = err; err == nil && i < len(results) {
			*r = results[i].TopicResult
			r.Err = results[i].Err.unpack()
		}
		if r.Name = t.Name; r.Err == nil {
			r.Config = n.settingsOf(t)
		}
	}
	return list
}

// settingsOf are the settings of a topic that has just been created, or could be.
func (n *node) settingsOf(t controller.NewTopic) []topicconfig.Entry {
	defaults := n.b.defaults(n.b.cell.Image())
	overrides, err := topicconfig.Topic.Alter(nil, topicconfig.Replace(nil, t.Config), defaults)
	if err != nil { // the controller's version allows more than this one's
		return nil
	}
	return topicconfig.DescribeTopic(overrides, defaults)
}

// DeleteTopics deletes topics.
func (n *node) DeleteTopics(ctx context.Context, refs []controller.TopicRef) []controller.DeleteResult {
	results, err := ask(ctx, n, deletingTopics, refs)
	list := make([]controller.DeleteResult, len(refs))
	for i, ref := range refs {
		if list[i] = (controller.DeleteResult{Name: ref.Name, ID: ref.ID, Err: err}); err == nil && i < len(results) {
			list[i] = results[i].DeleteResult
			list[i].Err = results[i].Err.unpack()
		}
	}
	return list
}

// CreatePartitions gives topics more partitions.
func (n *node) CreatePartitions(ctx context.Context, topics []controller.NewPartitions, validateOnly bool) []controller.PartitionsResult {
	results, err := ask(ctx, n, creatingPartitions, partitionsQuestion{topics, validateOnly})
	list := make([]controller.PartitionsResult, len(topics))
	for i, t := range topics {
		if list[i] = (controller.PartitionsResult{Topic: t.Topic, Err: err}); err == nil && i < len(results) {
			list[i] = results[i].PartitionsResult
			list[i].Err = results[i].Err.unpack()
		}
	}
	return list
}

// AlterConfigs changes settings.
func (n *node) AlterConfigs(ctx context.Context, changes []controller.ConfigChange, validateOnly bool) []controller.ConfigResult {
	results, err := ask(ctx, n, alteringConfigs, configsQuestion{changes, validateOnly})
	list := make([]controller.ConfigResult, len(changes))
	for i, c := range changes {
		if list[i] = (controller.ConfigResult{Resource: c.Resource, Err: err}); err == nil && i < len(results) {
			list[i] = results[i].ConfigResult
			list[i].Err = results[i].Err.unpack()
		}
	}
	return list
}

// maxMoves bounds what goes into one request.
const maxMoves = 2048

// Reassign begins and cancels moves of replicas.
func (n *node) Reassign(ctx context.Context, moves []controller.Reassignment, fixedFactor bool) []controller.ReassignmentResult {
	list := make([]controller.ReassignmentResult, 0, len(moves))
	for chunk := range slices.Chunk(moves, maxMoves) {
		results, err := ask(ctx, n, reassigning, movesQuestion{chunk, fixedFactor})
		for i, m := range chunk {
			r := controller.ReassignmentResult{Topic: m.Topic, Partition: m.Partition, Err: err}
			if err == nil && i < len(results) {
				r.Err = results[i].Err.unpack()
			}
			list = append(list, r)
		}
	}
	return list
}

// ElectLeaders elects leaders of partitions; nil stands for all that are in need
// of it.
func (n *node) ElectLeaders(ctx context.Context, kind controller.ElectionKind, partitions []messages.TopicPartition) ([]controller.ElectionResult, error) {
	all := partitions == nil
	if all {
		partitions = everyPartition(n.b.cell.Image())
	}
	list := make([]controller.ElectionResult, 0, len(partitions))
	for portion := range slices.Chunk(partitions, maxPortion) {
		results, err := ask(ctx, n, electing, electionQuestion{kind, portion})
		if err != nil {
			return nil, err
		}
		for _, r := range results {
			r.ElectionResult.Err = r.Err.unpack()
			if !all || messages.KindOf(r.ElectionResult.Err) != messages.ElectionNotNeeded {
				list = append(list, r.ElectionResult)
			}
		}
	}
	return list, nil
}

// AllocateProducerIDs gives producer ids to this broker alone.
func (n *node) AllocateProducerIDs(ctx context.Context, count int64) (messages.ProducerID, error) {
	first, err := ask(ctx, n, allocatingIDs, count)
	if err != nil {
		return messages.NoProducerID, err
	}
	return first, nil
}

// wireError is an error on the wire. Its kind goes by name, since the numbers
// change from one version to the next.
type wireError struct {
	Op, Kind, Subject, Cause string
}

func packError(err error) *wireError {
	if err == nil {
		return nil
	}
	w := &wireError{Kind: messages.KindOf(err).String(), Cause: err.Error()}
	if e, ok := errors.AsType[*messages.Error](err); ok && e == err {
		if w.Op, w.Subject, w.Cause = e.Op, e.Subject, ""; e.Err != nil {
			w.Cause = e.Err.Error()
		}
	}
	return w
}

// unpack gives the error, which is nil for nil.
func (w *wireError) unpack() error {
	if w == nil {
		return nil
	}
	var cause error
	if w.Cause != "" {
		cause = errors.New(w.Cause)
	}
	return messages.E(w.Op, kindNames()[w.Kind], w.Subject, cause)
}

// kindNames are the kinds of error by their words.
var kindNames = sync.OnceValue(func() map[string]messages.Kind {
	names := make(map[string]messages.Kind)
	for k := messages.Kind(1); k.String() != messages.Unknown.String(); k++ {
		names[k.String()] = k
	}
	return names
})
