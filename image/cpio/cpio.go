// Package cpio writes the archive that a kernel unpacks as its root: "newc" (Documentation/driver-api/early-userspace/
// buffer-format.rst). Owner is root, dates are zero, inode numbers count from one: the same bytes each time.
package cpio

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Entry is a file or, when its mode says so, a folder.
type Entry struct {
	Name    string // from the root, without a slash before it
	Mode    fs.FileMode
	Content []byte
}

const (
	typeDir  = 0o040000
	typeFile = 0o100000
	// maxContent is what eight hexadecimal digits hold; a board has less memory.
	maxContent = 1<<32 - 1
)

// Archive packs entries in the order given. A folder comes before what is in it; names are clean and stand once.
func Archive(entries []Entry) ([]byte, error) {
	var b bytes.Buffer
	folders := map[string]bool{".": true}
	seen := map[string]bool{}
	for i, e := range entries {
		if err := check(e, folders, seen); err != nil {
			return nil, err
		}
		seen[e.Name] = true
		mode := typeFile | uint32(e.Mode.Perm())
		if e.Mode.IsDir() {
			mode = typeDir | uint32(e.Mode.Perm())
			folders[e.Name] = true
		}
		write(&b, i+1, e.Name, mode, e.Content)
	}
	write(&b, 0, "TRAILER!!!", 0, nil)
	return b.Bytes(), nil
}

func check(e Entry, folders, seen map[string]bool) error {
	switch {
	case e.Name == "" || path.IsAbs(e.Name) || path.Clean(e.Name) != e.Name || strings.HasPrefix(e.Name, "..") || strings.ContainsRune(e.Name, 0):
		return fmt.Errorf("cpio: %q is no clean name below the root", e.Name)
	case seen[e.Name]:
		return fmt.Errorf("cpio: %s stands twice", e.Name)
	case !folders[path.Dir(e.Name)]:
		return fmt.Errorf("cpio: %s comes before its folder", e.Name)
	case e.Mode&^(fs.ModeDir|0o777) != 0:
		return fmt.Errorf("cpio: %s is neither a file nor a folder: %v", e.Name, e.Mode)
	case e.Mode.IsDir() && len(e.Content) > 0:
		return fmt.Errorf("cpio: %s is a folder with content", e.Name)
	case uint64(len(e.Content)) > maxContent:
		return fmt.Errorf("cpio: %s has %d bytes", e.Name, len(e.Content))
	}
	return nil
}

func write(b *bytes.Buffer, inode int, name string, mode uint32, content []byte) {
	// magic, inode, mode, uid, gid, links, date, size, four numbers of devices, the name's length with its zero, no checksum
	fmt.Fprintf(b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	b.WriteString(name + "\x00")
	pad(b)
	b.Write(content)
	pad(b)
}

func pad(b *bytes.Buffer) { b.Write(make([]byte, -b.Len()&3)) }
