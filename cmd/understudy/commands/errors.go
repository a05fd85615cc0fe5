package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// hintedError is an error with what to do next.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() }
func (e *hintedError) Unwrap() error { return e.err }

// hint adds what to do next to an error; nil stays nil.
func hint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hintedError{err, fmt.Sprintf(format, args...)}
}

func hintOf(err error) string {
	var h *hintedError
	if errors.As(err, &h) {
		return h.hint
	}
	return ""
}

// usageError is about how a command was called.
type usageError struct{ words string }

func (e *usageError) Error() string { return e.words }

func wrongUsage(cmd *cobra.Command, format string, args ...any) error {
	return hint(&usageError{fmt.Sprintf(format, args...)}, "see: %s --help", cmd.CommandPath())
}

func unknownCommand(cmd *cobra.Command, name string) error {
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		return wrongUsage(cmd, "there is no command %q; did you mean %q?", name, near[0])
	}
	return wrongUsage(cmd, "there is no command %q", name)
}

// args checks the number of arguments: at least low and, unless high is -1, at
// most high. what names them for the message.
func args(low, high int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, have []string) error {
		switch {
		case len(have) < low:
			return wrongUsage(cmd, "say which %s: %s", what, cmd.UseLine())
		case high >= 0 && len(have) > high:
			return wrongUsage(cmd, "%q is one argument too many: %s", have[high], cmd.UseLine())
		}
		return nil
	}
}

// aboutTopic puts an error of the broker into words that name the topic and say
// what can be done.
func aboutTopic(topic string, err error, detail string) error {
	if err == nil {
		return nil
	}
	e := fmt.Errorf("topic %s: %w", topic, err)
	if known := (*kerr.Error)(nil); errors.As(err, &known) {
		words := strings.TrimSuffix(known.Description, ".")
		if detail != "" {
			words = detail
		}
		e = &worded{fmt.Sprintf("topic %s: %s (%s)", topic, words, known.Message), err}
	}
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID):
		return hint(&worded{fmt.Sprintf("there is no topic %s", topic), err}, "make it with: understudy topic create %s\nor see what there is with: understudy topic list", topic)
	case errors.Is(err, kerr.TopicAlreadyExists):
		return hint(&worded{fmt.Sprintf("topic %s is there already", topic), err}, "look at it with: understudy topic describe %s\nor change it with: understudy topic alter %s", topic, topic)
	case errors.Is(err, kerr.InvalidReplicationFactor):
		return hint(e, "there cannot be more copies than brokers; try --replicas 1")
	case errors.Is(err, kerr.InvalidPartitions):
		return hint(e, "partitions can only be added; see how many there are with: understudy topic describe %s", topic)
	case errors.Is(err, kerr.NotEnoughReplicas), errors.Is(err, kerr.NotEnoughReplicasAfterAppend):
		return hint(e, "see which replicas are in sync with: understudy topic describe %s", topic)
	}
	return e
}

// worded is an error told in other words.
type worded struct {
	words string
	cause error
}

func (e *worded) Error() string { return e.words }
func (e *worded) Unwrap() error { return e.cause }

// unreachable turns the failure to talk to any broker into words and advice.
// Seeds are the addresses that were given, dialed the last that was tried.
func unreachable(seeds []string, err error, dialed string) error {
	at := strings.Join(seeds, ", ")
	start := "start one with: understudy server\nor say where it is with --brokers HOST:PORT or UNDERSTUDY_BROKERS"
	var op *net.OpError
	var dns *net.DNSError
	switch {
	case dialed != "" && !slices.Contains(seeds, dialed) && (errors.As(err, &op) || errors.As(err, &dns)):
		return hint(&worded{fmt.Sprintf("the broker at %s tells clients to connect to %s, and there nobody answers: %s", at, dialed, plain(err)), err},
			"have the broker tell an address that is right from here: understudy server --advertise HOST:PORT (Kafka: advertised.listeners)")
	case errors.Is(err, syscall.ECONNREFUSED):
		return hint(&worded{fmt.Sprintf("no broker answers at %s: connection refused", at), err}, "%s", start)
	case errors.As(err, &dns):
		return hint(&worded{fmt.Sprintf("no broker at %s: the name %s cannot be resolved", at, dns.Name), err}, "%s", start)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return hint(&worded{fmt.Sprintf("what listens at %s closed the connection: %s", at, plain(err)), err}, "is that the port for Kafka clients, without TLS?")
	case errors.Is(err, context.DeadlineExceeded):
		return hint(&worded{fmt.Sprintf("no broker answered at %s in time", at), err}, "%s", start)
	}
	return &worded{fmt.Sprintf("talking to %s: %s", at, plain(err)), err}
}

// plain is an error without the layers that say where in the client it arose.
func plain(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err.Error()
	}
	if first := (*kgo.ErrFirstReadEOF)(nil); errors.As(err, &first) {
		return "end of file before the first answer"
	}
	return err.Error()
}

// atEnd reports whether an error only says that there was no more time.
func atEnd(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
