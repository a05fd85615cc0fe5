package commands

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func newTopic(streams Streams) *cobra.Command {
	return group(&cobra.Command{
		Use:   "topic",
		Short: "Create, list, describe, alter, move and delete topics",
	}, newTopicCreate(streams), newTopicList(streams), newTopicDescribe(streams), newTopicAlter(streams), newTopicDelete(streams),
		newTopicMove(streams), newTopicMoves(streams), newTopicElect(streams))
}

// pair is one K=V of a command line.
type pair struct{ key, value string }

func parsePairs(cmd *cobra.Command, flag string, texts []string) ([]pair, error) {
	pairs := make([]pair, len(texts))
	for i, text := range texts {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return nil, wrongUsage(cmd, "--%s %q: write it as NAME=VALUE", flag, text)
		}
		pairs[i] = pair{key, value}
	}
	return pairs, nil
}

// knownTopics asks for the named topics, or for all when there is no name. A
// topic that is not there is an error.
func (c *client) knownTopics(ctx context.Context, names ...string) ([]kadm.TopicDetail, error) {
	found, err := c.admin.ListTopicsWithInternal(ctx, names...)
	if err != nil {
		return nil, c.explain(err)
	}
	topics := found.Sorted()
	if len(names) > 0 {
		for _, t := range topics {
			if t.Err != nil {
				return nil, aboutTopic(t.Topic, t.Err, "")
			}
		}
	}
	return topics, nil
}
