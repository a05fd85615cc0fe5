package understudy

import (
	"context"
	"testing"

	"understudy/actors/controller"
	"understudy/actors/supervision"
	"understudy/cluster/local"
	"understudy/cluster/metadata"
	"understudy/cluster/topicconfig"
	"understudy/messages"
)

// TestWhatAControllerHasNotDoneIsAskedOfTheNext asks a controller that has just been
// replaced: that it does nothing is no answer, whatever it is asked.
func TestWhatAControllerHasNotDoneIsAskedOfTheNext(t *testing.T) {
	c := controller.New(controller.Options{
		Store: local.NewMemory(), Cell: metadata.NewCell(), Events: func(controller.Event) {},
		Committed: func(controller.Commit) {}, Trouble: func() error { return nil },
	})
	system := supervision.NewSystem()
	pid, err := system.Root.SpawnNamed(c.Props(), "controller")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = system.Root.StopFuture(pid).Wait()
		c.Close()
	})
	n := &node{b: &Broker{controller: c.Client(system.Root, pid)}}
	for what, ask := range map[string]func(context.Context) error{
		"a topic": func(ctx context.Context) error {
			_, err := creatingTopics.do(ctx, n, topicsQuestion{Topics: []controller.NewTopic{{Name: "a", Partitions: 1, ReplicationFactor: 1}, {Name: "b"}}})
			return err
		},
		"a deletion": func(ctx context.Context) error {
			_, err := deletingTopics.do(ctx, n, []controller.TopicRef{{Name: "a"}})
			return err
		},
		"partitions": func(ctx context.Context) error {
			_, err := creatingPartitions.do(ctx, n, partitionsQuestion{Topics: []controller.NewPartitions{{Topic: "a", Count: 2}}})
			return err
		},
		"settings": func(ctx context.Context) error {
			_, err := alteringConfigs.do(ctx, n, configsQuestion{Changes: []controller.ConfigChange{{
				Resource: controller.Resource{Type: controller.TopicResource, Name: "a"},
				Ops:      []topicconfig.Op{{Name: "retention.ms", Value: "1"}},
			}}})
			return err
		},
		"a move": func(ctx context.Context) error {
			_, err := reassigning.do(ctx, n, movesQuestion{Moves: []controller.Reassignment{{Topic: "a", Target: []messages.BrokerID{1}}}})
			return err
		},
	} {
		if err := ask(t.Context()); messages.KindOf(err) != messages.NotController {
			t.Errorf("%s: the answer is %v", what, err)
		}
	}
}
