package output

import (
	"fmt"
	"strings"
	"time"

	"touchmark/hostlink/hostd/verify"
)

// Suffixes of what sign writes beside a file.
const (
	SignatureSuffix = ".sig"
	TextSuffix      = ".asc" // armored, or a text with its signature
	ProofSuffix     = ".tmproof"
)

// EmulatedNote is what is added for people to a signature that no real token made.
func EmulatedNote(f *verify.Facts) string {
	if f.Emulated {
		return " by an EMULATED token"
	}
	return ""
}

// Signature is a verified signature as --json shows it.
type Signature struct {
	File       string `json:"file"`
	Signature  string `json:"signature"`
	Proof      string `json:"proof"`
	Origin     string `json:"origin"`
	Class      string `json:"class"`
	Format     string `json:"format"`
	Name       string `json:"name"`
	Digest     string `json:"digest"`
	Size       uint64 `json:"size"`
	Key        string `json:"key"`
	UserID     string `json:"user_id"`
	Job        string `json:"job"`
	Created    string `json:"created"`
	Entry      uint64 `json:"entry"`
	Checkpoint uint64 `json:"checkpoint"`
	Host       string `json:"host"`
	Emulated   bool   `json:"emulated"`
	Standing   string `json:"standing,omitempty"` // of the key, as the trust file has it now
}

// Describe is a verified signature over the file at path, which stands in the file
// signature; the proof is taken to lie where sign writes it.
func Describe(path, signature string, f *verify.Facts) Signature {
	return Signature{
		File: path, Signature: signature, Proof: path + ProofSuffix, Origin: f.Origin, Class: f.Class, Format: f.Format, Name: f.Name,
		Digest: f.Digest.String(), Size: f.Size, Key: strings.ToUpper(fmt.Sprintf("%x", f.Key)), UserID: f.UserID, Job: f.Job.String(),
		Created: f.Created.Format(time.RFC3339), Entry: f.Index, Checkpoint: f.Checkpoint, Host: f.SubmittedBy, Emulated: f.Emulated, Standing: f.Cert.Standing(time.Now()),
	}
}
