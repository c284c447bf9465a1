"""Hash states (docs/spec/signature.md §1): SHA-256, SHA-384 and SHA-512 (FIPS 180-4), chaining values in the open."""

import struct
from math import isqrt

MAX_COUNT = 2**61 - 4096


class BadState(ValueError):
    """A state that is refused; the text says why."""


def _primes(n):
    found = []
    candidate = 2
    while len(found) < n:
        if all(candidate % p for p in found):
            found.append(candidate)
        candidate += 1
    return found


def _cube_root(n):
    low, high = 0, 1 << (n.bit_length() // 3 + 2)
    while high - low > 1:
        mid = (low + high) // 2
        low, high = (mid, high) if mid**3 <= n else (low, mid)
    return low


class Algorithm:
    def __init__(self, name, bits, rounds, big0, big1, small0, small1, first=0, size=None):
        self.size = size or bits
        self.name, self.bits, self.block, self.mask = name, bits, 16 * bits // 8, (1 << bits) - 1
        self.rotations = big0, big1, small0, small1
        self.initial = tuple(isqrt(p << 2 * bits) & self.mask for p in _primes(first + 8)[first:])
        self.k = [_cube_root(p << 3 * bits) & self.mask for p in _primes(rounds)]
        self.words = struct.Struct(">8" + "IQ"[bits // 64])
        self.schedule = struct.Struct(">16" + "IQ"[bits // 64])

    def _mix(self, x, turns):
        """XOR of three rotations; a negative third is a shift."""
        *rotate, last = turns
        out = x >> -last if last < 0 else 0
        for n in rotate if last < 0 else turns:
            out ^= x >> n | x << self.bits - n & self.mask
        return out

    def compress(self, chain, block):
        big0, big1, small0, small1 = self.rotations
        w = list(self.schedule.unpack(block))
        for i in range(16, len(self.k)):
            w.append(w[i - 16] + self._mix(w[i - 15], small0) + w[i - 7] + self._mix(w[i - 2], small1) & self.mask)
        a, b, c, d, e, f, g, h = chain
        for k, x in zip(self.k, w):
            t1 = h + self._mix(e, big1) + (e & f ^ ~e & g) + k + x
            t2 = self._mix(a, big0) + (a & b ^ a & c ^ b & c)
            a, b, c, d, e, f, g, h = t1 + t2 & self.mask, a, b, c, d + t1 & self.mask, e, f, g
        return tuple(x + y & self.mask for x, y in zip(chain, (a, b, c, d, e, f, g, h)))

    def state(self, file):
        """The hash state of all that a binary file object gives."""
        chain, count = self.initial, 0
        while True:
            block = file.read(self.block)
            count += len(block)
            if len(block) < self.block:
                return self.words.pack(*chain) + struct.pack(">Q", count) + block
            chain = self.compress(chain, block)

    def finish(self, state):
        """(count, digest) of a state."""
        size = self.words.size
        if len(state) < size + 8:
            raise BadState("length")
        chain, tail = self.words.unpack_from(state), state[size + 8:]
        count = int.from_bytes(state[size:size + 8], "big")
        if count >= MAX_COUNT:
            raise BadState("count")
        if len(tail) != count % self.block:
            raise BadState("tail")
        if count < self.block and chain != self.initial:
            raise BadState("initial-value")
        length = (8 * count).to_bytes(self.bits // 4, "big")
        padded = tail + b"\x80" + bytes(-(len(tail) + 1 + len(length)) % self.block) + length
        for i in range(0, len(padded), self.block):
            chain = self.compress(chain, padded[i:i + self.block])
        return count, self.words.pack(*chain)[:self.size]


ALGORITHMS = {
    "sha256": Algorithm("sha256", 32, 64, (2, 13, 22), (6, 11, 25), (7, 18, -3), (17, 19, -10)),
    "sha384": Algorithm("sha384", 64, 80, (28, 34, 39), (14, 18, 41), (1, 8, -7), (19, 61, -6), first=8, size=48),
    "sha512": Algorithm("sha512", 64, 80, (28, 34, 39), (14, 18, 41), (1, 8, -7), (19, 61, -6)),
}
