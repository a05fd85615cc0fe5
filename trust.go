package understudy

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"understudy/cluster/link"
	"understudy/messages"
)

// How the nodes of a cluster know each other: by a secret that all of them prove to
// have and none of them tells, by certificates, or both. The secret says who may
// connect; certificates also keep others from reading what is said.

// minSecret is how many bytes a cluster's secret has at least: one that can be
// guessed can be tried on what was overheard.
const minSecret = 16

// trust adds to a link's options how nodes prove who they are.
func (b *Broker) trust(o *link.Options) error {
	var err error
	if path := b.cfg.LinkSecretFile; path != "" {
		if o.Secret, err = readSecret(path); err != nil {
			return err
		}
	}
	cert, key, roots := b.cfg.LinkTLS.CertFile, b.cfg.LinkTLS.KeyFile, b.cfg.LinkTLS.CAFile
	if cert == "" { // config has seen to it that all are there or none
		return nil
	}
	o.TLS, err = linkTLS(cert, key, roots)
	return err
}

// readSecret reads a file that holds a secret and nothing else. White space at
// either end does not count: editors end a file with a new line.
func readSecret(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, untrusted("link.secret.file", err)
	}
	secret := bytes.TrimSpace(text)
	if len(secret) < minSecret {
		return nil, untrusted("link.secret.file", fmt.Errorf("%s holds a secret of %d bytes, and needs %d at least (openssl rand -base64 32 makes one)", path, len(secret), minSecret))
	}
	return secret, nil
}

// linkTLS has both sides of a connection show a certificate that the roots vouch
// for. The files of certificate and key are read again for each connection, of
// which there are few, so that a certificate can be replaced while running.
func linkTLS(cert, key, roots string) (*tls.Config, error) {
	text, err := os.ReadFile(roots)
	if err != nil {
		return nil, untrusted("link.tls.ca.file", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, untrusted("link.tls.ca.file", fmt.Errorf("%s holds no certificate in PEM", roots))
	}
	first, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, untrusted("link.tls.cert.file", err)
	}
	own := func() (*tls.Certificate, error) {
		now, err := tls.LoadX509KeyPair(cert, key)
		if err != nil { // it is just being replaced, or was removed
			return &first, nil
		}
		return &now, nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own() },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own() },
	}, nil
}

func untrusted(setting string, cause error) error {
	return messages.E("configuration", messages.InvalidConfig, setting, cause)
}
