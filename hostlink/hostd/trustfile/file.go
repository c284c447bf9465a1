package trustfile

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"time"

	"touchmark/hostlink/hostd/api"
)

// File is the trust file on disk, read again only when another lies there. It belongs to one goroutine.
type File struct {
	path string
	seen *identity // of the file whose text is text, nil if it is to be read again
	text []byte

	read  func(path string) ([]byte, error)
	clock func() time.Time
}

// At is the trust text at path: that file, or the one of its name in that directory.
func At(path string) *File { return &File{path: path, read: api.ReadTrust, clock: time.Now} }

// Next gives the text if it is another than the one given last, and nil if it is not. After an error it is looked at again.
func (f *File) Next() ([]byte, error) {
	id, err := identify(api.TrustPath(f.path))
	if err != nil {
		return nil, api.Plain(err)
	}
	if f.seen != nil && *f.seen == *id {
		return nil, nil
	}
	f.seen = nil
	text, err := f.read(f.path)
	if err != nil {
		return nil, err
	}
	if f.clock().Sub(id.changed()) >= settled {
		f.seen = id // looked at before it was read: what came between is another
	}
	if bytes.Equal(text, f.text) {
		return nil, nil
	}
	f.text = text
	return text, nil
}

// settled is how long ago a file must have changed for its next change to bear another time: file systems count in ticks of
// the kernel's clock, some in two seconds. Until then its bytes are looked at.
const settled = 2 * time.Second

// identity tells whether a file was replaced or written to, without reading it.
type identity struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
}

func (i *identity) changed() time.Time { return time.Unix(i.ctime.Unix()) }

func identify(path string) (*identity, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	s, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, errors.New("this system does not tell which file is which")
	}
	return &identity{uint64(s.Dev), s.Ino, s.Size, s.Mtim, s.Ctim}, nil
}
