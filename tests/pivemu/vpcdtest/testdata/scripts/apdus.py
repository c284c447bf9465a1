# What no client of PIV sends, through a whole PC/SC stack: chains without end,
# lengths that lie, commands of nobody's. The token answers each and goes on.
import os
import sys

from smartcard import scard

PIV = bytes.fromhex("00a4040005a000000308")
LINK = bytes.fromhex("10db3fffff") + bytes(255)


def done(result, what):
    if result != scard.SCARD_S_SUCCESS:
        sys.exit(f"{what}: {scard.SCardGetErrorMessage(result)}")


result, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
done(result, "context")
result, card, protocol = scard.SCardConnect(
    context, os.environ["PIVEMU_READER"], scard.SCARD_SHARE_EXCLUSIVE, scard.SCARD_PROTOCOL_T1)
done(result, "connection")
result, *_ = scard.SCardConnect(context, os.environ["PIVEMU_READER"], scard.SCARD_SHARE_SHARED, scard.SCARD_PROTOCOL_T1)
if result != scard.SCARD_E_SHARING_VIOLATION:
    sys.exit("a second connection beside an exclusive one")


def send(apdu, want):
    result, answer = scard.SCardTransmit(card, protocol, list(apdu))
    done(result, "transmission")
    if bytes(answer[-2:]).hex() != want:
        sys.exit(f"{apdu[:8].hex()}… ({len(apdu)} bytes) is answered by {bytes(answer).hex()}, not {want}")
    return bytes(answer[:-2])


def hexed(text, want):
    return send(bytes.fromhex(text), want)


send(PIV, "9000")
for _ in range(16):
    send(LINK, "9000")
send(LINK, "6700")  # 4335 bytes: more than a command may have
send(LINK, "9000")
hexed("10db3fff025c01", "9000")
version = hexed("00fd000000", "9000")  # the chain is given up for another command
if ".".join(map(str, version)) != os.environ["PROFILE"]:
    sys.exit("not the version")
hexed("00cb3fff055c035fc101", "6a82")  # and forgotten
hexed("00ee0000", "6d00")  # no such instruction
hexed("80fd0000", "6e00")  # class
hexed("00fd000009", "9000")
hexed("0020008008313233343536ff", "6700")  # less data than Lc says
hexed("002000800431323334" "3536", "6700")  # more
hexed("00200080000000", "63c3")  # extended Le, no data: a question
hexed("008711" "9a" "047c7f8200", "6a80")  # a length beyond the end
hexed("0087119a027c00", "6a88")  # nothing asked of no key
hexed("00200080" "04" "31323334", "6a80")  # no PIN: no try is spent on it
hexed("00c0000000", "6a80")  # nothing waits
if hexed("0020008000", "63c3"):
    sys.exit("data beside the tries left")
hexed("00f7009600", "6a88")  # no metadata of a biometric sensor: clients ask whether there is one
hexed("00f7009a00", "6a88")  # nor of no key
modern = os.environ["PROFILE"] == "5.7.1"
hexed("00f6829a", "6982" if modern else "6d00")  # MOVE KEY, by anybody
hexed("00f6ff9a", "6982" if modern else "6d00")  # DELETE KEY
for command in "0047009a05ac03800111", "00fe119a00", "00db3fff0a5c035fc1015303010203", "00fffffe1b039b18" + "00" * 24, "00fa0303":
    hexed(command, "6982")  # what the management key guards
hexed("00fb0000", "6985")  # RESET while PIN and PUK are not blocked
