package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"understudy/integration/reference"
)

// driver is a client library of another language: a process that does what it is
// told on its standard input, one request and one answer on each line. See
// clients/driver.py.
type driver struct {
	command []string // what to run; the broker's address is added

	mu   sync.Mutex
	idle []*worker // that wait for the next request
}

// worker is one process of a driver. It does one thing at a time.
type worker struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	noise reference.Output // what it prints beside its answers
}

// clientsDir is where `make interop` installs the clients of other languages.
func clientsDir() string {
	if dir := os.Getenv("INTEROP_CLIENTS"); dir != "" {
		return dir
	}
	return "../../build/interop"
}

func python(script string) *driver {
	return &driver{command: []string{filepath.Join(clientsDir(), "python", "bin", "python"), filepath.Join("clients", script)}}
}

func node(script string) *driver {
	return &driver{command: []string{"node", filepath.Join("clients", script)}}
}

func rust(name string) *driver {
	return &driver{command: []string{filepath.Join(clientsDir(), name, "debug", "driver")}}
}

// start starts another process.
func (d *driver) start() (*worker, error) {
	p := &worker{cmd: exec.Command(d.command[0], append(d.command[1:], server.addr)...)}
	p.cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(clientsDir(), "kafkajs", "node_modules"), "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1")
	p.cmd.Stderr = &p.noise
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReaderSize(out, 1<<20)
	return p, p.cmd.Start()
}

func (p *worker) stop() error {
	_ = p.in.Close()
	return p.cmd.Wait()
}

// call has the process do one thing. When ctx ends before it has, it is killed.
func (p *worker) call(ctx context.Context, request map[string]any, result any) error {
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
	defer stop()
	if _, err := p.in.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("%v: %w\n%s", request["op"], err, p.noise.String())
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%v: %w\n%s", request["op"], errors.Join(err, ctx.Err()), p.noise.String())
	}
	answer := struct {
		Result   any    `json:"result"`
		Error    string `json:"error"`
		TooLarge bool   `json:"too_large"`
	}{Result: result}
	if err := json.Unmarshal(line, &answer); err != nil {
		return fmt.Errorf("%v: %w in %.200s", request["op"], err, line)
	}
	switch {
	case answer.TooLarge:
		return fmt.Errorf("%w: %s", errTooLarge, answer.Error)
	case answer.Error != "":
		return fmt.Errorf("%v: %s", request["op"], answer.Error)
	}
	return nil
}

// do has a process that waits, or a new one, do one thing.
func (d *driver) do(ctx context.Context, request map[string]any, result any) error {
	d.mu.Lock()
	var p *worker
	if n := len(d.idle); n > 0 {
		p, d.idle = d.idle[n-1], d.idle[:n-1]
	}
	d.mu.Unlock()
	if p == nil {
		var err error
		if p, err = d.start(); err != nil {
			return err
		}
	}
	err := p.call(ctx, request, result)
	if ctx.Err() != nil { // it was killed
		return errors.Join(err, p.stop())
	}
	d.mu.Lock()
	d.idle = append(d.idle, p)
	d.mu.Unlock()
	return err
}

// end ends the processes that wait.
func (d *driver) end() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs error
	for _, p := range d.idle {
		errs = errors.Join(errs, p.stop())
	}
	d.idle = nil
	return errs
}
