// Package controller is the one writer of the metadata: it creates and deletes
// topics, places replicas, elects leaders, changes in-sync sets and settings,
// registers brokers and hands out producer ids.
//
// It is an actor; [Client] is how everybody else reaches it. What it decides is
// worked out by pure packages (cluster/placement, cluster/election,
// cluster/topicconfig) against the latest image of the metadata; it commits the
// transaction outside of its own turn, and only then publishes the image, tells
// its events and answers.
//
// One transaction is under way at a time. The commands that arrive meanwhile
// gather, and the next transaction serves all of them: each is decided against
// the image that the ones before it lead to, and all share the transaction's
// fate. So a thousand partitions that lose their leader at once cost one commit.
//
//	Client ──request──▶ actor ──decide──▶ metadata.Edit ──Txn──▶ Store
//	   ▲                  │                    │                   │
//	   └────answer────────┤◀──────Seal─────────┴◀────committed─────┘
//	                      └──▶ metadata.Cell ──▶ everybody's image
//
// A transaction that meets a change by somebody else writes nothing; the
// controller then reads everything anew and decides its commands again. Any
// other error of the store fails the actor: its supervisor restarts it, and it
// begins with what is in the store. Every transaction checks that the controller
// is still the one that the metadata names, so one that was replaced can write
// nothing.
package controller
