package consul

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"understudy/messages"
)

// DefaultTimeout is Config.Timeout where it is 0.
const DefaultTimeout = 5 * time.Second

// Config says how Consul is reached. Whatever is left empty comes from Consul's
// own environment variables (CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN,
// CONSUL_HTTP_SSL, CONSUL_CACERT, …), and from Consul's defaults after that.
type Config struct {
	Address string // "host:port", "https://host:port" or "unix:///path"
	Token   string
	TLS     TLS

	// Timeout bounds one call that does not wait for a change.
	Timeout time.Duration

	// HTTP replaces the HTTP client; TLS is then its own affair.
	HTTP *http.Client
}

// TLS are the files of an encrypted connection, which is made when Address
// begins with https:// or any of them is set.
type TLS struct {
	CAFile     string
	CertFile   string
	KeyFile    string
	ServerName string
}

// Client is a connection to a Consul agent. It is safe for concurrent use.
type Client struct {
	api     *api.Client
	timeout time.Duration
	address string
}

// Dial prepares a client. Nothing is sent: an agent that is not there yet is no
// error, a certificate that cannot be read is.
func Dial(c Config) (*Client, error) {
	cfg := api.DefaultConfig()
	set := func(field *string, value string) {
		if value != "" {
			*field = value
		}
	}
	set(&cfg.Address, c.Address)
	if c.Token != "" {
		cfg.Token, cfg.TokenFile = c.Token, ""
	}
	set(&cfg.TLSConfig.CAFile, c.TLS.CAFile)
	set(&cfg.TLSConfig.CertFile, c.TLS.CertFile)
	set(&cfg.TLSConfig.KeyFile, c.TLS.KeyFile)
	set(&cfg.TLSConfig.Address, c.TLS.ServerName)
	if c.TLS != (TLS{}) {
		cfg.Scheme = "https"
	}
	cfg.HttpClient = c.HTTP
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	client, err := api.NewClient(cfg)
	if err != nil {
		return nil, messages.E("connect to consul", messages.InvalidConfig, cfg.Address, err)
	}
	return &Client{api: client, timeout: c.Timeout, address: cfg.Address}, nil
}

// API gives the client library's view, for calls that this package does not make.
func (c *Client) API() *api.Client { return c.api }

// leaderTimeout bounds the question for the leader.
const leaderTimeout = time.Second

// explain makes a time-out tell what is behind it: servers without a leader keep
// a call waiting for one, 7 s and more, but tell at once that there is none.
func (c *Client) explain(ctx context.Context, err error) error {
	if FaultOf(err) != TimedOut || ctx.Err() != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, leaderTimeout)
	defer cancel()
	leader, asked := c.api.Status().LeaderWithQueryOptions((&api.QueryOptions{}).WithContext(ctx))
	if asked != nil || leader != "" {
		return err
	}
	return &Error{Fault: NoLeader, Err: err}
}

// Prefix is what all keys of a cluster begin with. The error is that of a name
// that no cluster can have.
func Prefix(cluster string) (string, error) {
	if cluster == "" || strings.ContainsFunc(cluster, notInName) {
		return "", messages.E("consul", messages.InvalidConfig, cluster, errors.New("a cluster's name consists of letters, digits, '-', '_' and '.'"))
	}
	return "understudy/" + cluster + "/", nil
}

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
}

// Address is where the agent is.
func (c *Client) Address() string { return c.address }

// Read makes the options of a read that is answered at once by the leader, as of
// now: no earlier write of anybody is missing from it.
func (c *Client) Read(ctx context.Context) (*api.QueryOptions, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	return (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx), cancel
}

// Write makes the options of a write.
func (c *Client) Write(ctx context.Context) (*api.WriteOptions, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	return (&api.WriteOptions{}).WithContext(ctx), cancel
}

// waitTime is how long a blocking query waits for a change if nothing else is
// said. It bounds how long a connection that died silently goes unnoticed.
const waitTime = 30 * time.Second

// Wait makes the options of a blocking query: it is answered when the index has
// passed index, or after a while. Index 0 does not wait.
func (c *Client) Wait(ctx context.Context, index uint64) (*api.QueryOptions, context.CancelFunc) {
	return c.WaitFor(ctx, index, waitTime)
}

// WaitFor is Wait for at most about wait.
func (c *Client) WaitFor(ctx context.Context, index uint64, wait time.Duration) (*api.QueryOptions, context.CancelFunc) {
	limit := c.timeout
	if index > 0 {
		limit += wait + wait/16 // the server adds up to a 16th to spread the load
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	return (&api.QueryOptions{WaitIndex: index, WaitTime: wait}).WithContext(ctx), cancel
}

// NextIndex is the index to wait for after a blocking query at index was
// answered with got. An index that went back means that the servers were
// replaced or restored: one must begin anew or would wait for ever.
func NextIndex(index, got uint64) uint64 {
	if got < index || got == 0 {
		return 0
	}
	return got
}

// session is what the API's own Create cannot say: that there are no node
// checks but some service checks, and that there is no lock delay.
type session struct {
	Name          string
	TTL           string
	LockDelay     string
	Behavior      string
	NodeChecks    []string
	ServiceChecks []api.ServiceCheck
}

// CreateSession makes a session that lives as long as a service's check passes
// and it is renewed within ttl; the latter only matters when the machine with
// the agent is gone, whose checks nobody would ever fail. Locks it holds are
// free the moment it ends.
func (c *Client) CreateSession(ctx context.Context, name, check string, ttl time.Duration) (string, error) {
	o, cancel := c.Write(ctx)
	defer cancel()
	var out struct{ ID string }
	_, err := c.api.Raw().Write("/v1/session/create", session{
		Name: name, TTL: ttl.String(), LockDelay: "0s", Behavior: api.SessionBehaviorRelease,
		NodeChecks: []string{}, ServiceChecks: []api.ServiceCheck{{ID: check}},
	}, &out, o)
	if err == nil && out.ID == "" {
		err = errors.New("consul made a session without an id")
	}
	return out.ID, err
}

// DestroySession ends a session, whoever made it: what it locks is free.
func (c *Client) DestroySession(ctx context.Context, id string) error {
	o, cancel := c.Write(ctx)
	defer cancel()
	_, err := c.api.Session().Destroy(id, o)
	return err
}
