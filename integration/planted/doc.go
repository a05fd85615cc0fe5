// Command planted proves that the simulator finds bugs: it plants some, one after
// the other, and has it look for each.
//
// A bug is a small change of one or two places of the broker's own source
// (bugs.go). The broker knows nothing of that: its files are not touched and have
// no hooks. All changes are made at once to copies, each behind a switch, and the
// go command is told by -overlay to compile the copies, and the switch
// (switch.go), in the place of the files; a switch that is in no build of the
// broker cannot be left on in one. The simulator that comes of it is run with one
// bug switched on at a time.
//
//	go run ./integration/planted              look for all, print the table
//	go run ./integration/planted -bug NAME    for one
//
// A change whose place is not there any more, or has become another, fails this
// package's test: whoever changes that place says again what the bug would be.
package main
