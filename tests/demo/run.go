package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/tests/consumers"
	"touchmark/tests/world"
)

// story is the demo on its way: where things are and what the steps hand on.
type story struct {
	options
	n    *narrator
	term *terminal
	w    *world.World
	h    *hands

	repo     string    // the pacman repository
	pkg      string    // the package in it
	archives [2]string // its databases
	gpg      *consumers.GPG
}

// touchWindow is how long a YubiKey waits for a touch.
const touchWindow = 15 * time.Second

// run tells the whole story and stops everything at its end, whatever the end is.
func run(ctx context.Context, o options) (err error) {
	if err := consumers.Installed(); err != nil {
		return err
	}
	l, err := takeLock(o.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.release()) }()
	if err := clearDir(o.dir); err != nil {
		return err
	}
	s := &story{options: o, repo: filepath.Join(o.dir, "repo")}
	if !o.auto {
		if s.term, err = openTerminal(os.Stdin, os.Stdout); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.term.Restore()) }()
	}
	s.n = newNarrator(os.Stdout, isTerminal(os.Stdout))
	s.n.width = width(os.Stdout)
	defer func() { err = errors.Join(err, s.stop()) }()
	return s.tell(ctx)
}

func (s *story) tell(ctx context.Context) error {
	steps := []struct {
		title string
		do    func(context.Context) error
	}{
		{"Hardware: a TPM, a PIV token, a serial cable (all emulated)", s.hardware},
		{"The key ceremony", s.enrol},
		{"Board and host find each other", s.connect},
		{"A package, built by makepkg and signed", s.buildPackage},
		{"A repository, made by repo-add; both databases signed as one job", s.signDatabases},
		{"Do gpg, sqv and pacman accept it?", s.consume},
		{"Is it proved? The host checks offline, from what it pinned", s.prove},
		{"The auditor reads the whole log", s.audit},
		{"What evidence looks like", s.tamper},
	}
	for _, step := range steps {
		s.n.Step(step.title)
		if err := step.do(ctx); err != nil {
			return err
		}
	}
	s.epilogue()
	return nil
}

// stop ends everything that runs; what it published is complete then.
func (s *story) stop() error {
	if s.w == nil {
		return nil
	}
	w := s.w
	s.w = nil
	return w.Close()
}

func (s *story) log() string   { return filepath.Join(s.dir, "log") }
func (s *story) trust() string { return filepath.Join(s.dir, "trust") }

func (s *story) hardware(ctx context.Context) (err error) {
	s.w, err = world.New(ctx, world.Config{Dir: s.dir, Bin: s.bin, Window: touchWindow})
	if err != nil {
		return err
	}
	s.h = &hands{board: here{s.w}, n: s.n, term: s.term}
	s.n.Say("swtpm stands for the TPM 2.0, tests/pivemu for a YubiKey (firmware %s, serial %d), a pair of", s.w.Profile, world.Serial)
	s.n.Say("pseudo-terminals for the cable. All that talks to them is the real thing.")
	return nil
}

func (s *story) enrol(ctx context.Context) error {
	s.n.Say("The token makes its key (touch always, PIN once) and attests it; the TPM makes an attestation key and")
	s.n.Say("HEAD, an index that can only be extended; the genesis entry with all of it becomes the log's first.")
	if err := s.w.Enrol(ctx); err != nil {
		return err
	}
	if err := copyCert(s.w, s.dir); err != nil {
		return err
	}
	var err error
	if s.gpg, err = consumers.NewGPG(ctx, io.Discard, filepath.Join(s.dir, "gnupg"), filepath.Join(s.dir, "cert.asc")); err != nil {
		return err
	}
	fpr, err := s.gpg.Fingerprint(ctx)
	if err != nil {
		return err
	}
	s.n.Good("OpenPGP certificate %s: %s", shorten(filepath.Join(s.dir, "cert.asc")), fpr)
	s.n.Good("what hosts and auditors pin: %s", shorten(s.w.Trust))
	s.n.Good("what those present would sign: %s", shorten(s.w.Transcript()))
	return nil
}

func (s *story) connect(ctx context.Context) error {
	if err := s.w.StartAppliance(ctx); err != nil {
		return err
	}
	if err := s.w.StartHostd(ctx); err != nil {
		return err
	}
	s.n.Good("touchmark-appliance is up: time confirmed, PIN typed, token ready")
	s.n.Good("touchmark-hostd has mirrored the log and checked it against the TPM's attestation")
	return nil
}

func (s *story) buildPackage(ctx context.Context) (err error) {
	if err := os.MkdirAll(s.repo, 0o755); err != nil {
		return err
	}
	if s.pkg, err = (consumers.Package{Name: "hello-touchmark", Version: "1.0"}).Build(ctx, s.repo); err != nil {
		return err
	}
	s.n.Good("makepkg built %s", filepath.Base(s.pkg))
	return s.sign(ctx, s.pkg)
}

func (s *story) signDatabases(ctx context.Context) (err error) {
	if err := s.keepEarlierLog(ctx); err != nil {
		return err
	}
	db := filepath.Join(s.repo, "demo.db.tar.gz")
	s.n.Run("repo-add", filepath.Base(db), filepath.Base(s.pkg))
	if s.archives, err = consumers.RepoAdd(ctx, io.Discard, db, s.pkg); err != nil {
		return err
	}
	if err := s.sign(ctx, s.archives[:]...); err != nil {
		return err
	}
	if err := consumers.LinkSignatures(s.archives); err != nil {
		return err
	}
	const proof = "demo.db.tar.gz.tmproof"
	b, err := os.ReadFile(filepath.Join(s.repo, proof))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, proof), b, 0o644)
}

