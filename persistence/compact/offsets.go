package compact

import (
	"hash/maphash"
	"math/bits"

	"understudy/messages"
)

// Map remembers, for a bounded number of keys, the offset of the last record of
// each. Keys are known by two hashes of 64 bits whose seeds nobody knows: that
// any two of a thousand million keys agree in both happens once in 10^20 times.
// An entry takes EntrySize bytes, whatever the size of its key.
type Map struct {
	seeds [2]maphash.Seed
	max   int     // entries that the memory is for
	slots []entry // open addressing: an entry lies at its hash's place or, next to each other, behind
	used  int
	room  int // entries that may be used
}

type entry struct {
	first, second uint64
	next          messages.Offset // after the record; 0: the slot is free
}

// EntrySize is what an entry takes, in bytes.
const EntrySize = 24

// Of fullOf slots at most fullTo are used, since searches grow long beyond that.
const (
	fullTo = 3
	fullOf = 4
)

// minSlots keeps a map that was given next to no memory from being useless.
const minSlots = 1024

// NewMap makes a map that takes a number of bytes at most; it takes them when
// it is used.
func NewMap(memory int64) *Map {
	return &Map{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, max: int(max(memory/EntrySize, minSlots))}
}

// Reset empties the map, and takes memory for a number of records at most.
func (m *Map) Reset(records int64) {
	slots := m.max
	if records < int64(m.max)*fullTo/fullOf {
		slots = int(max(records*fullOf/fullTo+1, minSlots))
	}
	if cap(m.slots) < slots {
		m.slots = make([]entry, slots)
	} else {
		m.slots = m.slots[:slots]
		clear(m.slots)
	}
	m.used, m.room = 0, slots*fullTo/fullOf
}

// Free lets go of the memory. Reset must come before the next use.
func (m *Map) Free() { m.slots = nil }

// Len is how many keys there are.
func (m *Map) Len() int { return m.used }

// find gives the key's slot, or the free one where it would be.
func (m *Map) find(key []byte) (slot *entry, first, second uint64) {
	first, second = maphash.Bytes(m.seeds[0], key), maphash.Bytes(m.seeds[1], key)
	at, _ := bits.Mul64(first, uint64(len(m.slots)))
	for {
		e := &m.slots[at]
		if e.next == 0 || e.first == first && e.second == second {
			return e, first, second
		}
		if at++; at == uint64(len(m.slots)) {
			at = 0
		}
	}
}

// Put notes that a record has a key; records come in the order of their offsets.
// It is false if the map is full.
func (m *Map) Put(key []byte, offset messages.Offset) bool {
	e, first, second := m.find(key)
	if e.next == 0 {
		if m.used == m.room {
			return false
		}
		m.used++
		e.first, e.second = first, second
	}
	e.next = offset + 1
	return true
}

// Last is the offset of the last record that is known to have a key, NoOffset if
// none is.
func (m *Map) Last(key []byte) messages.Offset {
	e, _, _ := m.find(key)
	if e.next == 0 {
		return messages.NoOffset
	}
	return e.next - 1
}
