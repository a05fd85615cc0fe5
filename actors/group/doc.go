// Package group coordinates consumer groups: who is a member, which generation
// the group is in, what each member was assigned, and which offsets the group
// has committed.
//
// A group is one actor on the node that leads the group's partition of
// __consumer_offsets, the compacted topic in which offsets and group metadata
// are kept in Kafka's own record formats.
package group
