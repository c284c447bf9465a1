# An attestation key of the owner's, which no reset takes away again: so this comes
# behind all that look for the factory's.
if [ "$MANAGEMENT" != TDES ]; then # yubico-piv-tool 2.2 knows no AES
	key=010203040506070801020304050607080102030405060708
	ykman --device 12345678 piv access change-management-key -m $key -n $key -a TDES --force
fi
openssl ecparam -name secp384r1 -genkey -noout -out own.pem
openssl req -x509 -key own.pem -subj /CN=own -days 2 -out own.crt
yubico-piv-tool -a import-key -s f9 -i own.pem
yubico-piv-tool -a import-certificate -s f9 -i own.crt
yubico-piv-tool -a generate -s 9a -A ECCP256 -o pub.pem
yubico-piv-tool -a attest -s 9a -o attestation.pem
openssl verify -CAfile own.crt attestation.pem
openssl x509 -in attestation.pem -noout -pubkey | cmp - pub.pem
