"""The initiator's side of a session: two reliable channels on the line (docs/spec/session.md).

No input or output and no clock of its own: bytes that arrived go into `receive`, bytes to be written come out of
`output`, time in seconds is passed in, and `deadline` says when to call `tick`. What happened is appended to `events`:

    ("up", sid)    ("message", channel, bytes)    ("down", reason)

Everything queued is lost when a session ends: the layer above says again what matters.
"""

import hashlib
import os

import frame
from frame import Frame

INTERACTIVE, BULK = 0, 1
VERSION = 1
MAX_MESSAGE = 131072
WINDOW = 32
FRAGMENT = 1024       # the rest of these are ours to choose
ACK_EVERY = 8
ACK_AFTER = 0.020
SYN_PAUSES = (0.25, 0.5, 1.0)
PING_OPENING = 0.25
PING_AFTER, PING_EVERY, SILENT_AFTER, STALLED_AFTER = 5.0, 2.0, 15.0, 60.0
TIMEOUT, MAX_TIMEOUT = 1.0, 4.0  # fixed: longer than a full frame takes at 115200 baud
RESTARTED_EVERY = 0.2
SHORT_SESSION = 2.0

UNKNOWN, BROKEN, CLOSING, JUST_STARTED = 1, 2, 3, 5
REASONS = {UNKNOWN: "restarted", BROKEN: "protocol broken", CLOSING: "closed"}


def session_id(ours, theirs):
    digest = hashlib.sha256(b"touchmark/session/v1\n" + ours + theirs).digest()
    return int.from_bytes(digest[:4], "big") or 1


