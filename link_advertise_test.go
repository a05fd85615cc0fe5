package understudy_test

import (
	"context"
	"net"
	"sync"
	"testing"

	"understudy"
	"understudy/config"
	"understudy/internal/proxy"
)

// TestNodesAreReachedWhereTheySay: a node that is behind something names the address in
// front of that (link.advertise), and the others dial no other.
func TestNodesAreReachedWhereTheySay(t *testing.T) {
	t.Parallel()
	var (
		mu     sync.Mutex
		dialed = map[string]bool{}
		fronts = map[string]bool{}
	)
	c := newClusterWith(t, func(_ int, cfg *config.Config) []understudy.Option {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Error(err) // nodes boot in goroutines of their own
			return nil
		}
		front, err := proxy.Listen("127.0.0.1:0", listener.Addr().String(), nil)
		if err != nil {
			t.Error(err)
			return nil
		}
		t.Cleanup(front.Close)
		mu.Lock()
		fronts[front.Addr()] = true
		mu.Unlock()
		cfg.LinkAdvertise = front.Addr()
		listen := func(context.Context, string) (net.Listener, error) { return listener, nil }
		dial := func(ctx context.Context, addr string) (net.Conn, error) {
			mu.Lock()
			dialed[addr] = true
			mu.Unlock()
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
		return []understudy.Option{understudy.WithNetwork(listen, dial)}
	})
	c.createTopic("orders", 3, nil)
	c.awaitInSync("orders", 3)
	l := c.load("orders", 3)
	l.await(200)
	l.end()
	c.compare("orders", 3)
	mu.Lock()
	defer mu.Unlock()
	for addr := range dialed {
		if !fronts[addr] {
			t.Errorf("a node was dialed at %s, which none advertises", addr)
		}
	}
	if len(dialed) < 2 { // of each pair of nodes at least one dials the other
		t.Errorf("only %v were dialed", dialed)
	}
}
