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
	if held != Remembered-1 {
		t.Errorf("%d batches were held, but a client has %d under way", held, Remembered)
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
