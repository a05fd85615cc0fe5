package kafka

import (
	"errors"
	"net"
	"slices"
	"strings"

	"understudy/actors/group"
	"understudy/messages"
)

// client is who sent a request, as DescribeGroups shows it.
func (c *call) client() group.Client {
	host := c.r.Conn().RemoteAddr().String()
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return group.Client{ID: strings.Clone(c.clientID), Host: "/" + host}
}

// orEmpty is what a nullable string says.
func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// once gives the names in their order, each once: naming the same group often
// must not make the answer large.
func once(names []string) []string {
	seen := make(map[string]bool, len(names))
	return slices.DeleteFunc(names, func(name string) bool {
		before := seen[name]
		seen[name] = true
		return before
	})
}

// byPartition looks an error up that may concern all partitions or one.
func byPartition(tp messages.TopicPartition, each map[messages.TopicPartition]error, all error) int16 {
	if all != nil {
		return messages.Code(all)
	}
	return messages.Code(each[tp])
}

var errManyMembers = messages.E("group", messages.InvalidRequest, "", errors.New("more members or protocols than a group can have"))

// errAskAnother has a client look for its coordinator anew.
var errAskAnother = messages.E("group", messages.NotCoordinator, "", errors.New("ask another broker who coordinates the group"))

// toldToMembers is an error in words that members know. That the time is up means here
// that this broker ends, and whoever waits is to go on elsewhere: Java's consumers throw
// an error that they do not expect at who polls.
func toldToMembers(err error) error {
	if messages.KindOf(err) == messages.RequestTimedOut {
		return errAskAnother
	}
	return err
}
