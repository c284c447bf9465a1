# Yubico's PKCS #11 module.
module=$YKCS11
. "$SCRIPTS/pkcs11.inc"
