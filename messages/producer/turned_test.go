package producer

import (
	"math"
	"testing"

	"understudy/messages"
)

func TestWhatWasUnderWayBehindARefusedBatchIsRefusedToo(t *testing.T) {
	var away TurnedAway
	if away.Any() || away.Holds(data(0, 7, 1, 0)) {
		t.Fatal("something is held behind nothing")
	}
	away.Note(data(0, 5, 2, 0))
	away.Note(data(0, 7, 1, 0)) // under way behind it, and refused for the same reason
	if !away.Holds(data(0, 8, 1, 0)) || !away.Holds(data(0, 9, 1, 0)) {
		t.Error("a batch is taken before the one it was sent behind")
	}
	if away.Holds(data(0, 3, 2, 0)) {
		t.Error("a batch from before is held")
	}
	if away.Holds(build(8, 0, 9, 1, 0, 0)) {
		t.Error("another producer's batch is held")
	}
	if away.Holds(data(0, 5, 2, 0)) || away.Any() || away.Holds(data(0, 7, 1, 0)) {
		t.Error("batches are held when the first has come again")
	}
}

func TestAGapThatStaysIsOne(t *testing.T) {
	var away TurnedAway
	away.Note(data(0, 5, 1, 0))
	held := 0
	for away.Holds(data(0, 6, 1, 0)) {
		held++
	}
	if held != Remembered-1 { // when the held one comes again, nothing is before it
		t.Errorf("%d batches were held, but a client has %d under way", held, Remembered)
	}
	away.Note(data(0, 5, 1, 0))
	held = 0
	for next := int32(6); away.Holds(data(0, next, 1, 0)); next++ { // of a client that sends nothing again
		held++
	}
	if held != (maxMoves+1)*(Remembered-1) {
		t.Errorf("%d batches were held", held)
	}
}

// TestWhatWasHeldComesFirst has a note be out of date: the batch that was refused
// was taken by another leader since. Those that are turned away for its sake come
// again in their order.
func TestWhatWasHeldComesFirst(t *testing.T) {
	var away TurnedAway
	away.Note(data(0, 100, 4, 0)) // and taken elsewhere
	for range 2 {                 // batches in between have used up a part of it
		away.Holds(data(0, 150, 4, 0))
	}
	for _, test := range []struct {
		sequence int32
		held     bool
	}{
		{212, true}, {216, true}, {220, true}, {224, true}, // 150 has been taken elsewhere, too
		{212, true}, {216, true}, {220, true}, {224, true},
		{212, false}, {216, false}, {220, false}, {224, false}, // and none has come before the first
	} {
		if held := away.Holds(data(0, test.sequence, 4, 0)); held != test.held {
			t.Errorf("sequence %d: held %v", test.sequence, held)
		}
	}
}

func TestAProducersNewEpochIsHeldByNothing(t *testing.T) {
	var away TurnedAway
	away.Note(data(0, 5, 1, 0))
	if away.Holds(data(1, 6, 1, 0)) || away.Any() {
		t.Error("a batch of a new epoch is held by one of an old epoch")
	}
}

func TestHeldSequencesWrap(t *testing.T) {
	var away TurnedAway
	away.Note(data(0, math.MaxInt32, 1, 0))
	if !away.Holds(data(0, 0, 1, 0)) || away.Holds(data(0, math.MaxInt32-1, 1, 0)) {
		t.Error("sequence 0 does not come after 2^31-1")
	}
}

func TestOnlySoManyAreRemembered(t *testing.T) {
	var away TurnedAway
	for id := range int64(5 * maxTurned) {
		away.Note(build(id, 0, 5, 1, 0, 0))
	}
	if len(away.by) > maxTurned || !away.Holds(build(5*maxTurned-1, 0, 6, 1, 0, 0)) {
		t.Errorf("%d are remembered; the last one: %v", len(away.by), away.Holds(build(5*maxTurned-1, 0, 6, 1, 0, 0)))
	}
	away = TurnedAway{}
	away.Note(build(messages.NoProducerID, -1, -1, 1, 0, 0))
	if away.Any() {
		t.Error("a batch without a producer is remembered")
	}
}
