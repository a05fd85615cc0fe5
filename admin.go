package understudy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// admin is the endpoint for operators: health, metrics and profiles. It has no
// authentication, which is why it listens on loopback unless told otherwise.
//
//	GET /healthz       200 while the process works
//	GET /readyz        200 while clients are served; below, what is wrong with single partitions
//	GET /metrics       Prometheus
//	GET /debug/pprof/  profiles
type admin struct {
	listener net.Listener
	server   *http.Server
}

func startAdmin(address string, metrics prometheus.Gatherer, problems func() []string) (*admin, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ready")
		for _, problem := range problems() {
			fmt.Fprintln(w, problem)
		}
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	a := &admin{listener, &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10}}
	go a.server.Serve(listener) // ends with Close; its error then says so and no more
	return a, nil
}

func (a *admin) addr() net.Addr { return a.listener.Addr() }

func (a *admin) close(ctx context.Context) error {
	if err := a.server.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
		return a.server.Close()
	} else if err != nil {
		return err
	}
	return nil
}
