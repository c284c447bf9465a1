"""Runs the peer against tests/vectors: the same files as the Go implementation, in both directions."""

import hashlib
import os

import frame
import document
import hashstate
import log
import session
import text
import vectors

LATE = 0.040  # seconds by which what is not sent at once must have been sent


def check(ok, what):
    if not ok:
        raise AssertionError(what)


def refused(case, exception, do):
    """Whether the case expects a refusal; if so do must be refused with that name."""
    want = case.get("error")
    if want is None:
        return False
    try:
        do()
    except exception as e:
        check(str(e) == want, "refused as %s, not as %s" % (e, want))
        return True
    raise AssertionError("not refused; %s expected" % want)


def frames(case):
    wire = case.get("wire")
    if refused(case, frame.BadFrame, lambda: frame.decode(wire)):
        decoder = frame.Decoder()
        check(not list(decoder.feed(wire + b"\0")) and decoder.bad == 1, "not counted as one bad piece")
        return
    f = frame.Frame(frame.NAMES[case.get("type")], int(case.get("sid"), 16), int(case.get("seq")),
                    int(case.get("ack")), case.get("payload", b""))
    check(frame.decode(wire[:-1]) == f, "decodes as %r" % (frame.decode(wire[:-1]),))
    check(frame.encode(f) == wire, "encodes as " + frame.encode(f).hex(" "))


def streams(case):
    decoder = frame.Decoder()
    got = [f for i in case.get("stream") for f in decoder.feed(bytes([i]))]
    want = [frame.decode(w[:-1]) for w in case.all("frame")]
    check(got == want, "%r" % got)
    check(decoder.bad == int(case.get("bad")), "%d bad pieces" % decoder.bad)


class Play:
    """A session of the initiator, from a script."""

    def __init__(self, case):
        self.now, self.sid, self.said = 0.0, 0, b""
        nonces = iter(bytes.fromhex(n) for n in case.all("nonce"))
        self.session = session.Initiator(self.now, lambda: next(nonces))

    def step(self, key, value):
        if key == "in":
            self.session.receive(frame.encode(self.frame(value)), self.now)
        elif key == "wire":
            self.session.receive(value, self.now)
        elif key == "out":
            want, got = self.frame(value), self.next_frame()
            check(got == want, "said %r, not %r" % (got, want))
        elif key == "silent":
            check(self.next_frame() is None, "not silent")
        elif key == "any":
            while self.next_frame():
                pass
        elif key == "late":
            self.now += LATE
            self.session.tick(self.now)
        elif key == "send":
            channel, data = value.split()
            self.session.send(int(channel), run(data), self.now)
        elif key in ("up", "down", "message", "quiet"):
            self.event(key, value)

    def frame(self, words):
        f = read_frame(words, self.sid)
        if f.type == frame.ACCEPT:
            self.sid = f.sid
        return f

    def next_frame(self):
        self.said += self.session.output()
        self.said = self.said.lstrip(b"\0")
        piece, end, self.said = self.said.partition(b"\0")
        return frame.decode(piece) if end else None

    def event(self, key, value):
        got = self.session.events.pop(0) if self.session.events else ("quiet",)
        want = {"up": lambda: ("up", int(value, 16)), "down": lambda: ("down", value.replace("-", " ")),
                "quiet": lambda: ("quiet",), "message": lambda: ("message", int(value[0]), run(value[2:]))}[key]()
        check(got == want, "%.60r happened, not %.60r" % (got, want))


def read_frame(words, sid):
    kind, *fields = words.split()
    named = dict(w.split("=") for w in fields if "=" in w)
    data = "".join(w for w in fields if "=" not in w)
    return frame.Frame(frame.NAMES[kind], int(named.get("sid", "%x" % sid), 16), int(named.get("seq", 0)),
                       int(named.get("ack", 0)), run(data))


def run(words):
    """Bytes in hex, or HEX*COUNT."""
    raw, _, count = words.partition("*")
    return bytes.fromhex(raw) * int(count or 1)


def sessions(case):
    if case.get("role") != "initiator":
        return  # the peer is a host
    play = Play(case)
    for i, (key, value) in enumerate(case.pairs):
        try:
            play.step(key, value)
        except AssertionError as e:
            raise AssertionError("step %d, %s %.60s: %s" % (i, key, value, e)) from None


def fields_of(form, values):
    """The fields of a parsed text as lines of words, blocks by their SHA-256."""
    for key, one, is_block in text.each(form, values):
        if is_block:
            yield "%s sha256:%s" % (key, hashlib.sha256(one).hexdigest())
        else:
            yield " ".join([key] + [w.hex() or "-" if isinstance(w, bytes) else str(w) for w in one])


