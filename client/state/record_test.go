package state

import (
	"reflect"
	"strings"
	"testing"
)

func TestKeysAreTakenApart(t *testing.T) {
	for _, name := range []string{"", "a", "a/b", "c/a/00000000000000000001", "w/1-0000000000000001-g/s/a", strings.Repeat("x", 1000)} {
		for _, l := range []line{{}, {"tellers", 7, 1}, {"a/b-c%", 0, 1<<64 - 1}, {"", 1<<31 - 1, 0}} {
			for _, k := range []key{{l, name, true, 0}, {l, name, false, 0}, {l, name, false, 1}, {l, name, false, 1<<63 - 10}} {
				if have, ok := parseKey(string(k.bytes())); have != k || !ok {
					t.Errorf("%q: %+v instead of %+v, %v", k.bytes(), have, k, ok)
				}
			}
		}
	}
}

func FuzzParseKey(f *testing.F) {
	for _, key := range []string{
		"", "mark", "s/", "c/", "c/a/1", "c/a/00000000000000000001", "c/a/99999999999999999999",
		"w/", "w/1-0000000000000001-g/s/a", "w/-1-0000000000000001-g/s/a", "w/01-0000000000000001-%2f/s/a",
	} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, text string) {
		k, ok := parseKey(text)
		if ok && (string(k.bytes()) != text || k.index < 0) {
			t.Errorf("%q is %+v", text, k)
		}
	})
}

func TestEntriesComeBack(t *testing.T) {
	for _, e := range []Entry{
		{Data: []byte{}},
		{Index: 7, Data: []byte("x")},
		{Index: 1 << 40, Data: []byte("x"), From: Source{"orders", 3, 1 << 50}},
	} {
		if have := entryOf(e.record(key{name: "a", index: e.Index})); !reflect.DeepEqual(have, e) {
			t.Errorf("%+v instead of %+v", have, e)
		}
	}
}
