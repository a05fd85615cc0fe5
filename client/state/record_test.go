package state

import (
	"reflect"
	"strings"
	"testing"
)

func TestKeysAreTakenApart(t *testing.T) {
	for _, name := range []string{"", "a", "a/b", "c/a/00000000000000000001", strings.Repeat("x", 1000)} {
		if n, _, snapshot, ok := parseKey(string(snapshotKey(name))); n != name || !snapshot || !ok {
			t.Errorf("%q: %q, %v, %v", name, n, snapshot, ok)
		}
		for _, index := range []int64{0, 1, 1<<63 - 10} {
			if n, i, snapshot, ok := parseKey(string(changeKey(name, index))); n != name || i != index || snapshot || !ok {
				t.Errorf("%q, %d: %q, %d, %v, %v", name, index, n, i, snapshot, ok)
			}
		}
	}
}

func FuzzParseKey(f *testing.F) {
	for _, key := range []string{"", "mark", "s/", "c/", "c/a/1", "c/a/00000000000000000001", "c/a/99999999999999999999"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		name, index, snapshot, ok := parseKey(key)
		if !ok {
			return
		}
		again := string(changeKey(name, index))
		if snapshot {
			again = string(snapshotKey(name))
		}
		if again != key || index < 0 {
			t.Errorf("%q is %q, %d", key, name, index)
		}
	})
}

func TestEntriesComeBack(t *testing.T) {
	for _, e := range []Entry{
		{Data: []byte{}},
		{Index: 7, Data: []byte("x")},
		{Index: 1 << 40, Data: []byte("x"), From: Source{"orders", 3, 1 << 50}},
	} {
		if have := entryOf(e.record(changeKey("a", e.Index))); !reflect.DeepEqual(have, e) {
			t.Errorf("%+v instead of %+v", have, e)
		}
	}
}
