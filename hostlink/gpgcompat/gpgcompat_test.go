package gpgcompat

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"touchmark/hostlink/message"
)

// TestParse: what people and tools may write otherwise than the recorded calls.
func TestParse(t *testing.T) {
	for line, want := range map[string]string{
		// dak: options with = and everything on pipes
		"--no-options --no-tty --batch --armour --personal-digest-preferences SHA256 --homedir /h --passphrase-file /p --keyring /k --secret-keyring /s --local-user=KEY --detach-sign": "sign openpgp-binary armor by [KEY] of - to - named stdin",
		// debsign of devscripts
		"--no-auto-check-trustdb --local-user KEY --clearsign --list-options no-show-policy-urls --armor --textmode --output f.asc f": "sign openpgp-cleartext armor by [KEY] of f to f.asc named f",
		"-uKEY -abo out.asc in":                   "sign openpgp-binary armor by [KEY] of in to out.asc named in",
		"-t --detach-sign -u KEY in":              "sign openpgp-text by [KEY] of in to in.sig named in",
		"--clear-sign in":                         "sign openpgp-cleartext by [] of in to in.asc named in",
		"--clearsi -u KEY -o - in":                "sign openpgp-cleartext by [KEY] of in to - named in",
		"--arm --detach-sig in":                   "sign openpgp-binary armor by [] of in to in.asc named in",
		"-a --no-armor -b in":                     "sign openpgp-binary by [] of in to in.sig named in",
		"--default-key A -u B -b -- -":            "sign openpgp-binary by [B] of - to - named stdin",
		"--digest-algo H10 -b -- -x":              "sign openpgp-binary sha512 by [] of -x to -x.sig named _-x",
		"--passphrase --batch -b x":               "sign openpgp-binary by [] of x to x.sig named x",
		"--passphrase-fd 0 -b x":                  "sign openpgp-binary by [] of x to x.sig named x",
		"--passphrase-fd 3 -b":                    "sign openpgp-binary by [] of - to - named stdin",
		"--passphrase secret -b x":                "sign openpgp-binary by [] of x to x.sig named x",
		"--status-file s -b -&3":                  "sign openpgp-binary by [] of -&3 to -&3.sig named _-_3 status s", // no special names without the option
		"-K":                                      "list ",
		"--with-colons --list-secret-keys -- a b": "list colons a b",
		"":                                 "pass",
		"-- -b":                            "pass",
		"file -b":                          "pass",
		"--verify a.sig a":                 "pass",
		"-d x":                             "pass",
		"--no-such-option -K":              "pass",
		"--quick-generate-key --sign-with": "pass",
		"--local-user":                     "pass",
		"-u --detach-sign":                 "pass", // the name of a key
		"--output=-b --verify x":           "pass",
		"--export-options export-minimal --export K": "pass",
	} {
		if got := describe(t, strings.Fields(line)); got != want {
			t.Errorf("gpg %s\n got %s\nwant %s", line, got, want)
		}
	}
}

// TestRefused: a signature that is not the one asked for is worse than none.
func TestRefused(t *testing.T) {
	for line, why := range map[string]string{
		"-s x":                         "holds the signed data",
		"--sign -u KEY":                "holds the signed data",
		"-se -r you x":                 "another command",
		"-sc x":                        "another command",
		"-b --clearsign x":             "together",
		"-b x y":                       "over 2 files",
		"-b x --yes":                   "--yes behind a file is a file to gpg, too: options come first",
		"-b --digest-algo SHA1 x":      "use SHA256, SHA384 or SHA512",
		"--set-notation a@b=c -b x":    "--set-notation: the appliance makes the signature",
		"-N a@b=c -b x":                "--set-notation",
		"--default-sig-expire 1y -b x": "--default-sig-expire",
		"--faked-system-time 20200101T000000 -b x": "--faked-system-time",
		"--not-dash-escaped --clearsign x":         "--not-dash-escaped",
		"-n -b x":                                  "--dry-run",
		"-b --no-such-option x":                    "the option --no-such-option, which GnuPG 2.2 does not have",
		"-bX x":                                    "the option -X, which GnuPG 2.2 does not have",
		"-b --no- x":                               "may mean several",
		"-b -u":                                    "-u without its argument",
		"-b --version":                             "another command",
		"-bK x":                                    "another command",
		"--batch --passphrase-fd 0 --clearsign":    "there is no passphrase",
		"-b --passphrase-fd=0x0 -- -":              "there is no passphrase",
		"-b --passphrase-fd 3 --enable-special-filenames -- -&3": "there is no passphrase",
		"-b --passphrase-fd x y":                                 "there is no passphrase",
	} {
		_, err := Parse(strings.Fields(line))
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), why) {
			t.Errorf("gpg %s: %v, want %s", line, err, why)
		}
	}
}

// TestOptionsAreGPGs holds the table against the gpg that is here. One of another version may have more.
func TestOptionsAreGPGs(t *testing.T) {
	out, err := exec.Command("gpg", "--no-options", "--dump-option-table").Output()
	if err != nil {
		t.Fatalf("%v: gpg is not installed? run make setup", err)
	}
	theirs := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		if f := strings.SplitN(line, ":", 4); len(f) == 4 {
			theirs[strings.Join(f[:3], ":")] = true
		}
	}
	n := 0
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		if n++; !theirs[strings.TrimSpace(line)] {
			t.Errorf("gpg has no %s", line)
		}
	}
	if n < 400 {
		t.Errorf("%d options", n)
	}
}

// TestNoSignatureUnseen: whatever stands around it, a command that signs is seen as one or refused, unless it is an
// argument or behind the first that is no option.
func TestNoSignatureUnseen(t *testing.T) {
	var plain []string
	for name, o := range long {
		if !o.arg && !o.command {
			plain = append(plain, "--"+name)
		}
	}
	slices.Sort(plain)
	rapid.Check(t, func(r *rapid.T) {
		args := rapid.SliceOfN(rapid.SampledFrom(append(plain, "-v", "-q", "-a", "-t")), 0, 6).Draw(r, "before")
		args = append(args, rapid.SampledFrom([]string{"-b", "-ab", "--detach-sign", "--detach", "--clearsign", "-s", "-vbs"}).Draw(r, "sign"))
		args = append(args, rapid.SliceOfN(rapid.String(), 0, 4).Draw(r, "after")...)
		if c, err := Parse(args); err == nil && c.Kind != Sign {
			r.Fatalf("%q is passed on", args)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"--status-fd=2\n-bsau\nKEY", "-sbo\nx.sig\n--\n-", "--enable-special-filenames\n--clearsign\n-&12", "-u\n", "--x=\n-b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse(strings.Split(text, "\n"))
		switch {
		case err != nil && !errors.Is(err, ErrRefused):
			t.Fatal(err)
		case err != nil || c.Kind != Sign:
			return
		}
		if c.Output == "" || c.Format.Name == "" {
			t.Errorf("%+v", c)
		}
		if name := c.Name([]byte(text)); message.ValidName(name) != nil {
			t.Errorf("name %q", name)
		}
	})
}
