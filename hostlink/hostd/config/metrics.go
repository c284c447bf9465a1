package config

import (
	"errors"
	"net/netip"
	"strings"
)

// UnixPrefix begins an address of metrics that is a socket's path.
const UnixPrefix = "unix:"

// CheckMetrics says why an address is none that metrics may be served on: a port
// of the loopback, as numbers, or a unix socket.
func CheckMetrics(address string) error {
	if path, ok := strings.CutPrefix(address, UnixPrefix); ok {
		if path == "" {
			return errors.New("unix: is followed by the path of a socket")
		}
		return nil
	}
	at, err := netip.ParseAddrPort(address)
	switch {
	case err != nil:
		return errors.New("write an address and a port such as \"127.0.0.1:9469\" or \"[::1]:9469\", or \"unix:PATH\"")
	case !at.Addr().IsLoopback():
		return errors.New("only the loopback, such as 127.0.0.1: nothing here asks who reads it, so put a web server that does before it")
	}
	return nil
}
