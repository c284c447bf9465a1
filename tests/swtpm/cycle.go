package swtpm

import (
	"encoding/binary"
	"fmt"
)

// TPM_SU values of TPM2_Startup and TPM2_Shutdown (TPM 2.0 part 2, section 6.11).
const (
	suClear = 0
	suState = 1
)

// Cycle is a way to lose power and get it back (TPM 2.0 part 1, section 10.2.2).
type Cycle struct{ shutdown, startup uint16 }

// The orderly ways; PowerCycle is the other one.
var (
	Reset   = Cycle{suClear, suClear} // a reboot: PCRs are cleared, resetCount rises
	Restart = Cycle{suState, suClear} // a machine that hibernated: PCRs are cleared, restartCount rises
	Resume  = Cycle{suState, suState} // a machine that slept: PCRs are kept, restartCount rises
)

// Cycle has the TPM shut down, lose its power, and start.
func (s *Server) Cycle(c Cycle) error {
	if s.proxy != nil {
		s.proxy.mu.Lock()
		defer s.proxy.mu.Unlock()
	}
	if err := s.say("shutdown", 0x145, c.shutdown); err != nil {
		return err
	}
	if err := s.order("power cycle", ctrlInit, 0); err != nil {
		return err
	}
	return s.say("startup", 0x144, c.startup)
}

// say sends a command with one TPM_SU.
func (s *Server) say(what string, code uint32, su uint16) error {
	command := []byte{0x80, 0x01, 0, 0, 0, 12}
	command = binary.BigEndian.AppendUint32(command, code)
	command = binary.BigEndian.AppendUint16(command, su)
	response, err := exchange(s.path("raw"), command)
	if err != nil {
		return fmt.Errorf("swtpm: %s: %w", what, err)
	}
	if s.proxy != nil {
		s.proxy.record(command, response)
	}
	if code := binary.BigEndian.Uint32(response[6:]); code != 0 {
		return fmt.Errorf("swtpm: %s failed with %#x", what, code)
	}
	return nil
}
