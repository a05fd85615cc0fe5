// Package crash ends real brokers with kill -9, and damages their files while
// they are down, and holds what clients read afterwards against what they were
// promised. Its tests need kcat and take minutes, so they are built only with
// the tag crash: `make crash` runs them.
package crash
