package policy

import (
	"fmt"
	"strings"
)

// didYouMean suggests the nearest of some names, "" when none is near.
func didYouMean(got string, names []string) string {
	best, least := "", 1+tolerance(got)
	for _, n := range names {
		if d := distance(got, n); d < least {
			best, least = n, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", best)
}

// tolerance is how many letters may be wrong: two letters that swapped places
// are two.
func tolerance(word string) int {
	if len(word) < 4 {
		return 1
	}
	return max(2, len(word)/3)
}

// orOneOf is didYouMean, or the whole choice when nothing is near.
func orOneOf(got string, names []string) string {
	if s := didYouMean(got, names); s != "" {
		return s
	}
	return ": choose from " + strings.Join(names, ", ")
}

// distance is the number of letters to insert, delete or replace
// (Levenshtein) to get from a to b, cut short for long words.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
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
