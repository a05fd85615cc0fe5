// Package nearest finds what a misspelt name may have meant, for error messages
// that ask "did you mean …?". It is pure.
package nearest

import "iter"

// longest bounds the names that are compared: what is longer is no misspelling.
const longest = 64

// Name is the one of the names that name is most like, "" if none is close: at
// most a third of its letters may be wrong.
func Name(name string, names iter.Seq[string]) string {
	best, least := "", len(name)/3+1
	if len(name) > longest {
		return ""
	}
	for candidate := range names {
		if d := distance(name, candidate); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance counts the letters to insert, remove or replace to make b of a
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
