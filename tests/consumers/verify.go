package consumers

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// GPG is GnuPG with a home of its own that knows one certificate and trusts it.
type GPG struct {
	Home string
	Log  io.Writer
}

// NewGPG makes the home and imports the certificate (armored or binary), trusting it ultimately, as a distribution's
// keyring package would have pacman do.
func NewGPG(ctx context.Context, log io.Writer, home, certificate string) (*GPG, error) {
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	// pacman looks for a public keyring under its old name; gpg uses that one where it exists.
	if err := os.WriteFile(filepath.Join(home, "pubring.gpg"), nil, 0o600); err != nil {
		return nil, err
	}
	g := &GPG{Home: home, Log: log}
	if _, err := g.run(ctx, "--import", certificate); err != nil {
		return nil, err
	}
	fpr, err := g.Fingerprint(ctx)
	if err != nil {
		return nil, err
	}
	trust := filepath.Join(home, "ownertrust.txt")
	if err := os.WriteFile(trust, []byte(fpr+":6:\n"), 0o600); err != nil {
		return nil, err
	}
	_, err = g.run(ctx, "--import-ownertrust", trust)
	return g, err
}

func (g *GPG) run(ctx context.Context, args ...string) (string, error) {
	argv := append([]string{"gpg", "--homedir", g.Home, "--batch", "--no-autostart", "--no-tty"}, args...)
	return command{argv: argv, log: g.Log}.run(ctx)
}

// Fingerprint is that of the first certificate in the home.
func (g *GPG) Fingerprint(ctx context.Context) (string, error) {
	out, err := g.run(ctx, "--list-keys", "--with-colons")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if f := strings.Split(line, ":"); f[0] == "fpr" && len(f) > 9 {
			return f[9], nil
		}
	}
	return "", fmt.Errorf("gpg lists no key in %s", g.Home)
}

// Primary is what gpg lists of the first certificate's primary key.
type Primary struct {
	Validity string // r: revoked, e: expired
	Expires  string // seconds since 1970, empty for never
}

// Primary is what gpg makes of the first certificate in the home.
func (g *GPG) Primary(ctx context.Context) (Primary, error) {
	out, err := g.run(ctx, "--list-keys", "--with-colons")
	if err != nil {
		return Primary{}, err
	}
	for line := range strings.Lines(out) {
		if f := strings.Split(line, ":"); f[0] == "pub" && len(f) > 6 {
			return Primary{f[1], f[6]}, nil
		}
	}
	return Primary{}, fmt.Errorf("gpg lists no key in %s", g.Home)
}

// Verify wants GnuPG to call the detached signature good and valid; an exit code alone is not enough.
func (g *GPG) Verify(ctx context.Context, sig, file string) error { return g.good(ctx, sig, file) }

// VerifyText wants that of a text with its signature, in one file.
func (g *GPG) VerifyText(ctx context.Context, file string) error { return g.good(ctx, file) }

func (g *GPG) good(ctx context.Context, files ...string) error {
	out, err := g.run(ctx, append([]string{"--status-fd", "1", "--verify"}, files...)...)
	if err != nil {
		return err
	}
	for _, want := range []string{"[GNUPG:] GOODSIG ", "[GNUPG:] VALIDSIG ", "[GNUPG:] TRUST_ULTIMATE"} {
		if !strings.Contains(out, want) {
			return fmt.Errorf("gpg --verify %s: no %q in: %s", files[0], want, out)
		}
	}
	return nil
}

// SQV has Sequoia's sqv check a detached signature against the certificate.
func SQV(ctx context.Context, log io.Writer, certificate, sig, file string) error {
	_, err := command{argv: []string{"sqv", "--keyring", certificate, sig, file}, log: log}.run(ctx)
	return err
}

// Pacman is pacman with a root, databases, cache and configuration of its own.
type Pacman struct {
	Dir string // everything below here
	Log io.Writer
}

// pacmanConf demands signatures on database and packages from a key the gpgdir trusts. XferCommand is absent: libalpm's
// own downloader reads file:// as it reads https://.
const pacmanConf = `[options]
RootDir = %[1]s/root
DBPath = %[1]s/db
CacheDir = %[1]s/cache
GPGDir = %[2]s
LogFile = %[1]s/pacman.log
HookDir = %[1]s/hooks
Architecture = auto
SigLevel = Required DatabaseRequired TrustedOnly

[%[3]s]
Server = file://%[4]s
`

// NewPacman configures a client of the repository name in repoDir that trusts what is in gpg's home.
func NewPacman(log io.Writer, dir string, gpg *GPG, name, repoDir string) (*Pacman, error) {
	abs := make([]string, 3)
	for i, p := range []string{dir, gpg.Home, repoDir} {
		var err error
		if abs[i], err = filepath.Abs(p); err != nil {
			return nil, err
		}
	}
	if _, err := mkdirs(abs[0], "root", "db", "cache", "hooks"); err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(pacmanConf, abs[0], abs[1], name, abs[2])
	return &Pacman{Dir: abs[0], Log: log}, os.WriteFile(filepath.Join(abs[0], "pacman.conf"), []byte(conf), 0o644)
}

// run runs pacman without questions. Root is needed only for changing a system; here fakeroot satisfies the question.
func (p *Pacman) run(ctx context.Context, args ...string) (string, error) {
	argv := append([]string{"pacman", "--config", filepath.Join(p.Dir, "pacman.conf"), "--noconfirm", "--noprogressbar", "--color", "never"}, args...)
	if os.Geteuid() != 0 {
		argv = append([]string{"fakeroot"}, argv...)
	}
	return command{argv: argv, dir: p.Dir, log: p.Log, env: []string{"HOME=" + p.Dir}}.run(ctx)
}

// Sync fetches and verifies the repository's database (-Sy twice the y: also when it looks up to date).
func (p *Pacman) Sync(ctx context.Context) error {
	_, err := p.run(ctx, "-Syy")
	return err
}

// Download fetches a package and checks it against the signature in the database, without installing.
func (p *Pacman) Download(ctx context.Context, pkg string) error {
	_, err := p.run(ctx, "-Sw", pkg)
	return err
}

// Install puts the package into the client's own root.
func (p *Pacman) Install(ctx context.Context, pkg string) error {
	_, err := p.run(ctx, "-S", "--noscriptlet", pkg)
	return err
}

// InstallFile puts a package from a file into the client's own root, checking the signature beside it.
func (p *Pacman) InstallFile(ctx context.Context, file string) error {
	_, err := p.run(ctx, "-U", "--noscriptlet", file)
	return err
}
