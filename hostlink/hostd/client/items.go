package client

import (
	"bytes"
	"path"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/document"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
)

// File is a file that is to be signed.
type File struct {
	Name   string                 // as it is to be called
	Format sigformat.Format       // of its signature
	State  hashstate.State        // of what the format is over
	Read   func() ([]byte, error) // gives all of it; called for small files only
}

// Items are the files as a request has them: their hash states; or, where the
// appliance reads and shows what it signs, all that the format is over. Besides
// files of formats that demand it these are Release files of Debian archives, as
// far as they can be read and there is room.
func Items(files []File) ([]api.Item, error) {
	items, room := make([]api.Item, len(files)), message.MaxDocuments
	for i, f := range files {
		items[i] = api.Item{
			Name: f.Name, Format: f.Format.Name, Size: f.State.Count(),
			Digest: message.Digest{Alg: f.State.Alg(), Sum: f.State.Digest()}.String(), State: f.State.Bytes(),
		}
		if f.Format.Document() != sigformat.Demanded {
			continue
		}
		doc, err := f.document()
		if err != nil {
			return nil, err
		}
		if room -= len(doc); room < 0 {
			return nil, api.Errorf(api.BadInput, "these files come to more than %d bytes, which is what the appliance reads at once: sign them in separate calls", message.MaxDocuments)
		}
		items[i].State, items[i].Document = nil, doc
	}
	for i, f := range files {
		if !f.release() || f.State.Count() > uint64(min(room, message.MaxDocument)) {
			continue
		}
		if doc, err := f.document(); err == nil {
			items[i].State, items[i].Document = nil, doc
			room -= len(doc)
		}
	}
	return items, nil
}

// release reports whether the file is a Release file by its name, in a format that
// may be shown.
func (f *File) release() bool {
	return f.Format.Document() == sigformat.Allowed && path.Base(f.Name) == "Release"
}

// Unshown says why a Release file goes as this item without what it says, so that the
// operator sees a digest only. It is nil if that goes too, or of another file.
func (f *File) Unshown(it api.Item) error {
	if !f.release() || it.Document != nil {
		return nil
	}
	if _, err := f.document(); err != nil {
		return err
	}
	return api.Errorf(api.BadInput, "%s: no room beside the other files", f.Name)
}

// document is all that the format is over, as far as the appliance can make
// sense of it.
func (f *File) document() ([]byte, error) {
	if f.State.Count() > message.MaxDocument {
		return nil, api.Errorf(api.BadInput, "%s: %d bytes to be signed as %s, the appliance reads at most %d", f.Name, f.State.Count(), f.Format.Name, message.MaxDocument)
	}
	file, err := f.Read()
	if err != nil {
		return nil, api.Errorf(api.BadInput, "%w", err)
	}
	doc, err := f.Format.DocumentOf(file)
	if err == nil {
		_, err = document.Parse(f.Format.Name, doc)
	}
	if err != nil {
		return nil, api.Errorf(api.BadInput, "%s: %w", f.Name, err)
	}
	if s, err := f.Format.Digest(f.State.Alg(), bytes.NewReader(file)); err != nil || s != f.State {
		return nil, api.Errorf(api.BadInput, "%s was changed in the meantime: wait until nothing writes to it, then try again", f.Name)
	}
	return doc, nil
}
