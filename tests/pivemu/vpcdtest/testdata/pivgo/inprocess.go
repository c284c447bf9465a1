//go:build emulated

package main

import (
	"os"

	"touchmark/appliance/pcsc"
)

func init() { pcsc.Register(pcsc.DialBackend(os.Getenv("PIVEMU_SOCKET"))) }
