# ykcs11 and OpenSC's PKCS #11 module sign with a P-256 and an RSA key; ykman
# reads the token and makes keys and certificates.
ykman() { command ykman --reader "$PIVEMU_READER" "$@"; }
key=010203040506070801020304050607080102030405060708

ykman info >info
grep -q "Firmware version: $PROFILE" info
grep -q 'Serial number: 12345678' info
grep -q 'Form factor: Keychain (USB-A)' info
grep -q 'PIV.*Enabled' info
ykman piv info >info
grep -q "PIV version: *$PROFILE" info
grep -q 'PIN tries remaining: *3/3' info
grep -q "Management key algorithm: $MANAGEMENT" info

ykman piv keys generate -m $key -a ECCP256 --pin-policy once --touch-policy always 9a pub9a.pem
ykman piv keys generate -m $key -a RSA2048 9c pub9c.pem
for slot in 9a 9c; do
	ykman piv certificates generate -m $key -P 123456 -s CN=$slot $slot pub$slot.pem
done
ykman piv certificates request -P 123456 -s CN=request 9a pub9a.pem request.pem
openssl req -in request.pem -noout -verify
ykman piv keys attest 9a attestation.pem
ykman piv certificates export f9 intermediate.pem
openssl verify -CAfile root.pem -untrusted intermediate.pem attestation.pem
openssl x509 -in attestation.pem -noout -pubkey | cmp - pub9a.pem

for module in "$YKCS11" opensc-pkcs11.so; do
	pkcs11-tool --module $module --list-slots | grep -q "$PIVEMU_READER"
	pkcs11-tool --module $module -l -p 123456 --sign --id 01 -m ECDSA-SHA256 --signature-format openssl -i data -o sig
	openssl dgst -sha256 -verify pub9a.pem -signature sig data
	pkcs11-tool --module $module -l -p 123456 --sign --id 02 -m SHA256-RSA-PKCS -i data -o sig
	openssl dgst -sha256 -verify pub9c.pem -signature sig data
	pkcs11-tool --module $module -l -p 123456 --sign --id 02 -m SHA512-RSA-PKCS -i data -o sig
	openssl dgst -sha512 -verify pub9c.pem -signature sig data
done

ykman piv access change-management-key -m $key -n 0102030405060708010203040506070a -a AES128 --force
ykman piv info >info
grep -q 'Management key algorithm: AES128' info
grep -q 'Subject DN:.*CN=9a' info
ykman piv reset --force
ykman piv info | grep -q "Management key algorithm: $MANAGEMENT"