def parse_ack(payload):
    """(hold, offsets behind the gap) of an ACK's payload."""
    bitmap = payload[1:]
    return payload[:1] == b"\1", [k for k in range(31) if k // 8 < len(bitmap) and bitmap[k // 8] >> k % 8 & 1]


def ack_payload(hold, offsets):
    bits = sum(1 << k for k in offsets)
    bitmap = bits.to_bytes((bits.bit_length() + 7) // 8, "little")
    return bytes([hold]) + bitmap if hold or bitmap else b""


class _Sent:
    """A fragment on its way."""

    def __init__(self, kind, payload):
        self.kind, self.payload = kind, payload
        self.order = 0         # count of transmissions when it was last sent
        self.arrived = False   # by bitmap


class _Up:
    """What lives as long as one session."""

    def __init__(self, sid, now):
        self.sid, self.since, self.heard_at, self.heard = sid, now, now, False
        self.ping_at = now
        # sending
        self.queue = {INTERACTIVE: [], BULK: []}  # fragments as (kind, payload)
        self.oldest = 0        # number of flight[0]
        self.flight = []
        self.sent_count = 0
        self.hold = False
        self.timeout, self.resend_at, self.progress_at = TIMEOUT, None, now
        # receiving
        self.expect, self.early, self.partial = 0, {}, {INTERACTIVE: b"", BULK: b""}
        self.unacked, self.ack_at = 0, None


class Initiator:
    def __init__(self, now, nonce=lambda: os.urandom(8)):
        self.events, self.up, self.make_nonce = [], None, nonce
        self.decoder, self.out = frame.Decoder(), bytearray()
        self.short, self.restart_seen, self.told_version = 0, -1.0, False
        self._open(now, 0)

    # --- what the layer above calls

    def send(self, channel, message, now):
        if not 1 <= len(message) <= MAX_MESSAGE:
            raise ValueError("message empty or too long")
        if not self.up:
            raise ConnectionError("no session")
        parts = [message[i:i + FRAGMENT] for i in range(0, len(message), FRAGMENT)]
        kind = frame.DATA | channel << 1
        self.up.queue[channel] += [(kind, p) for p in parts[:-1]] + [(kind | 1, parts[-1])]
        self._send_new(now)

    def receive(self, data, now):
        for f in self.decoder.feed(data):
            self._frame(f, now)
        if self.up:
            self._send_new(now)

    def output(self):
        data, self.out = bytes(self.out), bytearray()
        return data

    def close(self, now):
        if self.up:
            self._write(Frame(frame.RESET, self.up.sid, payload=bytes([CLOSING])))
            self._end("closed", now)

    def line_lost(self, now):
        """The device vanished; what was collected of a frame means nothing on the next one."""
        if self.up:
            self._end("line lost", now)
        self.decoder, self.out = frame.Decoder(), bytearray()

    def deadline(self):
        """When tick is due."""
        u = self.up
        if not u:
            return self.syn_at
        keep = u.heard_at + SILENT_AFTER
        stall = u.progress_at + STALLED_AFTER if u.flight else None
        return min(t for t in (u.ping_at, u.resend_at, u.ack_at, keep, stall) if t is not None)

    def tick(self, now):
        if not self.up:
            if now >= self.syn_at:
                self._syn(now)
            return
        u = self.up
        if now >= u.heard_at + SILENT_AFTER:
            return self._end("silent", now)
        if u.flight and now >= u.progress_at + STALLED_AFTER:
            return self._end("stalled", now)
        if now >= u.ping_at:
            self._write_session(frame.PING)
            u.ping_at = now + (PING_EVERY if u.heard else PING_OPENING)
        if u.resend_at is not None and now >= u.resend_at:
            u.timeout = min(2 * u.timeout, MAX_TIMEOUT)
            self._transmit(0, now)
        if u.ack_at is not None and now >= u.ack_at:
            self._ack()

    # --- opening and ending

    def _open(self, now, pause):
        self.up, self.nonce, self.tries = None, self.make_nonce(), 0
        self.syn_at = now + pause
        if not pause:
            self._syn(now)

    def _syn(self, now):
        self._write(Frame(frame.SYN, payload=bytes([VERSION]) + self.nonce))
        self.syn_at = now + SYN_PAUSES[min(self.tries, len(SYN_PAUSES) - 1)]
        self.tries += 1

    def _end(self, reason, now):
        self.events.append(("down", reason))
        self.short = 0 if now - self.up.since >= SHORT_SESSION else self.short + 1
        pauses = (0, 0) + SYN_PAUSES
        self._open(now, pauses[min(self.short, len(pauses) - 1)])

    def _other_version(self):
        if not self.told_version:
            self.told_version = True
            self.events.append(("down", "other version"))

    def _frame(self, f, now):
        if f.type == frame.RESET and f.sid == 0:
            self._stray_reset(f.payload[0], now)
        elif self.up and f.sid == self.up.sid and f.type not in (frame.SYN, frame.ACCEPT):
            self._session_frame(f, now)
        elif not self.up and f.type == frame.ACCEPT:
            if f.payload[0] != VERSION:
                self._other_version()
            elif f.sid == session_id(self.nonce, f.payload[1:]):
                self.up, self.told_version = _Up(f.sid, now), False
                self.events.append(("up", f.sid))
                self._write_session(frame.PING)
                self.up.ping_at = now + PING_OPENING

    def _stray_reset(self, reason, now):
        if reason == JUST_STARTED and now >= self.restart_seen + RESTARTED_EVERY:
            self.restart_seen = now
            if self.up:
                self._write_session(frame.PING)
            else:
                self._syn(now)

    # --- within a session

    def _session_frame(self, f, now):
        u = self.up
        if f.type == frame.RESET:
            if f.payload[0] in REASONS:
                self._end(REASONS[f.payload[0]], now)
            return
        # A hold ends with an ACK that says so, or with any frame that acknowledges more; what it stopped is sent again.
        hold, offsets = parse_ack(f.payload) if f.type == frame.ACK else (u.hold and f.ack == u.oldest, [])
        if not self._acknowledged(f.ack, offsets, now):
            return
        released, u.hold = u.hold and not hold, hold and bool(u.flight)
        if released and u.flight:
            self._transmit(0, now)
        u.heard, u.heard_at, u.ping_at = True, now, now + PING_AFTER
        if f.type == frame.PING:
            self._write_session(frame.PONG)
        elif frame.is_data(f.type):
            self._data(f, now)

    def _acknowledged(self, ack, offsets, now):
        """Takes an acknowledgement; False if the whole frame must be dropped for it."""
        u = self.up
        n = ack - u.oldest & 0xFFFF
        if n > len(u.flight):
            return n >= 0x10000 - WINDOW  # an old frame: its ack says nothing
        newest = max((s.order for s in u.flight[:n]), default=0)
        del u.flight[:n]
        u.oldest = ack
        if n:
            u.timeout, u.progress_at = TIMEOUT, now
            u.resend_at = now + u.timeout if u.flight else None
        for k in offsets:
            if k + 1 < len(u.flight):
                u.flight[k + 1].arrived = True
                newest = max(newest, u.flight[k + 1].order)
        for i, s in enumerate(u.flight):
            if not s.arrived and s.order < newest:
                self._transmit(i, now)
        return True

    def _data(self, f, now):
        u = self.up
        ahead = f.seq - u.expect & 0xFFFF
        if 0 < ahead < WINDOW:
            u.early[f.seq] = f
            self._ack()
        elif ahead >= 0x10000 - WINDOW:
            self._ack()  # a copy: ours was lost
        elif ahead == 0:
            behind_gap = bool(u.early)
            self._take(f, now)
            while self.up is u and u.expect in u.early:
                self._take(u.early.pop(u.expect), now)
            if self.up is u:
                self._ack_soon(now, at_once=behind_gap)

    def _take(self, f, now):
        u, channel = self.up, f.type >> 1 & 1
        u.expect = u.expect + 1 & 0xFFFF
        u.unacked += 1
        u.partial[channel] += f.payload
        if len(u.partial[channel]) > MAX_MESSAGE:
            self._write(Frame(frame.RESET, u.sid, payload=bytes([BROKEN])))
            self._end("protocol broken", now)
        elif f.type & 1:
            self.events.append(("message", channel, u.partial[channel]))
            u.partial[channel] = b""

    def _ack_soon(self, now, at_once):
        if at_once or self.up.unacked >= ACK_EVERY:
            self._ack()
        elif self.up.ack_at is None:
            self.up.ack_at = now + ACK_AFTER

    def _ack(self):
        u = self.up
        offsets = sorted((n - u.expect & 0xFFFF) - 1 for n in u.early)
        self._write_session(frame.ACK, payload=ack_payload(False, offsets))

    # --- sending

    def _send_new(self, now):
        u = self.up
        while not u.hold and len(u.flight) < WINDOW:
            channel = INTERACTIVE if u.queue[INTERACTIVE] else BULK
            if not u.queue[channel]:
                return
            if not u.flight:
                u.progress_at = now
            u.flight.append(_Sent(*u.queue[channel].pop(0)))
            self._transmit(len(u.flight) - 1, now)

    def _transmit(self, index, now):
        """Sends a fragment in flight, for the first time or again."""
        u = self.up
        s = u.flight[index]
        u.sent_count += 1
        s.order = u.sent_count
        if index == 0 or u.resend_at is None:
            u.resend_at = now + u.timeout
        self._write_session(s.kind, u.oldest + index & 0xFFFF, s.payload)

    def _write_session(self, kind, seq=0, payload=b""):
        """Writes a frame of the session; whichever it is, it acknowledges."""
        u = self.up
        u.unacked, u.ack_at = 0, None
        self._write(Frame(kind, u.sid, seq, u.expect, payload))

    def _write(self, f):
        self.out += b"\0" + frame.encode(f)  # a zero before a frame is always allowed and sometimes demanded
