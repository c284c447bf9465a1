package message

import (
	"crypto/sha256"

	"touchmark/hostlink/message/canon"
)

// Challenge brings the board an auditor's challenge, docs/spec/audit.md §6. The
// text is carried, not read here: package tpm/audit/challenge does that.
type Challenge struct{ Text []byte }

// ChallengeID names a challenge where a Refused names a job: SHA-256 of its text.
// No approval has the same, for the texts begin with different lines.
func ChallengeID(text []byte) JobID { return JobID(sha256.Sum256(text)) }

// Marshal encodes m, nil if the text has no canonical form.
func (m *Challenge) Marshal() []byte {
	return oneBlock(ChallengeDomain, "challenge", m.Text)
}

func readChallenge(r *canon.Reader) *Challenge {
	return &Challenge{Text: r.Block("challenge", MaxChallenge)}
}

// Answer carries what the board answers. Its nonce says to which challenge.
type Answer struct{ Text []byte }

// Marshal encodes m, nil if the text has no canonical form.
func (m *Answer) Marshal() []byte {
	return oneBlock(AnswerDomain, "answer", m.Text)
}

func readAnswer(r *canon.Reader) *Answer {
	return &Answer{Text: r.Block("answer", MaxChallenge)}
}
