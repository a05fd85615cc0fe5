package vfs

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
)

// Loss says what a power cut takes of what was not synced.
type Loss uint8

// The kinds of loss. A disk may do any of them; code that promises durability
// must live with all.
const (
	// LoseAll leaves only what was synced.
	LoseAll Loss = iota
	// LoseNone leaves everything, as when the process dies and the machine goes on.
	LoseNone
	// LoseTorn leaves the changes of each file in their order up to some point,
	// where a write is torn at a byte or at a sector; and the changes of names in
	// their order up to some point.
	LoseTorn
	// LosePages tosses a coin for each page of each file, for its size, and for
	// each change of names.
	LosePages
	// LoseMixed tosses for each file, and for the names, which of the above it is.
	LoseMixed
	lossCount
)

// Sizes of what a disk writes at once, in bytes.
const (
	sectorSize = 512
	pageSize   = 4096
)

// cutter builds what a power cut leaves.
type cutter struct {
	loss  Loss
	rnd   *rand.Rand
	from  *Mem
	to    *Mem
	trees map[*memDir]map[string]any // the names that each directory is left with
}

// draw settles on one loss where it is mixed.
func (c *cutter) draw() Loss {
	if c.loss == LoseMixed {
		return Loss(c.rnd.IntN(int(lossCount) - 1))
	}
	return c.loss
}

// names decides which pending changes of names are left, and fills trees.
func (c *cutter) names() {
	loss := c.draw()
	left := len(c.from.pending)
	if loss == LoseTorn {
		left = c.rnd.IntN(left + 1)
	}
	lost := map[entryKey]bool{} // entries of which a change was lost
	for i, change := range c.from.pending {
		gone := loss == LoseAll || i >= left || loss == LosePages && c.rnd.IntN(2) == 0
		if gone || lost[change.from] || lost[change.to] {
			lost[change.from] = change.from.dir != nil
			lost[change.to] = change.to.dir != nil
			continue
		}
		if change.from.dir != nil {
			delete(c.tree(change.from.dir), change.from.name)
		}
		if change.to.dir != nil {
			c.tree(change.to.dir)[change.to.name] = change.node
		}
	}
}

// tree is the names of a directory that are left so far: at first the durable ones.
func (c *cutter) tree(d *memDir) map[string]any {
	t, ok := c.trees[d]
	if !ok {
		durable := d.durable
		if !c.from.options.PowerCuts {
			durable = d.names
		}
		t = maps.Clone(durable)
		c.trees[d] = t
	}
	return t
}

// build copies what is left of a directory, in the order of names.
func (c *cutter) build(from, to *memDir) {
	left := c.tree(from)
	for _, name := range sortedNames(left) {
		var made any
		switch n := left[name].(type) {
		case *memDir:
			d := newMemDir()
			c.build(n, d)
			made = d
		case *memFile:
			made = c.file(n)
		}
		to.names[name] = made
		if c.to.options.PowerCuts {
			to.durable[name] = made
		}
	}
}

// file copies what is left of a file.
func (c *cutter) file(f *memFile) *memFile {
	f.mu.Lock() // its content becomes a shared one
	defer f.mu.Unlock()
	now := f.content.clone()
	loss := c.draw()
	switch loss {
	case LoseAll:
		undo(&now, f.journal)
	case LoseTorn:
		c.tear(&now, f.journal)
	case LosePages:
		c.tossPages(&now, f.journal)
	}
	for _, page := range slices.Sorted(maps.Keys(f.failed)) {
		p, begin := f.failed[page], page*pageSize
		if begin < now.size && loss != LoseNone && (!p.again || loss == LoseAll) {
			now.writeAt(p.was[:min(pageSize, now.size-begin)], begin, nil)
		}
	}
	c.to.used.Add(now.allocated)
	return &memFile{content: now, linked: true}
}

// undo takes changes back, the newest first.
func undo(content *sparse, journal []fileChange) {
	for _, change := range slices.Backward(journal) {
		change.undo(content, 0)
	}
}

// tear keeps a prefix of the changes, and a prefix of the write after it.
func (c *cutter) tear(content *sparse, journal []fileChange) {
	kept := c.rnd.IntN(len(journal) + 1)
	if kept == len(journal) {
		return
	}
	undo(content, journal[kept+1:])
	torn := journal[kept]
	prefix := c.rnd.Int64N(torn.length + 1)
	if c.rnd.IntN(2) == 0 {
		end := (torn.offset + prefix) / sectorSize * sectorSize
		prefix = max(0, end-torn.offset)
	}
	torn.undo(content, prefix)
}

// tossPages takes each changed page as it was or as it is, and the size as it
// was, as it is, or at a page boundary between.
func (c *cutter) tossPages(content *sparse, journal []fileChange) {
	if len(journal) == 0 {
		return
	}
	old := content.clone()
	undo(&old, journal)
	was, is := old.size, content.size
	page := make([]byte, pageSize)
	for _, p := range changedPages(journal) {
		begin := p * pageSize
		if c.rnd.IntN(2) == 0 && begin < is {
			// Kept; but what a truncation cut off is as it was, if the size is.
			begin = max(begin, min(is, begin+pageSize))
		}
		rest := page[:(p+1)*pageSize-begin]
		clear(rest)
		old.readAt(rest, begin)
		content.writeAt(rest, begin, nil)
	}
	size := is
	switch c.rnd.IntN(3) {
	case 0:
		size = was
	case 1:
		low, high := min(was, is), max(was, is)
		size = min(high, low+c.rnd.Int64N(high-low+1)/pageSize*pageSize)
	}
	content.resize(size)
}

// changedPages lists the numbers of the pages that changes touched, in order.
func changedPages(journal []fileChange) []int64 {
	touched := map[int64]bool{}
	for _, change := range journal {
		for p := change.offset / pageSize; p*pageSize < change.offset+change.length; p++ {
			touched[p] = true
		}
	}
	pages := make([]int64, 0, len(touched))
	for p := range touched {
		pages = append(pages, p)
	}
	slices.SortFunc(pages, cmp.Compare)
	return pages
}
