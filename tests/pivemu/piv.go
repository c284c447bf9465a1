package pivemu

import "touchmark/tests/pivemu/iso7816"

// Instructions of the PIV application: SP 800-73-4 part 2 §3, and Yubico's
// extensions (developers.yubico.com/PIV/Introduction/Yubico_extensions.html).
const (
	insVerify          = 0x20
	insChangeReference = 0x24
	insResetRetry      = 0x2c
	insGenerate        = 0x47
	insAuthenticate    = 0x87
	insGetData         = 0xcb
	insPutData         = 0xdb
	insMoveKey         = 0xf6
	insMetadata        = 0xf7
	insSerial          = 0xf8
	insAttest          = 0xf9
	insSetRetries      = 0xfa
	insReset           = 0xfb
	insVersion         = 0xfd
	insImport          = 0xfe
	insSetManagement   = 0xff
)

func (c *Card) piv(cmd iso7816.Command) ([]byte, iso7816.SW) {
	switch cmd.INS {
	case insVersion:
		return c.profile.version[:], iso7816.OK
	case insSerial:
		return c.serialBytes(), iso7816.OK
	case insMetadata:
		return c.metadata(cmd)
	case insAttest:
		return c.attest(cmd)
	case insAuthenticate:
		return c.authenticate(cmd)
	case insGenerate:
		return c.generate(cmd)
	case insGetData:
		return c.getData(cmd)
	}
	return nil, c.pivStatus(cmd)
}

// pivStatus executes the commands that answer with a status word only.
func (c *Card) pivStatus(cmd iso7816.Command) iso7816.SW {
	switch cmd.INS {
	case insVerify:
		return c.verify(cmd)
	case insChangeReference:
		return c.changeReference(cmd)
	case insResetRetry:
		return c.resetRetry(cmd)
	case insSetRetries:
		return c.setRetries(cmd)
	case insReset:
		return c.factoryReset(cmd)
	case insPutData:
		return c.putData(cmd)
	case insImport:
		return c.importKey(cmd)
	case insMoveKey:
		return c.moveKey(cmd)
	case insSetManagement:
		return c.setManagement(cmd)
	}
	return iso7816.UnknownInstruction
}
