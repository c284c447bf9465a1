"""The log as a host sees it: tree, checkpoints, attestations, outcomes
(docs/spec/ledger.md, anchor.md, tpm.md, trust.md, signature.md)."""

import base64
import hashlib
import struct
import subprocess
import tempfile

import text
from text import block, hexadecimal, line, number, token

LOG_NUMBER = number(2**40)
MAX_TRUST = 294912


def key_of_note(field):
    return text.Key.parse(field)


def one_of(*words):
    def value(field):
        text.need(field in words, "bad-value")
        return field
    return value


text.FORMS.update({
    "trust": [line("origin", text.origin), line("version", number(1048577)), line("previous", hexadecimal(32)),
              line("log-key", key_of_note, times=(1, 8)), line("ak", text.base64_bytes(256)),
              line("head", number(1 << 32), hexadecimal(34)), line("pcr", number(16)),
              line("genesis", hexadecimal(32)), line("token", one_of("yubico", "emulated")),
              line("cert", text.base64_bytes(8192), times=(1, 24)), line("quorum", number(17)),
              line("administrator", key_of_note, times=(1, 16)), line("recovery-quorum", number(17), times=(0, 1)),
              line("recovery", key_of_note, times=(0, 16))],
    "entry intent": [line("kind", one_of("intent")), line("index", LOG_NUMBER), line("time", text.time),
                     line("sequence", LOG_NUMBER), line("policy", hexadecimal(32)), line("key", hexadecimal(20)),
                     line("refusals", LOG_NUMBER), line("refused", token, LOG_NUMBER, times=(0, 64)),
                     line("job", text.job), block("approval", 57344), block("submission", 57344),
                     line("sign", text.digest, times=(1, 16))],
    "entry outcome": [line("kind", one_of("outcome")), line("index", LOG_NUMBER), line("time", text.time),
                      line("intent", LOG_NUMBER), line("job", text.job),
                      line("item", one_of("signed", "signed-withheld", "denied", "timed-out", "failed", "not-started",
                                          "unknown"), text.matching("[!-~]+", "bad-value"), times=(1, 16))],
})


class BadProof(Exception):
    """Something that the board sent does not prove what it should."""


def need(ok, what):
    if not ok:
        raise BadProof(what)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# --- tree


def leaf(entry):
    return sha256(b"\0", entry)


def root(leaves):
    """RFC 6962 §2.1 over leaf hashes."""
    if not leaves:
        return sha256()
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1", root(leaves[:k]), root(leaves[k:]))


# --- attestations


class Reader:
    def __init__(self, data):
        self.data = data

    def take(self, n):
        need(len(self.data) >= n, "attestation cut short")
        taken, self.data = self.data[:n], self.data[n:]
        return taken

    def sized(self, most):
        n = int.from_bytes(self.take(2), "big")
        need(n <= most, "attestation: size")
        return self.take(n)

    def expect(self, value, what):
        need(self.take(len(value)) == value, what)

    def end(self):
        need(not self.data, "attestation: surplus bytes")


