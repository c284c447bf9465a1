"""Documents (docs/spec/signature.md §4.5, §4.6, §6.1): JSON that is read in one way only, its canonical form, and what a
file of in-toto or DSSE has for signatures to be over."""

import base64
import json
import math

MAX_FILE, MAX_DEPTH, MAX_WHOLE, MAX_NUMBER = 262144, 32, 2**53 - 1, 24


class BadDocument(ValueError):
    """Bytes that are read in two ways, or that are no file of the format; the text says why."""


class Fraction(str):
    """A number that is not whole, as it was written."""


def need(ok, what):
    if not ok:
        raise BadDocument(what)


def _members(pairs):
    need(len({name for name, _ in pairs}) == len(pairs), "a name twice in an object")
    return dict(pairs)


def _whole(digits):
    need(len(digits) <= MAX_NUMBER and abs(int(digits)) <= MAX_WHOLE, "a number beyond 2^53 - 1")
    return int(digits)


def _fraction(digits):
    need(len(digits) <= MAX_NUMBER and math.isfinite(float(digits)), "a number that is no double")
    return Fraction(digits)


def _no_number(word):
    raise BadDocument(word)


def read(data, strict=True):
    """The value of I-JSON bytes; if not strict, control characters may stand in strings as they are."""
    need(len(data) <= MAX_FILE, "too long")
    need(b"\0" not in data, "a NUL")
    try:
        value = json.loads(data.decode(), object_pairs_hook=_members, parse_int=_whole, parse_float=_fraction,
                           parse_constant=_no_number, strict=strict)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as e:
        raise BadDocument("no JSON: %s" % e) from None
    _check(value, 0)
    return value


def _check(value, depth):
    if isinstance(value, str) and not isinstance(value, Fraction):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadDocument("half a surrogate") from None
        need("\0" not in value, "a NUL")
    elif isinstance(value, (list, dict)):
        need(depth < MAX_DEPTH, "too deep")
        for one in list(value) + (list(value.values()) if isinstance(value, dict) else []):
            _check(one, depth + 1)


def canonical(value):
    """OLPC's canonical JSON."""
    if isinstance(value, Fraction):
        raise BadDocument("a number that is not whole")
    if isinstance(value, str):
        return ('"%s"' % value.replace("\\", "\\\\").replace('"', '\\"')).encode()
    if isinstance(value, dict):
        members = sorted((name.encode(), name) for name in value)
        return b"{" + b",".join(canonical(name) + b":" + canonical(value[name]) for _, name in members) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(canonical(v) for v in value) + b"]"
    return json.dumps(value).encode()


def pae(payload_type, payload):
    """DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(payload_type), payload_type.encode(), len(payload), payload)


def document_of(form, data):
    """What signatures of a format are over, out of a file with or without signatures."""
    try:
        value = read(data)
    except BadDocument:
        value = read(data, strict=False)
        need(not form.startswith("dsse-") and canonical(value) == data, "neither JSON nor a document itself")
    need(isinstance(value, dict), "no object")
    if form.startswith("dsse-"):
        kind = "application/vnd.%s+json" % form[len("dsse-"):]
        return pae(kind, _payload(kind, value) if "payloadType" in value else data)
    if "signed" in value:
        _signatures(value, {"signed", "signatures"})
        value = value["signed"]
    return canonical(value)


def _payload(kind, envelope):
    need(envelope["payloadType"] == kind, "a payload of another type")
    _signatures(envelope, {"payload", "payloadType", "signatures"})
    need(isinstance(envelope["payload"], str), "no payload")
    try:
        payload = base64.b64decode(envelope["payload"], validate=True)
    except ValueError:
        raise BadDocument("no base64") from None
    need(base64.b64encode(payload).decode() == envelope["payload"], "base64 in another way")
    read(payload)
    return payload


def _signatures(value, members):
    need(set(value) == members, "other members")
    signatures = value["signatures"]
    need(isinstance(signatures, list) and all(isinstance(s, dict) for s in signatures), "no list of signatures")
