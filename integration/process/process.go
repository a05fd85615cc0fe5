// Package process runs the real binary as a process of its own, for tests that
// are about processes: clients over real sockets, kill -9, restarts, data
// directories that were damaged in between, CPU time and memory.
//
// Nothing here sleeps: a start waits for the line in which the broker says that
// it is ready, a stop waits for the process to be gone, and both have deadlines.
package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"understudy/internal/pulse"
)

// Options say which broker to start. The zero value of each but DataDir is useful.
type Options struct {
	DataDir string        // where the broker keeps its data; it outlives the broker
	Binary  string        // empty: Build's
	Listen  string        // empty: a free port of 127.0.0.1, kept over restarts
	Args    []string      // further arguments of `understudy server`
	Env     []string      // further environment, NAME=VALUE
	Under   []string      // a command that the binary is run under, and which becomes it: ip netns exec NAME
	Output  io.Writer     // where all that it prints goes as well; nil: nowhere
	Ready   time.Duration // how long a start may take; 0: 2 min
}

// Broker is one broker over all its restarts. Its methods are for one goroutine,
// except Kill, Log, Addr and PID.
//
//	Start ──▶ running ──Kill, Stop──▶ down ──Restart──▶ running
type Broker struct {
	options Options
	output  output

	mu      sync.Mutex
	cmd     *exec.Cmd
	exited  chan struct{} // closed when the process of cmd is gone
	exitErr error
	ready   Ready
}

// Ready is what the broker said when it was ready.
type Ready struct {
	Addr  string        // where Kafka clients connect
	Admin string        // the admin endpoint, http://HOST:PORT; empty when it is off
	After time.Duration // from the start of the process to its ready line
}

// The ready line: "ready: kafka HOST:PORT (clients are told …), admin http://HOST:PORT, data DIR".
var (
	readyLine  = regexp.MustCompile(`\bready\b.*\bkafka (\S+:\d+)`)
	readyAdmin = regexp.MustCompile(`\badmin (http://\S+:\d+)`)
)

// Start builds the binary when it must, starts a broker and waits until it is ready.
func Start(ctx context.Context, o Options) (*Broker, error) {
	if o.Binary == "" {
		binary, err := Build()
		if err != nil {
			return nil, err
		}
		o.Binary = binary
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Ready == 0 {
		o.Ready = 2 * time.Minute
	}
	b := &Broker{options: o}
	return b, b.Restart(ctx)
}

// Restart starts the broker again, on the same data and the same port. When it
// does not become ready the error carries what it printed, and it is not left
// running.
func (b *Broker) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, b.options.Ready)
	defer cancel()
	line := slices.Concat(b.options.Under, []string{b.options.Binary}, b.args())
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append(cleanEnviron(), b.options.Env...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = b.printed()
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	ready, exited := make(chan Ready, 1), make(chan struct{})
	b.mu.Lock()
	b.cmd, b.exited, b.exitErr = cmd, exited, nil
	b.mu.Unlock()
	go b.follow(cmd, stdout, began, ready, exited)
	return b.awaitReady(ctx, ready, exited)
}

func (b *Broker) args() []string {
	admin := "127.0.0.1:0"
	return slices.Concat([]string{
		"server", "--data-dir", b.options.DataDir, "--listen", b.options.Listen, "--admin-listen", admin,
	}, b.options.Args)
}

// printed takes what the broker prints.
func (b *Broker) printed() io.Writer {
	if b.options.Output == nil {
		return &b.output
	}
	return io.MultiWriter(&b.output, b.options.Output)
}

// cleanEnviron is the environment without settings of the broker.
func cleanEnviron() []string {
	return slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "UNDERSTUDY_") })
}

// follow reads what the process prints until it ends, and then reaps it.
func (b *Broker) follow(cmd *exec.Cmd, stdout io.Reader, began time.Time, ready chan<- Ready, exited chan<- struct{}) {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if m := readyLine.FindStringSubmatch(line); m != nil {
			r := Ready{Addr: strings.TrimRight(m[1], ",;"), After: time.Since(began)}
			if a := readyAdmin.FindStringSubmatch(line); a != nil {
				r.Admin = a[1]
			}
			select {
			case ready <- r:
			default: // it said so before
			}
		}
		fmt.Fprintln(b.printed(), line)
	}
	_, _ = io.Copy(io.Discard, stdout)
	err := cmd.Wait()
	b.mu.Lock()
	b.exitErr = err
	b.mu.Unlock()
	close(exited)
}

