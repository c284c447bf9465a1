#!/usr/bin/env python3
"""A repository host in Python's standard library and openssl, written from docs/spec alone.

It exists to show that the specification is enough to write the other end, and that the appliance does what it says; it
is a test, not a tool: nothing about it is fast, and its private keys lie in plain files.

    peer.py keygen --key FILE --name NAME            make a host key; prints its verifier
    peer.py log    --device TTY …                    fetch and verify the whole log
    peer.py sign   --device TTY … --job FILE FILE…   have files signed; the same --job is the same job again
    peer.py cancel --device TTY … --job FILE         withdraw a job that is not armed
    peer.py rounds --device TTY … --rule NAME        say that a file waits, until the operator opens a round
    peer.py selftest DIR                             run the test vectors

log, sign and cancel print one JSON object in the end and tell on stderr, a JSON object a line, what happens meanwhile.
Exit codes: 0 done, 1 failed, 2 refused by the board.
"""

import argparse
import fcntl
import hashlib
import json
import os
import select
import sys
import termios
import time
import tty

sys.dont_write_bytecode = True  # nothing of ours appears in the source tree

import hashstate
import host as hosts
import log
import selftest
import session
import text


def tell(at, **what):
    print(json.dumps({"at": at, **what}), file=sys.stderr, flush=True)


class Line:
    """A tty in raw mode, ours alone; opened again when it has vanished."""

    def __init__(self, path, baud):
        self.path, self.baud, self.fd = path, getattr(termios, "B%d" % baud), None

    def open(self):
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:
            return False
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        tty.setraw(fd)
        attributes = termios.tcgetattr(fd)
        attributes[2] |= termios.CLOCAL | termios.CREAD
        attributes[4] = attributes[5] = self.baud
        termios.tcsetattr(fd, termios.TCSANOW, attributes)
        self.fd = fd
        return True

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
        self.fd = None

    def exchange(self, out, timeout):
        """Writes what fits of out, waits for input; returns (input, what is left of out). OSError: the line is gone."""
        readable, writable, _ = select.select([self.fd], [self.fd] if out else [], [], timeout)
        if writable:
            out = out[os.write(self.fd, out):]
        data = b""
        if readable:
            data = os.read(self.fd, 65536)
            if not data:
                raise OSError("hung up")
        return data, out


REOPEN_EVERY = 0.1


class Peer:
    """Runs session and conversation on the line until `finished` says so."""

    def __init__(self, line, host):
        self.line, self.host, self.session, self.out = line, host, None, b""

    def run(self, finished, deadline):
        while not finished():
            now = time.monotonic()
            if now > deadline:
                raise TimeoutError("nothing came in time")
            if self.line.fd is None and not self._connect(now):
                time.sleep(REOPEN_EVERY)
                continue
            try:
                self._step(now)
            except OSError:
                self._lost(now)
        self._close()

    def _connect(self, now):
        if not self.line.open():
            return False
        self.session = session.Initiator(now)
        return True

    def _lost(self, now):
        self.line.close()
        self.out = b""
        self.session.line_lost(now)
        self._deliver()

    def _step(self, now):
        self.out += self.session.output()
        data, self.out = self.line.exchange(self.out, max(0, self.session.deadline() - now))
        now = time.monotonic()
        self.session.receive(data, now)
        self.session.tick(now)
        self._deliver()

    def _deliver(self):
        events, self.session.events = self.session.events, []
        for what, *rest in events:
            if what == "up":
                tell("up", sid=rest[0])
                self.host.up(lambda channel, message: self.session.send(channel, message, time.monotonic()))
            elif what == "down":
                tell("down", reason=rest[0])
                self.host.down()
            else:
                self.host.message(rest[1])

    def _close(self):
        now = time.monotonic()
        self.session.close(now)
        out, until = self.out + self.session.output(), now + 1
        while out and time.monotonic() < until:
            _, out = self.line.exchange(out, 0.1)


def start(args):
    """Host and Peer of the command line."""
    with open(args.trust, "rb") as f:
        trust = log.Trust(f.read())
    keyname, seed = read_key(args.key)
    host = hosts.Host(trust, text.Key.from_seed(keyname, seed), hosts.Mirror(args.log), tell)
    return host, Peer(Line(args.device, args.baud), host)


def read_key(path):
    with open(path, encoding="ascii") as f:
        keyname, seed = f.read().split()
    return keyname, bytes.fromhex(seed)


