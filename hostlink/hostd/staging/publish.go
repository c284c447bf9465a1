package staging

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/hostlink/hostd/round"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledgerstore/durable"
)

// Signature is what was made of an item.
type Signature struct {
	Signature, Proof []byte
}

// Publish puts a snapshot in the place that clients are served from. signature
// gives what belongs to an item. It may be called again for the snapshot that is
// published already.
func (r *Repository) Publish(number uint64, items []round.Item, signature func(round.Item) (*Signature, error)) error {
	at, err := r.Published()
	if err != nil {
		return err
	}
	if at != number {
		if err := r.complete(number, items, signature); err != nil {
			return err
		}
		if err := r.exchange(number); err != nil {
			return err
		}
	}
	return r.settle(number)
}

func (r *Repository) at(step string) {
	if r.step != nil {
		r.step(step)
	}
}

// complete adds signatures, proofs and their symbolic links to a snapshot.
func (r *Repository) complete(number uint64, items []round.Item, signature func(round.Item) (*Signature, error)) error {
	dir := r.generation(number)
	if err := durable.Sweep(durable.OS, dir); err != nil {
		return err
	}
	links, err := linksIn(dir)
	if err != nil {
		return err
	}
	for _, it := range items {
		s := r.signOf(it)
		if s == nil {
			return fmt.Errorf("%w: the rule does not sign %s as %s any more", ErrDamaged, it.Name, it.Format)
		}
		if err := s.verify(dir, it); err != nil {
			return err
		}
		sig, err := signature(it)
		if err != nil {
			return err
		}
		if err := r.write(dir, it.Name, links[it.Name], s, sig); err != nil {
			return err
		}
	}
	if err := durable.Replace(filepath.Join(dir, marker), r.markerText(number), 0o644); err != nil {
		return err
	}
	r.at("complete")
	return durable.SyncAll(dir)
}

// signOf finds how an item is signed.
func (r *Repository) signOf(it round.Item) *Sign {
	i := slices.IndexFunc(r.Sign, func(s Sign) bool { return s.Format.Name == it.Format && matches(s.File, it.Name) })
	if i < 0 {
		return nil
	}
	return &r.Sign[i]
}

// verify hashes a snapshot's file once more.
func (s *Sign) verify(dir string, it round.Item) error {
	a := artifact{name: it.Name, sign: []*Sign{s}}
	hashes, all := a.hashes()
	f, err := os.Open(filepath.Join(dir, it.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrDamaged, it.Name)
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(all, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if now, err := hashes[0].item(it.Name, s); err != nil || now.Digest != it.Digest || now.Size != it.Size {
		return fmt.Errorf("%w: %s is not what was signed", ErrDamaged, it.Name)
	}
	return nil
}

// write puts one signature and its proof beside the file, and gives each symbolic
// link to the file, such as core.db to core.db.tar.gz, a link to its signature.
func (r *Repository) write(dir, name string, links []string, s *Sign, sig *Signature) error {
	data, err := s.file(filepath.Join(dir, name), sig.Signature)
	if err != nil {
		return err
	}
	out := s.output(name)
	if err := durable.Replace(filepath.Join(dir, out), data, 0o644); err != nil {
		return err
	}
	r.at("signature")
	if err := durable.Replace(filepath.Join(dir, s.proof(name)), sig.Proof, 0o644); err != nil {
		return err
	}
	for _, link := range links {
		if s.As != "" {
			break
		}
		link = filepath.Join(dir, link+out[len(name):])
		if err := durable.Symlink(out, link); err != nil {
			return err
		}
	}
	return nil
}

// file is what is published of a signature.
func (s *Sign) file(path string, sig []byte) ([]byte, error) {
	switch {
	case s.Format.Cleartext():
		document, err := os.ReadFile(path) // its size was bounded when it was hashed
		if err != nil {
			return nil, err
		}
		return openpgp.Clearsign(document, sig)
	case s.Armor:
		return openpgp.ArmorSignature(sig), nil
	}
	return sig, nil
}

// linksIn lists the symbolic links in a directory by the file that they lead to.
func linksIn(dir string) (map[string][]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrDamaged, dir)
	}
	links := map[string][]string{}
	for _, e := range entries {
		if e.Type() != fs.ModeSymlink {
			continue
		}
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			links[target] = append(links[target], e.Name())
		}
	}
	return links, err
}

// exchange is the one step in which clients come to see the snapshot.
func (r *Repository) exchange(number uint64) error {
	r.at("before the exchange")
	_, err := os.Lstat(r.Into)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = durable.OS.Rename(r.generation(number), r.Into)
	case err == nil:
		err = durable.Exchange(r.generation(number), r.Into)
	}
	r.at("exchanged")
	return err
}

// settle makes the exchange durable and sets aside what was published before.
func (r *Repository) settle(number uint64) error {
	for _, dir := range []string{filepath.Dir(r.Into), r.base()} {
		if err := durable.OS.SyncDir(dir); err != nil {
			return durable.Error("sync", dir, err)
		}
	}
	r.at("synced")
	before := r.generation(number)
	if _, err := os.Lstat(before); err != nil {
		return durable.IgnoreMissing(err)
	}
	dead := filepath.Join(r.base(), "dead") // so that what is called old is always whole
	if err := durable.IgnoreMissing(durable.OS.Rename(r.old(), dead)); err != nil {
		return err
	}
	r.at("old dead")
	return errors.Join(durable.OS.Rename(before, r.old()), os.RemoveAll(dead))
}

// StateOf reads the hash state of an item, for the request that has it signed.
func StateOf(it round.Item) (message.Digest, hashstate.State, error) {
	digest, err := message.ParseDigest(it.Digest)
	if err != nil {
		return digest, hashstate.State{}, err
	}
	state, err := hashstate.Parse(digest.Alg, it.State)
	return digest, state, err
}
