package understudy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"understudy/config"
	"understudy/messages"
)

// admin is the endpoint for operators. It has no authentication, which is why it
// listens on loopback unless told otherwise. Since browsers are let in there as well, it
// takes nothing that is to be changed from pages of other origins.
//
//	GET /healthz       200 while the process works
//	GET /readyz        200 while clients are served; below, what is wrong with single partitions
//	GET /metrics       Prometheus
//	GET /debug/pprof/  profiles
//	GET /events        what was decided and what happened; see serveEvents
//	/cluster…          see routeCluster
type admin struct {
	listener net.Listener
	server   *http.Server
	stop     context.CancelFunc // ends the requests that wait
}

// listenAdmin binds the endpoint's port, so that the other nodes can be told of it
// before anybody is served.
func (b *Broker) listenAdmin(ctx context.Context) error {
	if b.cfg.AdminListen == config.AdminOff {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", b.cfg.AdminListen)
	if err != nil {
		return err
	}
	b.admin = &admin{listener: listener}
	b.onStop("close the admin endpoint", func(context.Context) error {
		if err := listener.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return nil
}

// adminAddress is where others reach the endpoint, given this broker's name; "" if
// there is none.
func (b *Broker) adminAddress(host string) string {
	if b.admin == nil {
		return ""
	}
	addr, err := reachable(b.admin.addr(), host)
	if err != nil {
		return ""
	}
	return addr
}

// serveAdmin serves the endpoint.
func (b *Broker) serveAdmin(context.Context) error {
	a := b.admin
	if a == nil || a.server != nil {
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !b.ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "starting")
			return
		}
		fmt.Fprintln(w, "ready")
		for _, problem := range b.problems() {
			fmt.Fprintln(w, problem)
		}
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(b.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /events", b.serveEvents)
	b.routeCluster(mux)
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	a.server = &http.Server{
		Handler: http.NewCrossOriginProtection().Handler(mux), ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	go a.server.Serve(a.listener) // ends with Close; its error then says so and no more
	b.onStop("end the admin endpoint", a.close)
	return nil
}

func (a *admin) addr() net.Addr { return a.listener.Addr() }

func (a *admin) close(ctx context.Context) error {
	a.stop()
	if err := a.server.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
		return a.server.Close()
	} else if err != nil {
		return err
	}
	return nil
}

// maxEventWait bounds how long a request for events waits.
const maxEventWait = time.Minute

// serveEvents answers
//
//	GET /events?since=SEQ&wait=30s
//
// with the events after SEQ, the "next" of an earlier answer, or with all that
// are kept. If there is none it waits for one, as long as it is told to.
func (b *Broker) serveEvents(w http.ResponseWriter, r *http.Request) {
	since, wait := int64(0), time.Duration(0)
	var err error
	query := r.URL.Query() // and no form, which might be a large one
	if text := query.Get("since"); text != "" {
		since, err = strconv.ParseInt(text, 10, 64)
	}
	if text := query.Get("wait"); text != "" && err == nil {
		wait, err = time.ParseDuration(text)
	}
	if err != nil || since < 0 || wait < 0 {
		writeError(w, messages.E("events", messages.InvalidRequest, r.URL.RawQuery, errors.New("since is a number, and wait a time such as 30s")))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), min(wait, maxEventWait))
	defer cancel()
	events, next := b.Events(ctx, since)
	if events == nil {
		events = []Event{}
	}
	writeJSON(w, struct {
		Next   int64   `json:"next"`
		Events []Event `json:"events"`
	}{next, events})
}

// writeJSON answers with a value.
func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // who asked has gone, perhaps
}

// writeError answers with an error, {"error": "..."}.
func writeError(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(statusOf(err))
	_ = json.NewEncoder(w).Encode(struct {
		Error string `json:"error"`
	}{inner(err).Error()})
}

// statusOf is HTTP's word for a kind of error.
func statusOf(err error) int {
	switch messages.KindOf(err) {
	case messages.UnknownTopicOrPartition:
		return http.StatusNotFound
	case messages.PolicyViolation:
		return http.StatusConflict
	case messages.NotController, messages.RequestTimedOut, messages.BrokerNotAvailable, messages.ShuttingDown:
		return http.StatusServiceUnavailable
	case messages.Unknown, messages.StorageError, messages.CorruptMessage:
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

// inner is what another node says is wrong, without the way on which it came.
func inner(err error) error {
	if e, ok := errors.AsType[*messages.Error](err); ok && e.Op == "link request" && e.Err != nil {
		return e.Err
	}
	return err
}
