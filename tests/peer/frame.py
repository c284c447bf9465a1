"""Frames: bytes on the line (docs/spec/frame.md).

A frame is type, session id, number, acknowledgement and payload, closed by a CRC-32C, stuffed with COBS and ended by a
zero byte. Encoding and decoding are the inverse of each other: one frame has one spelling.
"""

import struct
from collections import namedtuple

SYN, ACCEPT, ACK, PING, PONG, RESET = 1, 2, 3, 4, 5, 6
DATA = 0x10  # | 2 * channel | 1 on the last fragment of a message
NAMES = {"SYN": SYN, "ACCEPT": ACCEPT, "ACK": ACK, "PING": PING, "PONG": PONG, "RESET": RESET,
         "DATA": DATA, "DATA-LAST": DATA | 1, "BULK": DATA | 2, "BULK-LAST": DATA | 3}

MAX_PAYLOAD = 4096
MAX_PIECE = 4126  # a full frame, stuffed, without its delimiter
HEADER = struct.Struct(">BIHH")

Frame = namedtuple("Frame", "type sid seq ack payload", defaults=(0, 0, 0, b""))


class BadFrame(ValueError):
    """A piece that is no frame; its text is the name of the error, as the specification lists them."""


def is_data(kind):
    return kind & ~3 == DATA


def _table():
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        yield n


_CRC = tuple(_table())


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def stuff(data):
    """COBS without the delimiter; data that ends with a full group ends there."""
    out, rest = bytearray(), bytes(data)
    while True:
        zero = rest.find(b"\0", 0, 254)
        if zero < 0 and len(rest) >= 254:
            out += b"\xff" + rest[:254]
            rest = rest[254:]
            if not rest:
                return bytes(out)
        elif zero < 0:
            return bytes(out) + bytes([len(rest) + 1]) + rest
        else:
            out += bytes([zero + 1]) + rest[:zero]
            rest = rest[zero + 1:]


def unstuff(piece):
    out, at = bytearray(), 0
    while True:
        code = piece[at] if at < len(piece) else 0
        group = piece[at + 1:at + code]
        if code == 0 or len(group) != code - 1 or 0 in group:
            raise BadFrame("ErrStuffing")
        out += group
        at += code
        if at == len(piece):
            break
        if code != 255:
            out.append(0)
    if stuff(out) != piece:  # an empty group behind a full one
        raise BadFrame("ErrStuffing")
    return bytes(out)


def _check(f):
    """The rules of the table of types."""
    lengths = {SYN: (9, 9), ACCEPT: (9, 9), ACK: (0, 5), PING: (0, 0), PONG: (0, 0), RESET: (1, 1)}
    low, high = (1, MAX_PAYLOAD) if is_data(f.type) else lengths.get(f.type, (None, None))
    if low is None:
        raise BadFrame("ErrType")
    if not low <= len(f.payload) <= high:
        raise BadFrame("ErrLength")
    if f.type == SYN and f.sid or f.type not in (SYN, RESET) and not f.sid:
        raise BadFrame("ErrField")
    if f.seq and not is_data(f.type) or f.ack and f.type in (SYN, ACCEPT, RESET):
        raise BadFrame("ErrField")
    if f.type in (SYN, ACCEPT) and f.payload[0] == 0:
        raise BadFrame("ErrField")
    if f.type == ACK and f.payload and (f.payload[0] > 1 or f.payload != b"\1" and f.payload[-1] == 0):
        raise BadFrame("ErrField")


def encode(f):
    """The frame's bytes on the line, delimiter included."""
    _check(f)
    body = HEADER.pack(f.type, f.sid, f.seq, f.ack) + f.payload
    return stuff(body + struct.pack(">I", crc32c(body))) + b"\0"


def decode(piece):
    """The frame of what stood between two delimiters; BadFrame if it is none."""
    if len(piece) > MAX_PIECE:
        raise BadFrame("ErrLong")
    body = unstuff(piece)
    if len(body) < HEADER.size + 4:
        raise BadFrame("ErrShort")
    body, crc = body[:-4], body[-4:]
    if struct.pack(">I", crc32c(body)) != crc:
        raise BadFrame("ErrChecksum")
    f = Frame(*HEADER.unpack_from(body), body[HEADER.size:])
    _check(f)
    return f


class Decoder:
    """Collects bytes into frames, keeps at most one piece, counts the bad ones."""

    def __init__(self):
        self.piece, self.bad = bytearray(), 0

    def feed(self, data):
        """Yields the frames that end in data."""
        *ended, begun = bytes(data).split(b"\0")
        for part in ended:
            self._collect(part)
            piece, self.piece = bytes(self.piece), bytearray()
            try:
                if piece:
                    yield decode(piece)
            except BadFrame:
                self.bad += 1
        self._collect(begun)

    def _collect(self, part):
        self.piece += part[:MAX_PIECE + 1 - len(self.piece)]
