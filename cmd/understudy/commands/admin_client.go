package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

const (
	adminEnv = "UNDERSTUDY_ADMIN"

	// adminTimeout bounds a request that does not wait for something to happen.
	adminTimeout = 30 * time.Second
	// maxAdminAnswer bounds what is read of an answer, in bytes.
	maxAdminAnswer = 64 << 20
)

// adminFlags are the flags of the commands that ask a node's admin endpoint.
type adminFlags struct {
	address string
}

func (f *adminFlags) add(cmd *cobra.Command) {
	address := defaultAdmin
	if v := os.Getenv(adminEnv); v != "" {
		address = v
	}
	cmd.Flags().StringVar(&f.address, "admin", address, "admin endpoint of any node, HOST:PORT (environment: "+adminEnv+")")
}

// ask sends a request and reads the answer's JSON into answer, unless that is nil.
func (f *adminFlags) ask(ctx context.Context, method, path string, query url.Values, answer any) error {
	address := strings.TrimSuffix(strings.TrimPrefix(f.address, "http://"), "/")
	u := url.URL{Scheme: "http", Host: address, Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return fmt.Errorf("--admin %s: %w", f.address, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return adminUnreachable(address, err)
	}
	defer resp.Body.Close()
	body := io.LimitReader(resp.Body, maxAdminAnswer)
	if resp.StatusCode/100 != 2 {
		return refusedByAdmin(address, resp.Status, body)
	}
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(body).Decode(answer); err != nil {
		return fmt.Errorf("what %s answers is not the admin endpoint's JSON: %w", address, err)
	}
	return nil
}

// refusedByAdmin is the error that the node gave, in its own words.
func refusedByAdmin(address, status string, body io.Reader) error {
	var told struct {
		Error string `json:"error"`
	}
	if err := json.NewDecoder(body).Decode(&told); err != nil || told.Error == "" {
		return hint(fmt.Errorf("%s answers: %s", address, status), "is that the admin endpoint of an Understudy node (--admin-listen)?")
	}
	return errors.New(told.Error)
}

func adminUnreachable(address string, err error) error {
	var asked *url.Error
	if errors.As(err, &asked) {
		err = asked.Err
	}
	where := "say where it is with --admin HOST:PORT or " + adminEnv + "; a node started with --admin-listen off has none"
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, syscall.ECONNREFUSED):
		return hint(&worded{fmt.Sprintf("no admin endpoint answers at %s: connection refused", address), err}, "%s", where)
	case errors.As(err, &dns):
		return hint(&worded{fmt.Sprintf("no admin endpoint at %s: the name %s cannot be resolved", address, dns.Name), err}, "%s", where)
	case errors.Is(err, context.DeadlineExceeded):
		return hint(&worded{fmt.Sprintf("the node at %s did not answer in time", address), err}, "another node may know more: --admin HOST:PORT")
	}
	return hint(fmt.Errorf("asking the admin endpoint at %s: %w", address, err), "%s", where)
}
