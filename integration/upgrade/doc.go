// Package upgrade upgrades a cluster of real processes while it is used: one node
// after the other goes over to the newer version of the protocol between nodes, and
// back. Clients must not notice.
package upgrade
