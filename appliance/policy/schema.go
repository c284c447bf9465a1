package policy

import "touchmark/appliance/policy/document"

// file is the document as TOML decodes it, before any check of values.
type file struct {
	Version        uint64 `toml:"version"`
	Origin         string `toml:"origin"`
	Serial         uint64 `toml:"serial"`
	Previous       string `toml:"previous"`
	MaxSkew        string `toml:"max_skew"`
	MaxValidity    string `toml:"max_validity"`
	Administrators struct {
		Quorum uint64   `toml:"quorum"`
		Keys   []string `toml:"keys"`
	} `toml:"administrators"`
	Recovery *struct {
		Quorum uint64   `toml:"quorum"`
		Keys   []string `toml:"keys"`
	} `toml:"recovery"`
	Hosts []struct {
		Name string `toml:"name"`
		Key  string `toml:"key"`
	} `toml:"host"`
	Approvers []struct {
		Person string `toml:"person"`
		Key    string `toml:"key"`
	} `toml:"approver"`
	Keys []struct {
		Name      string `toml:"name"`
		Slot      string `toml:"slot"`
		Family    string `toml:"family"`
		Algorithm string `toml:"algorithm"`
	} `toml:"key"`
	Classes []fileClass `toml:"class"`
}

type fileClass struct {
	Name      string   `toml:"name"`
	Keys      []string `toml:"keys"`
	Hosts     []string `toml:"hosts"`
	Names     []string `toml:"names"`
	Formats   []string `toml:"formats"`
	MaxSize   string   `toml:"max_size"`
	Rates     []string `toml:"rates"`
	Approvals uint64   `toml:"approvals"`
	Batch     uint64   `toml:"batch"`
	Documents *string  `toml:"documents"`
}

const exampleKey = `"name+hash+base64"`

// schema lists every table and key there is; all keys are required, so that no
// rule is ever a silent default, but for one that only makes a class stricter.
var schema = []document.Table{
	{Fields: []document.Field{
		{Name: "version", Kind: document.Number, Example: "1"},
		{Name: "origin", Kind: document.Text, Example: `"touchmark.example/demo"`},
		{Name: "serial", Kind: document.Number, Example: "1"},
		{Name: "previous", Kind: document.Text, Example: `""`},
		{Name: "max_skew", Kind: document.Text, Example: `"10m"`},
		{Name: "max_validity", Kind: document.Text, Example: `"24h"`},
	}},
	{Name: "administrators", Fields: []document.Field{
		{Name: "quorum", Kind: document.Number, Example: "1"},
		{Name: "keys", Kind: document.List, Example: "[" + exampleKey + "]"},
	}},
	{Name: "recovery", Optional: true, Fields: []document.Field{
		{Name: "quorum", Kind: document.Number, Example: "2"},
		{Name: "keys", Kind: document.List, Example: "[" + exampleKey + "]"},
	}},
	{Name: "host", Many: true, Fields: []document.Field{
		{Name: "name", Kind: document.Text, Example: `"repo1"`},
		{Name: "key", Kind: document.Text, Example: exampleKey},
	}},
	{Name: "approver", Many: true, Optional: true, Fields: []document.Field{
		{Name: "person", Kind: document.Text, Example: `"alice"`},
		{Name: "key", Kind: document.Text, Example: exampleKey},
	}},
	{Name: "key", Many: true, Fields: []document.Field{
		{Name: "name", Kind: document.Text, Example: `"packages"`},
		{Name: "slot", Kind: document.Text, Example: `"9c"`},
		{Name: "family", Kind: document.Text, Example: `"openpgp-data"`},
		{Name: "algorithm", Kind: document.Text, Example: `"p256"`},
	}},
	{Name: "class", Many: true, Fields: []document.Field{
		{Name: "name", Kind: document.Text, Example: `"pacman-db"`},
		{Name: "keys", Kind: document.List, Example: `["packages"]`},
		{Name: "hosts", Kind: document.List, Example: `["repo1"]`},
		{Name: "names", Kind: document.List, Example: `["*.db.tar.gz"]`},
		{Name: "formats", Kind: document.List, Example: `["openpgp-binary"]`},
		{Name: "max_size", Kind: document.Text, Example: `"4GiB"`},
		{Name: "rates", Kind: document.List, Example: `["60/1h"]`},
		{Name: "approvals", Kind: document.Number, Example: "0"},
		{Name: "batch", Kind: document.Number, Example: "16"},
		{Name: "documents", Kind: document.Text, Example: `"demanded"`, Optional: true},
	}},
}