func (b *Broker) awaitReady(ctx context.Context, ready <-chan Ready, exited <-chan struct{}) error {
	select {
	case r := <-ready:
		b.mu.Lock()
		b.ready = r
		b.options.Listen = r.Addr
		b.mu.Unlock()
		return nil
	case <-exited:
		return fmt.Errorf("the broker ended before it was ready (%w):\n%s", b.exitErr, b.Log())
	case <-ctx.Done():
		b.abort(exited)
		return fmt.Errorf("the broker was not ready in time (%w):\n%s", ctx.Err(), b.Log())
	}
}

// abort ends a broker that hangs, having it print what its goroutines do.
func (b *Broker) abort(exited <-chan struct{}) {
	if cmd, _ := b.current(); cmd != nil && cmd.Process.Signal(syscall.SIGQUIT) == nil {
		select {
		case <-exited:
		case <-time.After(10 * time.Second):
		}
	}
	b.Kill()
}

// Kill ends the broker with SIGKILL and waits until it is gone. One that is
// down already stays so.
func (b *Broker) Kill() {
	if cmd, exited := b.current(); cmd != nil {
		_ = cmd.Process.Kill() // fails only when it is gone
		<-exited
	}
}

// ErrStoodStill is among the reasons for which a broker did not stop well when the
// machine stood still meanwhile: its time was over before it had it.
var ErrStoodStill = errors.New("the machine stood still")

// stoodStill is for how long that must have been for a broker to find its time over.
const stoodStill = 300 * time.Millisecond

// Stop ends the broker with SIGTERM. The error says that it ended with another
// code than 0, or not within the limit, after which it is killed.
func (b *Broker) Stop(limit time.Duration) error {
	cmd, exited := b.current()
	if cmd == nil {
		return errors.New("the broker was not started")
	}
	stood := pulse.Watch()
	defer stood()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-exited:
	case <-late.C:
		b.Kill()
		return unless(stood(), limit/4, fmt.Errorf("the broker was still there %v after SIGTERM:\n%s", limit, b.Log()))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.exitErr == nil {
		return nil
	}
	err := fmt.Errorf("the broker did not stop well (%w):\n%s", b.exitErr, b.Log())
	if exit, ok := errors.AsType[*exec.ExitError](b.exitErr); ok && exit.ExitCode() == 1 { // it says so itself
		return unless(stood(), stoodStill, err)
	}
	return err
}

// unless has an error tell that the machine stood still, if that was for long enough to
// be the reason.
func unless(stood, enough time.Duration, err error) error {
	if stood < enough {
		return err
	}
	return fmt.Errorf("%w (%w for %v)", err, ErrStoodStill, stood)
}

func (b *Broker) current() (*exec.Cmd, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cmd, b.exited
}

// Exited is closed when the present process of the broker is gone.
func (b *Broker) Exited() <-chan struct{} {
	_, exited := b.current()
	return exited
}

// Ready is what the broker said at its last start.
func (b *Broker) Ready() Ready {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ready
}

// Addr is where Kafka clients connect, the same over all restarts.
func (b *Broker) Addr() string { return b.Ready().Addr }

// DataDir is the broker's data directory.
func (b *Broker) DataDir() string { return b.options.DataDir }

// Binary is the program that is run.
func (b *Broker) Binary() string { return b.options.Binary }

// PID is the process id of the broker, 0 before its first start.
func (b *Broker) PID() int {
	if cmd, _ := b.current(); cmd != nil {
		return cmd.Process.Pid
	}
	return 0
}

// Log is the last of what the broker printed since its first start.
func (b *Broker) Log() string { return b.output.String() }

// ForgetLog empties Log, so that what is printed later can be told apart.
func (b *Broker) ForgetLog() { b.output.reset() }

// maxOutput bounds what is kept of a broker's output, in bytes.
const maxOutput = 1 << 20

// output keeps the end of what was written to it.
type output struct {
	mu   sync.Mutex
	text []byte
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, p...)
	if over := len(o.text) - maxOutput; over > maxOutput {
		o.text = slices.Clone(o.text[over:])
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

func (o *output) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = nil
}
