# A wrong PIN counts down and blocks, the PUK opens again and blocks in its turn,
# and only then can the token be reset.
pin() { yubico-piv-tool -a verify-pin -P "$1"; }
yubico-piv-tool -a change-pin -P 123456 -N 654321
yubico-piv-tool -a change-puk -P 12345678 -N 87654321
pin 654321
for left in 2 1 0; do
	if pin 000000 2>wrong; then exit 1; fi
	if [ $left = 0 ]; then grep -qi 'blocked' wrong; else grep -q "$left tries left" wrong; fi
	yubico-piv-tool -a status | grep -q "PIN tries left:.$left"
done
if pin 654321; then exit 1; fi # the right one, too late
if yubico-piv-tool -a reset; then exit 1; fi # the PUK is not blocked
if yubico-piv-tool -a unblock-pin -P 00000000 -N 112233; then exit 1; fi
yubico-piv-tool -a unblock-pin -P 87654321 -N 112233
pin 112233
yubico-piv-tool -a status | grep -q 'PIN tries left:.3'
for i in 1 2 3; do
	if pin 000000; then exit 1; fi
	if yubico-piv-tool -a unblock-pin -P 00000000 -N 112233; then exit 1; fi
done
if yubico-piv-tool -a unblock-pin -P 87654321 -N 112233; then exit 1; fi
yubico-piv-tool -a reset
pin 123456
