package keeper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"touchmark/hostlink/linkpipe"
)

// TestMain makes the test binary the keeper, and the link processes that it
// starts, each of which behaves in a way of its own.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "keep":
		err := Serve(os.Stdin, os.NewFile(3, "kills"), os.Stdout, func() *exec.Cmd {
			c := exec.Command(os.Args[0], "child", os.Args[2])
			c.Env = []string{"GORACE=atexit_sleep_ms=0"} // the race detector's exit takes a second else
			return c
		}, (*exec.Cmd).Start)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case len(os.Args) == 3 && os.Args[1] == "child":
		os.Exit(child0(os.Args[2]))
	default:
		os.Exit(m.Run())
	}
}

func child0(manner string) int {
	core := linkpipe.NewConn(os.Stdin, os.Stdout)
	if manner == "deaf" {
		select {}
	}
	for {
		m, err := core.Read()
		switch {
		case err != nil && manner == "stubborn":
			_ = core.Write(linkpipe.Msg{Kind: linkpipe.Log, Text: "no"})
			select {}
		case err != nil:
			return 0
		case bytes.HasPrefix(m.Body, []byte("crash")):
			return 7
		case bytes.HasPrefix(m.Body, []byte("complain")):
			fmt.Fprintln(os.Stderr, "a complaint")
		}
		if err := core.Write(m); err != nil {
			return 1
		}
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// kept is core with a keeper whose link processes behave in some manner.
func kept(t *testing.T, manner string) (k *Keeper, said *lines) {
	t.Helper()
	p, err := Launch((*exec.Cmd).Start, os.Args[0], "keep", manner)
	ok(t, err)
	said = &lines{}
	k, err = Attach(p, said.add)
	ok(t, err)
	t.Cleanup(func() {
		ok(t, k.to.(io.Closer).Close())
		<-k.Gone()
	})
	return k, said
}

// lines are a log that is read while it is written.
type lines struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.WriteString(line)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func starts(t *testing.T, k *Keeper) *Link {
	t.Helper()
	l, err := k.Start(t.Context())
	ok(t, err)
	return l
}

func msg(text string) linkpipe.Msg {
	return linkpipe.Msg{Kind: linkpipe.Message, SID: 1, Body: []byte(text)}
}

func echoes(t *testing.T, l *Link, text string) {
	t.Helper()
	ok(t, l.Write(msg(text)))
	if m, err := l.Read(); err != nil || string(m.Body) != text {
		t.Fatalf("%d bytes came back as %d, %v", len(text), len(m.Body), err)
	}
}

func TestOneAfterTheOther(t *testing.T) {
	k, _ := kept(t, "echo")
	for range 3 {
		l := starts(t, k)
		echoes(t, l, "small")
		echoes(t, l, strings.Repeat("x", linkpipe.MaxBody))
		ok(t, l.Close())
		ok(t, l.Close())
		if _, err := l.Read(); err == nil {
			t.Error("it reads on after its end")
		}
		if err := l.Write(msg("late")); err == nil {
			t.Error("it writes on after its end")
		}
	}
}

// A process that crashes ends its life, and nothing else.
func TestCrash(t *testing.T) {
	k, _ := kept(t, "echo")
	for range 2 {
		l := starts(t, k)
		echoes(t, l, "before")
		ok(t, l.Write(msg("crash")))
		if m, err := l.Read(); err == nil || !strings.Contains(err.Error(), "exit status 7") {
			t.Errorf("%+v, %v", m, err)
		}
		ok(t, l.Close())
	}
	echoes(t, starts(t, k), "after")
}

// One that does not end, or takes nothing, is killed.
func TestKilled(t *testing.T) {
	for _, manner := range []string{"stubborn", "deaf"} {
		t.Run(manner, func(t *testing.T) {
			t.Parallel()
			k, _ := kept(t, manner)
			l := starts(t, k)
			wrote := make(chan error)
			go func() { // more than all pipes hold, if it is not read
				defer close(wrote)
				for range 4 {
					if l.Write(msg(strings.Repeat("x", linkpipe.MaxBody))) != nil {
						return
					}
				}
			}()
			if manner == "stubborn" {
				for range 4 {
					_, err := l.Read()
					ok(t, err)
				}
			}
			ok(t, l.Close())
			<-wrote
			ok(t, starts(t, k).Close())
		})
	}
}

// What a process says on standard error is in the log, when it has ended: also
// when it was killed, because a busy machine did not let it end in time.
func TestLog(t *testing.T) {
	k, said := kept(t, "echo")
	l := starts(t, k)
	echoes(t, l, "complain")
	ok(t, l.Close())
	if !strings.Contains(said.String(), "a complaint") {
		t.Errorf("the log has %q", said.String())
	}
}

func TestCannotStart(t *testing.T) {
	to, core := io.Pipe()
	from, keeper := io.Pipe()
	over := make(chan error)
	go func() {
		over <- Serve(to, bytes.NewReader(nil), keeper, func() *exec.Cmd { return exec.Command("/no/such/program") }, (*exec.Cmd).Start)
	}()
	for range 2 {
		_, err := core.Write(marshal(start, nil))
		ok(t, err)
		if k, text, err := read(from); err != nil || k != ended || !strings.Contains(string(text), "no such file") {
			t.Errorf("%d, %q, %v", k, text, err)
		}
	}
	ok(t, core.Close())
	ok(t, <-over)
}

// A keeper that has gone ends everything that waits for it.
func TestGone(t *testing.T) {
	k, _ := kept(t, "echo")
	l := starts(t, k)
	ok(t, k.send(ended, nil)) // which core never sends: the keeper ends
	<-k.Gone()
	err := error(nil)
	for err == nil {
		_, err = l.Read()
	}
	if !errors.Is(err, ErrGone) && !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	ok(t, l.Close())
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for _, err := k.Start(ctx); !errors.Is(err, ErrGone); _, err = k.Start(ctx) {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAttachRefuses(t *testing.T) {
	for _, bad := range []Pipes{"", "3", "3,4", "1,2,3", "3,4,5,6", "a,b,c", "-1,-1,-1"} {
		if _, err := Attach(bad, func(string) {}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// FuzzRead: a frame that is read is the frame that is written.
func FuzzRead(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 1})
	f.Add([]byte{0, 0, 0, 3, 2, 'h', 'i'})
	f.Add([]byte{0, 0, 0, 1, 5})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, body, err := read(bytes.NewReader(b))
		if err == nil && !bytes.HasPrefix(b, marshal(k, body)) {
			t.Errorf("%x is read as kind %d, %x", b, k, body)
		}
	})
}
