package world

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"time"
)

// Token talks to the control socket of the emulated token: what a hand does to a real one.
type Token struct{ control string }

// Touch touches the contact. It waits until the token asks for it, so that a touch is never too early.
func (t *Token) Touch(ctx context.Context) error {
	if err := t.Await(ctx); err != nil {
		return err
	}
	return t.Do(ctx, "touch")
}

// Await returns once the token is blinking for a touch.
func (t *Token) Await(ctx context.Context) error { return t.Do(ctx, "wait-touch") }

// Expire ends the present wait for a touch as if nobody had come.
func (t *Token) Expire(ctx context.Context) error { return t.Do(ctx, "timeout") }

// Pull takes the token out; Insert puts it back, its PIN no longer verified.
func (t *Token) Pull(ctx context.Context) error   { return t.Do(ctx, "pull") }
func (t *Token) Insert(ctx context.Context) error { return t.Do(ctx, "insert") }

// Mode sets what happens to touches: auto (touched at once), never, ask.
func (t *Token) Mode(ctx context.Context, mode string) error { return t.Do(ctx, "mode "+mode) }

// Do sends one control command and wants "ok" for an answer.
func (t *Token) Do(ctx context.Context, line string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", t.control)
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer func() { stop(); _ = conn.Close() }()
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return fmt.Errorf("token: %s: %w", line, err)
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return fmt.Errorf("token: %s: %w", line, err)
	}
	if word, rest, _ := strings.Cut(strings.TrimSpace(answer), " "); word != "ok" {
		return fmt.Errorf("token: %s: %s", line, rest)
	}
	return nil
}
