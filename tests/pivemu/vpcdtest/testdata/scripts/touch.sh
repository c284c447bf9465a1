# Whoever signs waits as long as the finger does: a touch gives a signature, no
# touch is 6982 after the window, and a token that is pulled ends the command.
control() { "$PIVEMU" control "$PIVEMU_CONTROL" "$@"; }
"$PIVGO" 9a:EC256
control mode ask
sign() { yubico-piv-tool -a verify-pin -P 123456 --sign -s 9a -A ECCP256 -H SHA256 -i data -o "$1"; }
finger() { control wait-touch 60 && control "$1"; }
finger touch & sign touched
wait $!
openssl dgst -sha256 -verify pub9a.pem -signature touched data
finger timeout & if sign timeout; then exit 1; fi
wait $!
tail -1 "$APDU_LOG" | grep -q '<  6982'
finger pull & if sign pulled; then exit 1; fi
wait $!
until opensc-tool --list-readers | grep -q "No .*$PIVEMU_READER"; do :; done
if opensc-tool --reader "$PIVEMU_READER" --atr; then exit 1; fi
