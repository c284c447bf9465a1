package pivemu

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"touchmark/tests/pivemu/iso7816"
)

type application int

const (
	appNone application = iota
	appPIV
	appManagement
	appOTP
)

const insSelect = 0xa4

// Application identifiers, as far as a SELECT must give them: the PIV one is
// registered with NIST (SP 800-73-4 part 1 §2.2), the others with Yubico.
var aids = []struct {
	prefix []byte
	full   []byte
	app    application
}{
	{[]byte{0xa0, 0, 0, 3, 8}, []byte{0xa0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0}, appPIV},
	{[]byte{0xa0, 0, 0, 5, 0x27, 0x47, 0x11, 0x17}, []byte{0xa0, 0, 0, 5, 0x27, 0x47, 0x11, 0x17}, appManagement},
	{[]byte{0xa0, 0, 0, 5, 0x27, 0x20, 1}, []byte{0xa0, 0, 0, 5, 0x27, 0x20, 1, 1}, appOTP},
}

// selectApplication is SELECT by AID. Selecting the PIV application again, or
// another one, ends its authentications (SP 800-73-4 part 2 §3.1.1: the
// security status is kept only if the same application is selected again).
func (c *Card) selectApplication(cmd iso7816.Command) ([]byte, iso7816.SW) {
	if cmd.P1 != 0x04 {
		return nil, iso7816.NotFound
	}
	for _, a := range aids {
		if bytes.HasPrefix(cmd.Data, a.prefix) && bytes.HasPrefix(a.full, cmd.Data) {
			c.enter(a.app)
			return c.greeting(a.app), iso7816.OK
		}
	}
	return nil, iso7816.NotFound
}

func (c *Card) enter(app application) {
	if c.session.app != app {
		c.session = session{app: app}
	}
	c.session.challenge = pendingChallenge{}
}

func (c *Card) greeting(app application) []byte {
	switch app {
	case appManagement:
		return fmt.Appendf(nil, "Virtual mgr - FW version %s", c.profile.name)
	case appOTP:
		return c.otpStatus()
	}
	// Application property template with the PIX and the registering
	// authority (SP 800-73-4 part 2 table 3).
	return iso7816.TLV(0x61,
		iso7816.TLV(0x4f, aids[0].full[5:]),
		iso7816.TLV(0x79, iso7816.TLV(0x4f, aids[0].prefix)))
}

// Device information of the management application, as yubikit reads it.
const (
	insReadConfig      = 0x1d
	tagUSBSupported    = 0x01
	tagSerial          = 0x02
	tagUSBEnabled      = 0x03
	tagFormFactor      = 0x04
	tagVersion         = 0x05
	tagAutoEject       = 0x06
	tagResponseTimeout = 0x07
	tagDeviceFlags     = 0x08
	tagConfigLock      = 0x0a
	capabilityPIV      = 0x10
)

func (c *Card) management(cmd iso7816.Command) ([]byte, iso7816.SW) {
	if cmd.INS != insReadConfig {
		return nil, iso7816.UnknownInstruction
	}
	if cmd.P1 != 0 || cmd.P2 != 0 { // further pages of device information: none
		return nil, iso7816.WrongP1P2
	}
	var info []byte
	for _, t := range []struct {
		tag   uint32
		value []byte
	}{
		{tagUSBSupported, []byte{0, capabilityPIV}},
		{tagSerial, c.serialBytes()},
		{tagUSBEnabled, []byte{0, capabilityPIV}},
		{tagFormFactor, []byte{formFactor}},
		{tagVersion, c.profile.version[:]},
		{tagAutoEject, []byte{0, 0}},
		{tagResponseTimeout, []byte{15}},
		{tagDeviceFlags, []byte{0}},
		{tagConfigLock, []byte{0}},
	} {
		info = append(info, iso7816.TLV(t.tag, t.value)...)
	}
	return append([]byte{byte(len(info))}, info...), iso7816.OK
}

func (c *Card) serialBytes() []byte {
	return binary.BigEndian.AppendUint32(nil, c.state.Serial)
}

// otpStatus is the OTP application's status: version, programming sequence 0,
// no configured slot.
func (c *Card) otpStatus() []byte {
	return append(append([]byte{}, c.profile.version[:]...), 0, 0, 0)
}

func (c *Card) otp(cmd iso7816.Command) ([]byte, iso7816.SW) {
	switch {
	case cmd.INS == 0x03:
		return c.otpStatus(), iso7816.OK
	case cmd.INS == 0x01 && cmd.P1 == 0x10:
		return c.serialBytes(), iso7816.OK
	}
	return nil, iso7816.UnknownInstruction
}
