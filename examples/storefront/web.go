package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"time"

	"understudy/client/clienttest"
)

//go:embed page
var page embed.FS

// maxBody bounds what the page may send, in bytes.
const maxBody = 4096

// pages serves the page, what it shows, and what its buttons do. Other sites'
// pages cannot press them.
func pages(shop *shop, sight *sight, cluster *clienttest.Cluster, board *board) http.Handler {
	files, err := fs.Sub(page, "page")
	if err != nil {
		panic(err) // it is embedded
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /stream", stream(board))
	do := func(pattern string, act func(r *http.Request) (said string, err error)) {
		mux.HandleFunc("POST "+pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			said, err := act(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			if said != "" {
				board.say("you", said)
			}
			w.WriteHeader(http.StatusNoContent)
		})
	}
	do("/orders", func(r *http.Request) (string, error) {
		var o Order
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
			return "", fmt.Errorf("not an order: %w", err)
		}
		o, err := shop.place(o)
		return fmt.Sprintf("order %s: %s for %s", o.ID, o.Product, o.Card), err
	})
	do("/rate/{n}", func(r *http.Request) (string, error) {
		n, err := strconv.Atoi(r.PathValue("n"))
		if err != nil || n < 0 || n > maxRate {
			return "", fmt.Errorf("the rate must be between 0 and %d orders a second", maxRate)
		}
		shop.rate.Store(int64(n))
		return "", nil
	})
	do("/partitions", func(r *http.Request) (string, error) { return sight.morePartitions(r.Context()) })
	do("/workers/{service}/hire", func(r *http.Request) (string, error) {
		name := r.PathValue("service")
		return name + ": one more worker", shop.hire(name)
	})
	do("/workers/{service}/dismiss", func(r *http.Request) (string, error) {
		ctx, cancel := context.WithTimeout(r.Context(), stopWithin)
		defer cancel()
		name := r.PathValue("service")
		return name + ": a worker has gone", shop.dismiss(ctx, name)
	})
	do("/brokers/{id}/kill", func(r *http.Request) (string, error) {
		i, err := brokerOf(cluster, r)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("broker %d is killed", i+1), cluster.Kill(i)
	})
	do("/brokers/{id}/revive", func(r *http.Request) (string, error) {
		i, err := brokerOf(cluster, r)
		if err != nil {
			return "", err
		}
		ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
		defer cancel()
		return fmt.Sprintf("broker %d is back", i+1), cluster.Revive(ctx, i)
	})
	return http.NewCrossOriginProtection().Handler(mux)
}

// brokerOf is the broker that a request names.
func brokerOf(cluster *clienttest.Cluster, r *http.Request) (int, error) {
	if cluster == nil {
		return 0, errors.New("the brokers are somebody else's: they are not killed from here")
	}
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil || id < 1 || id > len(cluster.Addrs()) {
		return 0, fmt.Errorf("there is no broker %q", r.PathValue("id"))
	}
	return id - 1, nil
}

// stream tells a page what happens, as server-sent events.
func stream(board *board) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		told, end := board.look()
		defer end()
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		out := http.NewResponseController(w)
		for {
			select {
			case m := <-told:
				if _, err := w.Write(m); err != nil {
					return
				}
				if err := out.Flush(); err != nil {
					return
				}
			case <-r.Context().Done():
				return
			}
		}
	}
}
