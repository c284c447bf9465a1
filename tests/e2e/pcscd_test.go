package e2e

import (
	"os"
	"testing"

	"touchmark/hostlink/hostd/api"
	"touchmark/tests/pivemu/vpcdtest"
	"touchmark/tests/world"
)

// TestMain is also the inside of vpcdtest's namespaces.
func TestMain(m *testing.M) {
	vpcdtest.Main()
	os.Exit(m.Run())
}

// TestThroughSystemPCSCD runs the appliance's build with the tag pcscd over the real pcscd and vpcd, in namespaces where
// their fixed ports and paths are nobody else's. The test starts itself again inside.
func TestThroughSystemPCSCD(t *testing.T) {
	if addr := os.Getenv("VPCD_ADDR"); addr != "" {
		insidePCSCD(t, addr)
		return
	}
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := vpcdtest.Command(t.Context(), vpcdtest.Options{Dir: t.TempDir(), NoToken: true}, self, "-test.run=^TestThroughSystemPCSCD$", "-test.v")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
}

func insidePCSCD(t *testing.T, addr string) {
	t.Helper()
	r := up(t, world.Config{ViaPCSCD: true, VPCD: addr})
	f := r.file("f", 1000)
	r.sign(nil, f)
	r.sign([]string{"--hash", "sha512"}, r.file("a", 100), r.file("b", 100))
	r.consumers(f)

	// The token is pulled but not put back: pcscd looks at its reader every 400 ms only and, with vpcd, takes a token that
	// was out for less for one that never left. Re-insertion is TestTokenPulled's.
	g := r.file("g", 100)
	s := r.ask(nil, g).arm()
	r.must(r.Token.Await(r.ctx))
	r.must(r.Token.Pull(r.ctx))
	s.end(api.DeviceFault)
	r.unsigned(g)
	r.clean()
}
