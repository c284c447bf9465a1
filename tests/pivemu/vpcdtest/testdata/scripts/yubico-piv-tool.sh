# yubico-piv-tool 2.2 against a 5.4.3 token. Its selfsign and request actions
# fail with OpenSSL 3 on every token before they send anything (yubico-piv-tool
# issue 388), so certificates are ykman's work, in the other script.
opensc-tool --list-readers | grep -q 'Yes .*Yubico YubiKey CCID 00 00'
opensc-tool --reader "$PIVEMU_READER" --atr | grep -qi '3b:fd:13:00:00:81:31:fe:15:80:73:c0:21:c0:57:59:75:62:69:4b:65:79:40'
yubico-piv-tool -a version | grep -q '5.4.3'
yubico-piv-tool -a status >status
grep -q 'Serial Number:.12345678' status
grep -q 'PIN tries left:.3' status

for alg in ECCP256 ECCP384 RSA2048; do
	yubico-piv-tool -a generate -s 9a -A $alg --pin-policy=once --touch-policy=always -o pub.pem
	yubico-piv-tool -a verify-pin -P 123456 --sign -s 9a -A $alg -H SHA256 -i data -o sig
	openssl dgst -sha256 -verify pub.pem -signature sig data
	yubico-piv-tool -a attest -s 9a -o attestation.pem
	yubico-piv-tool -a read-certificate -s f9 -o intermediate.pem
	openssl verify -CAfile root.pem -untrusted intermediate.pem attestation.pem
	openssl x509 -in attestation.pem -noout -pubkey | cmp - pub.pem
done
if openssl verify -CAfile intermediate.pem attestation.pem; then exit 1; fi

openssl ecparam -name prime256v1 -genkey -noout -out key.pem
yubico-piv-tool -a import-key -s 9c -i key.pem
openssl req -x509 -key key.pem -subj /CN=imported -days 2 -out cert.pem
yubico-piv-tool -a import-certificate -s 9c -i cert.pem
yubico-piv-tool -a verify-pin -P 123456 -a test-signature -s 9c -i cert.pem
yubico-piv-tool -a read-certificate -s 9c | openssl x509 -pubkey -noout >got.pem
openssl ec -in key.pem -pubout | cmp - got.pem
if yubico-piv-tool -a attest -s 9c -o imported.pem; then exit 1; fi

openssl genrsa -out rsa.pem 2048
yubico-piv-tool -a import-key -s 9d -i rsa.pem
openssl req -x509 -key rsa.pem -subj /CN=imported -days 2 -out rsacert.pem
yubico-piv-tool -a verify-pin -P 123456 -a test-decipher -s 9d -i rsacert.pem

yubico-piv-tool -a set-chuid
yubico-piv-tool -a set-ccc
yubico-piv-tool -a set-mgm-key -n 0807060504030201080706050403020108070605040302ff
yubico-piv-tool --key=0807060504030201080706050403020108070605040302ff -a verify-pin -P 123456 -a pin-retries --pin-retries=5 --puk-retries=4
yubico-piv-tool -a change-pin -P 123456 -N 654321
yubico-piv-tool -a change-puk -P 12345678 -N 87654321
yubico-piv-tool -a unblock-pin -P 87654321 -N 112233
yubico-piv-tool -a verify-pin -P 112233
if yubico-piv-tool -a verify-pin -P 000000 2>wrong; then exit 1; fi
grep -q '4 tries left' wrong
for i in 1 2 3 4; do yubico-piv-tool -a verify-pin -P 000000 || true; done
for i in 1 2 3 4; do yubico-piv-tool -a unblock-pin -P 00000000 -N 112233 || true; done
yubico-piv-tool -a reset
yubico-piv-tool -a verify-pin -P 123456
yubico-piv-tool -a generate -s 9a -A ECCP256 -o pub.pem
