package understudy_test

import (
	"context"
	"net/http"
	"testing"

	"understudy"
	"understudy/cluster/consul"
	"understudy/cluster/consul/fake"
	"understudy/persistence/vfs"
)

// TestAStartThatIsCutShortKeepsItsID ends the first start of a node when it has
// claimed an id and waits for the metadata: the next start gets the same id.
func TestAStartThatIsCutShortKeepsItsID(t *testing.T) {
	disk, server := vfs.NewMem(vfs.MemOptions{}), fake.New()
	cfg := testConfig("mem")
	cfg.Cluster = "test"
	options := []understudy.Option{understudy.WithFS(disk), understudy.WithConsul(consul.Config{Address: "fake", HTTP: server.Client()})}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server.SetFault(func(r *http.Request) fake.Fault {
		if r.URL.Path == "/v1/kv/understudy/test/" {
			cancel()
			return fake.Drop
		}
		return fake.None
	})
	if b, err := understudy.Start(ctx, cfg, options...); err == nil {
		stop(t, b)
		t.Fatal("it started without the metadata")
	}
	server.SetFault(nil)
	node := start(t, cfg, options...)
	if is := node.Image().Controller; is != 1 {
		t.Errorf("it has become node %d", is)
	}
}
