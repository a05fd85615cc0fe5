package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func newGroup(streams Streams) *cobra.Command {
	return group(&cobra.Command{
		Use:   "group",
		Short: "List and describe consumer groups, see their lag, change and delete their offsets",
	}, newGroupList(streams), newGroupDescribe(streams), newGroupLag(streams), newGroupResetOffsets(streams),
		newGroupDelete(streams), newGroupDeleteOffsets(streams))
}

// noState is what a broker says of a group that is not there.
const noState = "Dead"

// errNoGroup is the cause of every complaint about a group that is not there.
var errNoGroup = kerr.GroupIDNotFound

// aboutGroup puts an error of the broker into words that name the group and say
// what can be done.
func aboutGroup(name string, err error) error {
	if err == nil {
		return nil
	}
	e := fmt.Errorf("group %s: %w", name, err)
	if known := (*kerr.Error)(nil); errors.As(err, &known) {
		e = &worded{fmt.Sprintf("group %s: %s (%s)", name, strings.TrimSuffix(known.Description, "."), known.Message), err}
	}
	switch {
	case errors.Is(err, kerr.GroupIDNotFound):
		return hint(&worded{fmt.Sprintf("there is no group %s", name), err}, "see what there is with: understudy group list")
	case errors.Is(err, kerr.NonEmptyGroup), errors.Is(err, kerr.UnknownMemberID):
		return hint(&worded{fmt.Sprintf("group %s has members", name), err}, "stop them first; see who they are with: understudy group describe %s", name)
	case errors.Is(err, kerr.GroupSubscribedToTopic):
		return hint(&worded{fmt.Sprintf("group %s consumes the topic", name), err}, "stop its members first; see who they are with: understudy group describe %s", name)
	}
	return e
}

// topicPartitions is what --topic T[:P,...] names; no partitions: all.
type topicPartitions struct {
	topic      string
	partitions []int32
}

func (tp topicPartitions) has(partition int32) bool {
	return len(tp.partitions) == 0 || slices.Contains(tp.partitions, partition)
}

func parseTopicPartitions(cmd *cobra.Command, texts []string) ([]topicPartitions, error) {
	if len(texts) == 0 {
		return nil, wrongUsage(cmd, "say which topic: --topic NAME or --topic NAME:PARTITION,...")
	}
	var list []topicPartitions
	for _, text := range texts {
		name, numbers, some := strings.Cut(text, ":")
		tp := topicPartitions{topic: name}
		for _, number := range strings.Split(numbers, ",") {
			if !some {
				break
			}
			first, last, ok := parseRange(number)
			if !ok {
				return nil, wrongUsage(cmd, "--topic %s: %q is not a partition; write it as NAME:PARTITION,... or NAME:FIRST-LAST", text, number)
			}
			for n := first; n <= last; n++ {
				tp.partitions = append(tp.partitions, n)
			}
		}
		if name == "" || slices.ContainsFunc(list, func(other topicPartitions) bool { return other.topic == name }) {
			return nil, wrongUsage(cmd, "--topic %q: name each topic once", text)
		}
		list = append(list, tp)
	}
	return list, nil
}

// parseRange is the opposite of ranges, for one of them.
func parseRange(text string) (first, last int32, ok bool) {
	from, to, several := strings.Cut(text, "-")
	if !several {
		to = from
	}
	a, err := strconv.ParseUint(from, 10, 30)
	b, err2 := strconv.ParseUint(to, 10, 30)
	return int32(a), int32(b), err == nil && err2 == nil && a <= b && b-a < mostPartitions
}

// mostPartitions is more than a topic can have.
const mostPartitions = 1 << 20

// explainGroup is explain for an error that may be the group's.
func (c *client) explainGroup(name string, err error) error {
	if known := (*kerr.Error)(nil); errors.As(err, &known) {
		return aboutGroup(name, err)
	}
	return c.explain(err)
}

// idleGroup checks that a group has no members; it need not be there.
func (c *client) idleGroup(ctx context.Context, name string) error {
	described, err := c.admin.DescribeGroups(ctx, name)
	if err != nil {
		return c.explainGroup(name, err)
	}
	switch g := described[name]; {
	case errors.Is(g.Err, errNoGroup):
		return nil
	case g.Err != nil:
		return aboutGroup(name, g.Err)
	case len(g.Members) > 0:
		return aboutGroup(name, kerr.NonEmptyGroup)
	}
	return nil
}

// committed are the offsets of a group, of which one that is not there has none.
func (c *client) committed(ctx context.Context, name string) (kadm.OffsetResponses, error) {
	found, err := c.admin.FetchOffsets(ctx, name)
	if err != nil && !errors.Is(err, errNoGroup) {
		return nil, c.explainGroup(name, err)
	}
	return found, nil
}
