// Package commands is the command line: one file per command, on top of cobra.
// The client commands speak the Kafka protocol through franz-go and nothing else,
// so that they work with any broker that does.
//
// What a command makes goes to standard output; progress, summaries and errors
// go to standard error. Exit codes: 0 done, 1 failed, 2 called wrongly, 130
// interrupted before the work was done.
package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 128 + int(syscall.SIGINT)
)

// Streams are what a command reads and writes.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// watched reports whether a person is looking at standard error.
func (s Streams) watched() bool { return isTerminal(s.Err) }

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// note tells a person something beside the output.
func (s Streams) note(format string, args ...any) {
	fmt.Fprintf(s.Err, format+"\n", args...)
}

// Main runs one command line and returns the exit code. The first SIGINT or
// SIGTERM lets the command end well, the second ends the process at once.
func Main(args []string, streams Streams) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // so that writing to a pipe that nobody reads is an error, and not the end
	zerolog.TimeFieldFormat = "2006-01-02T15:04:05.000Z07:00"
	return Run(ctx, args, streams)
}

// Run is Main without signals: the command ends when ctx does.
func Run(ctx context.Context, args []string, streams Streams) int {
	root := newRoot(streams)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case brokenPipe(err):
		return exitOK // whoever read our output has seen enough
	case errors.Is(err, errInterrupted), ctx.Err() != nil && errors.Is(err, ctx.Err()):
		streams.note("understudy: interrupted")
		return exitInterrupted
	}
	streams.note("understudy: %s", strings.TrimRight(err.Error(), "\n"))
	if hint := hintOf(err); hint != "" {
		streams.note("%s", hint)
	}
	if usage := (*usageError)(nil); errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

var errInterrupted = errors.New("interrupted")

// brokenPipe reports whether nobody reads our output any more. A connection to a broker
// may break in the same way; that is a failure.
func brokenPipe(err error) bool {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return false
	}
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe)
}

func newRoot(streams Streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "understudy",
		Short: "A distributed event log in one binary; Kafka clients use it unchanged",
		Long: `A distributed event log in one binary; Kafka clients use it unchanged.

  understudy server                    start a broker on 127.0.0.1:9092
  understudy topic create orders
  echo hello | understudy produce orders
  understudy consume orders --exit-at-end`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return wrongUsage(cmd, "%v", err)
	})
	root.SuggestionsMinimumDistance = 2
	root.AddCommand(
		newServer(streams), newDev(streams), newTopic(streams), newGroup(streams), newDeadLetters(streams), newProduce(streams), newConsume(streams),
		newCluster(streams), newLog(streams), newBench(streams), newConfig(streams), newVersion(streams),
	)
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}

// group is a command that only holds others.
func group(cmd *cobra.Command, members ...*cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		return cmd.Help()
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(members...)
	return cmd
}
