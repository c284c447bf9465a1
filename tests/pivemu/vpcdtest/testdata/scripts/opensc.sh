# OpenSC: the card driver, the PKCS #15 view and the PKCS #11 module.
opensc-tool --list-readers | grep -q "Yes .*$PIVEMU_READER"
opensc-tool --reader "$PIVEMU_READER" --atr | grep -qi '3b:fd:13:00:00:81:31:fe:15:80:73:c0:21:c0:57:59:75:62:69:4b:65:79:40'
opensc-tool --reader "$PIVEMU_READER" --name | grep -q 'Personal Identity Verification Card'
module=opensc-pkcs11.so
. "$SCRIPTS/pkcs11.inc"
pkcs15-tool --reader "$PIVEMU_READER" --list-keys >keys
for name in 'PIV AUTH key' 'SIGN key' 'KEY MAN key'; do grep -q "$name" keys; done

# What it does beyond signing: PIN and PUK, agreement and decryption, the tools of
# its own that nobody else's module is behind.
pkcs15-tool --verify-pin --pin 123456
pkcs15-tool --change-pin --pin 123456 --new-pin 654321
if pkcs15-tool --verify-pin --pin 123456; then exit 1; fi
pkcs15-tool --unblock-pin --puk 12345678 --new-pin 112233
p11 --login --pin 112233 --change-pin --new-pin 123456
pkcs15-tool --read-certificate 01 | cmp - cert9a.pem
pkcs15-tool --read-public-key 02 | cmp - pub9c.pem
pkcs15-crypt --sign --sha-256 --pkcs1 --key 02 --pin 123456 --raw -i digest -o sig
openssl dgst -sha256 -verify pub9c.pem -signature sig data
pkcs15-crypt --sign --signature-format openssl --key 03 --pin 123456 --raw -i digest -o sig
openssl pkeyutl -verify -pubin -inkey pub9d.pem -sigfile sig -in digest
openssl ecparam -name secp384r1 -genkey -noout -out peer.pem
openssl ec -in peer.pem -pubout -outform der -out peer.der
p11 --login --pin 123456 --derive --id 03 -m ECDH1-DERIVE --input-file peer.der -o secret
openssl pkeyutl -derive -inkey peer.pem -peerkey pub9d.pem | cmp - secret
openssl pkeyutl -encrypt -pubin -inkey pub9c.pem -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -in data -out sealed
p11 --login --pin 123456 --decrypt --id 02 -m RSA-PKCS-OAEP --hash-algorithm SHA256 --mgf MGF1-SHA256 -i sealed -o plain
cmp plain data
piv-tool --name | grep -q 'Personal Identity Verification Card'
opensc-tool -s 00:A4:04:00:05:A0:00:00:03:08 -s 00:FD:00:00:00 | grep -q "$(printf %s "$PROFILE" | sed 's/\./ 0/g; s/^/0/')"

# Its own examination of the module. Random numbers it asks for with Triple DES only.
if [ "$MANAGEMENT" = TDES ]; then p11 --login --pin 123456 --test | grep -q 'No errors'; fi

# piv-tool as an administrator. What version 0.23 returns says nothing: a number of
# bytes, or what its OpenSSL 3 makes of a public key. So what it did is looked at.
printf 01:02:03:04:05:06:07:08:01:02:03:04:05:06:07:08:01:02:03:04:05:06:07:08 >management
algorithm=$(case $MANAGEMENT in TDES) echo 03 ;; *) echo 0A ;; esac)
administer() { PIV_EXT_AUTH_KEY=management piv-tool -A M:9B:$algorithm "$@" || true; }
administer -G 9E:11 -o made.der
ykman --device 12345678 piv keys attest 9e attestation.pem
administer -C 9E -i cert9a.pem
p11 --read-object --type cert --id 04 -o cert.der
openssl x509 -inform der -in cert.der | cmp - cert9a.pem
