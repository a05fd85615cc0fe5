package interop

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startReference starts one node of Apache Kafka and waits until it serves.
func startReference(data string) (stop func() error, err error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	logs := filepath.Join(data, "logs")
	file := filepath.Join(data, "server.properties")
	if err := os.WriteFile(file, []byte(referenceConfig(ports[0], ports[1], logs)), 0o600); err != nil {
		return nil, err
	}
	format := java(0, "kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", file)
	if out, err := format.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("format: %w\n%s", err, out)
	}
	broker := java(1024, "kafka.Kafka", file)
	out := &lines{seen: make(chan struct{}), want: "Kafka Server started"}
	broker.Stdout, broker.Stderr = out, out
	if err := broker.Start(); err != nil {
		return nil, err
	}
	server.addr, server.data, server.log = fmt.Sprintf("127.0.0.1:%d", ports[0]), logs, out.String
	stop = func() error {
		_ = broker.Process.Signal(syscall.SIGTERM)
		_ = broker.Wait() // 143, which says that it was stopped
		return nil
	}
	select {
	case <-out.seen:
		return stop, nil
	case <-time.After(time.Minute):
		_ = stop()
		return nil, fmt.Errorf("Kafka did not start:\n%s", out.String())
	}
}

func referenceConfig(port, controller int, logs string) string {
	return fmt.Sprintf(`process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:%[2]d
listeners=PLAINTEXT://127.0.0.1:%[1]d,CONTROLLER://127.0.0.1:%[2]d
advertised.listeners=PLAINTEXT://127.0.0.1:%[1]d
controller.listener.names=CONTROLLER
log.dirs=%[3]s
offsets.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
`, port, controller, logs)
}

func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// java is a command of one of Kafka's classes, with a heap of so many MiB (0: the JVM's choice).
func java(heapMiB int, class string, args ...string) *exec.Cmd {
	flags := []string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"}
	if heapMiB > 0 {
		flags = []string{fmt.Sprintf("-Xmx%dm", heapMiB), "-Dlog.level=info"}
	}
	flags = append(flags, "-Dlog4j2.configurationFile="+log4j(), "-cp", filepath.Join(toolsDir(), "*"), class)
	return exec.Command("java", append(flags, args...)...)
}

func log4j() string {
	path, err := filepath.Abs("java/log4j2.properties")
	if err != nil {
		return ""
	}
	return path
}

// toolsDir is where `make interop` puts Kafka's jars.
func toolsDir() string {
	if dir := os.Getenv("KAFKA_TOOLS"); dir != "" {
		return dir
	}
	return "../../build/kafka-tools"
}

// lines keeps what a process prints and notices a line that is waited for.
type lines struct {
	want string
	seen chan struct{}

	mu   sync.Mutex
	text bytes.Buffer
	once sync.Once
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	for scan := bufio.NewScanner(bytes.NewReader(p)); scan.Scan(); {
		if l.seen != nil && strings.Contains(scan.Text(), l.want) {
			l.once.Do(func() { close(l.seen) })
		}
	}
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
