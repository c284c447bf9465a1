package verify

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"

	"touchmark/appliance/update"
	"touchmark/image/card"
	"touchmark/image/manifest"
)

// Names of a build's files that are known by more than their hash.
const (
	ManifestFile = "manifest.json"
	slotFile     = "slot.img"
	cardFile     = "sdcard.img"
)

// Folder holds a build's whole folder against its manifest and says, sorted, what of it is another, is missing or is there
// too; nothing for the published build. What carries a signature may be signed by somebody (boot.sig, slot), with a key must
// be signed by it; a card too then, of which [Card] does not compare all, and which without a key is the published one or
// another. Files of dir must be readable at any place ([io.ReaderAt]). An error is [ErrRead]: then
// nothing is known of the folder.
func Folder(dir fs.FS, m manifest.Manifest, key *rsa.PublicKey) (other []string, err error) {
	missing := map[string]manifest.File{}
	folders := map[string]bool{".": true}
	for _, f := range m.Files {
		missing[f.Name], folders[path.Dir(f.Name)] = f, true
	}
	err = fs.WalkDir(dir, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		published, listed := missing[name]
		delete(missing, name)
		switch {
		case e.IsDir() && folders[name]:
		case e.IsDir():
			other = append(other, name+": no folder of the build")
			return fs.SkipDir
		case !listed && name != ManifestFile:
			other = append(other, name+": no file of the build")
		case !e.Type().IsRegular():
			other = append(other, name+": no plain file")
		default:
			differs, err := fileDiffers(dir, name, published, m, key)
			if differs != nil {
				other = append(other, fmt.Sprintf("%s: %v", name, differs))
			}
			return err
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRead, err)
	}
	for name := range maps.Keys(missing) {
		other = append(other, name+": missing")
	}
	slices.Sort(other)
	return other, nil
}

// fileDiffers says why a file of a build's folder is not the published one, if it is not.
func fileDiffers(dir fs.FS, name string, published manifest.File, m manifest.Manifest, key *rsa.PublicKey) (differs, err error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if name == ManifestFile {
		return manifestDiffers(f, m)
	}
	if key == nil || !carriesSignature(name) {
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return nil, err
		}
		sum := fmt.Sprintf("%x", h.Sum(nil))
		if sum == published.SHA256 {
			return nil, nil
		}
		if !carriesSignature(name) || name == cardFile {
			return fmt.Errorf("has SHA-256 %s, published is %s", sum, published.SHA256), nil
		}
	}
	r, ok := f.(io.ReaderAt)
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.ErrUnsupported}
	}
	return signedDiffers(r, name, m, key)
}

func carriesSignature(name string) bool {
	return name == card.SigFile || name == slotFile || name == cardFile
}

// signedDiffers looks at what carries a signature, and so may have another hash than the published.
func signedDiffers(r io.ReaderAt, name string, m manifest.Manifest, key *rsa.PublicKey) (differs, err error) {
	if name == cardFile {
		report, err := Card(r, m, key)
		if errors.Is(err, ErrRead) {
			return nil, err
		}
		for _, s := range update.Slots {
			if other := report.Of(s).Other; err == nil && other != nil {
				err = fmt.Errorf("slot %s: %w", s, other)
			}
		}
		return err, nil
	}
	b, err := io.ReadAll(io.NewSectionReader(r, 0, slotBytes+1))
	if err != nil {
		return nil, err
	}
	found, differs := signedFile(b, m, key)
	if want := map[string]string{card.SigFile: card.SigFile, slotFile: "slot"}[name]; differs == nil && found != want {
		differs = fmt.Errorf("it is no %s", name)
	}
	return differs, nil
}

// manifestDiffers holds a folder's own manifest against the one that was named.
func manifestDiffers(r io.Reader, m manifest.Manifest) (differs, err error) {
	b, err := io.ReadAll(io.LimitReader(r, manifest.MaxBytes+1))
	if err != nil {
		return nil, err
	}
	ours, err := m.Bytes()
	if err != nil {
		return nil, err
	}
	if bytes.Equal(b, ours) {
		return nil, nil
	}
	theirs, err := manifest.Parse(b)
	if err != nil {
		return err, nil
	}
	if d := manifest.Differences(theirs, m); d != nil {
		return fmt.Errorf("it differs in %d things from the manifest that was named, first in %s", len(d), d[0]), nil
	}
	return nil, nil
}
