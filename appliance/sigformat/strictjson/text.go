package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Text writes a value for files: ASCII, one member or element a line, each level
// one space further in, members in their order, as in-toto's tools write. Parse
// reads it.
func Text(v Value) []byte { return append(appendText(nil, v, "\n"), '\n') }

func appendText(b []byte, v Value, indent string) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case string:
		return appendASCII(b, v)
	case Number:
		return append(b, v...)
	case Array:
		return appendList(b, "[]", len(v), indent, func(b []byte, i int, indent string) []byte { return appendText(b, v[i], indent) })
	case *Object:
		return appendList(b, "{}", len(v.Members), indent, func(b []byte, i int, indent string) []byte {
			m := v.Members[i]
			return appendText(append(appendASCII(b, m.Name), ": "...), m.Value, indent)
		})
	}
	panic(fmt.Sprintf("strictjson: %T is no value", v))
}

func appendList(b []byte, brackets string, n int, indent string, element func(b []byte, i int, indent string) []byte) []byte {
	if n == 0 {
		return append(b, brackets...)
	}
	b = append(b, brackets[0])
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = element(append(b, indent+" "...), i, indent+" ")
	}
	return append(append(b, indent...), brackets[1])
}

// appendASCII escapes what is not printable ASCII.
func appendASCII(b []byte, s string) []byte {
	var quoted bytes.Buffer
	enc := json.NewEncoder(&quoted)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic("strictjson: a string has no JSON: " + err.Error())
	}
	for _, r := range strings.TrimSuffix(quoted.String(), "\n") {
		switch {
		case 0x20 <= r && r < 0x7f:
			b = append(b, byte(r))
		case r <= 0xffff:
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			hi, lo := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, hi, lo)
		}
	}
	return b
}
