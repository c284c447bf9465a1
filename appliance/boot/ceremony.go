package boot

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// CeremonyFile is the name of a ceremony file on a stick.
const CeremonyFile = "touchmark-ceremony"

// Ceremony is what administrators want done at the board, whose image has no
// shell: one command of touchmark-appliance, with the stick in the place of a
// working directory.
type Ceremony struct {
	Command string
	args    []argument
}

type argument struct {
	flag, value string
	kind        kind
}

// kind says what a flag takes.
type kind int

const (
	word kind = iota // a value
	file             // a name on the stick
	yes              // nothing
)

// command is one that a stick may ask for.
type command struct {
	board []string // flags that are the board's to give
	flags map[string]kind
}

// Flags that are the board's to give.
const (
	dirFlag      = "dir"
	tpmFlag      = "tpm"
	operatorFlag = "operator"
)

var commands = map[string]command{
	"enroll": {[]string{dirFlag, tpmFlag, operatorFlag}, map[string]kind{
		"policy": file, "uid": word, "trust-out": file, "auditor-nonce": word, "hierarchy-auth-out": file, "transcript": file,
		"predecessor": file, "same-head": yes, "throwaway": yes, "set-pin": yes, "replace-key": yes, "backup-serial": word, "backup-key": word,
		"expires": word, "management-key-out": file, "backup-recipient": word, "revocation-out": file, "revocation-recipient": word, "serial": word,
	}},
	"token-key new": {[]string{operatorFlag}, map[string]kind{
		"policy": file, "name": word, "uid": word, "out": file, "management-key": file, "identity": file, "set-pin": yes, "replace-key": yes,
		"throwaway": yes, "expires": word, "management-key-out": file, "backup-recipient": word, "revocation-out": file, "revocation-recipient": word, "serial": word,
	}},
	"answer":          {[]string{dirFlag, tpmFlag}, map[string]kind{"challenge": file, "out": file, "hierarchy-auth": file, "identity": file}},
	"restore-log-key": {[]string{dirFlag}, map[string]kind{"backup": file, "identity": file}},
}

// ParseCeremony reads a ceremony file:
//
//	touchmark/ceremony/v1
//	enroll
//	policy policy.note
//	uid Example Packages <packages@example.org>
//	trust-out trust
//
// The second line is a command, each further one a flag of it with its value.
// Names of files are those of files and directories on the stick itself, of at
// most 64 letters, digits, dots, hyphens and underscores. Lines end with LF or, because
// sticks come from everywhere, with CR LF.
func ParseCeremony(b []byte) (*Ceremony, error) {
	if len(b) > maxCeremony {
		return nil, fmt.Errorf("the ceremony file has over %d bytes", maxCeremony)
	}
	lines := strings.Split(strings.TrimSuffix(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n"), "\n")
	if len(lines) < 2 || len(lines) > maxLines || lines[0] != "touchmark/ceremony/v1" {
		return nil, errors.New("the ceremony file's first line is not touchmark/ceremony/v1, or it has no command, or too many lines")
	}
	known, ok := commands[lines[1]]
	if !ok {
		return nil, fmt.Errorf("the ceremony file's command %.40q is not one that a stick may ask for", lines[1])
	}
	c := &Ceremony{Command: lines[1]}
	for _, line := range lines[2:] {
		flag, value, _ := strings.Cut(line, " ")
		k, ok := known.flags[flag]
		if !ok {
			return nil, fmt.Errorf("the ceremony file's %.40q is no flag of %s", flag, c.Command)
		}
		if err := k.check(value); err != nil {
			return nil, fmt.Errorf("the ceremony file's %s: %w", flag, err)
		}
		c.args = append(c.args, argument{flag, value, k})
	}
	return c, nil
}

func (k kind) check(value string) error {
	switch {
	case k == yes && value != "":
		return errors.New("it takes no value")
	case k != yes && (value == "" || len(value) > maxValue):
		return fmt.Errorf("it takes a value of at most %d bytes", maxValue)
	case k == file && (len(value) > 64 || strings.Trim(value, letters) != "" || value[0] == '.' || value[0] == '-'):
		return fmt.Errorf("%.80q is no plain name of a file", value)
	}
	for _, r := range value {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return errors.New("it has a character that is none")
		}
	}
	return nil
}

// Board is what a command needs to know of the board.
type Board struct{ Dir, TPM, Operator string }

// Args are the arguments of touchmark-appliance. Flags and values are one word
// each, so that a value can be no flag.
func (c *Ceremony) Args(stick string, b Board) []string {
	args := strings.Fields(c.Command)
	given := map[string]string{dirFlag: b.Dir, tpmFlag: b.TPM, operatorFlag: b.Operator}
	for _, flag := range commands[c.Command].board {
		args = append(args, "--"+flag+"="+given[flag])
	}
	for _, a := range c.args {
		switch a.kind {
		case yes:
			args = append(args, "--"+a.flag)
		case file:
			args = append(args, "--"+a.flag+"="+stick+"/"+a.value)
		case word:
			args = append(args, "--"+a.flag+"="+a.value)
		}
	}
	return args
}
