package interop

import (
	"os"
	"os/exec"
	"path"
	"testing"

	"understudy/integration/reference"
)

// TestTheActorSDK runs the SDK's own tests against Apache Kafka, and against the
// server that the other tests use.
func TestTheActorSDK(t *testing.T) {
	addrs := map[string]string{"the server": server.addr}
	if os.Getenv(referenceEnv) == "" {
		k, err := reference.Start(t.Context(), reference.Options{Jars: toolsDir(), Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := k.Stop(); err != nil {
				t.Error(err)
			}
		}()
		addrs["Apache Kafka"] = k.Addrs()[0]
	}
	for _, pkg := range []string{"client", "client/state"} {
		binary := path.Join(t.TempDir(), "sdk.test")
		build := exec.Command("go", "test", "-c", "-o", binary, "./"+pkg)
		build.Dir = "../.."
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for name, addr := range addrs {
			t.Run(pkg+" on "+name, func(t *testing.T) {
				// Those that kill brokers, and examples, have brokers of their own.
				run := exec.CommandContext(t.Context(), binary, "-test.timeout=15m", "-test.run=^Test", "-test.skip=MuchGoesWrong|Readme")
				run.Dir = path.Join("../..", pkg)
				run.Env = append(os.Environ(), "CLIENT_TEST_BROKERS="+addr)
				if out, err := run.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
}
