"""Canonical texts, signed notes and the messages of the link (docs/spec/message.md).

A form is a table: the lines and blocks of a text in order, with the kinds of their fields. `parse` and `marshal` work
from it and are the inverse of each other. A parsed text is a dict: key → the field, the tuple of fields, or for lines
that may stand more than once the list of those.
"""

import base64
import hashlib
import re
import subprocess
import tempfile
import zlib
from datetime import datetime
from types import SimpleNamespace

MAX_TEXT = 131072
MAX_LINE, MAX_FIELDS = 61440, 16
MAX_SIGNATURES = 32
MAX_NOTE, MAX_SIGNED_TEXT, MAX_CHECKPOINT, MAX_ENTRY, MAX_ORDER = 16384, 8192, 8192, 61440, 57344
MAX_CHALLENGE = 16384
MAX_STATE, MAX_DOCUMENT, MAX_DOCUMENTS = 199, 32768, 65536


class BadText(ValueError):
    """Not a canonical text or note; the text is the problem's name in the specification, or close to it."""


def need(ok, what):
    if not ok:
        raise BadText(what)


# --- values: each kind is a function from a field's text to its value that refuses every second spelling


def matching(pattern, what, most=None):
    compiled = re.compile(pattern)

    def value(field):
        need(compiled.fullmatch(field) and (most is None or len(field) <= most), what)
        return field
    return value


def number(below=1 << 63, least=0):
    def value(field):
        need(re.fullmatch("0|[1-9][0-9]*", field), "bad-number")
        need(len(field) < 20 and int(field) < below, "too-large")
        need(int(field) >= least, "bad-value")
        return int(field)
    return value


def hexadecimal(size):
    return matching("[0-9a-f]{%d}" % (2 * size), "bad-hex")


def base64_bytes(most, least=1):
    def value(field):
        data = b"" if field == "-" else unbase64(field)
        need(len(data) >= least, "bad-value")
        need(len(data) <= most, "bad-base64")
        return data
    return value


def unbase64(field, problem="bad-base64"):
    try:
        data = base64.b64decode(field, validate=True)
    except ValueError:
        raise BadText(problem) from None
    need(data and base64.b64encode(data).decode() == field, problem)
    return data