// keepEarlierLog copies the log as it is now, for the forger of the last chapter.
func (s *story) keepEarlierLog(ctx context.Context) error {
	r, err := s.w.Run(ctx, s.dir, "touchmark", "publish") // which is to say: wait until all is published
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("touchmark publish: exit code %d: %s", r.Code, r.Stderr)
	}
	return errors.Join(err, copyTree(filepath.Join(s.dir, "tampered", "rolled-back"), s.log()))
}

// sign has files signed by the real command while the operator attends the board. A person who denies, or lets the touch
// time out, has seen what that looks like and is asked again.
func (s *story) sign(ctx context.Context, files ...string) error {
	args := []string{"sign"}
	for _, f := range files {
		args = append(args, filepath.Base(f))
	}
	err := s.attended(ctx, args)
	var refused *refusedError
	for s.term != nil && errors.As(err, &refused) {
		s.n.Bad("exit code %d: nothing was written, and the log holds what happened. The story needs that signature: once more.", refused.code)
		err = s.attended(ctx, args)
	}
	for _, f := range files {
		if err == nil {
			s.n.Good("%s.sig and %s.tmproof", filepath.Base(f), filepath.Base(f))
		}
	}
	return err
}

// attended runs the client with the operator at the board.
func (s *story) attended(ctx context.Context, args []string) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	attended := make(chan error, 1)
	s.h.FromNow()
	go func() {
		err := s.h.Attend(ctx)
		if err != nil {
			stop()
		}
		attended <- err
	}()
	err := s.touchmark(ctx, args...)
	stop()
	return errors.Join(err, <-attended)
}

// refusedError is a job that the operator did not let pass.
type refusedError struct{ code int }

func (e *refusedError) Error() string {
	return fmt.Sprintf("touchmark: exit code %d (docs/host-guide.md says what it means)", e.code)
}

// touchmark runs the client in the repository and quotes what it says: at once, or at its end if the operator's display
// has the screen meanwhile.
func (s *story) touchmark(ctx context.Context, args ...string) error {
	s.n.Run(append([]string{"touchmark"}, args...)...)
	cmd := s.w.Command(ctx, s.repo, "touchmark", args...)
	var said bytes.Buffer
	cmd.Stdout = &said
	if s.term == nil {
		cmd.Stdout = &quoter{n: s.n}
	}
	cmd.Stderr = cmd.Stdout
	err := world.Exited(cmd.Run())
	if said.Len() > 0 {
		s.n.Quote(said.String())
	}
	switch code := cmd.ProcessState.ExitCode(); {
	case err != nil || code == 0:
		return err
	case code == api.Denied || code == api.TimedOut:
		return &refusedError{code}
	default:
		return fmt.Errorf("touchmark %s: exit code %d (docs/host-guide.md says what it means)", args[0], code)
	}
}

func (s *story) consume(ctx context.Context) error {
	cert := filepath.Join(s.dir, "cert.asc")
	for _, f := range []string{s.pkg, s.archives[0], s.archives[1]} {
		if err := s.gpg.Verify(ctx, f+".sig", f); err != nil {
			return err
		}
		if err := consumers.SQV(ctx, io.Discard, cert, f+".sig", f); err != nil {
			return err
		}
		s.n.Good("gpg --verify and sqv: %s", filepath.Base(f))
	}
	var said bytes.Buffer
	pac, err := consumers.NewPacman(&said, filepath.Join(s.dir, "client"), s.gpg, "demo", s.repo)
	if err != nil {
		return err
	}
	s.n.Run("pacman -Sy   (SigLevel = Required DatabaseRequired)")
	if err := pac.Sync(ctx); err != nil {
		return err
	}
	s.n.Run("pacman -Sw hello-touchmark")
	if err := pac.Download(ctx, "hello-touchmark"); err != nil {
		return err
	}
	s.n.Quote(withoutBlank(said.String()))
	s.n.Good("pacman took the database and the package")
	return nil
}

func (s *story) prove(ctx context.Context) error {
	return s.touchmark(ctx, "verify", filepath.Base(s.pkg), filepath.Base(s.archives[0]), filepath.Base(s.archives[1]))
}

func (s *story) epilogue() {
	s.n.Step("Done. Everything is stopped; what it made is in " + shorten(s.dir))
	s.n.Say("Try next:")
	s.n.Say("  make demo-up                    the same world, left running: sign your own files")
	s.n.Say("  DEMO_TOUCH=ask make demo-up     … and be the operator yourself")
	s.n.Say("  build/bin/touchmark-audit verify %s --trust %s", shorten(s.log()), shorten(s.trust()))
	s.n.Say("  gpg --homedir %s --verify %s", shorten(s.gpg.Home), shorten(s.archives[0]+".sig"))
	s.n.Say("  docs/threat-model.md            what all this is worth, and what it is not")
}

// withoutBlank drops empty lines from what a program printed.
func withoutBlank(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if strings.TrimSpace(line) != "" {
			b.WriteString(line)
		}
	}
	return b.String()
}