def texts(case):
    form, data = case.get("form"), case.get("bytes")
    if refused(case, text.BadText, lambda: text.parse(form, data)):
        return
    values = text.parse(form, data)
    check(list(fields_of(form, values)) == case.all("field"), "fields: " + "\n".join(fields_of(form, values)))
    check(text.marshal(form, values) == data, "marshals to something else")
    if case.get("job"):
        check(hashlib.sha256(data).hexdigest() == case.get("job"), "another job")


def notes(case):
    keys = [text.Key.parse(k) for k in case.all("key")]
    note = case.get("note")
    if refused(case, text.BadText, lambda: text.open_note(note, keys)):
        return
    signed, by = text.open_note(note, keys)
    check(signed == case.get("text"), "another text")
    check(sorted(keys.index(k) for k in by) == [int(n) for n in case.all("by")], "other signers")
    seeds = {k.vkey(): k for k in (test_key(k.name) for k in keys)}
    if all(k.vkey() in seeds for k in by):
        check(text.make_note(signed, *(seeds[k.vkey()] for k in by)) == note, "is signed to something else")


def test_key(keyname):
    return text.Key.from_seed(keyname, hashlib.sha256(b"touchmark test key " + keyname.encode()).digest())


def vkeys(case):
    vkey = case.get("vkey")
    if not refused(case, text.BadText, lambda: text.Key.parse(vkey)):
        check(text.Key.parse(vkey).vkey() == vkey, "another key")
        check(test_key(case.get("name")).vkey() == vkey, "the seed gives another key")


def messages(case):
    forms = text.TO_BOARD if case.get("to") == "board" else text.FROM_BOARD
    data = case.get("bytes")

    def read():
        plain = data if case.get("to") == "board" else text.unpack(data)
        form = text.form_of(plain, forms)
        return plain, form, text.parse(form, text.split_note(plain)[0] if form in text.SIGNED else plain)

    if refused(case, text.BadText, read):
        return
    plain, form, values = read()
    check(form == case.get("form"), "is a " + form)
    check(list(fields_of(form, values)) == case.all("field"), "fields: " + "\n".join(fields_of(form, values)))
    if form not in text.SIGNED:
        check(text.marshal(form, values) == plain, "marshals to something else")


def states(case):
    algorithm, state = hashstate.ALGORITHMS[case.get("algorithm")], case.get("state")
    if refused(case, hashstate.BadState, lambda: algorithm.finish(state)):
        return
    count, digest = algorithm.finish(state)
    check(count == int(case.get("count")), "counts %d" % count)
    check(digest.hex() == case.get("digest"), "finishes to " + digest.hex())
    content = case.get("content")
    if content is not None:
        check(hashlib.new(algorithm.name, content).digest() == digest, "is not the content's")


def documents(case):
    def read():
        try:
            return document.document_of(case.get("format"), case.get("file"))
        except document.BadDocument:
            raise document.BadDocument("bad-document") from None  # the board has one word for all of them

    if refused(case, document.BadDocument, read):
        return
    got = read()
    check(got == case.get("document"), "is over %r" % got)


FILES = {"documents": documents, "frames": frames, "streams": streams, "sessions": sessions, "texts": texts, "notes": notes, "keys": vkeys,
         "messages": messages, "states": states}


FLIP_EVERY = 29  # bytes: each costs two runs of openssl


def checkpoint(pages):
    """The checkpoint of the specification's example log holds, and does not hold with any bit changed."""
    trust = log.Trust(example(pages, "trust"))
    proof = example(pages, "proof")
    head, body = proof.split(b"\ncheckpoint ", 1)
    note = body[body.index(b"\n") + 1:]
    size, _, _ = trust.checkpoint(note)
    check(b"\nsize %d\n" % size in head, "the proof is for another size")
    for i in range(0, len(note), FLIP_EVERY):
        changed = note[:i] + bytes([note[i] ^ 1 << i % 7]) + note[i + 1:]
        try:
            trust.checkpoint(changed)
        except (log.BadProof, text.BadText):
            continue
        raise AssertionError("the checkpoint holds with byte %d changed" % i)


def example(pages, name):
    """The example of that name in its page."""
    with open(os.path.join(pages, name + ".md"), "rb") as f:
        return f.read().split(b"```text example=%s\n" % name.encode())[1].split(b"```")[0]


def run_all(args):
    checkpoint(os.path.join(args.vectors, "..", "..", "docs", "spec"))
    failed = 0
    for name, test in FILES.items():
        cases = vectors.read(os.path.join(args.vectors, name + ".txt"))
        check(cases, "no cases in %s.txt" % name)
        for case in cases:
            try:
                test(case)
            except AssertionError as e:
                failed += 1
                print("%s: %s: %s" % (name, case.name, e))
        print("%s: %d cases" % (name, len(cases)))
    if failed:
        raise SystemExit("%d cases failed" % failed)
