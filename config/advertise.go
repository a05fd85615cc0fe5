package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
)

// Advertised is the address that clients are told, given the one that was bound:
// what advertise says, else the bound address, else (when every address of the
// machine is listened on) the machine's name.
func (c *Config) Advertised(bound net.Addr) (host string, port int, err error) {
	address := cmp.Or(c.Advertise, bound.String())
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("advertise: %w", err)
	}
	if port, err = strconv.Atoi(portText); err != nil {
		return "", 0, fmt.Errorf("advertise: port %q: %w", portText, err)
	}
	if c.Advertise == "" && unspecified(listenHost(c.Listen)) {
		if host, err = os.Hostname(); err != nil {
			return "", 0, fmt.Errorf("this machine's name, to tell clients: %w; set advertise", err)
		}
	}
	return host, port, nil
}

// Resolver finds the addresses of a name; net.DefaultResolver's LookupNetIP fits.
type Resolver func(host string) ([]netip.Addr, error)

// AdvertiseWarning says why the clients that can connect could not use the
// address they are told; empty when nothing seems wrong.
func (c *Config) AdvertiseWarning(bound net.Addr, resolve Resolver) string {
	host, port, err := c.Advertised(bound)
	if err != nil {
		return err.Error()
	}
	told := net.JoinHostPort(host, strconv.Itoa(port))
	listen := listenHost(c.Listen)
	mend := fmt.Sprintf("; set --advertise to a name or address of this machine that its clients can reach, such as --advertise %s", net.JoinHostPort("broker-1.example.com", strconv.Itoa(port)))
	switch {
	case unspecified(host):
		return fmt.Sprintf("clients will be told to connect to %s, which is no address of any machine%s", told, mend)
	case loopback(host) && !loopback(listen):
		return fmt.Sprintf("listening on %s, but clients will be told to connect to %s: from another machine that leads them to themselves%s", c.Listen, told, mend)
	case loopback(listen) && !loopback(host):
		return fmt.Sprintf("clients will be told to connect to %s, but only %s is listened on, which is open to this machine alone; set --listen too, such as --listen :%d", told, c.Listen, port)
	case loopback(listen):
		return ""
	}
	return nameWarning(host, told, mend, resolve)
}

// nameWarning looks a name up as this machine sees it. Clients may see it
// otherwise, so what it finds is only a hint.
func nameWarning(host, told, mend string, resolve Resolver) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	addrs, err := resolve(host)
	if err != nil {
		return fmt.Sprintf("clients will be told to connect to %s, a name that this machine cannot resolve (%v)%s", told, err, mend)
	}
	for _, a := range addrs {
		if !a.IsLoopback() {
			return ""
		}
	}
	return fmt.Sprintf("clients will be told to connect to %s, a name that this machine resolves to itself alone (%v)%s", told, addrs, mend)
}

func listenHost(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

func unspecified(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