def time(field):
    need(re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", field), "bad-time")
    try:
        t = datetime.strptime(field[:-1] + "+0000", "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        raise BadText("bad-time") from None
    need(2020 <= t.year <= 2199 and t.strftime("%Y-%m-%dT%H:%M:%SZ") == field, "bad-time")
    return field


def name(field):
    need(re.fullmatch("[A-Za-z0-9._+@:~/-]{1,200}", field) and ".." not in field, "bad-value")
    need(all(re.match("[A-Za-z0-9._]", part) and part != "." for part in field.split("/")), "bad-value")
    return field


def origin(field):
    host, *path = field.split("/")
    need(len(field) <= 128, "bad-value")
    need(all(re.fullmatch("[a-z0-9]([a-z0-9-]*[a-z0-9])?", label) for label in host.split(".")), "bad-value")
    need(all(re.fullmatch("[A-Za-z0-9._~-]+", s) and s not in (".", "..") for s in path), "bad-value")
    return field


def person_text(field):
    """base64 of one line for people."""
    data = base64_bytes(600, least=0)(field)
    try:
        need(data.decode().isprintable() and "\ufffd" not in data.decode(), "bad-value")
    except UnicodeDecodeError:
        raise BadText("bad-value") from None
    return data


token = matching("[a-z0-9][a-z0-9._-]*", "bad-value", 64)
signature_format = matching("[a-z0-9][a-z0-9._@-]*", "bad-value", 64)
digest = matching("sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}", "bad-value")
name64 = matching("[!-~]{1,64}", "bad-value")
job = hexadecimal(32)
attestation = base64_bytes(512, least=0)


def or_dash(kind):
    return lambda field: field if field == "-" else kind(field)


# --- forms


def line(key, *kinds, times=(1, 1)):
    return SimpleNamespace(key=key, kinds=kinds, times=times, block=None, either=None)


def block(key, most, times=(1, 1)):
    return SimpleNamespace(key=key, kinds=(), times=times, block=most, either=None)


def either(key, *lines, times):
    """Lines of which each time one stands; parsed, the list of (its key, its field)."""
    return SimpleNamespace(key=key, times=times, block=None, either=lines)


ITEM = (signature_format, digest, number(2**61 - 4096), name)
HEAD = line("head", number(), hexadecimal(32))

FORMS = {
    "approval": [line("origin", origin), line("class", token), line("nonce", hexadecimal(16)), line("not-after", time),
                 line("item", *ITEM, times=(1, 16))],
    "submission": [line("approval", job), HEAD, line("host-time", time)],
    # host to board
    "hello": [line("origin", origin), line("nonce", hexadecimal(16)), line("host-time", time), HEAD],
    "submit": [block("approval", MAX_NOTE), block("submission", MAX_NOTE),
               either("content", line("state", base64_bytes(MAX_STATE)), line("document", base64_bytes(MAX_DOCUMENT)),
                      times=(1, 16))],
    "cancel": [line("origin", origin), line("job", job), line("host-time", time)],
    "rounds": [line("origin", origin), line("host-time", time),
               line("round", token, number(1_000_000, 1), token, time, or_dash(time), times=(0, 16)),
               line("more", number(1_000_000))],
    "mirrored": [line("size", number(), hexadecimal(32))],
    "order": [block("note", MAX_ORDER)],
    "challenge-text": [block("challenge", MAX_CHALLENGE)],
    # either way
    "fetch": [line("from", number())],
    "entries": [line("start", number()), line("total", number()), block("entry", MAX_ENTRY, times=(1, 64))],
    # board to host
    "welcome": [line("nonce", hexadecimal(16)), line("origin", origin), line("firmware", name64),
                line("policy", hexadecimal(32)), line("time", time), line("state", token), line("halt", or_dash(token)),
                line("wear", number(), or_dash(number(1_000_000))), line("total", number()),
                line("attest", attestation, attestation), block("checkpoint", MAX_CHECKPOINT, times=(0, 1))],
    "checkpoint-note": [block("note", MAX_CHECKPOINT)],
    "event": [line("job", job), line("state", token), line("item", number(16)), line("seconds", number(86401))],
    "refused": [line("job", job), line("code", token), line("text", person_text)],
    "done": [line("job", job), line("intent", number()), line("outcome", number())],
    "answer-text": [block("answer", MAX_CHALLENGE)],
    "open-round": [line("rule", token)],
}
MOST = {"approval": MAX_SIGNED_TEXT, "submission": MAX_SIGNED_TEXT}
SIGNED = {"hello", "cancel", "rounds"}  # of the messages; approval and submission are signed too but travel within submit
TO_BOARD = {"hello", "submit", "cancel", "rounds", "mirrored", "order", "challenge-text", "fetch", "entries"}
FROM_BOARD = {"welcome", "entries", "checkpoint-note", "event", "refused", "done", "answer-text", "open-round", "fetch"}


def together(form, v):
    """The rules that bind lines to each other."""
    if form == "approval":
        pairs = [(item[0], item[3]) for item in v["item"]]
        need(len(set(pairs)) == len(pairs), "bad-value")
    elif form == "rounds":
        rules = [r[0] for r in v["round"]]
        need(len(set(rules)) == len(rules), "bad-value")
    elif form == "submit":
        need(sum(len(data) for key, data in v["content"] if key == "document") <= MAX_DOCUMENTS, "bad-value")
    elif form == "entries":
        need(v["start"] + len(v["entry"]) <= v["total"], "bad-value")
    elif form == "done":
        need(v["intent"] < v["outcome"], "bad-value")
    elif form == "welcome":
        need(bool(v["attest"][0]) == bool(v["attest"][1]), "bad-value")
        need((v["halt"] != "-") == (v["state"] == "halted"), "bad-value")


# --- texts


class _Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def line(self):
        end = self.data.find(b"\n", self.at, self.at + MAX_LINE + 1)
        need(end >= 0, "too-long" if len(self.data) - self.at > MAX_LINE else "cut-off")
        raw, self.at = self.data[self.at:end], end + 1
        return raw

    def words(self, want):
        """The fields of the next line, which must have this key."""
        key, *fields = self.line().split(b" ")
        need(key == want.encode(), "wrong-line")
        need(len(fields) <= MAX_FIELDS, "field-count")
        need(all(re.fullmatch(b"[!-~]+", w) for w in fields), "bad-field")
        return [w.decode() for w in fields]

    def peek(self, key):
        rest = self.data[self.at:self.at + len(key) + 1]
        return rest in (key.encode() + b" ", key.encode() + b"\n")

    def block(self, size):
        raw = self.data[self.at:self.at + size]
        need(len(raw) == size, "cut-off")
        need(raw[-1:] == b"\n" and clean(raw), "bad-block")
        self.at += size
        return raw


def clean(raw):
    """UTF-8 without control bytes but LF."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return not re.search(b"[\0-\x09\x0b-\x1f\x7f]", raw)


def domain(form):
    """The first line; of a form of several kinds, like "entry intent", the kind is not part of it."""
    return "touchmark/%s/v1" % form.split()[0]


def parse(form, data):
    need(len(data) <= MOST.get(form, MAX_TEXT), "too-long")
    r = _Reader(data)
    need(data.startswith(domain(form).encode() + b"\n"), "other-domain")
    r.line()
    result = {}
    for want in FORMS[form]:
        least, most = want.times
        ways = want.either or [want]
        next_way = lambda: next((w for w in ways if r.peek(w.key)), None)
        got = []
        while len(got) < least or len(got) < most and next_way():
            way = next_way() or ways[0]
            got.append((way.key, _one(r, way)) if want.either else _one(r, way))
        need(most == 1 or not next_way(), "bad-value")
        result[want.key] = got if want.times != (1, 1) else got[0]
    together(form, result)
    need(r.at == len(data), "surplus")
    return result


def _one(r, want):
    fields = r.words(want.key)
    kinds = (number(want.block + 1),) if want.block else want.kinds
    need(len(fields) == len(kinds), "field-count")
    values = tuple(kind(f) for kind, f in zip(kinds, fields))
    if want.block:
        return r.block(values[0])
    return values if len(values) > 1 else values[0]


def marshal(form, values):
    """The text of what parse returns; refuses what parse would refuse."""
    out = domain(form).encode() + b"\n"
    for key, one, is_block in each(form, values):
        if is_block:
            out += b"%s %d\n%s" % (key.encode(), len(one), one)
        else:
            out += " ".join([key] + [_field(f) for f in one]).encode() + b"\n"
    parse(form, out)
    return out


def each(form, values):
    """The lines and blocks of a parsed text in order: key, fields or the block's bytes, whether it is a block."""
    for want in FORMS[form]:
        v = values[want.key]
        for one in v if want.times != (1, 1) else [v]:
            key, one = one if want.either else (want.key, one)
            yield key, one if want.block or isinstance(one, tuple) else (one,), bool(want.block)


def _field(v):
    if isinstance(v, bytes):
        return base64.b64encode(v).decode() or "-"
    return str(v)


def unpack(message):
    """A message from the board, unpacked if it travelled packed."""
    if message[:1] != b"\1":
        return message
    stream = zlib.decompressobj(-15)
    try:
        data = stream.decompress(message[1:], MAX_TEXT + 1)
    except zlib.error:
        raise BadText("bad-value") from None
    need(len(data) <= MAX_TEXT, "too-long")
    need(stream.eof, "cut-off")
    need(not stream.unused_data, "surplus")
    return data


def form_of(message, forms):
    """Which of the forms a text has, by its first line."""
    first = message.split(b"\n", 1)[0]
    for form in forms:
        if first == domain(form).encode():
            return form
    raise BadText("other-domain")


# --- notes


class Key:
    """A public key of notes, and the private one if it is ours."""

    def __init__(self, keyname, public, seed=None):
        self.name, self.public, self.seed = keyname, public, seed
        self.hash = hashlib.sha256(keyname.encode() + b"\n\x01" + public).digest()[:4]

    @classmethod
    def parse(cls, vkey):
        keyname, hash8, data = (vkey.split("+", 2) + ["", ""])[:3]
        need(re.fullmatch("[!-*,-~]{1,128}", keyname), "malformed")
        raw = unbase64(data, "malformed")
        need(len(raw) == 33 and raw[0] == 1, "malformed")
        key = cls(keyname, raw[1:])
        need(key.hash.hex() == hash8, "malformed")
        return key

    @classmethod
    def from_seed(cls, keyname, seed):
        der = openssl("pkey", "-pubout", "-outform", "DER", "-in", PEM, pem=private_pem(seed))
        return cls(keyname, der[-32:], seed)

    def vkey(self):
        return "%s+%s+%s" % (self.name, self.hash.hex(), base64.b64encode(b"\1" + self.public).decode())

    def sign(self, text):
        with tempfile.NamedTemporaryFile() as f:
            write(f, text)
            return openssl("pkeyutl", "-sign", "-rawin", "-in", f.name, "-inkey", PEM, pem=private_pem(self.seed))

    def verify(self, text, signature):
        with tempfile.NamedTemporaryFile() as f, tempfile.NamedTemporaryFile() as s:
            write(f, text)
            write(s, signature)
            der = bytes.fromhex("302a300506032b6570032100") + self.public
            try:
                openssl("pkeyutl", "-verify", "-rawin", "-in", f.name, "-sigfile", s.name, "-pubin", "-inkey", PEM,
                        pem=to_pem("PUBLIC KEY", der))
                return True
            except OpenSSLError:
                return False


class OpenSSLError(Exception):
    pass


PEM = object()  # stands for the name of the file with the key


def openssl(*args, pem):
    """Runs openssl; the key goes by way of a file that only we can read."""
    with tempfile.NamedTemporaryFile() as f:
        write(f, pem)
        r = subprocess.run(["openssl"] + [f.name if a is PEM else a for a in args], capture_output=True, check=False)
    if r.returncode:
        raise OpenSSLError(r.stderr.decode(errors="replace"))
    return r.stdout


def write(f, data):
    f.write(data)
    f.flush()


def to_pem(label, der):
    return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (label.encode(), base64.encodebytes(der), label.encode())


def private_pem(seed):
    return to_pem("PRIVATE KEY", bytes.fromhex("302e020100300506032b657004220420") + seed)


def split_note(note):
    """A note's text and its signature lines as (keyname, hash and signature), nothing verified."""
    need(len(note) <= MAX_TEXT, "too-large")
    need(clean(note), "malformed")
    end = note.rfind(b"\n\n")
    need(end >= 0 and note.endswith(b"\n"), "malformed")
    text, lines = note[:end + 1], note[end + 2:].decode().split("\n")[:-1]
    need(len(lines) <= MAX_SIGNATURES, "too-large")
    signatures = []
    for one in lines:
        m = re.fullmatch("— ([!-*,-~]{1,128}) ([A-Za-z0-9+/=]+)", one)
        need(m, "malformed")
        raw = unbase64(m[2], "malformed")
        need(len(raw) > 4, "malformed")
        signatures.append((m[1], raw))
    return text, signatures


def open_note(note, keys):
    """The text of a note and the keys that signed it; refused unless every signature is by another of the keys."""
    text, signatures = split_note(note)
    signers = []
    for keyname, raw in signatures:
        key = next((k for k in keys if (k.name, k.hash) == (keyname, raw[:4])), None)
        need(key, "unknown-key")
        need(key not in signers, "duplicate")
        need(len(raw) == 68 and key.verify(text, raw[4:]), "bad-signature")
        signers.append(key)
    return text, signers


def make_note(text, *keys):
    return text + b"\n" + b"".join(
        "— {} {}\n".format(k.name, base64.b64encode(k.hash + k.sign(text)).decode()).encode() for k in keys)
