package understudy_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"understudy"
	"understudy/config"
)

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestANodeWithAnotherSecretIsRefused has a node come back that knows another
// secret than the others, none, or one that is too short to be one.
func TestANodeWithAnotherSecretIsRefused(t *testing.T) {
	t.Parallel()
	good := writeFile(t, "secret", "a secret of the cluster, long enough\n")
	third := good
	c := newClusterWith(t, func(i int, cfg *config.Config) []understudy.Option {
		if cfg.LinkSecretFile = good; i == 2 {
			cfg.LinkSecretFile = third
		}
		return nil
	})
	c.createTopic("orders", 3, nil)
	c.awaitInSync("orders", 3)
	c.stop(2)
	for _, bad := range []struct{ file, why string }{
		{writeFile(t, "other", "another secret, also long enough"), "wrong cluster secret"},
		{"", "wrong cluster secret (only one of the nodes has a secret)"},
		{writeFile(t, "short", "short\n"), "a secret of 5 bytes"},
		{"/does/not/exist", "link.secret.file"},
	} {
		third = bad.file
		if b, err := c.boot(2); err == nil || !strings.Contains(err.Error(), bad.why) {
			t.Errorf("with %q: %v, want %q", bad.file, err, bad.why)
			if b != nil {
				stop(t, b)
			}
		}
	}
	// One refusal in a second is told, and there may have been another just before.
	for third = writeFile(t, "other", "another secret, also long enough"); !c.hasEvent(0, "node-refused", "wrong cluster secret"); {
		if b, err := c.boot(2); err == nil {
			t.Error("a node with another secret was let in")
			stop(t, b)
		}
	}
	third = good
	c.start(2)
	c.awaitInSync("orders", 3)
}

// authority signs certificates of nodes.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nodes"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(24 * time.Hour),
	}
	var der []byte
	a.key, der = a.sign(a.cert)
	a.file = a.pem("ca.pem", "CERTIFICATE", der)
	return a
}

// sign makes a key, and the certificate for it.
func (a *authority) sign(cert *x509.Certificate) (*ecdsa.PrivateKey, []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	by := a.key
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, der
}

func (a *authority) pem(name, kind string, der []byte) string {
	return writeFile(a.t, name, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

// node gives the files of a node on this machine.
func (a *authority) node() config.TLS {
	key, der := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "node"}, NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return config.TLS{CertFile: a.pem("node.pem", "CERTIFICATE", der), KeyFile: a.pem("node.key", "PRIVATE KEY", secret), CAFile: a.file}
}

// TestNodesTalkOverTLS runs a cluster whose nodes show each other certificates, and
// keeps one out of it that has none of the right ones.
func TestNodesTalkOverTLS(t *testing.T) {
	t.Parallel()
	ours, others := newAuthority(t), newAuthority(t)
	files := []config.TLS{ours.node(), ours.node(), ours.node()}
	c := newClusterWith(t, func(i int, cfg *config.Config) []understudy.Option {
		cfg.LinkTLS = files[i]
		return nil
	})
	c.createTopic("orders", 3, nil)
	c.awaitInSync("orders", 3)
	l := c.load("orders", 3)
	l.await(500)
	c.stop(2)
	files[2] = ours.node() // the certificate was renewed
	c.start(2)
	c.awaitInSync("orders", 3)
	l.end()
	c.compare("orders", 3)

	c.stop(2)
	files[2] = others.node()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	told := make(chan bool, 1)
	go func() {
		told <- c.awaitEvent(ctx, 0, "node-refused", "certificate")
		cancel()
	}()
	if b, err := c.bootWithin(ctx, 2); err == nil {
		t.Error("a node with a certificate of others was let in")
		stop(t, b)
	}
	if !<-told {
		t.Error("node 1 does not tell that it has refused a node")
	}
}

// hasEvent reports whether a broker has told of something.
func (c *cluster) hasEvent(i int, kind, word string) bool {
	events, _ := c.brokers[i].Events(c.t.Context(), 0)
	return slices.ContainsFunc(events, func(e understudy.Event) bool { return e.Kind == kind && strings.Contains(e.Text, word) })
}

// awaitEvent waits until a broker has an event of a kind, with a word in its text.
func (c *cluster) awaitEvent(ctx context.Context, i int, kind, word string) bool {
	for since := int64(0); ctx.Err() == nil; {
		events, next := c.brokers[i].Events(ctx, since)
		for _, e := range events {
			if e.Kind == kind && strings.Contains(e.Text, word) {
				return true
			}
		}
		since = next
	}
	return false
}
