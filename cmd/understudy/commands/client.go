package commands

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	defaultBrokers = "127.0.0.1:9092"
	brokersEnv     = "UNDERSTUDY_BROKERS"
	connectTimeout = 5 * time.Second
)

// retryFor is how long a request is tried again while a broker cannot be reached
// or has no leader to offer. Tests shorten it.
var retryFor = 10 * time.Second

// clientFlags are the flags of every command that talks to a cluster.
type clientFlags struct {
	brokers []string
}

func (f *clientFlags) add(cmd *cobra.Command) {
	brokers := defaultBrokers
	if v := os.Getenv(brokersEnv); v != "" {
		brokers = v
	}
	cmd.Flags().StringSliceVar(&f.brokers, "brokers", strings.Split(brokers, ","), "brokers to ask first, HOST:PORT,... (environment: "+brokersEnv+")")
}

// seeds are the addresses as they will be dialed: Kafka's port is the default.
func (f *clientFlags) seeds() []string {
	var seeds []string
	for _, b := range f.brokers {
		b = strings.TrimSpace(b)
		if _, _, err := net.SplitHostPort(b); err != nil {
			b = net.JoinHostPort(strings.Trim(b, "[]"), "9092")
		}
		seeds = append(seeds, b)
	}
	return seeds
}

// client is a connection to a cluster that is known to answer.
type client struct {
	*kgo.Client
	admin *kadm.Client
	seeds []string
	watch *connectionWatch
}

// connect makes a client and waits until a broker has answered it.
func (f *clientFlags) connect(ctx context.Context, streams Streams, opts ...kgo.Opt) (*client, error) {
	seeds := f.seeds()
	watch := &connectionWatch{streams: streams, seeds: seeds}
	opts = slices.Concat([]kgo.Opt{
		kgo.SeedBrokers(seeds...),
		kgo.ClientID("understudy-cli"),
		kgo.DialTimeout(connectTimeout),
		kgo.RetryTimeout(retryFor),
		kgo.WithHooks(watch),
	}, opts)
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	c := &client{Client: cl, admin: kadm.NewClient(cl), seeds: seeds, watch: watch}
	pingCtx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := cl.Ping(pingCtx); err != nil {
		cl.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, unreachable(seeds, err, "")
	}
	watch.start()
	return c, nil
}

// explain turns an error of the client into one for people.
func (c *client) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	var h *hintedError
	if errors.As(err, &h) {
		return err
	}
	return unreachable(c.seeds, err, c.watch.lastFailed())
}

// connectionWatch tells a person, once each, that a broker cannot be reached and
// that it can be again, because the client itself goes on trying in silence.
type connectionWatch struct {
	streams Streams
	seeds   []string

	mu      sync.Mutex
	talking bool // the first connection worked: from now on trouble is news
	down    map[string]bool
	failed  string // the address that failed last
}

func (w *connectionWatch) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.talking, w.failed = true, ""
}

func (w *connectionWatch) lastFailed() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

// OnBrokerConnect is called by the client after each attempt to connect.
func (w *connectionWatch) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	address := net.JoinHostPort(meta.Host, itoa(meta.Port))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down == nil {
		w.down = make(map[string]bool)
	}
	switch {
	case err == nil && w.down[address]:
		w.streams.note("broker at %s answers again", address)
		delete(w.down, address)
	case err != nil && !atEnd(err):
		w.failed = address
		if w.talking && !w.down[address] {
			w.streams.note("broker at %s cannot be reached (%s); trying again", address, plain(err))
			w.down[address] = true
		}
	}
}
