"""Reads the files of tests/vectors (their README.md says how they are written)."""

import re


class Case:
    """One case: its name and its (key, value) pairs in order; a value is a string, or bytes."""

    def __init__(self, name):
        self.name, self.pairs = name, []

    def get(self, key, default=None):
        return next((v for k, v in self.pairs if k == key), default)

    def all(self, key):
        return [v for k, v in self.pairs if k == key]


def read(path):
    cases = []
    with open(path, encoding="utf-8") as f:
        for line in f.read().split("\n"):
            if line and line[0] in "|+=*":
                key, value = cases[-1].pairs[-1]
                cases[-1].pairs[-1] = key, (value or b"") + _bytes(line[0], line[2:])
            elif line.startswith("case "):
                cases.append(Case(line[5:]))
            elif line and line[0] != "#":
                key, _, value = line.partition(" ")
                cases[-1].pairs.append((key, value or b""))
    return cases


def _bytes(mark, rest):
    if mark == "=":
        return bytes.fromhex(rest)
    if mark == "*":
        raw, count = rest.split()
        return bytes.fromhex(raw) * int(count)
    data = re.sub(rb"\\(?:x([0-9a-f]{2})|\\)", lambda m: bytes.fromhex(m[1].decode()) if m[1] else b"\\", rest.encode())
    return data + b"\n" if mark == "|" else data
