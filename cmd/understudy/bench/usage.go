package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// brokerUsage is what brokers say of themselves, summed up.
type brokerUsage struct {
	cpu float64 // seconds since they started
	rss int64   // bytes
}

// spent asks for what the brokers have used, in the way that was chosen.
func (o *Options) spent(ctx context.Context) (u brokerUsage, err error) {
	if o.Spent == nil {
		return readBrokers(ctx, o.Admin)
	}
	u.cpu, u.rss, err = o.Spent(ctx)
	return u, err
}

// ProcessCPU is the CPU time that this process has used; 0 where that is not known.
func ProcessCPU() time.Duration { return processCPU() }

// readBrokers asks the admin endpoints, HOST:PORT or URL, for their metrics.
func readBrokers(ctx context.Context, endpoints []string) (brokerUsage, error) {
	var sum brokerUsage
	for _, endpoint := range endpoints {
		one, err := readBroker(ctx, endpoint)
		if err != nil {
			return sum, err
		}
		sum.cpu += one.cpu
		sum.rss += one.rss
	}
	return sum, nil
}

func readBroker(ctx context.Context, endpoint string) (brokerUsage, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if !strings.Contains(endpoint, "://") {
		endpoint = "http://" + endpoint
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(endpoint, "/")+"/metrics", nil)
	if err != nil {
		return brokerUsage{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return brokerUsage{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return brokerUsage{}, fmt.Errorf("%s: %s", req.URL, resp.Status)
	}
	u, err := parseUsage(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return u, fmt.Errorf("%s: %w", req.URL, err)
	}
	return u, nil
}

// parseUsage finds the process's own metrics in Prometheus' text format.
func parseUsage(r io.Reader) (brokerUsage, error) {
	var u brokerUsage
	found := false
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue
		}
		switch name {
		case "process_cpu_seconds_total":
			u.cpu, found = n, true
		case "process_resident_memory_bytes":
			u.rss = int64(n)
		}
	}
	if err := lines.Err(); err != nil {
		return u, err
	}
	if !found {
		return u, errors.New("process_cpu_seconds_total is not among the metrics")
	}
	return u, nil
}
