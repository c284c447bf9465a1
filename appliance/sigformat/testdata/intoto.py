# What Debian's in-toto and its library say: make metadata, and judge what was signed.
#
#   intoto.py make DIR            unsigned files and the bytes that in-toto would sign of them
#   intoto.py judge DIR GNUPGHOME each NAME.signed by the key that NAME.key tells of
import json
import os
import sys

from in_toto.exceptions import SignatureVerificationError
from in_toto.models.layout import Inspection, Layout, Step
from in_toto.models.link import Link
from in_toto.models.metadata import Metablock
from securesystemslib.gpg.functions import export_pubkey
from securesystemslib.interface import import_ecdsa_publickey_from_file
from securesystemslib.keys import generate_ecdsa_key, generate_ed25519_key, generate_rsa_key

AWKWARD = 'quote " backslash \\ line\nend tab\t caf\u00e9 \u20ac \U0001f600 </script> \u2028'


def public(key):
    key = json.loads(json.dumps(key))
    key["keyval"].pop("private", None)
    return key


def make(out):
    keys = [public(k) for k in (generate_rsa_key(2048), generate_ecdsa_key(), generate_ed25519_key())]
    ids = [k["keyid"] for k in keys]
    step = Step(name="rebuild", pubkeys=ids, threshold=2, expected_command=["make", AWKWARD],
                expected_products=[["CREATE", "*.deb"], ["MATCH", "*", "IN", "a b", "WITH", "PRODUCTS", "FROM", "rebuild"], ["DISALLOW", "*"]])
    last = Inspection(name="verify", run=["sh", "-c", AWKWARD], expected_materials=[["ALLOW", "*"]])
    files = {
        "layout": Layout(steps=[step], inspect=[last], keys=dict(zip(ids, keys)), expires="2028-02-29T12:00:00Z", readme=AWKWARD),
        "link": Link(name="rebuild", products={AWKWARD: {"sha256": "00" * 32}, "b": {"sha512": "11" * 64}}, materials={"m": {"sha256": "22" * 32}},
                     byproducts={"return-value": -1, "stdout": AWKWARD, "big": 2**53 - 1, "none": None, "yes": True, "list": [[], {}]}, command=["make"]),
        "bare": Link(name="x"),
    }
    for name, signed in files.items():
        block = Metablock(signed=signed, compact_json=name == "link")
        block.dump(os.path.join(out, name))
        with open(os.path.join(out, name + ".bytes"), "wb") as f:
            f.write(signed.signable_bytes)


def key_of(path, home):
    with open(path, encoding="ascii") as f:
        text = f.read().strip()
    return import_ecdsa_publickey_from_file(path) if text.startswith("{") else export_pubkey(text, home)


def judge(out, home):
    for name in sorted(n[: -len(".signed")] for n in os.listdir(out) if n.endswith(".signed")):
        key = key_of(os.path.join(out, name + ".key"), home)
        block = Metablock.load(os.path.join(out, name + ".signed"))
        try:
            block.verify_signature(key)
            verdict = "good"
        except SignatureVerificationError as e:
            verdict = "bad: " + str(e)
        print(name, key["keyid"], verdict)


if sys.argv[1] == "make":
    make(sys.argv[2])
else:
    judge(sys.argv[2], sys.argv[3])
