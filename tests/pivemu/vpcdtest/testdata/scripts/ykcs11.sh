# Yubico's PKCS #11 module.
module=$YKCS11
. "$SCRIPTS/pkcs11.inc"
p11 --login --pin 123456 --test | grep -q 'No errors'

# Its security officer has the management key, as Triple DES: what he makes, writes
# and removes.
key=010203040506070801020304050607080102030405060708
if [ "$MANAGEMENT" != TDES ]; then
	ykman --device 12345678 piv access change-management-key -m $key -n $key -a TDES --force
fi
officer() { p11 --login --login-type so --so-pin $key "$@"; }
officer --keypairgen --id 4 --key-type EC:secp384r1
officer --keypairgen --id 5 --key-type rsa:2048
sign 4 ECDSA-SHA384 data
p11 --read-object --type cert --id 4 -o cert.der # it certifies what it makes
openssl x509 -inform der -in cert.der -pubkey -noout >pub.pem
openssl dgst -sha384 -verify pub.pem -signature sig data
officer --write-object cert9d.pem --type cert --id 6
p11 --read-object --type cert --id 6 -o cert.der
openssl x509 -inform der -in cert.der | cmp - cert9d.pem
officer --delete-object --type cert --id 6
if p11 --read-object --type cert --id 6 -o cert.der; then exit 1; fi
p11 --login --pin 123456 --change-pin --new-pin 654321
p11 --login --pin 654321 --sign --id 01 -m ECDSA-SHA256 --signature-format openssl -i data -o sig
openssl dgst -sha256 -verify pub9a.pem -signature sig data
