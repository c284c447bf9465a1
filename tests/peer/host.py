"""The repository host's part of the conversation: hello, log, job, outcome (docs/spec/message.md).

A Host keeps the copy of the log that it acknowledges in a file, believes nothing that is not signed or attested, and
says everything again in the next session when one ends.
"""

import hashlib
import os
import struct
import time as clock
from datetime import datetime, timezone

import log
import text
from session import BULK, INTERACTIVE


class Refused(Exception):
    def __init__(self, job, code, why):
        super().__init__("%s: %s" % (code, why))
        self.job, self.code, self.why = job, code, why


def now_text(offset=0):
    return datetime.fromtimestamp(int(clock.time()) + offset, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Mirror:
    """The entries that the host keeps, in a file of u16 length and bytes each; a torn end is cut off."""

    def __init__(self, path):
        self.entries, self.leaves = [], []
        self.file = open(path, "a+b")  # closed with the process
        self.file.seek(0)
        data, at = self.file.read(), 0
        while at + 2 <= len(data):
            size, = struct.unpack_from(">H", data, at)
            if at + 2 + size > len(data):
                break
            self._keep(data[at + 2:at + 2 + size])
            at += 2 + size
        self.file.truncate(at)

    def _keep(self, entry):
        self.entries.append(entry)
        self.leaves.append(log.leaf(entry))

    def add(self, entries):
        for e in entries:
            self.file.write(struct.pack(">H", len(e)) + e)
            self._keep(e)
        self.file.flush()
        os.fsync(self.file.fileno())

    def __len__(self):
        return len(self.entries)

    def head(self, size):
        return size, log.root(self.leaves[:size]).hex()


class Host:
    """One conversation, over as many sessions as it takes. `send(channel, message)` is the present session's; `tell`
    hears what happens. When `ready`, the log of the board is here and verified."""

    def __init__(self, trust, key, mirror, tell):
        self.trust, self.key, self.mirror, self.tell = trust, key, mirror, tell
        self.nonce, self.send = None, None
        self.total = self.verified = 0  # of the board's log; the size that a checkpoint proves
        self.checkpoint = None          # (size, root, HEAD), maybe ahead of the mirror
        self.head = None                # HEAD as attested in the welcome, until it is explained
        self.ready = False
        self.asked = None               # from where entries were asked for in this session
        self.job, self.done = None, None
        self.opened = []                # rules of which the board's operator wants a round
        self.sessions = 0

    # --- what the session says

    def up(self, send):
        self.send, self.sessions, self.ready, self.asked = send, self.sessions + 1, False, None
        self.nonce = os.urandom(16)
        self._note("hello", {"origin": self.trust.origin, "nonce": self.nonce.hex(), "host-time": now_text(),
                             "head": self.mirror.head(self.verified)})

    def down(self):
        self.send, self.ready = None, False

    def message(self, data):
        data = text.unpack(data)
        form = text.form_of(data, text.FROM_BOARD)
        getattr(self, "_" + form.replace("-", "_"))(text.parse(form, data))

    # --- what the board says

    def _welcome(self, m):
        log.need(self.nonce and m["nonce"] == self.nonce.hex(), "welcome: another nonce")
        log.need(m["origin"] == self.trust.origin, "welcome: another origin")
        log.need(m["checkpoint"], "welcome: the board lost its log or its log key")
        self._committed(m["checkpoint"][0])
        log.need(m["attest"][0], "welcome: no attestation")
        self.head = self.trust.certified(*m["attest"], b"touchmark/hello/v1\n", self.nonce)
        self.nonce, self.total = None, m["total"]
        self.tell("welcome", firmware=m["firmware"], state=m["state"], total=m["total"], size=self.checkpoint[0])
        self._go_on()

    def _entries(self, m):
        have = len(self.mirror)
        self.total = max(self.total, m["total"])
        if m["start"] > have:
            return self._go_on()  # these overtook some on the other channel, or those were lost
        again = have - m["start"]
        log.need(m["entry"][:again] == self.mirror.entries[m["start"]:m["start"] + len(m["entry"][:again])],
                 "entries: other ones than before")
        self.mirror.add(m["entry"][again:])
        self.tell("entries", have=len(self.mirror), total=self.total)
        log.need(self.mirror.leaves[0].hex() == self.trust.genesis.hex(), "entries: another genesis")
        self.send(INTERACTIVE, text.marshal("mirrored", {"size": self.mirror.head(len(self.mirror))}))
        self._go_on()

    def _fetch(self, m):
        """A board that halted for want of entries asks for ours."""
        entries, size = [], 200
        for entry in self.mirror.entries[m["from"]:][:64]:
            size += len(entry) + 12
            if size > text.MAX_TEXT:
                break
            entries.append(entry)
        if entries:
            self.send(BULK, text.marshal("entries", {"start": m["from"], "total": len(self.mirror), "entry": entries}))

    def _checkpoint_note(self, m):
        self._committed(m["note"])
        self._go_on()

    def _event(self, m):
        self.tell("event", job=m["job"], state=m["state"], item=m["item"], seconds=m["seconds"])

    def _refused(self, m):
        raise Refused(m["job"], m["code"], m["text"].decode())

    def _done(self, m):
        if m["job"] == self.job:
            self.done = m["intent"], m["outcome"]
            self.tell("done", job=m["job"], intent=m["intent"], outcome=m["outcome"])
            self.total = max(self.total, m["outcome"] + 1)
            self._go_on()

    def _open_round(self, m):
        self.opened.append(m["rule"])
        self.tell("open round", rule=m["rule"])

    # --- the log

    def _committed(self, note):
        size, root, head = self.trust.checkpoint(note)
        if self.checkpoint is None or size >= self.checkpoint[0]:
            self.checkpoint = size, root, head
        self.total = max(self.total, size)

    def _go_on(self):
        """Verifies what can be verified, asks for what is missing."""
        if self.nonce:
            return  # not before the welcome
        size, root, _ = self.checkpoint
        if len(self.mirror) >= size > self.verified:
            log.need(log.root(self.mirror.leaves[:size]) == root, "checkpoint: root does not match the entries")
            self.verified = size
        if len(self.mirror) < self.total:
            if self.asked != len(self.mirror):
                self.asked = len(self.mirror)
                self.send(BULK, text.marshal("fetch", {"from": self.asked}))
        elif not self.ready and self.verified == size:
            self._explain_head()
            self.ready = True
            self.tell("log verified", size=size, entries=len(self.mirror))

    def _explain_head(self):
        """HEAD stands where the checkpoint says, or one commit further: that of a job which waits for its touch."""
        if self.head is None:
            return
        size, _, head = self.checkpoint
        steps = [self.trust.commit(head, n, log.root(self.mirror.leaves[:n])) for n in range(size + 1, self.total + 1)]
        log.need(self.head in [head] + steps, "welcome: HEAD is not where the log says")
        self.head = None

    # --- what we ask

    def _note(self, form, values):
        self.send(INTERACTIVE, text.make_note(text.marshal(form, values), self.key))

    def submit(self, approval, contents):
        """Asks for a job: the approval's note and for each item ("state", bytes) or ("document", bytes)."""
        signed, _ = text.split_note(approval)
        self.job = hashlib.sha256(signed).hexdigest()
        submission = text.marshal("submission", {"approval": self.job, "head": self.mirror.head(self.verified),
                                                 "host-time": now_text()})
        self.send(INTERACTIVE, text.marshal("submit", {
            "approval": approval, "submission": text.make_note(submission, self.key), "content": contents}))

    def cancel(self, job):
        self._note("cancel", {"origin": self.trust.origin, "job": job, "host-time": now_text()})

    def announce(self, rounds):
        """Says what waits for a signature: (rule, files, state, since, next or "-") each."""
        self._note("rounds", {"origin": self.trust.origin, "host-time": now_text(), "round": rounds, "more": 0})

    def outcome(self):
        """(intent, outcome) of the job, once both are here and the intent is proved committed; else None."""
        if not self.done or self.verified <= self.done[0] or len(self.mirror) <= self.done[1]:
            return None
        intent = text.parse("entry intent", self.mirror.entries[self.done[0]])
        outcome = text.parse("entry outcome", self.mirror.entries[self.done[1]])
        signed, _ = text.split_note(intent["approval"])
        log.need(intent["index"] == self.done[0] and outcome["index"] == self.done[1], "outcome: indices")
        log.need(outcome["intent"] == self.done[0] and outcome["job"] == intent["job"] == self.job, "outcome: job")
        log.need(hashlib.sha256(signed).hexdigest() == self.job, "intent: another approval")
        log.need(len(outcome["item"]) == len(intent["sign"]), "outcome: items")
        return intent, outcome
