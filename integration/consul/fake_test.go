//go:build !consul

package consul

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"understudy/cluster/consul"
	"understudy/cluster/consul/fake"
)

type fakeAgent struct{ *fake.Server }

// awayFor is how long Consul is away where that is to be long.
const awayFor = 3 * time.Second

// startAgent makes an agent of the test's own, and lets other tests run beside it.
func startAgent(t *testing.T) agent {
	t.Parallel()
	return fakeAgent{fake.New()}
}

func (a fakeAgent) client(*testing.T) consul.Config {
	return consul.Config{Address: "fake", HTTP: a.Client()}
}
func (a fakeAgent) restart(*testing.T) { a.Break() }
func (a fakeAgent) forget(*testing.T)  { a.RestartAgent() }
func (a fakeAgent) wipe(*testing.T)    { a.LoseData(); a.RestartAgent() }
func (a fakeAgent) resume(*testing.T) {
	a.SetFault(nil)
	a.Break() // what hangs would hang for ever
}
func (a fakeAgent) pause(*testing.T) {
	a.SetFault(func(*http.Request) fake.Fault { return fake.Hang })
	a.Break()
}

func (a fakeAgent) token(*testing.T) string {
	a.SetFault(func(r *http.Request) fake.Fault {
		if !strings.HasPrefix(r.URL.Path, "/v1/agent") {
			a.SetToken("secret")
		}
		return fake.None
	})
	return "wrong"
}
