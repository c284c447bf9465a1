package published

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/strictjson"
	"touchmark/hostlink/message"
)

// A file may have been made to be read by others and not by us: so it is read as
// widely as any of them reads. What stands beside the members that matter is passed
// over, of a member that is there twice the first counts and the last, base64 is
// of any kind. What is signed as in-toto's metadata must be canonical JSON of something,
// or no reader verifies a signature over it.

// enclosed is a signature that stands in one file with what it is over.
type enclosed struct {
	signature []byte // as the log has it
	over      []hashstate.State
}

// reading is what a file is to a reader.
type reading struct {
	formats  []sigformat.Format
	document []byte
	objects  []*strictjson.Object // the signatures
}

// enclosed takes those by keys of the log out of a file; none if it is no such
// file.
func (r *Repository) enclosed(file []byte) (found []enclosed) {
	for _, x := range readings(file) {
		var over []hashstate.State
		for _, format := range x.formats {
			for _, c := range r.keys {
				for _, sig := range format.Claimed(c.Key, x.document, x.objects) {
					if over == nil {
						over = statesOf(x.document)
					}
					found = append(found, enclosed{sig, over})
				}
			}
		}
	}
	return found
}

func statesOf(document []byte) (all []hashstate.State) {
	for _, alg := range message.Algs() {
		h := hashstate.New(alg)
		_, _ = h.Write(document) // a hash never fails
		all = append(all, h.State())
	}
	return all
}

// readings are those of a file: as an envelope of DSSE's, and as in-toto's metadata.
func readings(file []byte) (all []reading) {
	o := fileOf(file)
	objects := signaturesOf(o)
	if len(objects) == 0 {
		return nil
	}
	for _, kind := range stringsOf(o["payloadType"]) {
		label := strings.TrimSuffix(strings.TrimPrefix(kind, "application/vnd."), "+json")
		f, known := sigformat.FormatOf("dsse-" + label)
		if !known || f.PayloadType() != kind {
			continue
		}
		for _, text := range stringsOf(o["payload"]) {
			if payload, ok := anyBase64(text); ok {
				all = append(all, reading{[]sigformat.Format{f}, f.PAE(payload), standard(objects)})
			}
		}
	}
	for _, signed := range o["signed"] {
		v, err := strictjson.Parse(signed)
		if err != nil {
			continue
		}
		if document, err := strictjson.Canonical(v); err == nil {
			all = append(all, reading{[]sigformat.Format{sigformat.InTotoGPG, sigformat.InTotoNative}, document, objects})
		}
	}
	return all
}

// fileOf are the members of a file, after a byte order mark.
func fileOf(file []byte) map[string][]json.RawMessage {
	return membersOf(bytes.TrimPrefix(file, []byte("\ufeff")))
}

func signaturesOf(o map[string][]json.RawMessage) (objects []*strictjson.Object) {
	for _, list := range o["signatures"] {
		objects = append(objects, objectsOf(list)...)
	}
	return objects
}

// membersOf are those of a JSON object by their names, the first and the last of each;
// nil if it is none.
func membersOf(text []byte) map[string][]json.RawMessage {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	all := map[string][]json.RawMessage{}
	for d.More() {
		name, err := d.Token()
		key, ok := name.(string)
		var value json.RawMessage
		if err != nil || !ok || d.Decode(&value) != nil {
			return nil
		}
		all[key] = append(all[key][:min(len(all[key]), 1)], value)
	}
	return all
}

// objectsOf are the signatures of a list; one that has members twice is two.
func objectsOf(list json.RawMessage) (all []*strictjson.Object) {
	var raw []json.RawMessage
	if json.Unmarshal(list, &raw) != nil {
		return nil
	}
	for _, s := range raw {
		first, last, twice := new(strictjson.Object), new(strictjson.Object), false
		for name, values := range membersOf(s) {
			texts := stringsOf(values)
			if len(texts) == 0 {
				continue
			}
			first.Set(name, texts[0])
			last.Set(name, texts[len(texts)-1])
			twice = twice || len(texts) > 1
		}
		if all = append(all, first); twice {
			all = append(all, last)
		}
	}
	return all
}

// standard are signatures of DSSE with their values in the base64 that we write.
func standard(objects []*strictjson.Object) (all []*strictjson.Object) {
	for _, o := range objects {
		n := new(strictjson.Object)
		for _, m := range o.Members {
			n.Set(m.Name, m.Value)
		}
		sig, _ := o.Get("sig")
		text, _ := sig.(string)
		if b, ok := anyBase64(text); ok {
			n.Set("sig", base64.StdEncoding.EncodeToString(b))
		}
		all = append(all, n)
	}
	return all
}

// stringsOf are those values that are strings.
func stringsOf(values []json.RawMessage) (all []string) {
	for _, v := range values {
		var s string
		if json.Unmarshal(v, &s) == nil {
			all = append(all, s)
		}
	}
	return all
}

// anyBase64 decodes base64 with either alphabet, with padding or without, with line
// ends or without (DSSE takes both alphabets).
func anyBase64(text string) ([]byte, bool) {
	text = strings.NewReplacer("-", "+", "_", "/", "\n", "", "\r", "").Replace(text)
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	return b, err == nil
}
