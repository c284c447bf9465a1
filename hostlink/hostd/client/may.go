package client

import (
	"touchmark/appliance/sigformat"
	"touchmark/hostlink/hostd/api"
)

// Large is how many bytes files have together, at the least, that take longer to hash
// than the daemon takes to say what the policy has against them.
const Large = 4 << 20

// May asks whether the policy takes files of these names, formats and sizes, if they are
// large: an error is its refusal. Whatever else is wrong the request itself finds, too.
func (d Daemon) May(class string, files []api.Item) error {
	total := uint64(0)
	for _, f := range files {
		format, known := sigformat.FormatOf(f.Format)
		if !known || format.Cleartext() || format.Enclosed() {
			return nil // the form that is signed may be shorter than the file
		}
		total += f.Size
	}
	if total < Large {
		return nil
	}
	if _, err := d.Ask(&api.Request{Op: api.OpMay, Class: class, Items: files}); api.CodeOf(err, api.OK) == api.Refused {
		return err
	}
	return nil
}
