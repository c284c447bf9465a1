# OpenSC: the card driver, the PKCS #15 view and the PKCS #11 module.
opensc-tool --list-readers | grep -q "Yes .*$PIVEMU_READER"
opensc-tool --reader "$PIVEMU_READER" --atr | grep -qi '3b:fd:13:00:00:81:31:fe:15:80:73:c0:21:c0:57:59:75:62:69:4b:65:79:40'
opensc-tool --reader "$PIVEMU_READER" --name | grep -q 'Personal Identity Verification Card'
module=opensc-pkcs11.so
. "$SCRIPTS/pkcs11.inc"
pkcs15-tool --reader "$PIVEMU_READER" --list-keys >keys
for name in 'PIV AUTH key' 'SIGN key' 'KEY MAN key'; do grep -q "$name" keys; done
