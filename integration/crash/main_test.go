//go:build crash

package crash

import (
	"os"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/integration/process"
)

func TestMain(m *testing.M) {
	code := m.Run()
	process.Cleanup()
	os.Exit(code)
}

func newClient(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	// Much is asked once, and what is given up and sent again may have been carried out.
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), kgo.RequestTimeoutOverhead(drainTimeout)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func createTopic(t *testing.T, addr, topic string, partitions int32, config map[string]string) {
	t.Helper()
	pointers := map[string]*string{}
	for k, v := range config {
		pointers[k] = &v
	}
	cl := newClient(t, addr)
	defer cl.Close()
	admin := kadm.NewClient(cl)
	admin.SetTimeoutMillis(int32(drainTimeout.Milliseconds()))
	if _, err := admin.CreateTopic(t.Context(), partitions, 1, pointers, topic); err != nil {
		t.Fatal(err)
	}
}

// endOffsets are the high watermarks of a topic's partitions.
func endOffsets(t *testing.T, addr, topic string) map[int32]int64 {
	t.Helper()
	cl := newClient(t, addr)
	defer cl.Close()
	listed, err := kadm.NewClient(cl).ListEndOffsets(t.Context(), topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	ends := map[int32]int64{}
	for _, o := range listed[topic] {
		ends[o.Partition] = o.Offset
	}
	return ends
}

// fromStart are the assignments to read all partitions from their first record.
func fromStart(topic string, partitions int32) kgo.Opt {
	at := map[int32]kgo.Offset{}
	for p := range partitions {
		at[p] = kgo.NewOffset().AtStart()
	}
	return kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: at})
}
