// Package partition runs the replicas that are on this broker, one supervised
// actor each.
//
// A Machine joins the pure core of replication to the log: it gathers what came,
// takes the core's effects and carries them out in order. The actor around it
// drains its mailbox in batches, so that one write and one sync serve everything
// that has gathered (group commit), and never waits for a sync: its completion
// comes back as a message.
//
// Readers do not pass through the mailbox. After each turn that changed something
// the actor publishes an immutable View; a connection finds the replica's Handle
// in the Registry, takes the View from it and reads the files by that.
//
// When a turn panics or the disk fails, the View says why, everybody who waits is
// answered, and the supervisor starts a new incarnation from what is on disk.
package partition
