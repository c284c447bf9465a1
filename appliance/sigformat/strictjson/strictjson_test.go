package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestParse: what is one value for every reader is taken, and becomes this in
// canonical form.
func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		` {"b" : 1, "a":[true,false,null,"x"] } `: `{"a":[true,false,null,"x"],"b":1}`,
		`"\u00e9\n\t\/\"\\"`:                      "\"é\n\t/\\\"\\\\\"",
		`"\ud83d\ude00"`:                          `"😀"`,
		`{"é":1,"z":2,"a":3,"Z":4,"":5}`:          `{"":5,"Z":4,"a":3,"z":2,"é":1}`,
		`{"😀":1,"￿":2}`:                           `{"￿":2,"😀":1}`, // by code points, not by UTF-16 units
		`-9007199254740991`:                       `-9007199254740991`,
		`-0`:                                      `0`,
		`{}`:                                      `{}`,
		`[[],{}]`:                                 `[[],{}]`,
		strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth): strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth),
	} {
		v, err := Parse([]byte(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got, err := Canonical(v); err != nil || string(got) != want {
			t.Errorf("%s: %v: %s, want %s", in, err, got, want)
		}
		if back, err := ParseCanonical([]byte(want)); err != nil || !same(back, v) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// same compares values but for the order of members, and -0 with 0.
func same(a, b Value) bool {
	x, errX := Canonical(a)
	y, errY := Canonical(b)
	return string(x) == string(y) && fmt.Sprint(errX) == fmt.Sprint(errY)
}

// TestParseRefused: what two readers could take for two values, with its place.
func TestParseRefused(t *testing.T) {
	for in, at := range map[string]int{
		``: 0, ` `: 1, `x`: 0, `nul`: 0, `truex`: 4, `{"a":1}{`: 7, `[1,]`: 3, `[1`: 2, `{`: 1, `{"a"`: 4, `{"a":`: 5, `{"a":1,}`: 7, `{a:1}`: 1, `{"a":1,"a":2}`: 10, `{"a":1,"\u0061":2}`: 15,
		`"`: 1, `"\`: 1, `"\x"`: 1, `"\u12"`: 1, `"\u12g4"`: 1, `"\u+123"`: 1, `"\ud800"`: 7, `"\ud800\u0041"`: 13, `"\udc00\ud800"`: 13, `"\u0000"`: 7, "\"\n\"": 1, "\"\x7f\x80\"": 2, "\"a\x00\"": 2,
		`01`: 1, `+1`: 0, `.5`: 0, `1.`: 1, `1e`: 1, `0x10`: 1, `NaN`: 0, `-`: 0, `1e999`: 0, `9007199254740992`: 0, `0.1234567890123456789012345`: 0, "\ufeff{}": 0,
		strings.Repeat("[", MaxDepth+1): MaxDepth, strings.Repeat(" ", MaxBytes+1): MaxBytes,
	} {
		v, err := Parse([]byte(in))
		var e *Error
		if !errors.As(err, &e) || e.Offset != at {
			t.Errorf("%.40q: %v, %v, want a mistake at %d", in, v, err, at)
		}
	}
	for in, at := range map[string]int{`1.5`: 0, `[1e2]`: 1, `{"a": 1}`: 5, ` 1`: 0, `"\n"`: 1, `"\u0041"`: 1, `-0`: 0, `{"b":1,"a":2}`: 2, "1\n": 1} {
		v, err := ParseCanonical([]byte(in))
		var e *Error
		if !errors.As(err, &e) || e.Offset != at {
			t.Errorf("canonical %q: %v, %v, want a mistake at %d", in, v, err, at)
		}
	}
	if v, err := ParseCanonical([]byte("\"a\nb\tc\x7f\"")); err != nil || v != "a\nb\tc\x7f" {
		t.Errorf("control characters in canonical form: %q, %v", v, err)
	}
}

// values draws any value.
func values(depth int) *rapid.Generator[Value] {
	text := rapid.String().Filter(func(s string) bool { return !strings.Contains(s, "\x00") })
	kinds := []*rapid.Generator[Value]{
		rapid.Map(text, func(s string) Value { return s }),
		rapid.Map(rapid.Int64Range(-MaxInt, MaxInt), func(i int64) Value { return Number(fmt.Sprint(i)) }),
		rapid.SampledFrom([]Value{nil, true, false, Number("1.5"), Number("-2e-7")}),
	}
	if depth > 0 {
		inner := rapid.Deferred(func() *rapid.Generator[Value] { return values(depth - 1) })
		kinds = append(kinds,
			rapid.Map(rapid.SliceOfN(inner, 0, 4), func(a []Value) Value { return append(Array{}, a...) }),
			rapid.Map(rapid.MapOfN(text, inner, 0, 4), func(m map[string]Value) Value {
				o := new(Object)
				for name, v := range m {
					o.Set(name, v)
				}
				return o
			}))
	}
	return rapid.OneOf(kinds...)
}

// TestTextProperty: what Text writes, Parse and the standard library read alike;
// what Canonical writes is read back.
func TestTextProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := values(3).Draw(t, "value")
		text := Text(v)
		back, err := Parse(text)
		if err != nil || !reflect.DeepEqual(plain(back), plain(v)) {
			t.Fatalf("%v: %s", err, text)
		}
		var std any
		if err := json.Unmarshal(text, &std); err != nil || !reflect.DeepEqual(std, plain(v)) {
			t.Fatalf("%v: %s", err, text)
		}
		c, err := Canonical(v)
		if err != nil {
			return // a fraction
		}
		if back, err := ParseCanonical(c); err != nil || !reflect.DeepEqual(plain(back), plain(v)) {
			t.Fatalf("%v: %s", err, c)
		}
	})
}

// plain is a value as encoding/json has it.
func plain(v Value) any {
	switch v := v.(type) {
	case Number:
		var f float64
		if err := json.Unmarshal([]byte(v), &f); err != nil {
			panic(err)
		}
		return f
	case Array:
		all := []any{}
		for _, e := range v {
			all = append(all, plain(e))
		}
		return all
	case *Object:
		all := map[string]any{}
		for _, m := range v.Members {
			all[m.Name] = plain(m.Value)
		}
		return all
	}
	return v
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"a":[1,-2.5e3,"\u00e9\ud83d\ude00",null,true],"b":{}}`))
	f.Add([]byte(`{"a":1,"a":2}`))
	f.Add([]byte("\"a\nb\""))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := ParseCanonical(b); err == nil {
			if again, err := Canonical(v); err != nil || string(again) != string(b) {
				t.Fatalf("%v: %q is canonical as %q", err, b, again)
			}
		}
		v, err := Parse(b)
		if err != nil {
			return
		}
		var std any
		if err := json.Unmarshal(b, &std); err != nil || !reflect.DeepEqual(std, plain(v)) {
			t.Fatalf("%q: encoding/json has %v, %v", b, std, err)
		}
		if text := Text(v); len(text) > MaxBytes {
			return
		}
		if back, err := Parse(Text(v)); err != nil || !reflect.DeepEqual(plain(back), plain(v)) {
			t.Fatalf("%v: %s", err, Text(v))
		}
	})
}
