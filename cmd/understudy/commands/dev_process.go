package commands

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopPatience is how long a process may take to end in order.
const stopPatience = 10 * time.Second

// devProcess is a process that can be ended and started again.
type devProcess struct {
	name    string
	log     string // the file that its standard error goes to
	ready   string // how the line of its standard output begins that says that it serves; "": it is not waited for
	command []string
	details []any // a row of the table of nodes

	mu     sync.Mutex
	cmd    *exec.Cmd     // nil: it does not run
	exited chan struct{} // closed when cmd has ended
}

// start starts the process and waits until it is ready. ended is told when it
// has ended, for whatever reason, after that.
func (p *devProcess) start(ctx context.Context, ended func(p *devProcess, how string)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return fmt.Errorf("%s runs already", p.name)
	}
	if err := os.MkdirAll(filepath.Dir(p.log), 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	cmd := exec.Command(p.command[0], p.command[1:]...)
	cmd.Stderr = log
	cmd.SysProcAttr = ownGroup() // Ctrl-C is for us to pass on
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", p.name, err), log.Close())
	}
	ready, exited := make(chan struct{}), make(chan struct{})
	p.cmd, p.exited = cmd, exited
	go func() {
		p.follow(cmd, out, ready)
		log.Close() // the process had it open as well, and has written
		close(exited)
		select {
		case <-ready:
			ended(p, how(cmd))
		default: // who waits for it to be ready is told
		}
	}()
	return p.awaitReady(ctx, cmd, ready, exited)
}

// follow reads what the process prints, until it has ended.
func (p *devProcess) follow(cmd *exec.Cmd, out io.Reader, ready chan<- struct{}) {
	waiting := p.ready != ""
	if !waiting {
		close(ready)
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if waiting && strings.HasPrefix(line, p.ready) {
			waiting = false
			close(ready)
		}
		if err != nil {
			break
		}
	}
	_ = cmd.Wait() // how it ended is in cmd.ProcessState
}

func (p *devProcess) awaitReady(ctx context.Context, cmd *exec.Cmd, ready, exited <-chan struct{}) error {
	select {
	case <-ready:
		return nil
	case <-exited:
		return hint(fmt.Errorf("%s did not start (%s): %s", p.name, how(cmd), lastLine(p.log)), "its log: %s", p.log)
	case <-ctx.Done():
		return errInterrupted
	}
}

// running reports whether the process is there. The lock is held.
func (p *devProcess) running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// signal sends a signal to the process.
func (p *devProcess) signal(s os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return fmt.Errorf("%s does not run", p.name)
	}
	return p.cmd.Process.Signal(s)
}

// stop ends the process in order, or at once if that takes too long.
func (p *devProcess) stop() error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	p.mu.Lock()
	exited, process := p.exited, p.cmd.Process
	p.mu.Unlock()
	limit := time.NewTimer(stopPatience)
	defer limit.Stop()
	select {
	case <-exited:
		return nil
	case <-limit.C:
		err := process.Kill()
		<-exited
		return err
	}
}

// how says how a process ended.
func how(cmd *exec.Cmd) string {
	if cmd.ProcessState == nil {
		return "unknown"
	}
	return cmd.ProcessState.String()
}

// lastLine is the last line of a log, for an error.
func lastLine(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return lines[len(lines)-1]
}
