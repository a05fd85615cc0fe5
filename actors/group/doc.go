// Package group coordinates consumer groups: who is a member, which generation
// the group is in, what each member was assigned, and which offsets the group
// has committed.
//
// What a group decides is in core, what is kept of it in journal. Here are the
// actors around these:
//
//	groups                  follows the metadata               supervisor.go
//	├─ a shard              one for each partition of          shard.go, write.go
//	│  │                    __consumer_offsets led here
//	│  ├─ a group           one for each group of the shard    actor.go
//	│  └─ ...
//	└─ ...
//
// A shard reads what its partition holds, and from then on writes all that its
// groups want written, many groups' writes in one append. It is one epoch's: with
// the leadership it ends, and whoever leads next reads what it has written. A
// group is heard of through its shard alone, so that the shard can let go of one
// of which nothing is left.
package group
