// Storefront is a shop whose parts speak to each other by events alone, and a page
// that shows them do so. Orders are placed, paid, taken from stock and announced by
// services that are consumer groups of actors; for each card an actor with a memory
// of its own looks for fraud. Kill a broker on the page while they work.
//
//	go run ./examples/storefront
//
// starts three brokers in this process. With --brokers it uses a cluster that is
// there, Understudy's or any other Kafka; then nobody is killed.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"understudy/client/clienttest"
)

// settings of the program.
type settings struct {
	listen     string
	brokers    []string // none: three in this process
	partitions int32
	rate       int // orders a second that the generator begins with
}

func main() {
	var s settings
	pflag.StringVar(&s.listen, "listen", "127.0.0.1:8080", "where the page is served, HOST:PORT")
	pflag.StringSliceVar(&s.brokers, "brokers", nil, "the cluster to use, HOST:PORT,…; without it three brokers run in this process")
	pflag.Int32Var(&s.partitions, "partitions", 6, "partitions of each topic that is created")
	pflag.IntVar(&s.rate, "rate", 20, fmt.Sprintf("orders a second that are generated, up to %d", maxRate))
	pflag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, s, func(address string) { fmt.Printf("open http://%s\n", address) }); err != nil {
		fmt.Fprintln(os.Stderr, "storefront:", err)
		os.Exit(1)
	}
}

// stopWithin bounds each step of the end.
const stopWithin = 20 * time.Second

// run runs the shop until ctx ends. ready is told where the page is.
func run(ctx context.Context, s settings, ready func(address string)) (err error) {
	if s.partitions < 1 || s.rate < 0 || s.rate > maxRate {
		return fmt.Errorf("--partitions must be at least 1, and --rate between 0 and %d", maxRate)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	end := func(what string, do func(context.Context) error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		if e := do(ctx); e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", what, e))
		}
	}
	var cluster *clienttest.Cluster // nil: somebody else's
	if len(s.brokers) == 0 {
		if cluster, err = clienttest.New(ctx, clienttest.Options{Brokers: 3}); err != nil {
			return err
		}
		defer func() { end("stop the brokers", cluster.Stop) }()
		s.brokers = cluster.Addrs()
	}
	board := newBoard()
	shop, err := openShop(ctx, s, board)
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(s.brokers, ","), err)
	}
	defer func() { end("close the shop", shop.close) }()
	sight, err := newSight(s.brokers, cluster, shop)
	if err != nil {
		return err
	}
	defer sight.close()
	go sight.watch(ctx, board)
	go board.flush(ctx)
	go shop.generate(ctx)

	server := &http.Server{Handler: pages(shop, sight, cluster, board), ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	ready(listener.Addr().String())
	select {
	case err = <-served:
		return err
	case <-ctx.Done():
		end("close the page", server.Shutdown)
		return err
	}
}
