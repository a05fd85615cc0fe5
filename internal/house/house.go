// Package house holds the rules of the house as tests: which package may import
// which, that the pure ones stay pure, that every package says what it is for,
// and that ARCHITECTURE.md names files that exist.
package house
