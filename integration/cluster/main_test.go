//go:build cluster

package cluster

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"understudy/integration/process"
)

var (
	repeats   = flag.Int("repeats", 1, "how often each fault is repeated")
	seed      = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of all choices: which node, how long, in which order")
	out       = flag.String("report", "", "a file to which the report is written as well")
	keep      = flag.Bool("keep", false, "keep what the processes wrote also when all is well")
	logLevel  = flag.String("log-level", "info", "of the brokers")
	clientLog = flag.String("client-log", "", "what librdkafka's producers and members of groups are to log: its setting debug, such as eos,msg; franz-go logs all then")
	minAge    = flag.Duration("metadata-min-age", 0, "how often franz-go may ask for metadata; 0: as by default, every five seconds")
	rate      = flag.Int("rate", 50, "records a second, for each partition and client")
	size      = flag.Int("size", 400, "the most that a record's value has, in bytes")
	settle    = flag.Duration("settle", 5*time.Second, "time between two faults, in which clients find back to all nodes")
	away      = flag.Duration("away", time.Minute, "how long Consul is away")
	duration  = flag.Duration("duration", time.Minute, "how long a group is in turmoil")
	hold      = flag.Duration("hold", 10*time.Second, "how long a node stays frozen or cut off")
)

func TestMain(m *testing.M) {
	if order := os.Getenv(memberEnv); order != "" {
		if err := runMember(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	fmt.Printf("seed %d: the same choices with -seed %d\n", *seed, *seed)
	code := m.Run()
	if err := printReport(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	process.Cleanup()
	os.Exit(code)
}