class Trust:
    """The pinned trust file, and what can be checked against it."""

    def __init__(self, data):
        need(len(data) <= MAX_TRUST, "trust file too long")
        t = text.parse("trust", text.split_note(data)[0])
        self.origin, self.log_keys, self.ak, self.certs = t["origin"], t["log-key"], t["ak"], t["cert"]
        self.head_name, self.genesis = bytes.fromhex(t["head"][1]), bytes.fromhex(t["genesis"])
        need(all(k.name == self.origin for k in self.log_keys), "log key of another origin")
        if t["version"] == 1:  # the signers of a later one are known to who has the version before
            text.open_note(data, self.log_keys[:1])
        self.ak_pem = self._ak_pem()
        self.tpm_hash = sha256(self.origin.encode(), b"\n\xfftouchmark-nv-certify-v1", self.ak, self.head_name)[:4]

    def _ak_pem(self):
        r = Reader(self.ak)
        r.expect(bytes.fromhex("0023000b00050472000000100018000b00030010"), "AK: public area")
        x, y = r.sized(32).rjust(32, b"\0"), r.sized(32).rjust(32, b"\0")
        r.end()
        der = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004") + x + y
        return text.to_pem("PUBLIC KEY", der)

    def certified(self, attest, sig, prefix, data):
        """HEAD as an NV_Certify with this tag says."""
        need(len(attest) <= 512 and len(sig) <= 128, "attestation too long")
        self._signed(attest, sig)
        r = Reader(attest)
        r.expect(bytes.fromhex("ff5443478014"), "attestation: magic or type")
        ak_name = b"\0\x0b" + sha256(self.ak)
        need(r.sized(34) == b"\0\x0b" + sha256(b"\x40\0\0\1", ak_name), "attestation: signer")
        need(r.sized(32) == sha256(prefix, data), "attestation: tag")
        r.take(8 + 4 + 4)
        need(r.take(1) in (b"\0", b"\1"), "attestation: safe")
        r.take(8)
        need(r.sized(34) == self.head_name, "attestation: not HEAD")
        r.expect(b"\0\0", "attestation: offset")
        contents = r.sized(32)
        need(len(contents) == 32, "attestation: contents")
        r.end()
        return contents

    def _signed(self, attest, sig):
        r = Reader(sig)
        r.expect(bytes.fromhex("0018000b"), "attestation: signature algorithm")
        der = _integer(r.sized(32)) + _integer(r.sized(32))
        r.end()
        with tempfile.NamedTemporaryFile() as a, tempfile.NamedTemporaryFile() as s:
            text.write(a, attest)
            text.write(s, bytes([0x30, len(der)]) + der)
            try:
                text.openssl("dgst", "-sha256", "-verify", text.PEM, "-signature", s.name, a.name, pem=self.ak_pem)
            except text.OpenSSLError:
                raise BadProof("attestation: signature") from None

    def checkpoint(self, note):
        """(size, root, HEAD) of a checkpoint with its two signatures."""
        body, signatures = text.split_note(note)
        need(len(note) <= text.MAX_CHECKPOINT and len(signatures) == 2, "checkpoint: signatures")
        (name1, log_line), (name2, tpm_line) = signatures
        need(name1 == name2 == self.origin, "checkpoint: signer")
        key = next((k for k in self.log_keys if k.hash == log_line[:4]), None)
        need(key and len(log_line) == 68 and key.verify(body, log_line[4:]), "checkpoint: log key's signature")
        r = Reader(tpm_line)
        r.expect(self.tpm_hash, "checkpoint: TPM line's key")
        before, attest = r.take(32), r.sized(512)
        x = sha256(body)
        head = self.certified(attest, r.data, b"touchmark/certify/v1\n", x)
        need(head == sha256(before, x), "checkpoint: HEAD")
        return self._body(body) + (head,)

    def _body(self, body):
        lines = body.decode().split("\n")
        need(len(lines) == 4 and lines[0] == self.origin, "checkpoint: body")
        size, tree = LOG_NUMBER(lines[1]), text.unbase64(lines[2])
        need(size > 0 and len(tree) == 32, "checkpoint: body")
        return size, tree

    def commit(self, head, size, tree):
        """HEAD after the commit of a size."""
        body = "%s\n%d\n%s\n" % (self.origin, size, base64.b64encode(tree).decode())
        return sha256(head, sha256(body.encode()))

    # --- file signatures

    def openpgp(self, signature, file, tool):
        """Whether gpgv or sqv accepts a file's signature by one of the pinned certificates."""
        with tempfile.TemporaryDirectory() as d, open(d + "/sig", "wb") as s, open(d + "/cert", "wb") as c:
            text.write(s, signature)
            text.write(c, b"".join(self.certs))
            argv = ["gpgv", "--homedir", d] if tool == "gpgv" else ["sqv"]
            r = subprocess.run(argv + ["--keyring", c.name, s.name, file], capture_output=True, check=False)
        need(r.returncode == 0, tool + ": " + r.stderr.decode(errors="replace"))


def _integer(raw):
    raw = raw.lstrip(b"\0")
    if not raw or raw[0] & 0x80:
        raw = b"\0" + raw
    return bytes([2, len(raw)]) + raw


def check_signature(signature, sign, intent, origin, file):
    """That a signature file continues this file and has the digest that the intent announced, `sign` (proof.md §2, 6 and
    7, without the mathematics of the signature, which is left to gpgv and sqv)."""
    header = {0x88: ">B", 0x89: ">H"}.get(signature[0])
    need(header, "signature: packet header")
    size, = struct.unpack_from(header, signature, 1)
    body = signature[1 + struct.calcsize(header):]
    need(len(body) == size and body[:2] == b"\4\0", "signature: packet")
    algorithm, announced = sign.split(":")
    need(body[3] == {"sha256": 8, "sha384": 9, "sha512": 10}[algorithm], "signature: hash")
    signed = body[:6 + int.from_bytes(body[4:6], "big")]
    notation = ("touchmark@%s" % origin.split("/")[0] + "%s#%s" % (origin, intent["job"])).encode()
    need(notation in signed, "signature: notation")
    h = hashlib.new(algorithm)
    with open(file, "rb") as f:
        while chunk := f.read(1 << 20):
            h.update(chunk)
    h.update(signed + b"\4\xff" + struct.pack(">I", len(signed)))
    need(h.hexdigest() == announced, "signature: not what the intent announced")
