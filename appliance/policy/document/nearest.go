package document

import (
	"fmt"
	"strings"
)

// DidYouMean suggests the nearest of some names, "" when none is near.
func DidYouMean(got string, names []string) string {
	if near := nearest(got, names); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return ""
}

func nearest(got string, names []string) string {
	best, least := "", 1+tolerance(got)
	for _, n := range names {
		if d := distance(got, n); d < least {
			best, least = n, d
		}
	}
	return best
}

// tolerance is how many letters may be wrong: two letters that swapped places
// are two.
func tolerance(word string) int {
	if len(word) < 4 {
		return 1
	}
	return max(2, len(word)/3)
}

// OrOneOf is DidYouMean, or the whole choice when nothing is near.
func OrOneOf(got string, names []string) string {
	if s := DidYouMean(got, names); s != "" {
		return s
	}
	return ": choose from " + strings.Join(names, ", ")
}

// distance is the number of letters to insert, delete or replace
// (Levenshtein) to get from a to b; words beyond 64 letters are never near.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
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
