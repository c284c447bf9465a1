package pivemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"touchmark/tests/pivemu/attest"
	"touchmark/tests/pivemu/iso7816"
	"touchmark/tests/pivemu/pivkey"
)

// Factory values of a YubiKey.
const (
	factoryPIN = "123456"
	factoryPUK = "12345678"
)

// state is everything a token keeps without power.
type state struct {
	Profile    string
	Serial     uint32
	PIN, PUK   secret
	Management managementKey
	Keys       map[slot]*pivkey.Key
	Objects    map[objectID][]byte
}

// newState is a token as it leaves the factory, with its attestation key.
func newState(p profile, serial uint32) (*state, error) {
	s := &state{Profile: p.name, Serial: serial, Keys: map[slot]*pivkey.Key{}, Objects: map[objectID][]byte{}}
	s.wipe(p)
	alg := pivkey.P256
	if p.attestRSA {
		alg = pivkey.RSA2048
	}
	key, err := pivkey.Generate(alg)
	if err != nil {
		return nil, err
	}
	// As Yubico's manual of PIV commands shows it of a real one (GET METADATA): the maker imported it.
	k := &pivkey.Key{Alg: alg, PIN: pivkey.PINOnce, Touch: pivkey.TouchNone, Origin: pivkey.Imported, Private: key}
	cert, err := attest.Device(k.Public(), serial)
	if err != nil {
		return nil, err
	}
	s.Keys[slotAttestation] = k
	s.Objects[objAttestation] = certObject(cert)
	return s, nil
}

// wipe is a factory reset: everything but the attestation key and certificate.
func (s *state) wipe(p profile) {
	s.PIN = newSecret(factoryPIN, defaultRetries)
	s.PUK = newSecret(factoryPUK, defaultRetries)
	s.Management = managementKey{p.managedBy, pivkey.TouchNone, factoryManagement()}
	for id := range s.Keys {
		if id != slotAttestation {
			delete(s.Keys, id)
		}
	}
	for id := range s.Objects {
		if id != objAttestation {
			delete(s.Objects, id)
		}
	}
}

func (s *state) objectBytes() int {
	n := 0
	for _, o := range s.Objects {
		n += len(o)
	}
	return n
}

// certObject is the contents of a certificate object (part 1 appendix A):
// certificate, CertInfo "not compressed", empty error detection code.
func certObject(der []byte) []byte {
	return join(iso7816.TLV(0x70, der), iso7816.TLV(0x71, []byte{0}), iso7816.TLV(0xfe))
}

// store keeps the state in a file, replaced as a whole; without a path in
// memory only.
type store struct {
	path  string
	saved []byte // what was stored last
}

// load returns nil when there is no state yet.
func (st *store) load() (*state, error) {
	if st.path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(st.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pivemu: %w", err)
	}
	s, err := decodeState(b)
	if err != nil {
		return nil, fmt.Errorf("pivemu: %s is no token state: %w; remove it to get a new token", st.path, err)
	}
	st.saved = b
	return s, nil
}

func decodeState(b []byte) (*state, error) {
	if len(b) > maxStateFile {
		return nil, errors.New("it is too large")
	}
	s := &state{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, err
	}
	if err := s.valid(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *state) valid() error {
	switch {
	case len(s.PIN.Value) != pinLength || len(s.PUK.Value) != pinLength:
		return errors.New("PIN or PUK is missing")
	case len(s.Management.Key) != s.Management.Alg.keyLen():
		return errors.New("the management key is missing")
	case s.Keys == nil || s.Objects == nil:
		return errors.New("keys or objects are missing")
	}
	for id, k := range s.Keys {
		if k == nil || !id.valid() {
			return fmt.Errorf("slot %x is not valid", byte(id))
		}
	}
	return nil
}

// save replaces the file by renaming a complete one over it: a killed emulator
// leaves the old state or the new one. It does not sync, because an emulated
// token need not outlive a crash of its machine, and tests save often. On error
// the old file stands.
func (st *store) save(s *state) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if st.path != "" {
		if err := replaceFile(st.path, b); err != nil {
			return err
		}
	}
	st.saved = b
	return nil
}

func replaceFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
