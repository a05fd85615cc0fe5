package interop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"understudy/integration/process"
)

// referenceEnv, when set, has the tests run against Apache Kafka.
const referenceEnv = "INTEROP_REFERENCE"

// server is the broker that all tests share.
var server struct {
	addr string
	data string // where its partitions' directories are
	log  func() string
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	process.Cleanup()
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	data, err := os.MkdirTemp("", "interop-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(data)
	start := startUnderstudy
	if os.Getenv(referenceEnv) != "" {
		start = startReference
	}
	stop, err := start(data)
	if err != nil {
		return 1, err
	}
	defer func() {
		if stopped := stop(); err == nil {
			err = stopped
		}
	}()
	code = m.Run()
	for _, l := range libraries {
		if d, is := l.client.(interface{ end() error }); is {
			err = errors.Join(err, d.end())
		}
	}
	if file := os.Getenv(readmeEnv); file != "" && code == 0 {
		err = errors.Join(err, writeTable(file))
	}
	if code != 0 && os.Getenv(referenceEnv) == "" {
		fmt.Fprintf(os.Stderr, "the broker printed:\n%s\n", server.log())
	}
	return code, err
}

func startUnderstudy(data string) (stop func() error, err error) {
	b, err := process.Start(context.Background(), process.Options{DataDir: data})
	if err != nil {
		return nil, err
	}
	server.addr, server.data, server.log = b.Addr(), data, b.Log
	return func() error { return b.StopInTime(context.Background()) }, nil
}

var topics atomic.Int64

// topicName is a name that no other test uses.
func topicName(prefix string) string { return fmt.Sprintf("%s-%d", prefix, topics.Add(1)) }
