package screen

import "strings"

// Big letters, five rows high, for what must be read from across a room. Only the
// letters that the status words need are here; a word with another one is not
// written big.
const (
	glyphRows  = 5
	glyphWidth = 5
)

var glyphs = map[rune][glyphRows]string{
	' ': {"", "", "", "", ""},
	'!': {"  #", "  #", "  #", "", "  #"},
	'?': {" ###", "#   #", "   #", "", "   #"},
	'/': {"    #", "   #", "  #", " #", "#"},
	'0': {" ###", "#   #", "#   #", "#   #", " ###"},
	'1': {"  #", " ##", "  #", "  #", " ###"},
	'2': {"####", "    #", " ###", "#", "#####"},
	'3': {"####", "    #", " ###", "    #", "####"},
	'4': {"#   #", "#   #", "#####", "    #", "    #"},
	'5': {"#####", "#", "####", "    #", "####"},
	'6': {" ###", "#", "####", "#   #", " ###"},
	'7': {"#####", "   #", "  #", "  #", "  #"},
	'8': {" ###", "#   #", " ###", "#   #", " ###"},
	'9': {" ###", "#   #", " ####", "    #", " ###"},
	'A': {" ###", "#   #", "#####", "#   #", "#   #"},
	'C': {" ####", "#", "#", "#", " ####"},
	'D': {"####", "#   #", "#   #", "#   #", "####"},
	'E': {"#####", "#", "####", "#", "#####"},
	'G': {" ####", "#", "#  ##", "#   #", " ####"},
	'H': {"#   #", "#   #", "#####", "#   #", "#   #"},
	'I': {"#####", "  #", "  #", "  #", "#####"},
	'K': {"#   #", "#  #", "###", "#  #", "#   #"},
	'L': {"#", "#", "#", "#", "#####"},
	'M': {"#   #", "## ##", "# # #", "#   #", "#   #"},
	'N': {"#   #", "##  #", "# # #", "#  ##", "#   #"},
	'O': {" ###", "#   #", "#   #", "#   #", " ###"},
	'P': {"####", "#   #", "####", "#", "#"},
	'R': {"####", "#   #", "####", "#  #", "#   #"},
	'S': {" ####", "#", " ###", "    #", "####"},
	'T': {"#####", "  #", "  #", "  #", "  #"},
	'U': {"#   #", "#   #", "#   #", "#   #", " ###"},
	'W': {"#   #", "#   #", "# # #", "## ##", "#   #"},
	'Y': {"#   #", " # #", "  #", "  #", "  #"},
}

// big writes a word in big letters in the middle of a line; nil if it does not fit.
func big(word string, width int, style Style) block {
	cells := len(word)*(glyphWidth+1) - 1
	if cells > width || word == "" {
		return nil
	}
	var out block
	for row := range glyphRows {
		var b strings.Builder
		b.WriteString(strings.Repeat(" ", (width-cells)/2))
		for _, r := range word {
			g, ok := glyphs[r]
			if !ok {
				return nil
			}
			b.WriteString(g[row] + strings.Repeat(" ", glyphWidth+1-len(g[row])))
		}
		out = append(out, Line{strings.TrimRight(b.String(), " "), style})
	}
	return out
}
