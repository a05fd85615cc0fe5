package interop

import (
	"context"
	"os"
	"os/exec"

	"understudy/integration/reference"
)

// startReference starts one node of Apache Kafka and waits until it serves.
func startReference(data string) (stop func() error, err error) {
	k, err := reference.Start(context.Background(), reference.Options{Jars: toolsDir(), Dir: data})
	if err != nil {
		return nil, err
	}
	server.addr, server.data = k.Addrs()[0], k.Data()[0]
	server.log = func() string { return k.Log(0) }
	return k.Stop, nil
}

// java is a command of one of Kafka's tools.
func java(class string, args ...string) *exec.Cmd {
	cmd, err := reference.Java(context.Background(), toolsDir(), nil, class, args...)
	if err != nil {
		panic(err) // the folder for temporary files cannot be written to
	}
	return cmd
}

// toolsDir is where `make interop` puts Kafka's jars.
func toolsDir() string {
	if dir := os.Getenv("KAFKA_TOOLS"); dir != "" {
		return dir
	}
	return "../../build/kafka-tools"
}
