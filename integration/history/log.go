package history

import (
	"maps"
	"slices"
)

// pageSize is how many offsets a page of a log stands for.
const pageSize = 1 << 12

// log is what is known to stand in a partition.
type log struct {
	name    string
	pages   map[int64]*page
	last    *page // the one used last
	lastAt  int64
	start   int64 // records below may be deleted
	end     int64 // one past the highest offset that anybody knows of
	highest int64 // that was read; -1: none
}

// page is what stands at some offsets, 0: nothing known; and what of it was read.
type page struct {
	values [pageSize]uint64
	read   [pageSize / 64]uint64
}

func newLog(name string) *log {
	return &log{name: name, pages: map[int64]*page{}, lastAt: -1, highest: -1}
}

func (l *log) page(offset int64, make bool) *page {
	at := offset / pageSize
	if at == l.lastAt {
		return l.last
	}
	p := l.pages[at]
	if p == nil {
		if !make {
			return nil
		}
		p = &page{}
		l.pages[at] = p
	}
	l.last, l.lastAt = p, at
	return p
}

func (l *log) get(offset int64) uint64 {
	if p := l.page(offset, false); p != nil && offset >= 0 {
		return p.values[offset%pageSize]
	}
	return 0
}

func (l *log) set(offset int64, value uint64) {
	if offset < 0 {
		return
	}
	l.page(offset, true).values[offset%pageSize] = value
	l.end = max(l.end, offset+1)
}

// markRead takes note that somebody has read what stands at an offset.
func (l *log) markRead(offset int64) {
	if offset < 0 {
		return
	}
	at := offset % pageSize
	l.page(offset, true).read[at/64] |= 1 << (at % 64)
	l.highest = max(l.highest, offset)
}

func (l *log) wasRead(offset int64) bool {
	p := l.page(offset, false)
	if p == nil || offset < 0 {
		return false
	}
	at := offset % pageSize
	return p.read[at/64]>>(at%64)&1 == 1
}

// between finds the first offset above from and below to at which something
// stands that counts; -1: none.
func (l *log) between(from, to int64, counts func(value uint64) bool) int64 {
	first, last := max(from+1, l.start, 0), min(to, l.end)-1
	if first > last {
		return -1
	}
	if (last-first)/pageSize <= int64(len(l.pages)) {
		for at := first / pageSize; at <= last/pageSize; at++ {
			if offset := l.within(at, first, last, counts); offset >= 0 {
				return offset
			}
		}
		return -1
	}
	for _, at := range slices.Sorted(maps.Keys(l.pages)) { // offsets far apart, as a damaged file may claim
		if at >= first/pageSize && at <= last/pageSize {
			if offset := l.within(at, first, last, counts); offset >= 0 {
				return offset
			}
		}
	}
	return -1
}

// within is between for one page.
func (l *log) within(at, first, last int64, counts func(value uint64) bool) int64 {
	p := l.pages[at]
	if p == nil {
		return -1
	}
	for i := max(first-at*pageSize, 0); i <= min(last-at*pageSize, pageSize-1); i++ {
		if v := p.values[i]; v != 0 && counts(v) {
			return at*pageSize + i
		}
	}
	return -1
}
