// Package consul tests what we do in Consul, at the pace of a real one, piece by
// piece and with whole brokers. The same tests run twice: `go test ./...` runs them
// against the fake of cluster/consul/fake, which proves that the fake behaves like
// Consul where it matters to us, and `make test-consul` against real agents, built by
// `make consul` and started and killed by the tests (build tag "consul").
package consul
