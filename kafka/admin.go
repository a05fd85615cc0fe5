package kafka

import (
	"context"

	"understudy/actors/controller"
	"understudy/messages"
)

// Admin makes changes to topics, settings and replicas, each for itself. A call returns
// when its changes are committed and this broker's image shows them, or when ctx
// ends. Results stand in the order of what was asked for.
type Admin interface {
	CreateTopics(ctx context.Context, topics []controller.NewTopic, validateOnly bool) []controller.TopicResult
	DeleteTopics(ctx context.Context, topics []controller.TopicRef) []controller.DeleteResult
	CreatePartitions(ctx context.Context, topics []controller.NewPartitions, validateOnly bool) []controller.PartitionsResult
	AlterConfigs(ctx context.Context, changes []controller.ConfigChange, validateOnly bool) []controller.ConfigResult
	// Reassign begins and cancels moves of replicas. fixedFactor refuses those that
	// would change the number of replicas.
	Reassign(ctx context.Context, moves []controller.Reassignment, fixedFactor bool) []controller.ReassignmentResult
	// ElectLeaders elects leaders; nil stands for all partitions in need of it.
	ElectLeaders(ctx context.Context, kind controller.ElectionKind, partitions []messages.TopicPartition) ([]controller.ElectionResult, error)
	// AwaitServing returns when the leaders of topics serve, wherever they are, or
	// say why not; or when ctx ends.
	AwaitServing(ctx context.Context, topics []string)
	// AllocateProducerIDs gives n producer ids, from first on, to this broker alone.
	AllocateProducerIDs(ctx context.Context, n int64) (first messages.ProducerID, err error)
}
