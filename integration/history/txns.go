package history

import (
	"fmt"
	"maps"
	"slices"
)

// done reports that a transaction has committed for certain.
func (t *txn) done() bool { return t.ending && t.commits && t.ended }

// aborted reports that a transaction cannot have committed: it was never asked to.
func (t *txn) aborted() bool { return t.ending && !t.commits }

// judgeTxns looks for circles of transactions that have read from each other: each
// of them would have to be before all others.
func (c *Checker) judgeTxns() {
	readers := map[uint32][]uint32{}
	for e := range c.edges {
		if !c.txn(e.writer).aborted() && !c.txn(e.reader).aborted() {
			readers[e.writer] = append(readers[e.writer], e.reader)
		}
	}
	for _, list := range readers {
		slices.Sort(list)
	}
	for _, circle := range circles(readers) {
		c.verdict.find(Finding{G1c, fmt.Sprint("transaction ", circle[0]), "", 0, fmt.Sprintf("transactions %d have read from each other", circle)})
	}
}

// circles finds the strongly connected parts of a graph that have more than one
// node, as Tarjan does (Depth-first search and linear graph algorithms, 1972),
// without recursion.
func circles(next map[uint32][]uint32) (found [][]uint32) {
	type visit struct {
		node uint32
		i    int
	}
	index, low, on := map[uint32]int{}, map[uint32]int{}, map[uint32]bool{}
	var stack []uint32
	enter := func(n uint32) visit {
		index[n] = len(index) + 1
		low[n] = index[n]
		stack, on[n] = append(stack, n), true
		return visit{node: n}
	}
	for _, root := range slices.Sorted(maps.Keys(next)) {
		if index[root] != 0 {
			continue
		}
		path := []visit{enter(root)}
		for len(path) > 0 {
			v := &path[len(path)-1]
			if v.i < len(next[v.node]) {
				to := next[v.node][v.i]
				v.i++
				if index[to] == 0 {
					path = append(path, enter(to))
				} else if on[to] {
					low[v.node] = min(low[v.node], index[to])
				}
				continue
			}
			done := v.node
			path = path[:len(path)-1]
			if len(path) > 0 {
				above := path[len(path)-1].node
				low[above] = min(low[above], low[done])
			}
			if low[done] == index[done] {
				at := slices.Index(stack, done)
				part := slices.Clone(stack[at:])
				stack = stack[:at]
				for _, n := range part {
					on[n] = false
				}
				if len(part) > 1 {
					slices.Sort(part)
					found = append(found, part)
				}
			}
		}
	}
	return found
}
