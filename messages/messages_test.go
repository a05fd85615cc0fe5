package messages

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestEveryKindHasWordsAndACode(t *testing.T) {
	for k := Kind(0); k < kindCount; k++ {
		if kinds[k].words == "" || kinds[k].wire == nil {
			t.Errorf("kind %d has no entry in the table", k)
		}
	}
	if got := Kind(250).Code(); got != -1 {
		t.Errorf("a kind outside the table has code %d, want -1", got)
	}
}

func TestErrorReadsAsOperationKindSubjectCause(t *testing.T) {
	err := E("produce", NotLeader, "orders-3", errors.New("leader is 2"))
	if got, want := err.Error(), "produce: not leader: orders-3: leader is 2"; got != want {
		t.Errorf("have %q, want %q", got, want)
	}
	if got, want := E("open log", Unknown, "", io.ErrUnexpectedEOF).Error(), "open log: unexpected EOF"; got != want {
		t.Errorf("have %q, want %q", got, want)
	}
}

func TestKindOfFindsTheOutermostClassifiedError(t *testing.T) {
	inner := E("read", CorruptMessage, "orders-3", nil)
	outer := fmt.Errorf("fetch: %w", E("segment", Unknown, "", inner))
	if got := KindOf(outer); got != CorruptMessage {
		t.Errorf("have %v, want %v", got, CorruptMessage)
	}
	if got := Code(outer); got != 2 {
		t.Errorf("code %d, want 2", got)
	}
	if Code(nil) != 0 || KindOf(io.EOF) != Unknown {
		t.Error("nil is code 0 and a foreign error is Unknown")
	}
}

func TestTopicNames(t *testing.T) {
	for _, good := range []string{"a", "orders", "A.b_c-9", strings.Repeat("x", 249)} {
		if err := CheckTopicName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ".", "..", "a/b", "a b", "ü", "a\x00", strings.Repeat("x", 250)} {
		if KindOf(CheckTopicName(bad)) != InvalidTopic {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestTopicIDText(t *testing.T) {
	id := TopicID{1, 2, 3, 250, 15: 9}
	text, _ := id.MarshalText()
	var back TopicID
	if err := back.UnmarshalText(text); err != nil || back != id {
		t.Errorf("%s came back as %v, %v", text, back, err)
	}
	if back.UnmarshalText([]byte("short")) == nil {
		t.Error("a short id was accepted")
	}
}