def keygen(args):
    seed = os.urandom(32)
    with open(os.open(args.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as f:
        print(args.name, seed.hex(), file=f)
    print(text.Key.from_seed(args.name, seed).vkey())


def summary(host, peer, **more):
    size = host.verified
    print(json.dumps({"entries": len(host.mirror), "verified": size, "root": host.mirror.head(size)[1],
                      "sessions": host.sessions, "bad_frames": peer.session.decoder.bad, **more}))


def fetch(args):
    host, peer = start(args)
    peer.run(lambda: host.ready, time.monotonic() + args.timeout)
    summary(host, peer)


def sign(args):
    host, peer = start(args)
    approval = job_of(args, args.origin or host.trust.origin)
    items = text.parse("approval", text.split_note(approval)[0])["item"]
    contents = []
    for path, item in zip(args.files, items, strict=True):
        with open(path, "rb") as f:
            algorithm = hashstate.ALGORITHMS[item[1].split(":")[0]]
            contents.append(("document", f.read()) if args.document else ("state", algorithm.state(f)))
    asked = 0  # the session in which the job was submitted

    def finished():
        nonlocal asked
        if host.ready and asked != host.sessions:
            asked = host.sessions
            host.submit(approval, contents)
            tell("submitted", job=host.job)
        return host.outcome()

    peer.run(finished, time.monotonic() + args.timeout)
    intent, outcome = host.outcome()
    results = [save(host, args, i, intent, outcome) for i in range(len(items))]
    summary(host, peer, job=host.job, intent=outcome["intent"], outcome=outcome["index"], items=results)


def job_of(args, origin):
    """The approval note in the job's file; made of the files, and kept before it is used, if there is none yet."""
    if not os.path.exists(args.job):
        items = [("openpgp-binary", "%s:%s" % (args.hash, digest(path, args.hash)), os.path.getsize(path),
                  os.path.basename(path)) for path in args.files]
        approval = text.marshal("approval", {
            "origin": origin, "class": args.policy_class, "nonce": os.urandom(16).hex(),
            "not-after": hosts.now_text(3600), "item": items})
        with open(args.job, "wb") as f:
            f.write(text.make_note(approval))
            f.flush()
            os.fsync(f.fileno())
    with open(args.job, "rb") as f:
        return f.read()


def digest(path, algorithm):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, algorithm).hexdigest()


def save(host, args, index, intent, outcome):
    """Writes a signature beside its file once everything about it holds."""
    path, (state, value) = args.files[index], outcome["item"][index]
    if state == "signed":
        signature = text.unbase64(value)
        log.check_signature(signature, intent["sign"][index], intent, host.trust.origin, path)
        host.trust.openpgp(signature, path, args.verifier)
        with open(path + ".sig", "wb") as f:
            f.write(signature)
    return {"name": os.path.basename(path), "state": state, "value": value}


def cancel(args):
    host, peer = start(args)
    with open(args.job, "rb") as f:
        job = hashlib.sha256(text.split_note(f.read())[0]).hexdigest()
    asked = 0

    def finished():
        nonlocal asked
        if host.ready and asked != host.sessions:
            asked = host.sessions
            host.cancel(job)
            tell("cancel sent", job=job)
        return False

    peer.run(finished, time.monotonic() + args.timeout)


def rounds(args):
    host, peer = start(args)
    waits = (args.rule, 1, "waiting", hosts.now_text(), "-")
    announced = 0

    def finished():
        nonlocal announced
        if host.ready and announced != host.sessions:
            announced = host.sessions
            host.announce([waits])
            tell("rounds sent", rule=args.rule)
        return args.rule in host.opened

    peer.run(finished, time.monotonic() + args.timeout)
    summary(host, peer, opened=host.opened)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    p = commands.add_parser("keygen")
    p.add_argument("--name", required=True)
    p.add_argument("--key", required=True)
    p.set_defaults(run=keygen)
    p = commands.add_parser("selftest")
    p.add_argument("vectors")
    p.set_defaults(run=selftest.run_all)
    for name, run in {"log": fetch, "sign": sign, "cancel": cancel, "rounds": rounds}.items():
        p = commands.add_parser(name)
        for flag in ("--device", "--trust", "--key", "--log"):
            p.add_argument(flag, required=True)
        p.add_argument("--baud", type=int, default=115200)
        p.add_argument("--timeout", type=float, default=120)
        p.set_defaults(run=run)
        if name == "rounds":
            p.add_argument("--rule", required=True)
        elif name != "log":
            p.add_argument("--job", required=True)
        if name == "sign":
            p.add_argument("--class", dest="policy_class", default="anything")
            p.add_argument("--hash", choices=sorted(hashstate.ALGORITHMS), default="sha256")
            p.add_argument("--document", action="store_true", help="send the files themselves, for the operator to read")
            p.add_argument("--origin", help="instead of the trust file's")
            p.add_argument("--verifier", choices=["gpgv", "sqv"], default="gpgv")
            p.add_argument("files", nargs="+")
    return parser.parse_args()


def main():
    args = arguments()
    try:
        args.run(args)
    except hosts.Refused as e:
        print(json.dumps({"refused": e.code, "job": e.job, "text": e.why}))
        sys.exit(2)
    except (text.BadText, log.BadProof, TimeoutError) as e:
        sys.exit("peer: %s: %s" % (type(e).__name__, e))


if __name__ == "__main__":
    main()
