package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/hostlink/linkpipe"
)

// ErrGone is what core gets from a keeper that has ended. There is no other: core
// has to be started anew.
var ErrGone = errors.New("the keeper of the link process has ended: start the appliance again")

// Pipes are core's ends of the pipes to a keeper, as numbers of descriptors that
// stay open when core executes itself: "to,from,kill".
type Pipes string

// In the environment of a core that finds a keeper there, PipesTo names the pipes to it;
// None says in its place why there is none.
const PipesTo, None = "TOUCHMARK_KEEPER", "TOUCHMARK_NO_KEEPER"

// Numbered are pipes whose descriptors have numbers from first on.
func Numbered(first int) Pipes { return Pipes(fmt.Sprintf("%d,%d,%d", first, first+1, first+2)) }

// Launch starts a keeper: a program that calls Serve with its standard input and
// output and descriptor 3.
func Launch(begin Begin, program string, args ...string) (Pipes, error) {
	ends, err := Start(begin, os.Stderr, program, args...)
	if err != nil {
		return "", err
	}
	var numbers []string
	for _, f := range ends {
		fd, derr := stays(f)
		err = errors.Join(err, derr, f.Close())
		numbers = append(numbers, strconv.Itoa(fd))
	}
	return Pipes(strings.Join(numbers, ",")), err
}

// Start is Launch for a core that somebody else starts, who gives it the ends, in the order of Pipes, and closes them: the
// keeper ends when nobody has them open. It complains to complaints.
func Start(begin Begin, complaints *os.File, program string, args ...string) (ends [3]*os.File, err error) {
	var all [6]*os.File // core's and the keeper's end of each pipe
	for i := range 3 {
		r, w, perr := os.Pipe()
		if err = errors.Join(err, perr); err != nil {
			return ends, err
		}
		all[i], all[3+i] = w, r
	}
	all[1], all[4] = all[4], all[1] // from the keeper to core
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.ExtraFiles = []string{}, all[3], all[4], []*os.File{all[5]}
	cmd.Stderr = complaints
	if err := begin(cmd); err != nil {
		return ends, fmt.Errorf("starting the keeper of the link process: %w", err)
	}
	for _, f := range all[3:] {
		err = errors.Join(err, f.Close())
	}
	return [3]*os.File(all[:3]), err
}

// stays is a descriptor of a file that outlasts executing.
func stays(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	cerr := raw.Control(func(have uintptr) { fd, err = unix.Dup(int(have)) })
	return fd, errors.Join(cerr, err)
}

// Keeper is core's side of one.
type Keeper struct {
	log  func(line string)
	from io.Reader
	gone chan struct{} // closed when nothing comes from it any more

	writing sync.Mutex // guards to
	to      io.Writer
	kill    io.Writer

	mu    sync.Mutex // guards what follows
	life  *Link
	count uint8
}

// Attach is core's side of a keeper that Launch has started. What link processes
// say on standard error goes to a log, in pieces of at most 4 KiB.
func Attach(p Pipes, log func(line string)) (*Keeper, error) {
	var files [3]*os.File
	numbers := strings.Split(string(p), ",")
	for i := range files {
		fd, err := strconv.Atoi(append(numbers, "", "", "")[i])
		if err != nil || fd < 3 || len(numbers) != 3 {
			return nil, fmt.Errorf("%q are no pipes to a keeper", p)
		}
		unix.CloseOnExec(fd)
		files[i] = os.NewFile(uintptr(fd), "keeper")
	}
	k := &Keeper{log: log, to: files[0], from: files[1], kill: files[2], gone: make(chan struct{})}
	go k.listen()
	return k, nil
}

// Gone is closed when the keeper has ended.
func (k *Keeper) Gone() <-chan struct{} { return k.gone }

// listen takes what comes from the keeper.
func (k *Keeper) listen() {
	defer close(k.gone)
	for {
		what, body, err := read(k.from)
		if err != nil {
			k.log("reading from its keeper: " + err.Error())
			return
		}
		switch l := k.present(); {
		case what == logs:
			k.log(string(body[:min(len(body), maxSaid)]))
		case l == nil:
		case what == data:
			_, _ = l.out.Write(body) // one that is closed takes no more
		case what == ended:
			l.finish(string(body))
		}
	}
}

// maxSaid bounds a line of the log.
const maxSaid = 4096

func (k *Keeper) present() *Link {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.life
}

func (k *Keeper) send(what kind, body []byte) error {
	k.writing.Lock()
	defer k.writing.Unlock()
	_, err := k.to.Write(marshal(what, body))
	return err
}

// Link is one link process.
type Link struct {
	*linkpipe.Conn
	k      *Keeper
	number uint8
	in     *io.PipeReader // what the process wrote
	out    *io.PipeWriter
	over   chan struct{} // closed when the process has ended
	once   sync.Once
}

// Start starts a link process. Close ends it.
func (k *Keeper) Start(ctx context.Context) (*Link, error) {
	if l := k.present(); l != nil {
		select {
		case <-l.over:
		case <-k.gone:
			return nil, ErrGone
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	k.mu.Lock()
	k.count++
	l := &Link{k: k, number: k.count, over: make(chan struct{})}
	l.in, l.out = io.Pipe()
	l.Conn = linkpipe.NewConn(l.in, toProcess{l})
	k.life = l
	k.mu.Unlock()
	if err := k.send(start, nil); err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrGone, err)
	}
	go func() {
		select {
		case <-k.gone:
			_ = l.out.CloseWithError(ErrGone)
		case <-l.over:
		}
	}()
	return l, nil
}

// finish is the end of the process.
func (l *Link) finish(how string) {
	err := io.EOF
	if how != "" {
		err = errors.New("the link process: " + how)
	}
	_ = l.out.CloseWithError(err)
	close(l.over)
}

// toProcess is the standard input of a link process.
type toProcess struct{ l *Link }

func (t toProcess) Write(b []byte) (int, error) {
	select {
	case <-t.l.over:
		return 0, io.ErrClosedPipe
	default:
	}
	if err := t.l.k.send(data, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close has the process end, and kills it if it does not. What it still says is
// thrown away.
func (l *Link) Close() error {
	l.once.Do(func() {
		late := time.AfterFunc(grace, func() { _, _ = l.k.kill.Write([]byte{l.number}) })
		defer late.Stop()
		_ = l.in.Close()
		_ = l.k.send(stop, nil) // waits for a process that does not read, until it is killed
		select {
		case <-l.over:
		case <-l.k.gone:
		}
	})
	return nil
}
