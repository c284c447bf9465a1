package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
)

// Monitor is QEMU's (docs/interop/qmp-spec.txt).
type Monitor struct {
	conn     net.Conn
	in       *json.Decoder
	happened []string // events that were read
}

// message is what the monitor says: an answer, or that something happened.
type message struct {
	Return json.RawMessage
	Error  *struct{ Desc string }
	Event  string
	Data   struct{ Device string }
}

// Listen is to be called before the machine is started: its monitor calls there, so nobody has to try until it is up.
func Listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // of a machine before
		return nil, err
	}
	return net.Listen("unix", path)
}

// Answer takes the call of a machine that was started, and closes calls. ended is closed when the machine has ended. The
// monitor's calls fail when ctx's time is over.
func Answer(ctx context.Context, calls net.Listener, ended <-chan struct{}) (*Monitor, error) {
	answered := make(chan struct{})
	defer close(answered)
	go func() {
		select {
		case <-ended: // then it calls no more
		case <-ctx.Done():
		case <-answered:
		}
		_ = calls.Close()
	}()
	conn, err := calls.Accept()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("QEMU's monitor does not call: %w", err), ctx.Err())
	}
	return greet(ctx, conn)
}

func greet(ctx context.Context, conn net.Conn) (*Monitor, error) {
	end, _ := ctx.Deadline()
	m := &Monitor{conn: conn, in: json.NewDecoder(conn)}
	var greeting any
	err := errors.Join(conn.SetDeadline(end), m.in.Decode(&greeting))
	if err == nil {
		_, err = m.Do("qmp_capabilities", nil)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return m, nil
}

// Close gives the connection up.
func (m *Monitor) Close() error { return m.conn.Close() }

// Do gives a command and answers what it returns; a device that is to go (device_del) is gone then.
func (m *Monitor) Do(command string, arguments map[string]any) (json.RawMessage, error) {
	if arguments == nil {
		arguments = map[string]any{}
	}
	b, err := json.Marshal(map[string]any{"execute": command, "arguments": arguments})
	if err != nil {
		return nil, err
	}
	if _, err = fmt.Fprintf(m.conn, "%s\n", b); err != nil {
		return nil, err
	}
	var returned json.RawMessage
	for gone := command != "device_del"; returned == nil || !gone; {
		answer, err := m.next()
		if err != nil {
			return nil, fmt.Errorf("QEMU: %s: %w", command, err)
		}
		if answer.Error != nil {
			return nil, fmt.Errorf("QEMU: %s: %s", command, answer.Error.Desc)
		}
		if answer.Return != nil {
			returned = answer.Return
		}
		gone = gone || answer.Event == "DEVICE_DELETED" && answer.Data.Device == arguments["id"]
	}
	return returned, nil
}

// next is what the monitor says next.
func (m *Monitor) next() (said message, err error) {
	if err = m.in.Decode(&said); err == nil && said.Event != "" {
		m.happened = append(m.happened, said.Event)
	}
	return said, err
}

// Happened are the names of all events until now, in their order.
func (m *Monitor) Happened() ([]string, error) {
	_, err := m.Do("query-status", nil) // what happened before its answer is read with it
	return m.happened, err
}

// Await waits for the next event of a name.
func (m *Monitor) Await(event string) error {
	for {
		switch said, err := m.next(); {
		case err != nil:
			return fmt.Errorf("QEMU: no event %s: %w", event, err)
		case said.Event == event:
			return nil
		}
	}
}
