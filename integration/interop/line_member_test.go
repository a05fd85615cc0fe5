package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"understudy/integration/reference"
)

// lineMember is a member of a group by a program that prints what it consumes,
// commits by itself, and leaves when it is asked to stop.
type lineMember struct {
	cmd    *exec.Cmd
	noise  reference.Output // standard error
	parse  func(line []byte) (r record, is bool, err error)
	come   chan []byte // lines; closed when there are no more
	exited chan error
}

func startLineMember(cmd *exec.Cmd, parse func([]byte) (record, bool, error)) (member, error) {
	m := &lineMember{cmd: cmd, parse: parse, come: make(chan []byte), exited: make(chan error, 1)}
	cmd.Stderr = &m.noise
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		scan := bufio.NewScanner(out)
		for scan.Scan() {
			m.come <- append([]byte{}, scan.Bytes()...)
		}
		close(m.come)
		m.exited <- cmd.Wait()
	}()
	return m, nil
}

func (m *lineMember) poll(ctx context.Context) (records []record, err error) {
	enough := time.After(pollTime)
	for {
		select {
		case line, more := <-m.come:
			if !more {
				return records, fmt.Errorf("%s has ended:\n%s", m.cmd.Path, m.noise.String())
			}
			r, is, err := m.parse(line)
			if err != nil {
				return records, err
			}
			if is {
				records = append(records, r)
			}
		case <-enough:
			return records, nil
		case <-ctx.Done():
			return records, ctx.Err()
		}
	}
}

func (m *lineMember) commit(context.Context) error { return nil }

func (m *lineMember) leave(ctx context.Context) error {
	_ = m.cmd.Process.Signal(syscall.SIGTERM)
	stop := context.AfterFunc(ctx, func() { _ = m.cmd.Process.Kill() })
	defer stop()
	var tail sync.WaitGroup
	tail.Go(func() {
		for range m.come {
		}
	})
	err := <-m.exited
	tail.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("%s did not leave: %w\n%s", m.cmd.Path, ctx.Err(), m.noise.String())
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) { // Java says that it was a signal
		return nil
	}
	return err
}

// kcatClient is kcat as a member of groups.
type kcatClient struct{}

func (kcatClient) consume(ctx context.Context, topic string, _ int64, n int) ([]record, error) {
	out, err := exec.CommandContext(ctx, "kcat", "-C", "-b", server.addr, "-q", "-t", topic, "-p", "0", "-o", "end", "-c", fmt.Sprint(n), "-f", `%o: %s\n`).Output()
	return placedRecords(out, ": "), err
}

func (kcatClient) join(_ context.Context, group, topic string) (member, error) {
	cmd := exec.Command("kcat", "-b", server.addr, "-q", "-u", "-f", `%p %o: %s\n`, "-X", "auto.offset.reset=earliest",
		"-X", "auto.commit.interval.ms=100", "-X", fmt.Sprintf("heartbeat.interval.ms=%d", heartbeat.Milliseconds()), "-G", group, topic)
	return startLineMember(cmd, func(line []byte) (r record, is bool, err error) {
		place, value, _ := bytes.Cut(line, []byte(": "))
		if _, err := fmt.Sscanf(string(place), "%d %d", &r.partition, &r.offset); err != nil {
			return r, false, fmt.Errorf("%q: %w", line, err)
		}
		r.value = value
		return r, true, nil
	})
}

// javaClient is Kafka's own consumer, in its VerifiableConsumer, which commits
// after each poll.
type javaClient struct{}

func (javaClient) consume(ctx context.Context, topic string, _ int64, n int) ([]record, error) {
	cmd := java(tools+"consumer.ConsoleConsumer", "--bootstrap-server", server.addr, "--topic", topic, "--partition", "0", "--offset", "latest",
		"--max-messages", fmt.Sprint(n), "--formatter-property", "print.offset=true")
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	out, err := cmd.Output()
	return placedRecords(bytes.ReplaceAll(out, []byte("Offset:"), nil), "\t"), err
}

// placedRecords reads lines of an offset and a value.
func placedRecords(text []byte, separator string) (records []record) {
	for line := range bytes.Lines(text) {
		place, value, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(separator))
		r := record{value: value, offset: -1}
		_, _ = fmt.Sscan(string(place), &r.offset) // what is no number is seen by whoever compares
		records = append(records, r)
	}
	return records
}

func (javaClient) join(_ context.Context, group, topic string) (member, error) {
	return joinJava(group, topic)
}

// javaCooperative is the same with another strategy.
type javaCooperative struct{ javaClient }

func (javaCooperative) join(_ context.Context, group, topic string) (member, error) {
	return joinJava(group, topic, "--assignment-strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor")
}

func joinJava(group, topic string, more ...string) (member, error) {
	cmd := java(tools+"VerifiableConsumer", append([]string{"--bootstrap-server", server.addr, "--topic", topic, "--group-id", group,
		"--reset-policy", "earliest", "--verbose"}, more...)...)
	return startLineMember(cmd, func(line []byte) (r record, is bool, err error) {
		var event struct {
			Name      string
			Value     string
			Partition int32
			Offset    int64
		}
		if err := json.Unmarshal(line, &event); err != nil {
			return r, false, fmt.Errorf("%q: %w", line, err)
		}
		return record{partition: event.Partition, offset: event.Offset, value: []byte(event.Value)}, event.Name == "record_data", nil
	})
}
