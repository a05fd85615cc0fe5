// Package core is one consumer group as its coordinator knows it: who is a
// member, which generation the group is in, what each member was assigned, and
// which offsets were committed. It decides and does nothing: no clock, no disk,
// no goroutines. Its inputs are method calls, its outputs values (Effects) that
// the caller carries out.
package core
